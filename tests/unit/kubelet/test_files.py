"""Volumes' files and container logs, on a real disk."""

from __future__ import annotations

import asyncio
import os
import pathlib
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navarch.api.core import v1
from navarch.kubelet import logs
from navarch.kubelet.core import payload
from navarch.kubelet.core.payload import File, PayloadError
from navarch.kubelet.volumes import atomic


def test_files_appear_change_and_go_together(tmp_path: pathlib.Path) -> None:
    assert atomic.write(tmp_path, {"a": File(b"1", 0o644), "d/b": File(b"2", 0o600)})
    assert (tmp_path / "a").read_text() == "1"
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "d") == "..data/d"
    assert stat.S_IMODE((tmp_path / "d" / "b").stat().st_mode) == 0o600
    assert not atomic.write(tmp_path, {"a": File(b"1", 0o644), "d/b": File(b"2", 0o600)})
    before = os.readlink(tmp_path / "..data")
    assert atomic.write(tmp_path, {"a": File(b"9", 0o644), "c": File(b"3", 0o644)})
    assert (tmp_path / "a").read_text() == "9"
    assert not (tmp_path / "d").exists()
    assert not (tmp_path / before).exists()
    assert sorted(entry for entry in os.listdir(tmp_path) if not entry.startswith("..")) == ["a", "c"]


@pytest.mark.parametrize("path", ["", "/abs", "../up", "a/../../b", "..data"])
def test_files_stay_inside(tmp_path: pathlib.Path, path: str) -> None:
    with pytest.raises(PayloadError):
        atomic.write(tmp_path, {path: File(b"", 0o644)})


def test_payload_of_items_and_missing_keys() -> None:
    held = v1.ConfigMap(data={"k": "v"}, binaryData={"b": "AAE="})
    assert payload.config_map(held, None, 0o644, False) == {"k": File(b"v", 0o644), "b": File(b"\0\1", 0o644)}
    items = [v1.KeyToPath(key="k", path="x/y", mode=0o400)]
    assert payload.config_map(held, items, 0o644, False) == {"x/y": File(b"v", 0o400)}
    missing = [v1.KeyToPath(key="no", path="x")]
    assert payload.config_map(held, missing, 0o644, True) == {}
    with pytest.raises(PayloadError, match="configmap references non-existent config key: no"):
        payload.config_map(held, missing, 0o644, False)


LOG = (
    b"2026-01-31T12:00:00.100000000Z stdout F one\n"
    b"2026-01-31T12:00:01.200000000Z stderr F two\n"
    b"2026-01-31T12:00:02.300000000Z stdout P thr\n"
    b"2026-01-31T12:00:02.400000000Z stdout F ee\n"
    b"2026-01-31T12:00:03.500000000Z stdout F four\n"
)


async def collect(path: pathlib.Path, options: logs.Options) -> bytes:
    return b"".join([piece async for piece in logs.read(path, options, lambda: True)])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (logs.Options(), b"one\ntwo\nthree\nfour\n"),
        (logs.Options(tail=1), b"four\n"),
        (logs.Options(tail=0), b""),
        (logs.Options(tail=99), b"one\ntwo\nthree\nfour\n"),
        (logs.Options(limit=5), b"one\nt"),
        (logs.Options(stream="Stderr"), b"two\n"),
        (logs.Options(since=1769860802.35), b"ee\nfour\n"),
        (logs.Options(timestamps=True, tail=1), b"2026-01-31T12:00:03.500000000Z four\n"),
    ],
)
async def test_logs(tmp_path: pathlib.Path, options: logs.Options, expected: bytes) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(LOG)
    assert await collect(path, options) == expected


async def test_following_goes_on_after_rotation_and_ends_with_the_container(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(LOG)
    over = [False]
    got: list[bytes] = []

    async def follow() -> None:
        async for piece in logs.read(path, logs.Options(tail=0, follow=True), lambda: over[0]):
            got.append(piece)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    path.write_bytes(LOG + b"2026-01-31T12:00:04.5Z stdout F five\n")
    await asyncio.sleep(0.25)
    logs.rotate(path, 1_800_000_000)
    path.write_bytes(b"2026-01-31T12:00:05.5Z stdout F six\n")
    await asyncio.sleep(0.25)
    over[0] = True
    await asyncio.wait_for(task, 2)
    assert b"".join(got) == b"five\nsix\n"


def test_rotation_keeps_a_few(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "0.log"
    for index in range(6):
        path.write_bytes(LOG)
        logs.rotate(path, 1_800_000_000 + index, keep=3)
    kept = logs.older(path)
    assert len(kept) == 3
    assert [entry.suffix for entry in kept].count(".gz") == 2
    assert b"".join(logs.lines_of(kept[0])) == LOG


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=30), st.integers(0, 40))
def test_tail_offset_counts_lines(lines: list[bytes], count: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "log"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        offset = logs.tail_offset(path, count)
        expected = lines[len(lines) - count :] if 0 < count <= len(lines) else ([] if count == 0 else lines)
        assert path.read_bytes()[offset:] == b"".join(line + b"\n" for line in expected)


def test_last_words(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(LOG)
    assert logs.last(path, 2, 2048) == "ee\nfour\n"
    assert logs.last(path, 80, 6) == "\nfour\n"
