"""`navarch explain` and `navarch decisions`: why the scheduler decided as it did.

A decision is kept for a day, as an annotation of its event, and made again from the API server's history: the tables show the cluster as the
scheduler had seen it. With `--now`, or where no decision is kept, they show the cluster as it is.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace

from navarch.cli import flags as flag_words
from navarch.cli.cluster import say, table
from navarch.cli.scheduling import client_of, parser, profile_of, read
from navarch.client import rest
from navarch.lib import clock
from navarch.machinery import errors
from navarch.scheduler import history
from navarch.scheduler.core import explain as words
from navarch.scheduler.core.decide import Unschedulable
from navarch.scheduler.core.preempt import Candidate
from navarch.scheduler.core.replay import Replayed
from navarch.scheduler.core.terms import PodInfo
from navarch.scheduler.core.what_if import Simulation, unbound

_ROWS = 30
"""Rows of a table unless --all is given."""


def explain(given: Sequence[str]) -> int:
    """`navarch explain pod NAME`: each node's first failing filter and what it lacks; for a bound pod, the points of each node."""
    wanted = parser("explain", "Say why a pod is pending, node by node, or what spoke for its node")
    wanted.add_argument("kind", choices=["pod"])
    wanted.add_argument("name")
    wanted.add_argument("-n", "--namespace", default="default")
    wanted.add_argument("--now", action="store_true", help="decide about the cluster as it is, not as it was when the decision fell")
    wanted.add_argument("--all", action="store_true", help=f"every node, not the first {_ROWS}")
    flags = wanted.parse_args(given)
    if flags.dump or flags.now:
        return _as_it_is(flags)
    return asyncio.run(_as_it_was(flags))


async def _as_it_was(flags: argparse.Namespace) -> int:
    async with client_of(flags) as client:
        kept = await history.decisions(client, flags.namespace, flags.name)
        if kept:
            try:
                made = await history.remade(client, kept[0], profile_of(flags, kept[0].record.profile))
            except errors.Expired:
                say("The API server does not keep its history as far back as this decision. As the cluster is now:\n")
            else:
                return _tell(kept[0], made, flags)
        else:
            say("No decision about this pod is kept. As the cluster is now:\n")
    return await asyncio.to_thread(_as_it_is, flags)


def _tell(kept: history.KeptDecision, made: Replayed, flags: argparse.Namespace) -> int:
    record = kept.record
    ago = _ago(clock.SYSTEM.now() - record.at)
    if record.node:
        among = f", drawn from {record.equals} nodes with as many points" if record.equals > 1 else ""
        say(f"{kept.namespace}/{kept.name} was put on {record.node} {ago} ago{among}. Points of the nodes that could take it:\n")
        _points(made.simulation, made.info, record.node, flags)
    else:
        say(f"{kept.namespace}/{kept.name} was refused {ago} ago: {kept.message}\n")
        if isinstance(made.outcome, Unschedulable):
            _refusals(made.simulation, made.info, made.outcome, flags)
        if isinstance(made.plan, Candidate):
            say(f"\nRoom is made on {made.plan.node} by evicting {', '.join(v.key for v in made.plan.victims)}")
    if record.asked:
        say(f"\nExtenders had a say in it ({', '.join(record.asked)}); what they said is not kept.")
    if not made.agrees(record):
        why = "another version, or another configuration, made it"
        if made.missing:
            why = f"{made.missing} decisions made just before are not known any more"
        say(f"\nMade again from the history, this decision comes out differently: {why}.")
    return 0


