"""Mount points of this process's mount namespace: made, found, taken away. Linux only, root only."""

from __future__ import annotations

import ctypes
import os
import pathlib
import re

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_ESCAPED = re.compile(r"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: pathlib.Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); OSError with the kernel's reason."""
    code = _libc.mount(source.encode(), str(target).encode(), kind.encode() or None, flags, options.encode() or None)
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def unmount(target: pathlib.Path) -> None:
    """Takes every mount on this path away, also one in use, never following a link; nothing happens when there is none."""
    while _libc.umount2(str(target).encode(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0:
        pass


def below(folder: pathlib.Path) -> list[pathlib.Path]:
    """Mount points inside a folder, the deepest first."""
    prefix = f"{folder}/"
    found = [pathlib.Path(point) for line in _table() if (point := _unescaped(line.split(" ")[4])).startswith(prefix)]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def _table() -> list[str]:
    return pathlib.Path("/proc/self/mountinfo").read_text().splitlines()


def _unescaped(point: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), point)
