"""The supervisor: starts a cluster's processes by forking itself, and keeps them alive.

It imports what the components need once, freezes the collector (so that a collection in a child does not copy shared pages) and
forks; a child that dies is forked again within milliseconds, and with growing pauses when it keeps dying. It has no event loop and
no threads: forking and either do not mix. A child says through a socket that it is ready, and answers there as long as it lives
(`liveness`); one that hangs is killed and started again. When the supervisor itself is killed the
kernel kills the children (PR_SET_PDEATHSIG) and the guard (`guarding`) starts the next one; containers and containerd live on.

What it knows is in the status file, which `navarch status` and `navarch up` read.
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import faulthandler
import gc
import importlib
import importlib.util
import json
import logging
import os
import pathlib
import selectors
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from navarch.lib import backoff, log, private
from navarch.run import guarding, liveness, plain, status
from navarch.run.components import PROCESSES, Part, Process
from navarch.run.settings import Settings

_log = logging.getLogger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NAME, PR_SET_PDEATHSIG = 15, 1

RESTART = backoff.Policy(first=0.05, most=5.0)
STEADY_SECONDS = 10.0
STOP_SECONDS = 5.0
ROTATE_BYTES, ROTATE_SECONDS = 20 * 1024 * 1024, 30.0


@dataclass(slots=True)
class Child:
    """A process of the table and its present incarnation."""

    process: Process
    pid: int = 0
    pidfd: int = -1
    socket: int = -1
    pulse: liveness.Pulse = field(default_factory=liveness.Pulse)
    hung: bool = False
    ready: bool = False
    started: float = 0.0
    ready_after: float = 0.0
    starts: int = 0
    due: float | None = 0.0
    last_exit: str = ""
    failures: backoff.Backoff = field(default_factory=lambda: backoff.Backoff(RESTART))


class Supervisor:
    """Runs in its own process, from `run` until told to stop."""

    def __init__(self, settings: Settings, processes: Sequence[Process] = PROCESSES, *, guarded: bool = False) -> None:
        self._settings = settings
        self._processes = processes
        self._guarded = guarded
        self._guard = 0
        present = [p for p in processes if all(_exists(part.module) for part in p.parts)]
        for process in processes:
            if process not in present:
                _log.error("%s is left out: this build does not have it", process.name)
        self._children = {p.name: Child(p) for p in present}
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._began = time.time()
        self._rotated = self._asked = time.monotonic()
        self._imported: set[str] = set()
        self._told: dict[str, Any] = {}

    def run(self) -> None:
        """Starts everything and stays until SIGTERM or SIGINT."""
        self._catch_signals()
        private.mend(self._settings.data_dir)
        self._settings.logs.mkdir(parents=True, exist_ok=True)
        self._settings.run_dir.mkdir(parents=True, exist_ok=True)
        self._settings.pid_file.write_text(str(os.getpid()))
        gc.disable()
        if self._guarded and status.guard_pid(self._settings) == os.getppid():
            self._watch_guard(os.getppid())
        while not self._stopping:
            self._start_due()
            self._tell()
            self._wait()
            self._ask()
            self._rotate()
        self._stop_all()
        self._settings.status_file.unlink(missing_ok=True)
        self._settings.pid_file.unlink(missing_ok=True)

    # ---- starting ----

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.due is None or child.due > now or not self._may_start(child):
                continue
            self._import(child.process)
            self._start(child)

    def _may_start(self, child: Child) -> bool:
        """Whether all it comes after were ready at some time: a restart of one of these does not hold it up."""
        return all(self._children[name].ready_after > 0 for name in child.process.after)

    def _import(self, process: Process) -> None:
        """Imports a process's modules here, before the fork, so that all children share them."""
        for part in process.parts:
            self._import_module(part.module)

    def _import_ahead(self) -> bool:
        """Imports one more module while there is nothing else to do; False when all are in."""
        for child in self._children.values():
            for part in child.process.parts:
                if part.module not in self._imported:
                    self._import_module(part.module)
                    return True
        return False

    def _import_module(self, name: str) -> None:
        """A module that cannot be imported is its own process's failure, there and not here."""
        if name in self._imported:
            return
        self._imported.add(name)
        try:
            importlib.import_module(name)
        except Exception as error:
            _log.error("%s cannot be imported: %s", name, error)

    def _start(self, child: Child) -> None:
        gc.freeze()
        mine, theirs = (end.detach() for end in socket.socketpair())
        pid = os.fork()
        if pid == 0:
            _become(child.process, self._settings, theirs)
        os.close(theirs)
        os.set_blocking(mine, False)
        child.pid, child.pidfd, child.socket = pid, os.pidfd_open(pid), mine
        child.pulse, child.hung = liveness.Pulse(), False
        child.started, child.ready, child.due = time.time(), False, None
        child.starts += 1
        self._selector.register(child.pidfd, selectors.EVENT_READ, (self._ended, child))
        self._selector.register(mine, selectors.EVENT_READ, (self._spoke, child))

    # ---- waiting ----

    def _wait(self) -> None:
        """Until a child ends or speaks, a signal comes, or a restart is due."""
        now = time.monotonic()
        dues = [c.due - now for c in self._children.values() if c.due is not None and self._may_start(c)]
        timeout = min([*dues, ROTATE_SECONDS, self._asked + liveness.ASK_SECONDS - now])
        if not self._selector.select(0) and self._import_ahead():
            return
        if self._guarded and not self._guard:
            self._start_guard()
        for key, _ in self._selector.select(max(0.0, timeout)):
            action, child = key.data
            action(child)

    def _ended(self, child: Child) -> None:
        _, status = os.waitpid(child.pid, 0)
        self._spoke(child)
        self._forget(child)
        code = os.waitstatus_to_exitcode(status)
        child.last_exit = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        if time.time() - child.started > STEADY_SECONDS:
            child.failures.reset()
        pause = child.failures.next()
        child.due, child.pid, child.ready = time.monotonic() + pause, 0, False
        _log.warning("%s %s, starting it again in %.2f s", child.process.name, child.last_exit, pause)

    def _forget(self, child: Child) -> None:
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        self._hang_up(child)
        child.pidfd = -1

    def _hang_up(self, child: Child) -> None:
        if child.socket >= 0:
            self._selector.unregister(child.socket)
            os.close(child.socket)
        child.socket = -1

    def _spoke(self, child: Child) -> None:
        """A child said something: that it is ready, or that it lives. That it hung up says nothing: `_ended` comes."""
        if child.socket < 0:
            return
        try:
            words = os.read(child.socket, 64)
        except BlockingIOError:
            return
        except ConnectionResetError:
            words = b""
        if liveness.is_answer(words):
            child.pulse.heard()
        if liveness.READY in words:
            child.ready, child.ready_after = True, time.time() - child.started
            _log.info("%s is ready after %.2f s", child.process.name, child.ready_after)
        if not words:
            self._hang_up(child)

    def _ask(self) -> None:
        """Asks every child whether it lives, when that is due, and kills those that have not answered for too long."""
        now = time.monotonic()
        if now - self._asked < liveness.ASK_SECONDS:
            return
        on_time = liveness.on_time(self._asked, now)
        self._asked = now
        for child in self._children.values():
            if child.socket < 0:
                continue
            if not on_time:
                child.pulse.unanswered = 0
            if child.pulse.lost:
                self._kill_hung(child)
            else:
                liveness.ask(child.socket)
                child.pulse.asked()

    def _kill_hung(self, child: Child) -> None:
        """First by SIGABRT, so that its log shows where it hangs; a stopped process does not hear that."""
        if not child.hung:
            seconds = child.pulse.unanswered * liveness.ASK_SECONDS
            _log.error("%s has not answered for %.0f s: it hangs and is ended", child.process.name, seconds)
        os.kill(child.pid, signal.SIGKILL if child.hung else signal.SIGABRT)
        child.hung = True

    def _catch_signals(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._selector.register(reading, selectors.EVENT_READ, (lambda _: os.read(reading, 64), None))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "_stopping", True))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    # ---- the guard ----

    def _watch_guard(self, pid: int) -> None:
        """Notices the end of the guard: each of the two brings the other back."""
        self._guard = pid
        descriptor = os.pidfd_open(pid)
        self._selector.register(descriptor, selectors.EVENT_READ, (lambda _: self._guard_ended(descriptor), None))

    def _guard_ended(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        guarding.reap(self._guard)
        _log.warning("the guard has ended, starting another")
        self._guard = 0

    def _start_guard(self) -> None:
        """Forks the guard when everything is imported: it shares our pages, and the next supervisor needs no imports."""
        me = os.getpid()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.closerange(3, 1024)
            _leave(lambda: guarding.guard(self._settings, lambda: _supervise(self._settings, self._processes), me))
        self._watch_guard(pid)

    # ---- stopping ----

    def _stop_all(self) -> None:
        """Everything but the API server first, so that they can still say goodbye; then the API server."""
        rest = [c for c in self._children.values() if c.process.name != "apiserver"]
        self._stop(rest)
        self._stop([c for c in self._children.values() if c not in rest])

    def _stop(self, children: Sequence[Child]) -> None:
        for number, wait in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            living = [c for c in children if c.pid]
            for child in living:
                os.kill(child.pid, number)
            until = time.monotonic() + wait
            while any(c.pid for c in living) and time.monotonic() < until:
                for child in living:
                    if child.pid and os.waitpid(child.pid, os.WNOHANG)[0]:
                        self._forget(child)
                        child.pid = 0
                time.sleep(0.01)

    # ---- telling ----

    def _tell(self) -> None:
        """Writes the status file, when it would say something else."""
        components = {
            name: {
                "pid": c.pid,
                "ready": c.ready,
                "started": c.started,
                "ready_after": round(c.ready_after, 3),
                "restarts": max(0, c.starts - 1),
                "last_exit": c.last_exit,
            }
            for name, c in self._children.items()
        }
        told: dict[str, Any] = {"pid": os.getpid(), "guard": self._guard, "started": self._began, "components": components}
        if told == self._told:
            return
        path = self._settings.status_file
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(told))
            temporary.replace(path)
            self._told = told
        except OSError as error:
            _log.error("the status file cannot be written: %s", error)

    def _rotate(self) -> None:
        if time.monotonic() - self._rotated < ROTATE_SECONDS:
            return
        self._rotated = time.monotonic()
        for path in (*self._settings.logs.glob("*.log"), self._settings.data_dir / "containerd" / "containerd.log"):
            rotate(path)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def rotate(path: pathlib.Path) -> None:
    """Keeps a log below a size: its content moves to `.1`, the file (held open by its writer) is emptied."""
    try:
        if path.stat().st_size > ROTATE_BYTES:
            former = path.with_suffix(".log.1")
            shutil.copyfile(path, former)
            former.chmod(0o600)
            os.truncate(path, 0)
    except FileNotFoundError:
        return
    except OSError as error:
        _log.warning("%s cannot be rotated: %s", path, error)


