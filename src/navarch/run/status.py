"""What is running: the supervisor's status file, checked against the processes that are really there."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from navarch.run import settings as where
from navarch.run.settings import Settings


def alive(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def read(settings: Settings) -> dict[str, Any] | None:
    """The status of a running supervisor; None when none runs."""
    try:
        found: dict[str, Any] = json.loads(settings.status_file.read_text())
    except (OSError, ValueError):
        return None
    return found if alive(int(found["pid"])) else None


def supervisor_pid(settings: Settings) -> int:
    """The supervisor's process id; 0 when it does not run."""
    return _pid(settings.pid_file, "nv-supervisor")


def guard_pid(settings: Settings) -> int:
    """The guard's process id; 0 when it does not run."""
    return _pid(settings.guard_file, "nv-guard")


def _pid(file: pathlib.Path, name: str) -> int:
    """The process a pid file names, if it is there and what it should be."""
    try:
        pid = int(file.read_text())
        command = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return 0
    return pid if command == name and alive(pid) else 0


def other_clusters(run_dir: pathlib.Path) -> list[pathlib.Path]:
    """Run folders of other clusters of ours on this machine that are alive: bridge and firewall tables are theirs then."""
    found = []
    for folder in where.DEFAULT_RUN.parent.glob(f"{where.DEFAULT_RUN.name}*"):
        socket = str(folder / "containerd" / "containerd.sock")
        config = str(folder / "containerd" / "containerd.toml")
        if folder != run_dir and (running_with(socket) or running_with(config)):
            found.append(folder)
    return found


def memory(pid: int) -> int:
    """A process's proportional set size in bytes: its share of pages it shares counts as its share. 0 when it is gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def running_with(text: str) -> list[int]:
    """Processes that have a text in their command line, but ourselves."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = pathlib.Path(f"/proc/{entry.name}/cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in command:
                found.append(int(entry.name))
    return found
