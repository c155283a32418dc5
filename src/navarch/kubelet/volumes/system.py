"""Mounts and file ownership: the few system calls volumes need. Linux only, root only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import stat

MS_BIND = 4096
MS_REC = 16384
MNT_DETACH = 2
FREE = 0o660
READ_ONLY = 0o440
FOLDER = stat.S_ISGID | 0o110

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: pathlib.Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); OSError with the kernel's reason."""
    code = _libc.mount(source.encode(), str(target).encode(), kind.encode() or None, flags, options.encode() or None)
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def mount_tmpfs(target: pathlib.Path, size: int = 0, mode: int = 0o777) -> None:
    """A file system in memory, of at most `size` bytes (0: half of the memory). Never swapped where the kernel can promise it."""
    target.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(target):
        return
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    try:
        mount("tmpfs", target, "tmpfs", 0, options + ",noswap")
    except OSError:
        mount("tmpfs", target, "tmpfs", 0, options)


def unmount(target: pathlib.Path) -> None:
    """Takes every mount on this path away; nothing happens when there is none."""
    while _libc.umount2(str(target).encode(), MNT_DETACH) == 0:
        pass


def mounts_below(folder: pathlib.Path) -> list[pathlib.Path]:
    """Mount points inside a folder, the deepest first."""
    prefix = f"{folder}/"
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split(" ")[4].replace("\\040", " ")
        if point.startswith(prefix):
            found.append(pathlib.Path(point))
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def own(folder: pathlib.Path, group: int, read_only: bool) -> None:
    """Gives a volume to a group as upstream's fsGroup does: readable (and writable) by it, folders pass the group on."""
    mask = READ_ONLY if read_only else FREE
    for root, _, names in os.walk(folder):
        _own_one(root, group, mask | FOLDER)
        for name in names:
            _own_one(os.path.join(root, name), group, mask)
        for name in os.listdir(root):
            path = os.path.join(root, name)
            if os.path.islink(path):
                with contextlib.suppress(OSError):
                    os.lchown(path, -1, group)


def _own_one(path: str, group: int, mask: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        held = os.lstat(path)
        if stat.S_ISLNK(held.st_mode):
            return
        os.lchown(path, -1, group)
        os.chmod(path, stat.S_IMODE(held.st_mode) | mask)


def bind(source: pathlib.Path, target: pathlib.Path, base: pathlib.Path) -> None:
    """Binds `source`, which must lie inside `base`, onto `target`.

    The source is opened component by component without following links, so that a process inside a container that swaps a
    folder for a link meanwhile gains nothing.
    """
    descriptor = os.open(base, os.O_PATH | os.O_DIRECTORY)
    try:
        for part in source.relative_to(base).parts:
            following = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch(exist_ok=True)
        unmount(target)
        mount(f"/proc/self/fd/{descriptor}", target, "", MS_BIND | MS_REC)
    finally:
        os.close(descriptor)
