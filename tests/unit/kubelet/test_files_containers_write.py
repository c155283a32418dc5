"""Files that containers write and the kubelet reads: environment files, termination messages, logs."""

from __future__ import annotations

import os
import pathlib
import stat

import pytest

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.cri.client import ContainerStatus
from navarch.kubelet import configs, container_views, log_keeper, logs
from navarch.kubelet.core import env, env_file
from navarch.kubelet.runtime import Runtime

POD = v1.Pod(metadata=meta_v1.ObjectMeta(name="p", namespace="d", uid="u"), spec=v1.PodSpec())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("KEY='value'", "value"),
        ("  KEY='value'  # why\n", "value"),
        ("\n# KEY='no'\nOTHER='x'\nKEY='a b'", "a b"),
        ("KEY='one\ntwo\n\nthree'", "one\ntwo\n\nthree"),
        ("KEY='a\\n$HOME \"b\"'", 'a\\n$HOME "b"'),
        ("KEY= 'value'", ""),
        ("OTHER='x'", ""),
        ("", ""),
        ("KEY='first'\nKEY='second'", "first"),
        ("KEY='v'\nbroken", "v"),
        ("KEY='v'\r\n", "v"),
    ],
)
def test_values_of_an_environment_file(text: str, value: str) -> None:
    assert env_file.value(text, "KEY") == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("broken\nKEY='v'", "at line 1: missing '='"),
        ("\nA ='v'", "at line 2: whitespace before '=' is not allowed"),
        ("='v'", "at line 1: empty variable name"),
        ("KEY=v", "at line 1: value must be enclosed in single quotes"),
        ('KEY="v"', "at line 1: value must be enclosed in single quotes"),
        ("KEY=", "at line 1: value must be enclosed in single quotes"),
        ("KEY='v' w", "at line 1: unexpected content after closing quote"),
        ("A='1'\nKEY='v\nw\n", "starting at line 2: unclosed single quote"),
    ],
)
def test_an_environment_file_that_is_none(text: str, problem: str) -> None:
    with pytest.raises(env_file.BadFile, match=problem):
        env_file.value(text, "KEY")


def variables(content: bytes | None, optional: bool = False) -> dict[str, str]:
    origin = v1.EnvVarSource(fileKeyRef=v1.FileKeySelector(volumeName="v", path="f", key="KEY", optional=optional))
    spec = v1.Container(name="c", env=[v1.EnvVar(name="X", valueFrom=origin)])
    assert env.files(spec) == {("v", "f")}
    return env.variables(POD, spec, env.Sources(files={("v", "f"): content}))


def test_variables_from_files() -> None:
    assert variables(b"KEY='1'") == {"X": "1"}
    assert variables(b"A='1'", optional=True) == {}
    assert variables(None, optional=True) == {}
    with pytest.raises(env.ConfigError, match='environment variable key "KEY" not found in file'):
        variables(b"A='1'")
    for content in (None, b"nonsense"):
        with pytest.raises(env.ConfigError, match="couldn't parse env file"):
            variables(content)


async def test_an_environment_file_is_read_in_its_volume_only(tmp_path: pathlib.Path) -> None:
    """What a container put in the file's place is not read: a link out, a pipe nobody writes to, a file without end."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "secret").write_text("KEY='secret'")
    (volume / "file").write_text("KEY='v'")
    (volume / "inside").symlink_to("file")
    (volume / "out").symlink_to("../secret")
    (volume / "root").symlink_to("/")
    os.mkfifo(volume / "pipe")
    (volume / "huge").touch()
    os.truncate(volume / "huge", 1 << 40)
    paths = {"v": volume}
    assert await Runtime._file(paths, "v", "file") == b"KEY='v'"
    assert await Runtime._file(paths, "v", "inside") == b"KEY='v'"
    for path in ("out", "../secret", f"root{tmp_path}/secret", "pipe", "none", "."):
        assert await Runtime._file(paths, "v", path) is None, path
    with pytest.raises(env.ConfigError, match="couldn't parse env file"):
        await Runtime._file(paths, "v", "huge")
    with pytest.raises(env.ConfigError, match='cannot find the volume "w"'):
        await Runtime._file(paths, "w", "file")


def ended(host_path: pathlib.Path, log: pathlib.Path, policy: str = "File") -> ContainerStatus:
    annotations = {configs.MESSAGE_PATH: "/dev/termination-log", configs.MESSAGE_POLICY: policy}
    mounts = {"/dev/termination-log": str(host_path)}
    return ContainerStatus("i", "c", 0, "exited", 0, 0, 0, 1, "", "", "", "", "", str(log), {}, annotations, None, None, mounts)


def test_a_termination_message_is_read_from_a_regular_file_only(tmp_path: pathlib.Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "message").write_text("why " * 3000)
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "pipe")
    log = tmp_path / "log"
    assert container_views.termination_message(ended(tmp_path / "message", log)) == ("why " * 3000)[:4096]
    for name in ("link", "pipe", "none", "."):
        assert container_views.termination_message(ended(tmp_path / name, log)) == "", name
    log.symlink_to("secret")
    assert container_views.termination_message(ended(tmp_path / "none", log, "FallbackToLogsOnError")) == ""


async def test_a_log_that_became_a_link_is_neither_read_nor_written(tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"2026-01-31T12:00:00Z stdout F secret\n")
    link = tmp_path / "0.log"
    link.symlink_to("secret")
    pipe = tmp_path / "1.log"
    os.mkfifo(pipe)
    for path in (link, pipe):
        with pytest.raises(OSError):
            _ = [piece async for piece in logs.read(path, logs.Options(), lambda: True)]
        with pytest.raises(OSError):
            logs.last(path, 1, 100)
    with pytest.raises(OSError, match="symbolic links"):
        log_keeper._append(str(link), b"more\n")
    assert secret.read_bytes().count(b"\n") == 1


def test_rotation_writes_no_archive_through_a_link(tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("keep")
    path = tmp_path / "0.log"
    path.write_text("2026-01-31T12:00:00Z stdout F one\n")
    logs.rotate(path, 1_800_000_000)
    (tmp_path / "0.log.20270115-080000.tmp").symlink_to("secret")
    path.write_text("2026-01-31T12:00:00Z stdout F two\n")
    logs.rotate(path, 1_800_000_060)
    assert secret.read_text() == "keep"
    assert [stat.S_ISREG(entry.lstat().st_mode) for entry in logs.older(path)] == [True, True]