# ---- in the child ----


def _become(process: Process, settings: Settings, supervisor: int) -> None:
    """Turns the fork into the process; never returns."""
    code = 1
    try:
        parent = os.getppid()
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent or parent == 1:
            os._exit(1)
        _libc.prctl(PR_SET_NAME, f"nv-{process.name}"[:15].encode(), 0, 0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, supervisor)
        os.closerange(supervisor + 1, 1024)
        os.umask(process.umask)
        redirect(settings.logs / f"{process.name}.log")
        log.setup(process.name)
        gc.enable()
        faulthandler.enable()
        execute(process, settings, lambda: os.write(supervisor, liveness.READY), supervisor)
        code = 0
    except BaseException as error:
        if plain.is_plain(error):
            _log.error("%s", error)
        else:
            traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def redirect(path: pathlib.Path) -> None:
    """Sends output to a log file, and takes input from nowhere."""
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.close(nothing)


def options_of(part: Part, settings: Settings) -> object:
    """A part's Options with the table's flags. Raises TypeError for a flag that the component does not have."""
    kind = importlib.import_module(part.module).Options
    flags = part.flags(settings)
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := set(flags) - known:
        raise TypeError(f"{part.module} has no flags {', '.join(sorted(unknown))}")
    return kind(**flags)


