"""Which user and group ids of the node stand behind the ids inside a pod with `hostUsers: false`.

Every such pod gets a range of its own, so that not even root in one pod is anybody in another or on the node. A range is written
to the pod's folder before it is used, and read back from there when the kubelet starts: two pods never share one. Upstream's
counterpart is pkg/kubelet/userns.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

log = logging.getLogger(__name__)

LENGTH = 65536
"""Ids of one pod; upstream's idsPerPod."""
FILE = "userns"
KUBELET_USER = "kubelet"


class NoIds(Exception):
    """A pod cannot get ids; the message is what the user reads."""


@dataclass(frozen=True, slots=True)
class Range:
    """`length` ids of the node from `first` on; inside the pod they begin at 0."""

    first: int
    length: int = LENGTH


def of_node() -> Range:
    """The ids the kubelet may give away: those of the user "kubelet" in the node's subordinate ids, otherwise all but the node's own 64Ki."""
    default = Range(LENGTH, (1 << 32) - LENGTH)
    try:
        pwd.getpwnam(KUBELET_USER)
    except KeyError:
        return default
    if shutil.which("getsubids") is None:
        return default
    users, groups = (subprocess.run(["getsubids", *flag, KUBELET_USER], capture_output=True, text=True, check=True).stdout for flag in ([], ["-g"]))
    if users != groups:
        raise NoIds(f'mismatched subuids and subgids for user "{KUBELET_USER}": make them equal in /etc/subuid and /etc/subgid')
    return _parse(users)


def _parse(text: str) -> Range:
    """The one line of getsubids: `0: kubelet 65536 7208960`."""
    lines = text.strip().splitlines()
    words = lines[0].split() if len(lines) == 1 else []
    try:
        found = Range(int(words[2]), int(words[3]))
    except (IndexError, ValueError):
        raise NoIds(f'the user "{KUBELET_USER}" needs exactly one range of subordinate ids, getsubids says: {text.strip()!r}') from None
    if found.first < LENGTH or found.first % LENGTH or found.length % LENGTH:
        raise NoIds(f"kubelet user assigned ID {found.first} and length {found.length} must be multiples of {LENGTH}, and not 0")
    return found


class UserNamespaces:
    """The ranges in use, by pod uid. `pods` is the folder of the pods' folders."""

    def __init__(self, pods: pathlib.Path, whole: Range) -> None:
        self._pods = pods
        self._whole = whole
        self._used: dict[str, Range] = {}
        self._free = self._slots()
        for entry in pods.iterdir() if pods.is_dir() else ():
            self._read(entry.name)

    def _slots(self) -> Iterator[int]:
        """All places in turn for ever: a range just given back is not given to the next pod."""
        count = self._whole.length // LENGTH
        while True:
            yield from range(count)

    def _read(self, uid: str) -> None:
        path = self._pods / uid / FILE
        try:
            held = json.loads(path.read_text())
            first = held["uidMappings"][0]["hostId"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError) as error:
            # Its containers, if any, keep running; nothing new is started in the pod.
            log.error("cannot read the user namespace of pod %s in %s: %s", uid, path, error)
            return
        self._used[uid] = Range(first)

    def range_of(self, uid: str) -> Range:
        """The pod's range, which is its own from now on. NoIds or OSError when it cannot get one."""
        held = self._used.get(uid)
        if held is not None:
            return held
        path = self._pods / uid / FILE
        if path.exists():
            raise NoIds(f"user namespace: invalid user namespace mappings file {path}")
        taken = {used.first for used in self._used.values()}
        for _ in range(self._whole.length // LENGTH):
            found = Range(self._whole.first + next(self._free) * LENGTH)
            if found.first not in taken:
                _write(path, found)
                self._used[uid] = found
                return found
        raise NoIds("create user namespace: could not find an empty slot to allocate a user namespace")

    def release(self, uid: str) -> None:
        """Gives the range of a pod back that has no process and no volume any more."""
        if self._used.pop(uid, None) is not None:
            (self._pods / uid / FILE).unlink(missing_ok=True)


def _write(path: pathlib.Path, found: Range) -> None:
    """Writes whole and durably, in upstream's form: after a power cut the range must still be known as taken."""
    mapping = [{"hostId": found.first, "containerId": 0, "length": found.length}]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "w") as file:
        json.dump({"uidMappings": mapping, "gidMappings": mapping}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
