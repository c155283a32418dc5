"""hostPath: a file or folder of the node itself.

Upstream counterpart: pkg/volume/hostpath.
"""

from __future__ import annotations

import pathlib
import stat
from collections.abc import Callable

from navarch.api.core import v1
from navarch.kubelet.core.payload import PayloadError
from navarch.kubelet.volumes.plugin import Place

_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


class HostPath:
    name = "host-path"
    in_folder = False

    def matches(self, volume: v1.Volume) -> bool:
        return volume.hostPath is not None

    async def set_up(self, place: Place, refresh: bool) -> pathlib.Path:
        return checked(place.volume.hostPath or v1.HostPathVolumeSource())

    async def path(self, place: Place) -> pathlib.Path:
        return pathlib.Path((place.volume.hostPath and place.volume.hostPath.path) or "/")

    def forget(self, uid: str) -> None:
        return


def checked(source: v1.HostPathVolumeSource) -> pathlib.Path:
    """The path, made where its type says so. PayloadError when it is of another type."""
    path = pathlib.Path(source.path or "/")
    kind = source.type or ""
    if kind not in _CHECKS:
        return path
    if not path.exists() and kind == "DirectoryOrCreate":
        path.mkdir(parents=True, mode=0o755)
    if not path.exists() and kind == "FileOrCreate":
        path.touch(mode=0o644)
    check, words = _CHECKS[kind]
    if not path.exists() or not check(path.stat().st_mode):
        raise PayloadError(f"hostPath type check failed: {path} is not {words}")
    return path
