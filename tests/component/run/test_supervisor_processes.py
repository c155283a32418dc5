"""The supervisor with tiny processes: starts, order, restarts after a kill, its own death, stopping."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from navarch.run import status, supervisor
from navarch.run.settings import Settings

TINY = """
from __future__ import annotations
import asyncio, os, pathlib, time
from dataclasses import dataclass

@dataclass(frozen=True)
class Options:
    folder: str
    name: str
    crash: bool = False

async def run(options, ready=lambda: None):
    log = pathlib.Path(options.folder) / "order"
    with log.open("a") as file:
        file.write(f"{options.name} start\\n")
    if options.crash:
        raise ValueError("this one always fails")
    await asyncio.sleep(0.05)
    ready()
    if options.name == "stuck" and not log.with_name("stuck").exists():
        log.with_name("stuck").touch()
        time.sleep(60)
    try:
        await asyncio.Event().wait()
    finally:
        with log.open("a") as file:
            file.write(f"{options.name} stop\\n")
"""


def _until(what: Callable[[], Any], seconds: float = 5.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


MAIN = """
import pathlib, sys
from navarch.run import liveness, supervisor
from navarch.run.components import Part, Process
from navarch.run.settings import Settings

folder, crash = sys.argv[1], sys.argv[2] == "crash"
settings = Settings(pathlib.Path(folder, "data"), pathlib.Path(folder, "run"), "n1", "127.0.0.1")

def part(name, crash=False):
    return Part(f"navarch_tiny_{name}", lambda _: {"folder": folder, "name": name, "crash": crash})

processes = [
    Process("apiserver", (part("apiserver"),)),
    Process("second", (part("second"), part("third")), after=("apiserver",)),
    *([Process("stuck", (part("stuck"),))] if sys.argv[2] == "stuck" else []),
    *([Process("bad", (part("bad", crash=True),)), Process("broken", (part("broken"),))] if crash else []),
]
if sys.argv[2] == "stuck":
    liveness.ASK_SECONDS = 0.2
if sys.argv[2] == "guarded":
    settings.run_dir.mkdir(parents=True)
    supervisor._supervise(settings, processes)
else:
    supervisor.Supervisor(settings, processes).run()
