"""Files of a volume changed all at once.

The files lie in a folder with a time in its name; `..data` links to it, and what the user sees links through `..data`. An update
writes a new folder and swaps `..data` with one rename, so a reader sees the old files or the new ones, never a mixture. Upstream's
counterpart is pkg/volume/util/atomic_writer.go.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import shutil
import time
from collections.abc import Mapping

from navarch.kubelet.core.payload import File, check_path

DATA = "..data"


def write(folder: pathlib.Path, payload: Mapping[str, File], owner: int | None = None, group: int | None = None) -> bool:
    """Makes `folder` show exactly these files; False when it already did. `owner` and `group` become the files'."""
    for path in payload:
        check_path(path)
    folder.mkdir(parents=True, exist_ok=True)
    current = _current(folder)
    if current is not None and _same(current, payload):
        return False
    fresh = folder / f"..{time.strftime('%Y_%m_%d_%H_%M_%S', time.gmtime())}.{secrets.randbelow(10**10):010d}"
    fresh.mkdir(mode=0o755)
    fresh.chmod(0o755)
    for path, file in payload.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        target.chmod(file.mode)
        if owner is not None or group is not None:
            os.chown(target, -1 if owner is None else owner, -1 if group is None else group)
    if group is not None:
        for root, _, _ in os.walk(fresh):
            os.chown(root, -1, group)
            os.chmod(root, 0o2775)
    temporary = folder / "..data_tmp"
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(fresh.name)
    temporary.rename(folder / DATA)
    _link(folder, payload)
    if current is not None:
        shutil.rmtree(current, ignore_errors=True)
    return True


def _current(folder: pathlib.Path) -> pathlib.Path | None:
    try:
        return folder / os.readlink(folder / DATA)
    except OSError:
        return None


def _same(current: pathlib.Path, payload: Mapping[str, File]) -> bool:
    found = {str(path.relative_to(current)) for path in current.rglob("*") if path.is_file()}
    if found != set(payload):
        return False
    try:
        return all((current / path).read_bytes() == file.data for path, file in payload.items())
    except OSError:
        return False


def _link(folder: pathlib.Path, payload: Mapping[str, File]) -> None:
    """One link per top-level name; links of names that are gone are removed."""
    wanted = {path.split("/", 1)[0] for path in payload}
    for entry in list(folder.iterdir()):
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    for name in wanted:
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(f"{DATA}/{name}")
