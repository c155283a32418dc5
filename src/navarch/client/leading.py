"""Work that only the leader does: waits for the lead, works while it has it, and ends all of it when the lead is lost.

In: an election (or None: there is only one), and the work, which starts its loops in the group it is given. The lease is renewed from
the moment it is won, while the work is still starting. It is given up only after the work has ended.

Upstream counterpart: client-go's leaderelection.RunOrDie.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from navarch.client.lease import Election, Elector
from navarch.client.rest import Client
from navarch.lib import tasks

Work = Callable[[tasks.Group], Awaitable[None]]


class LeadLost(RuntimeError):
    """Somebody else may lead now: this process must end."""


async def lead(client: Client, election: Election | None, work: Work) -> NoReturn:
    """Works until cancelled. LeadLost when the lease could not be kept."""
    if election is None:
        await _work(work)
    elector = Elector(client, election)
    await elector.acquire()
    try:
        await _work(work, elector)
    except asyncio.CancelledError:
        await asyncio.shield(elector.release())
        raise


async def _work(work: Work, elector: Elector | None = None) -> NoReturn:
    async with tasks.Group() as group:
        if elector is not None:
            group.start("lease", _keep(elector))
        await work(group)
        await asyncio.Event().wait()
    raise AssertionError("a wait for nothing has ended")


async def _keep(elector: Elector) -> NoReturn:
    election = elector.election
    await elector.lead()
    raise LeadLost(f"the lease {election.namespace}/{election.name} could not be renewed for {election.deadline:g} s")
