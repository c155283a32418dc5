"""Waiting in tests: for a condition, with a deadline, never for a time.

`until` looks again every few milliseconds; what it says when the time is over names what was last seen.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

_FIRST, _MOST = 0.005, 0.1


async def until(look: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """The first truthy value `look` gives; it may be a coroutine function. AssertionError when the time is over.

    An AssertionError that `look` raises counts as "not yet".
    """
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + seconds, _FIRST
    while True:
        last: object = None
        try:
            found = look()
            value = await found if inspect.isawaitable(found) else found
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if loop.time() > end:
            raise AssertionError(f"{what or 'the condition'} did not come about in {seconds:g} s; last: {last!r}")
        await asyncio.sleep(pause)
        pause = min(_MOST, pause * 1.5)
