"""When a process counts as hanging."""

from __future__ import annotations

import asyncio
import os
import socket

from navarch.run import liveness


def test_a_pulse_is_lost_after_some_questions_without_an_answer() -> None:
    pulse = liveness.Pulse()
    for _ in range(liveness.MOST_AT_START):
        assert not pulse.lost, "a large store may have to be opened first"
        pulse.asked()
    assert pulse.lost
    pulse.heard()
    for _ in range(liveness.MOST_UNANSWERED):
        assert not pulse.lost
        pulse.asked()
    assert pulse.lost


def test_a_supervisor_that_was_held_up_itself_is_not_on_time() -> None:
    assert liveness.on_time(100.0, 100.0 + liveness.ASK_SECONDS * 1.5)
    assert not liveness.on_time(100.0, 100.0 + liveness.ASK_SECONDS * 3)


async def test_an_event_loop_answers_and_a_full_socket_blocks_nobody() -> None:
    mine, theirs = socket.socketpair()
    liveness.answer_on(theirs.fileno())
    liveness.ask(mine.fileno())
    async with asyncio.timeout(5):
        assert liveness.is_answer(await asyncio.to_thread(os.read, mine.fileno(), 8))
    asyncio.get_running_loop().remove_reader(theirs.fileno())
    mine.setblocking(False)
    for _ in range(10_000):
        liveness.ask(mine.fileno())
    mine.close()
    liveness.ask(theirs.fileno())
    theirs.close()
