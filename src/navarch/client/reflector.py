"""The loop that keeps a copy of a collection true: list once, watch from there, and again whatever happens.

In: a `Source`, which lists and watches one collection and keeps the copy. The loop decides when to do which: after a broken connection it
watches on from the version it knows, after an expired version it lists again, and it never asks without a pause where the last
attempt brought nothing. What it is not: it holds no objects (`informer` does).

Upstream counterpart: client-go's Reflector.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from typing import NoReturn, Protocol

from navarch.client.rest import Unreachable
from navarch.lib import backoff
from navarch.lib.clock import Clock
from navarch.machinery import codec, errors

_log = logging.getLogger(__name__)
_SHORT = 1.0
"""Seconds. A watch that ends sooner, without an event, counts as a failure: its server refuses, or is going down."""


class Source(Protocol):
    """A collection that is followed, and the copy of it."""

    name: str
    """What the log calls it."""
    version: str
    """The resourceVersion the copy is at; "" before the first list. The loop clears it where a list is needed."""

    async def relist(self) -> None:
        """Takes over what there is now, and sets `version`."""
        ...

    def events(self) -> AsyncIterator[None]:
        """Takes over every event after `version` and sets it; yields after each. Ends when the server ends the watch."""
        ...


async def follow(source: Source, clock: Clock) -> NoReturn:
    """Lists and watches until cancelled."""
    wait = backoff.Backoff(backoff.RECONNECT)
    while True:
        pause = 0.0
        opened = clock.monotonic()
        try:
            if not source.version:
                await source.relist()
            opened = clock.monotonic()
            async for _ in source.events():
                wait.reset()
        except errors.ApiError as error:
            if isinstance(error, errors.Expired | errors.Gone) or _too_large(error):
                source.version = ""
            pause = _asked_to_wait(error)
            _log.log(logging.INFO if isinstance(error, errors.Expired) else logging.WARNING, "%s: %s", source.name, error)
        except codec.DecodeError as error:
            source.version = ""
            _log.warning("%s: an event cannot be read, so everything is listed again: %s", source.name, error)
        except Unreachable as error:
            _log.debug("%s: %s", source.name, error)
        else:
            if clock.monotonic() - opened >= _SHORT:
                wait.reset()
                continue
            _log.debug("%s: the watch ended at once", source.name)
        if clock.monotonic() - opened >= _SHORT:
            wait.reset()
        await clock.sleep(max(pause, wait.next() * random.uniform(0.8, 1.2)))


def _asked_to_wait(error: errors.ApiError) -> float:
    """The seconds a refusing server asks to wait, 0 where it asks for none; never more than half a minute."""
    details = error.status.details
    return float(min(details.retryAfterSeconds or 0, 30)) if details is not None else 0.0


def _too_large(error: errors.ApiError) -> bool:
    """Whether the server has not come as far as the version we know: its store is an older one (a restored backup)."""
    details = error.status.details
    return details is not None and any(c.reason == "ResourceVersionTooLarge" for c in details.causes or ())
