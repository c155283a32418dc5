"""kill -9 of a real API server, again and again, with writers and watchers at work: every acknowledged write and every event is
accounted for, and revisions never go back. `NAVARCH_SOAK=1` kills it 200 times.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import random
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import kubeconfig, rest, watch
from navarch.machinery import errors
from navarch.store import check

KILLS = 200 if os.environ.get("NAVARCH_SOAK") else 4
WRITERS = 6
WATCHERS = 3
LAST = "the-end"


class Write(NamedTuple):
    """Something a writer did. `revision` is 0 where the answer does not tell it (a deletion)."""

    type: str
    name: str
    revision: int


@dataclass(slots=True)
class Seen:
    """What a watcher has seen."""

    events: list[Write] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Cluster:
    """A server that is killed, and everybody's notes about it."""

    folder: pathlib.Path
    port: int
    acknowledged: list[Write] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    """Writes by name whose answer did not come."""
    newest: int = 0
    """The highest revision anybody was told."""
    stop: bool = False

    def client(self) -> rest.Client:
        certificate = (self.folder / "pki" / "ca.crt").read_bytes()
        return rest.Client(kubeconfig.Config(f"https://127.0.0.1:{self.port}", ca=certificate, token="killer"), user_agent="test")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        flags = ["--data-dir", self.folder, "--bind-address", "127.0.0.1", "--secure-port", self.port]
        program = [pathlib.Path(sys.executable).with_name("navarch"), "apiserver", *flags, "--token-auth-file", self.folder / "tokens.csv"]
        with (self.folder / "server.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(*map(str, program), stdout=log, stderr=log)
        try:
            await self.ready(process)
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def ready(self, process: asyncio.subprocess.Process) -> None:
        async with asyncio.timeout(30):
            while True:
                assert process.returncode is None, (self.folder / "server.log").read_text()[-3000:]
                with suppress(OSError, rest.Unreachable, errors.ApiError):
                    async with self.client() as client:
                        await client.request("GET", "/readyz")
                        return
                await asyncio.sleep(0.05)


def config(name: str, data: str) -> core_v1.ConfigMap:
    return core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name=name, namespace="default"), data={"turn": data})


def revision_of(obj: core_v1.ConfigMap) -> int:
    assert obj.metadata is not None
    return int(obj.metadata.resourceVersion or 0)


async def write(cluster: Cluster, number: int, chance: random.Random) -> None:
    """Creates, changes and deletes a few objects of its own; knows what there is from what was acknowledged, else asks."""
    async with cluster.client() as client:
        turn = 0
        while not cluster.stop:
            turn += 1
            name = f"w{number}-{chance.randrange(4)}"
            before = cluster.newest
            what = chance.choice(["ADDED", "MODIFIED", "MODIFIED", "DELETED"])
            try:
                if what == "ADDED":
                    done = Write(what, name, revision_of(await client.create(config(name, str(turn)))))
                elif what == "MODIFIED":
                    change = {"data": {"turn": f"{turn}"}}
                    done = Write(what, name, revision_of(await client.patch(core_v1.ConfigMap, name, change, namespace="default")))
                else:
                    await client.delete(core_v1.ConfigMap, name, "default")
                    done = Write(what, name, 0)
            except (errors.NotFound, errors.AlreadyExists):
                continue
            except (rest.Unreachable, errors.ApiError, OSError):
                cluster.unknown[name] += 1
                await asyncio.sleep(0.02)
                continue
            if done.revision:
                assert done.revision > before, f"revision {done.revision} after {before} was told"
                cluster.newest = max(cluster.newest, done.revision)
            cluster.acknowledged.append(done)


async def follow(cluster: Cluster, version: int, seen: Seen) -> None:
    """One watch after the other, each from where the last one ended."""
    async with cluster.client() as client:
        while not seen.done.is_set():
            with suppress(rest.Unreachable, OSError, errors.ServiceUnavailable):
                async for event in watch.stream(client, core_v1.ConfigMap, namespace="default", version=str(version)):
                    assert event.object.metadata is not None
                    version = int(event.object.metadata.resourceVersion or 0)
                    if event.type == "BOOKMARK":
                        continue
                    name = event.object.metadata.name or ""
                    seen.events.append(Write(event.type, name, version))
                    if name == LAST:
                        seen.done.set()
                        break
            await asyncio.sleep(0.02)


@pytest.mark.timeout(60 + 15 * KILLS)
async def test_every_write_and_every_event_is_accounted_for(tmp_path: pathlib.Path) -> None:
    chance = random.Random(7)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        cluster = Cluster(tmp_path, probe.getsockname()[1])
    (tmp_path / "tokens.csv").write_text('killer,killer,1,"system:masters"\n')
    async with cluster.running(), cluster.client() as client:
        begin = (await client.list(core_v1.ConfigMap, "default"))[1]
    watchers = [Seen() for _ in range(WATCHERS)]
    async with asyncio.timeout(60 + 10 * KILLS), asyncio.TaskGroup() as group:
        for seen in watchers:
            group.create_task(follow(cluster, int(begin), seen))
        writers = [group.create_task(write(cluster, number, random.Random(number))) for number in range(WRITERS)]
        for _ in range(KILLS):
            async with cluster.running():
                await asyncio.sleep(chance.uniform(0.05, 0.7))
            assert check.check(str(tmp_path / "store.db")) == []
        async with cluster.running(), cluster.client() as client:
            await asyncio.sleep(0.3)
            cluster.stop = True
            await asyncio.wait(writers)
            await client.create(config(LAST, ""))
            items, version = await client.list(core_v1.ConfigMap, "default")
            assert int(version) > cluster.newest
            await asyncio.gather(*(seen.done.wait() for seen in watchers))
    present = {obj.metadata.name: revision_of(obj) for obj in items if obj.metadata is not None}
    for seen in watchers:
        account(cluster, seen.events, present)
    assert len(cluster.acknowledged) > 20 * KILLS


def account(cluster: Cluster, events: list[Write], present: dict[str | None, int]) -> None:
    """Holds what a watcher saw against what was acknowledged and what is there."""
    revisions = [event.revision for event in events]
    assert revisions == sorted(set(revisions)), "in order, once"
    told = {(event.type, event.name, event.revision) for event in events}
    missing = [done for done in cluster.acknowledged if done.revision and tuple(done) not in told]
    assert not missing, f"acknowledged, and no watcher was told: {missing[:5]}"
    deletions = Counter(event.name for event in events if event.type == "DELETED")
    for name, count in Counter(done.name for done in cluster.acknowledged if done.type == "DELETED").items():
        assert deletions[name] >= count
    acknowledged = Counter(done.name for done in cluster.acknowledged)
    for name, count in Counter(event.name for event in events if event.name != LAST).items():
        assert acknowledged[name] <= count <= acknowledged[name] + cluster.unknown[name], name
    replayed: dict[str | None, int] = {}
    for event in events:
        if event.type == "DELETED":
            del replayed[event.name]
        else:
            assert (event.type == "ADDED") == (event.name not in replayed)
            replayed[event.name] = event.revision
    assert {name: revision for name, revision in present.items() if name in replayed} == replayed
