"""Logging set up once per process: one line per record, UTC, component first.

    2026-01-31T12:00:00.123Z scheduler  WARNING queue: ...

Levels follow upstream's verbosity: --v=0 is INFO, --v=4 and more is DEBUG.
"""

from __future__ import annotations

import logging
import sys
import time


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, component: str) -> None:
        super().__init__(f"%(asctime)s.%(msecs)03dZ {component} %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")


def setup(component: str, verbosity: int = 0) -> None:
    """Sends this process's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(component))
    logging.basicConfig(level=logging.DEBUG if verbosity >= 4 else logging.INFO, handlers=[handler], force=True)
    for noisy in ("aiohttp.access", "asyncio", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
