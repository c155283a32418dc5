"""Hostile clients against a real server process, in short: `make hostile` takes longer and prints the figures.

The bounds here are wide, since tests share the machine; what they catch is a server that stands still, grows without bound, or fails.
"""

from __future__ import annotations

import pytest

from bench import api, hostile
from navarch.testing import ports

ANSWERED = ("YAML aliases", "YAML directives", "deep bodies", "numbers", "long paths", "selectors", "Tables", "lists", "the past", "unread watches")
"""Kinds of which some are answered while they go on: else the server stands still for them."""


@pytest.mark.slow
async def test_a_well_behaved_client_does_not_notice_hostile_ones() -> None:
    async with api.own_server(ports.free(), "nobody,nobody,2\n") as (server, pid):
        await hostile.prepare(server, 500)
        for kind in hostile.ATTACKS:
            found = await hostile.measured(server, pid, kind, 2.5 if kind in ANSWERED else 0.7)
            assert not {status for status in found.statuses if status >= 500}, found.line()
            assert found.memory < max(2 * found.memory_before, found.memory_before + 150), found.line()
            assert found.p99 < 500, found.line()
            if kind in ANSWERED:
                assert found.statuses, f"nobody was answered: {found.line()}"