"""


class Running:
    """A supervisor in a Python of its own."""

    def __init__(self, folder: pathlib.Path, how: str = "") -> None:
        self.settings = Settings(folder / "data", folder / "run", "n1", "127.0.0.1")
        self.folder = folder
        words = [sys.executable, "-c", MAIN, str(folder), how]
        self.process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(folder)}, start_new_session=True)
        self.pid = self.process.pid

    def state(self, name: str) -> dict[str, Any]:
        found = status.read(self.settings)
        return dict(found["components"][name]) if found else {}

    def ready(self, name: str) -> int:
        return int(_until(lambda: self.state(name).get("ready") and self.state(name)["pid"]))

    def order(self) -> list[str]:
        return (self.folder / "order").read_text().splitlines()


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[..., Running]]:
    for name in ("apiserver", "second", "third", "bad", "stuck"):
        (tmp_path / f"navarch_tiny_{name}.py").write_text(TINY)
    (tmp_path / "navarch_tiny_broken.py").write_text("raise RuntimeError('broken while imported')")
    made: list[Running] = []

    def begin(how: str = "") -> Running:
        made.append(Running(tmp_path, how))
        return made[-1]

    yield begin
    for running in made:
        for pid in (status.guard_pid(running.settings), running.pid, status.supervisor_pid(running.settings)):
            if pid > 1:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        running.process.wait()


def test_starts_in_order_and_stops_cleanly(start: Callable[..., Running]) -> None:
    running = start()
    running.ready("second")
    assert running.order()[0] == "apiserver start"
    pids = [running.state(name)["pid"] for name in ("apiserver", "second")]
    os.kill(running.pid, signal.SIGTERM)
    assert running.process.wait(10) == 0
    assert running.order()[-1] == "apiserver stop", "the API server goes last"
    assert sorted(running.order()[3:5]) == ["second stop", "third stop"]
    assert not any(status.alive(pid) for pid in pids)
    assert not running.settings.status_file.exists() and not running.settings.pid_file.exists()


def test_a_killed_process_is_back_at_once_and_others_stay(start: Callable[..., Running]) -> None:
    running = start()
    second, first = running.ready("second"), running.ready("apiserver")
    began = time.monotonic()
    os.kill(first, signal.SIGKILL)
    again = _until(lambda: running.state("apiserver").get("restarts") == 1 and running.ready("apiserver"))
    assert time.monotonic() - began < 1.0
    assert again != first and running.state("second")["pid"] == second
    assert running.state("apiserver")["last_exit"] == "killed by SIGKILL"


def test_all_children_killed_at_once_again_and_again(start: Callable[..., Running]) -> None:
    running = start()
    for times in range(1, 4):
        for pid in [running.ready(name) for name in ("second", "apiserver")]:
            os.kill(pid, signal.SIGKILL)
        _until(lambda: all(running.state(n).get("restarts") == times and running.ready(n) for n in ("second", "apiserver")))  # noqa: B023


def test_children_die_with_a_killed_supervisor(start: Callable[..., Running]) -> None:
    running = start()
    pids = [running.ready(name) for name in ("second", "apiserver")]
    os.kill(running.pid, signal.SIGKILL)
    running.process.wait()
    _until(lambda: not any(status.alive(pid) for pid in pids))
    assert status.read(running.settings) is None


def test_a_process_that_hangs_is_started_again(start: Callable[..., Running]) -> None:
    """One is stopped from outside, one blocks its own event loop: neither ends by itself."""
    running = start("stuck")
    second = running.ready("second")
    os.kill(second, signal.SIGSTOP)
    again = _until(lambda: running.state("second").get("restarts") == 1 and running.ready("second"), 20)
    assert again != second and not status.alive(second)
    _until(lambda: running.state("stuck").get("restarts") == 1 and running.ready("stuck"), 20)
    assert running.state("stuck")["last_exit"] == "killed by SIGABRT"
    assert "time.sleep" in (running.settings.logs / "stuck.log").read_text() or "in run" in (running.settings.logs / "stuck.log").read_text()
    assert running.state("apiserver")["restarts"] == 0


def test_silence_is_not_held_against_a_child_while_the_supervisor_did_not_run(start: Callable[..., Running]) -> None:
    running = start("stuck")
    pids = {name: running.ready(name) for name in ("apiserver", "second")}
    for pid in (*pids.values(), running.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3)
    for pid in (running.pid, *pids.values()):
        os.kill(pid, signal.SIGCONT)
    time.sleep(2)
    assert {name: running.state(name)["pid"] for name in pids} == pids


def test_a_process_that_always_fails_is_retried_with_growing_pauses_and_says_why(start: Callable[..., Running]) -> None:
    running = start("crash")
    running.ready("second")
    _until(lambda: running.state("bad").get("restarts", 0) >= 3)
    log = (running.settings.logs / "bad.log").read_text()
    assert "this one always fails" in log and "Traceback" not in log
    assert running.state("bad")["last_exit"] == "ended with code 1"
    assert running.state("bad")["restarts"] < 10
    assert running.state("broken")["restarts"] >= 1, "a module that cannot be imported takes nothing else down"
    assert "broken while imported" in (running.settings.logs / "broken.log").read_text()


def test_logs_are_rotated(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "ROTATE_BYTES", 10)
    log = tmp_path / "x.log"
    log.write_text("small")
    supervisor.rotate(log)
    assert log.read_text() == "small"
    log.write_text("a long line of words")
    supervisor.rotate(log)
    assert log.read_text() == "" and (tmp_path / "x.log.1").read_text() == "a long line of words"


def test_guard_and_supervisor_bring_each_other_back(start: Callable[..., Running]) -> None:
    running = start("guarded")
    running.ready("second")
    settings, first = running.settings, running.pid
    assert status.supervisor_pid(settings) == first
    guard = _until(lambda: status.guard_pid(settings))
    os.kill(first, signal.SIGKILL)
    running.process.wait()
    second = _until(lambda: status.supervisor_pid(settings))
    assert second != first
    running.ready("second")
    os.kill(guard, signal.SIGKILL)
    again = _until(lambda: (pid := status.guard_pid(settings)) != guard and pid)
    assert status.supervisor_pid(settings) == second, "the supervisor runs on"
    os.kill(second, signal.SIGKILL)
    third = _until(lambda: (pid := status.supervisor_pid(settings)) != second and pid)
    running.ready("second")
    os.kill(third, signal.SIGTERM)
    _until(lambda: not status.alive(again) and not status.alive(third))
    assert not settings.guard_file.exists() and not settings.pid_file.exists()
