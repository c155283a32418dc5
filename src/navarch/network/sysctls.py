"""Kernel settings the network needs, changed with a memory.

Each change is recorded in a file with the value it found, so that taking the cluster down puts the machine back as it was,
also after every process was killed in between. Settings that this kernel lacks are skipped: who asks gets told.
"""

from __future__ import annotations

import json
import os
import pathlib

_ROOT = pathlib.Path("/proc/sys")


def _path(name: str) -> pathlib.Path:
    return _ROOT / name.replace(".", "/")


def read(name: str) -> str | None:
    """The value of a setting such as `net.ipv4.ip_forward`; None where the kernel has no such setting."""
    try:
        return _path(name).read_text().strip()
    except OSError:
        return None


class Record:
    """Changes settings and remembers the first value of each in a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def set(self, name: str, value: str) -> bool:
        """Gives a setting a value. False where the kernel lacks it or forbids the change."""
        found = read(name)
        if found is None:
            return False
        if found == value:
            return True
        known = self.load()
        if name not in known:
            self._save({**known, name: found})
        try:
            _path(name).write_text(value)
        except OSError:
            return False
        return True

    def raise_to(self, name: str, value: int) -> bool:
        """Sets a number to at least this."""
        found = read(name)
        return found is not None and (int(found) >= value or self.set(name, str(value)))

    def restore(self) -> list[str]:
        """Puts everything back and forgets it. Returns the names put back."""
        done = []
        for name, value in self.load().items():
            try:
                _path(name).write_text(value)
            except OSError:
                continue
            done.append(name)
        self._path.unlink(missing_ok=True)
        return done

    def load(self) -> dict[str, str]:
        """What was found before our changes; empty when nothing was changed."""
        try:
            data = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in data.items()} if isinstance(data, dict) else {}

    def _save(self, known: dict[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(known))
        temporary.replace(self._path)
