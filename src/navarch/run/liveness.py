"""Whether a process still does anything: the supervisor asks each of its children over a socket, and its event loop answers.

A child that does not answer for long hangs: its loop is blocked, or somebody stopped it. Time in which the supervisor itself did not run
(the machine slept, or was so loaded that nothing ran) counts for nobody. `Pulse` decides, on the clock it is given.

Upstream counterpart: the liveness probes of the control plane's static pods (a failure every 10 s, eight of them).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass

ASK_SECONDS = 5.0
MOST_UNANSWERED = 6
"""Questions without an answer after which a child hangs: half a minute."""
MOST_AT_START = 24
"""The same before its first answer: it may have to open a large store first."""
_QUESTION, _ANSWER = b"?", b"!"
READY = b"r"


@dataclass(slots=True)
class Pulse:
    """What a child's answers tell."""

    unanswered: int = 0
    answered: bool = False

    @property
    def lost(self) -> bool:
        return self.unanswered >= (MOST_UNANSWERED if self.answered else MOST_AT_START)

    def asked(self) -> None:
        self.unanswered += 1

    def heard(self) -> None:
        self.unanswered, self.answered = 0, True


def on_time(last: float, now: float) -> bool:
    """Whether the supervisor itself asked when it wanted to: else silence is not the children's."""
    return now - last < 2 * ASK_SECONDS


def ask(descriptor: int) -> None:
    """Sends a question. A child that does not read is not waited for."""
    with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
        os.write(descriptor, _QUESTION)


def answer_on(descriptor: int) -> None:
    """Makes the running event loop answer questions: in the child."""
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)

    def answer() -> None:
        try:
            asked = os.read(descriptor, 64)
        except BlockingIOError:
            return
        except OSError:
            asked = b""
        if not asked:
            loop.remove_reader(descriptor)
            return
        with contextlib.suppress(OSError):
            os.write(descriptor, _ANSWER)

    loop.add_reader(descriptor, answer)


def is_answer(words: bytes) -> bool:
    return _ANSWER in words
