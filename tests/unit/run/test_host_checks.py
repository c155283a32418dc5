"""What the machine is told it lacks."""

from __future__ import annotations

import pathlib
import socket

import pytest

from navarch.run import host


def test_a_taken_port_names_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(host.Unfit, match=rf"port {port}, which the test needs, is taken by .* \(process \d+\)"):
            host.need_ports([("127.0.0.1", port, "the test")])
    host.need_ports([("127.0.0.1", port, "the test")])


def test_missing_programs_and_no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    requirement = host.Requirement("no-such-program", "no-such-package")
    assert host.missing([requirement, host.Requirement("/bin/sh", "dash")]) == [requirement]
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(host.Unfit, match=r"no apt-get here: install these yourself .*no-such-package"):
        host.install(print, [requirement])


def test_no_room_and_no_right(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.need_room(tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(host.Unfit, match="cannot be written"):
        host.need_room(tmp_path / "file" / "below")
    monkeypatch.setattr(host, "LEAST_FREE", 1 << 60)
    with pytest.raises(host.Unfit, match="MiB are free"):
        host.need_room(tmp_path)


def test_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(host.Unfit, match="needs root"):
        host.need_root()