def _as_it_is(flags: argparse.Namespace) -> int:
    snapshot, _ = read(flags)
    pod = next((p for p in snapshot.pods if p.metadata and (p.metadata.namespace, p.metadata.name) == (flags.namespace, flags.name)), None)
    if pod is None:
        raise ValueError(f'pods "{flags.name}" not found')
    bound = (pod.spec.nodeName if pod.spec else None) or ""
    others = replace(snapshot, pods=[p for p in snapshot.pods if p is not pod])
    simulation = Simulation(others, profile_of(flags, (pod.spec.schedulerName if pod.spec else None) or ""))
    info = simulation.read(unbound(pod))
    if bound:
        say(f"{info.key} is on {bound}. Points of the nodes that could take it:\n")
        _points(simulation, info, bound, flags)
        return 0
    outcome, _ = simulation.attempt(info, 0)
    if not isinstance(outcome, Unschedulable):
        say(f"{info.key} fits now: {outcome.node} would be chosen, with {outcome.score} points.")
        return 0
    say(f"{info.key} fits nowhere: {outcome.message}\n")
    _refusals(simulation, info, outcome, flags)
    return 0


def _points(simulation: Simulation, info: PodInfo, node: str, flags: argparse.Namespace) -> None:
    scores = simulation.scores(info)
    plugins = sorted({p for points in scores.values() for p in points})
    ranked = sorted(scores.items(), key=lambda item: (-sum(item[1].values()), item[0] != node, item[0]))
    rows = [(n + (" *" if n == node else ""), str(sum(p.values())), *(str(p.get(x, 0)) for x in plugins)) for n, p in ranked]
    _cut([("NODE", "TOTAL", *plugins), *rows], flags)


def _refusals(simulation: Simulation, info: PodInfo, refused: Unschedulable, flags: argparse.Namespace) -> None:
    if not refused.nodes:
        say("no nodes")
        return
    rows = words.rows(simulation.view(info), refused)
    _cut([("NODE", "REFUSED BY", "REASON", "NEAREST MISS"), *((r.node, r.plugin, r.text, r.lacks) for r in rows)], flags)
    if near := words.nearest(simulation.view(info), simulation.profile):
        say(f"\nNearest miss: {near}")


def _cut(rows: Sequence[Sequence[str]], flags: argparse.Namespace) -> None:
    shown = rows if flags.all else rows[: _ROWS + 1]
    table(shown)
    if len(shown) < len(rows):
        say(f"and {len(rows) - len(shown)} more nodes (--all shows them)")


# ---- many decisions -----------------------------------------------------------------------------------------------


def decisions(given: Sequence[str]) -> int:
    """`navarch decisions`: what the scheduler decided in the last day; with `--replay`, each made again and compared."""
    wanted = parser("decisions", "Show what the scheduler decided, the newest first")
    wanted.add_argument("-n", "--namespace", default="", help="of one namespace (default: all)")
    wanted.add_argument("--since", default="24h", metavar="1h", help="how far back (default 24h)")
    wanted.add_argument("--limit", type=int, default=50, help="how many at most (default 50)")
    wanted.add_argument("--replay", action="store_true", help="make each again from the API server's history and compare; exit 1 if one differs")
    return asyncio.run(_decisions(wanted.parse_args(given)))


async def _decisions(flags: argparse.Namespace) -> int:
    now = clock.SYSTEM.now()
    async with client_of(flags) as client:
        found = [k for k in await history.decisions(client, flags.namespace) if now - k.record.at <= flag_words.duration(flags.since)]
        rows = [("AGO", "POD", "NODE", *(["AGAIN"] if flags.replay else []))]
        differ = 0
        for kept in found[: flags.limit]:
            record = kept.record
            where = record.node or (f"<pending, waits for {record.nominated}>" if record.nominated else "<pending>")
            again = await _again(client, kept, flags) if flags.replay else ""
            differ += again == "differs"
            rows.append((_ago(now - record.at), f"{kept.namespace}/{kept.name}", where, *([again] if again else [])))
    table(rows)
    if len(found) > flags.limit:
        say(f"and {len(found) - flags.limit} older ones (--limit)")
    return 1 if differ else 0


async def _again(client: rest.Client, kept: history.KeptDecision, flags: argparse.Namespace) -> str:
    try:
        made = await history.remade(client, kept, profile_of(flags, kept.record.profile))
    except (errors.Expired, ValueError):
        return "history gone"
    if made.agrees(kept.record):
        return "same"
    return "unsure" if made.missing else "differs"


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