def execute(process: Process, settings: Settings, ready: Callable[[], object], supervisor: int) -> None:
    """Runs a process's parts until one ends or SIGTERM comes; `ready` is called when all are ready. `supervisor` is where it asks."""
    parts = [(part.module, importlib.import_module(part.module).run, options_of(part, settings)) for part in process.parts]
    run_all(parts, ready, in_order=process.in_order, supervisor=supervisor)


def run_all(
    parts: Sequence[tuple[str, Callable[..., Any], object]], ready: Callable[[], object], *, in_order: bool = False, supervisor: int | None = None
) -> None:
    """Runs component loops (name, `run`, options) in one event loop, which answers the supervisor when there is one."""
    import uvloop

    from navarch.lib import tasks

    async def main() -> None:
        me = asyncio.current_task()
        assert me is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, me.cancel)
        if supervisor is not None:
            liveness.answer_on(supervisor)
        coming, waiting = list(parts), {name for name, _, _ in parts}
        async with tasks.Group() as group:

            def start() -> None:
                name, run, options = coming.pop(0)
                group.start(name, run(options, lambda: one_ready(name)))

            def one_ready(name: str) -> None:
                waiting.discard(name)
                if not waiting:
                    spare_collector()
                    ready()
                elif in_order and coming:
                    start()

            start()
            while coming and not in_order:
                start()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(main())
        except asyncio.CancelledError:
            pass
        except BaseExceptionGroup as failures:
            raise _first(failures) from None


def spare_collector() -> None:
    """What a process holds when it is ready stays: the collector need not walk it again, and young garbage can wait for more.

    Measured in the API server with 4,000 pods: 12 % of its time and pauses of 115 ms went into collecting what never goes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure itself, out of the groups it came in: its trace tells more than theirs."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def daemon(settings: Settings) -> None:
    """Starts a supervisor that outlives the caller: returns at once in the caller, and never in the supervisor."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    settings.logs.mkdir(parents=True, exist_ok=True)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    redirect(settings.logs / "supervisor.log")
    log.setup("supervisor")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _supervise(settings)


def _supervise(settings: Settings, processes: Sequence[Process] = PROCESSES) -> None:
    """Becomes the supervisor; never returns."""
    _libc.prctl(PR_SET_NAME, b"nv-supervisor", 0, 0, 0)
    _leave(lambda: Supervisor(settings, processes, guarded=True).run())


def _leave(work: Callable[[], object]) -> NoReturn:
    """Does the work and ends the process, whatever happens."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
