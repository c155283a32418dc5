"""The guard: a process that starts the supervisor again when it is killed.

The supervisor watches the guard the same way, so that killing either brings it back within a second; killing both at once ends the
cluster's processes until the next `navarch up` (containers run on). A supervisor that stops in good order removes its pid file first:
then the guard ends too.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import signal
import time
from collections.abc import Callable

from navarch.lib import backoff
from navarch.run.settings import Settings

_log = logging.getLogger(__name__)
_PR_SET_NAME = 15
_AGAIN = backoff.Policy(first=0.05, most=5.0)
_STEADY_SECONDS = 10.0


def guard(settings: Settings, become_supervisor: Callable[[], None], pid: int) -> None:
    """Guards the supervisor `pid` and those it starts after it (in a fork that calls `become_supervisor`).

    Returns after the orderly end of one.
    """
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"nv-guard", 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings.guard_file.write_text(str(os.getpid()))
    waits = backoff.Backoff(_AGAIN)
    while True:
        if not pid:
            settings.pid_file.unlink(missing_ok=True)
            pid = os.fork()
            if pid == 0:
                become_supervisor()
                os._exit(1)
        began = time.monotonic()
        _wait_end(pid)
        if not settings.pid_file.exists():
            settings.guard_file.unlink(missing_ok=True)
            return
        if time.monotonic() - began > _STEADY_SECONDS:
            waits.reset()
        pause = waits.next()
        _log.warning("the supervisor (process %d) has ended, starting another in %.2f s", pid, pause)
        time.sleep(pause)
        pid = 0


def _wait_end(pid: int) -> None:
    """Returns when a process is gone, child of ours or not."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    waiting.poll()
    os.close(descriptor)
    reap(pid)


def reap(pid: int) -> None:
    """Collects an ended process if it was a child of ours."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
