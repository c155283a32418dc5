"""Informers over a server that goes and comes back, and leader election between two, against the real API server."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator

import pytest

from navarch.api.coordination import v1 as coordination_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import identity, informer, leading
from navarch.client.events import Recorder
from navarch.client.informer import Added, Change, Deleted, Informer, Modified
from navarch.client.lease import Election, Elector
from navarch.client.rest import Client, Unreachable
from navarch.lib import tasks
from navarch.testing import server, waiting
from navarch.testing.clock import ManualClock

Maps = Informer[core_v1.ConfigMap]


def config(name: str, **labels: str) -> core_v1.ConfigMap:
    return core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name=name, namespace="default", labels=labels or None))


def names(maps: Maps) -> set[str]:
    return {m.metadata.name or "" for m in maps.list() if m.metadata is not None}


@contextlib.asynccontextmanager
async def following(client: Client, labels: str = "") -> AsyncIterator[tuple[Maps, list[str]]]:
    """A running informer of the ConfigMaps in `default`, and what it told, as `+a`, `~a`, `-a`."""
    maps: Maps = Informer(client, core_v1.ConfigMap, "default", labels=labels)
    told: list[str] = []

    def tell(change: Change[core_v1.ConfigMap]) -> None:
        obj = change.new if isinstance(change, Modified) else change.obj
        assert obj.metadata is not None
        told.append({Added: "+", Modified: "~", Deleted: "-"}[type(change)] + (obj.metadata.name or ""))

    maps.subscribe(tell)
    async with tasks.Group() as group:
        group.start("maps", maps.run())
        async with asyncio.timeout(20):
            await maps.synced.wait()
        yield maps, told
        group.cancel()


async def test_an_informer_follows() -> None:
    async with server.running() as api, following(api.client) as (maps, told):
        await api.client.create(config("a"))
        await api.client.patch(core_v1.ConfigMap, "a", {"data": {"k": "v"}}, "default")
        await api.client.delete(core_v1.ConfigMap, "a", "default")
        await waiting.until(lambda: told == ["+a", "~a", "-a"])
        assert names(maps) == set()


async def test_an_informer_can_keep_less_than_it_tells() -> None:
    def bare(obj: core_v1.ConfigMap) -> core_v1.ConfigMap:
        return core_v1.ConfigMap(metadata=obj.metadata)

    seen: list[tuple[object, ...]] = []

    def tell(change: Change[core_v1.ConfigMap]) -> None:
        seen.append((change.old.data, change.new.data) if isinstance(change, Modified) else (change.obj.data,))

    async with server.running() as api, tasks.Group() as group:
        first = config("a")
        first.data = {"k": "1"}
        await api.client.create(first)
        maps: Maps = Informer(api.client, core_v1.ConfigMap, "default", fields="metadata.name=a", keep=bare)
        maps.subscribe(tell)
        group.start("maps", maps.run())
        await maps.synced.wait()
        await api.client.patch(core_v1.ConfigMap, "a", {"data": {"k": "2"}}, "default")
        await waiting.until(lambda: len(seen) == 2)
        assert seen == [({"k": "1"},), (None, {"k": "2"})]
        kept = maps.get("a", "default")
        assert kept is not None and kept.data is None
        group.cancel()


async def test_an_informer_of_a_selection_forgets_what_leaves_it() -> None:
    async with server.running() as api, following(api.client, "color=red") as (maps, told):
        await api.client.create(config("a", color="red"))
        await waiting.until(lambda: names(maps) == {"a"})
        await api.client.patch(core_v1.ConfigMap, "a", {"metadata": {"labels": {"color": "blue"}}}, "default")
        await waiting.until(lambda: told == ["+a", "-a"])
        assert names(maps) == set()


async def test_an_informer_goes_on_when_the_server_is_back(tmp_path: pathlib.Path) -> None:
    async with contextlib.AsyncExitStack() as first:
        api = await first.enter_async_context(server.running(tmp_path))
        client = Client(api.config())
        await api.client.create(config("goes"))
        await api.client.create(config("stays"))
        async with client, following(client) as (maps, told):
            assert names(maps) == {"goes", "stays"}
            port = api.port
            await first.aclose()
            with pytest.raises(Unreachable):
                await client.get(core_v1.ConfigMap, "stays", "default")
            async with server.running(tmp_path, port=port) as again:
                await again.client.create(config("new"))
                await again.client.delete(core_v1.ConfigMap, "goes", "default")
                await waiting.until(lambda: names(maps) == {"stays", "new"})
            assert told == ["+goes", "+stays", "+new", "-goes"]


async def test_events_missed_while_away_are_told_as_they_happened(tmp_path: pathlib.Path) -> None:
    async with server.running(tmp_path) as api:
        client = Client(api.config())
        maps: Maps = Informer(client, core_v1.ConfigMap, "default")
        told: list[str] = []
        maps.subscribe(lambda change: told.append(type(change).__name__))
        async with client:
            await api.client.create(config("a"))
            async with tasks.Group() as group:
                group.start("maps", maps.run())
                await waiting.until(lambda: told == ["Added"])
                group.cancel()
            await api.client.patch(core_v1.ConfigMap, "a", {"data": {"k": "v"}}, "default")
            await api.client.delete(core_v1.ConfigMap, "a", "default")
            await api.client.create(config("b"))
            async with tasks.Group() as group:
                group.start("maps", maps.run())
                await waiting.until(lambda: told == ["Added", "Modified", "Deleted", "Added"])
                group.cancel()


async def test_an_informer_whose_version_expired_lists_again() -> None:
    async with server.running() as api:
        maps: Maps = Informer(api.client, core_v1.ConfigMap, "default")
        told: list[str] = []
        maps.subscribe(lambda change: told.append(type(change).__name__))
        await api.client.create(config("a"))
        await api.client.create(config("b"))
        async with tasks.Group() as group:
            group.start("maps", maps.run())
            await waiting.until(lambda: len(told) == 2)
            group.cancel()
        await api.client.delete(core_v1.ConfigMap, "a", "default")
        await api.client.create(config("c"))
        await api.store.compact(api.parts.storage.revision)
        cache = api.parts.catalog.of("", "configmaps").cache
        cache.history.clear()
        cache.complete_since = cache.version
        async with tasks.Group() as group:
            group.start("maps", maps.run())
            await waiting.until(lambda: names(maps) == {"b", "c"})
            group.cancel()
        assert told == ["Added", "Added", "Deleted", "Added"]


async def test_an_informer_of_a_store_that_went_back_in_time_lists_again() -> None:
    async with server.running() as api:
        for i in range(20):
            await api.client.create(config(f"old{i}"))
        port = api.port
        client = Client(api.config())
        maps: Maps = Informer(client, core_v1.ConfigMap, "default")
        async with tasks.Group() as group:
            group.start("maps", maps.run())
            await waiting.until(lambda: len(maps) == 20)
            group.cancel()
    maps.version = "100000"
    async with client, server.running(port=port) as api:
        await api.client.create(config("fresh"))
        async with tasks.Group() as group:
            group.start("maps", maps.run())
            await waiting.until(lambda: names(maps) == {"fresh"})
            group.cancel()


async def test_a_subscriber_that_fails_does_not_stop_the_others() -> None:
    async with server.running() as api, following(api.client) as (maps, told):

        def fail(change: informer.Change[core_v1.ConfigMap]) -> None:
            raise ValueError(change)

        maps.subscribe(fail)
        await api.client.create(config("a"))
        await api.client.create(config("b"))
        await waiting.until(lambda: told == ["+a", "+b"])


def elector(api: server.ApiServer, clock: ManualClock, identity: str) -> Elector:
    return Elector(api.connect(clock=clock), Election("job", identity, retry=2.0))


async def holder(client: Client) -> str:
    lease = await client.get(coordination_v1.Lease, "job", "kube-system")
    assert lease.spec is not None
    return lease.spec.holderIdentity or ""


async def test_of_two_one_leads_and_the_other_takes_over() -> None:
    async with server.running() as api, tasks.Group() as group:
        ours, theirs = ManualClock(), ManualClock()
        first, second = elector(api, ours, "one"), elector(api, theirs, "two")
        await first.acquire()
        assert await holder(api.client) == "one"
        leading = group.start("lead", first.lead())
        waits = group.start("acquire", second.acquire())
        for _ in range(10):
            await waiting.until(lambda: ours.waiting == 1 and theirs.waiting == 1)
            ours.advance(2.0)
            await waiting.until(lambda: ours.waiting == 1)
            theirs.advance(2.0)
        await waiting.until(lambda: theirs.waiting == 1)
        assert not waits.done() and not leading.done(), "twenty seconds, and the holder renewed"
        await tasks.stop(leading)
        for _ in range(9):
            await waiting.until(lambda: theirs.waiting == 1 or waits.done())
            theirs.advance(2.0)
        await waiting.until(waits.done)
        assert await holder(api.client) == "two"
        lease = await api.client.get(coordination_v1.Lease, "job", "kube-system")
        assert lease.spec is not None and lease.spec.leaseTransitions == 1


async def test_a_released_lease_is_free_at_once() -> None:
    async with server.running() as api:
        clock = ManualClock()
        first, second = elector(api, clock, "one"), elector(api, clock, "two")
        await first.acquire()
        await first.release()
        async with asyncio.timeout(20):
            await second.acquire()
        assert await holder(api.client) == "two"


async def test_who_cannot_renew_no_longer_leads() -> None:
    async with server.running() as api, tasks.Group() as group:
        clock = ManualClock()
        first = elector(api, clock, "one")
        await first.acquire()
        lease = await api.client.get(coordination_v1.Lease, "job", "kube-system")
        assert lease.spec is not None
        lease.spec.holderIdentity = "usurper"
        await api.client.update(lease)
        leading = group.start("lead", first.lead())
        for _ in range(6):
            await waiting.until(lambda: clock.waiting == 1 or leading.done())
            clock.advance(2.0)
        await waiting.until(leading.done)
        assert await holder(api.client) == "usurper"


async def play(client: Client, name: str, working: asyncio.Event) -> None:
    async def work(group: tasks.Group) -> None:
        del group
        working.set()

    await leading.lead(client, Election("job", name, retry=2.0), work)


async def test_a_restarted_leader_goes_on_at_once_under_its_kept_name(tmp_path: pathlib.Path) -> None:
    """Killed, so that it gives nothing up: the lease it left behind is its own."""
    kept = str(tmp_path / "data" / "identity")
    async with server.running() as api:
        clock = ManualClock()
        with identity.held(kept) as name:
            await elector(api, clock, name).acquire()
        async with tasks.Group() as group:
            with identity.held(kept) as again:
                assert again == name
                working = asyncio.Event()
                group.start("next", play(api.connect(clock=clock), again, working))
                async with asyncio.timeout(5):
                    await working.wait()
            group.cancel()
    assert (tmp_path / "data" / "identity").stat().st_mode & 0o777 == 0o600


def test_two_processes_never_have_one_name(tmp_path: pathlib.Path) -> None:
    kept = str(tmp_path / "identity")
    with identity.held(kept) as first, identity.held(kept) as second:
        assert first != second
    with identity.held(kept) as third:
        assert third == first
    (tmp_path / "identity").write_bytes(b"\xff\x00" * 100)
    with identity.held(kept) as fresh, identity.held("") as nameless:
        assert fresh not in (first, nameless)
    with identity.held(kept) as same:
        assert same == fresh


async def test_work_ends_when_the_lead_is_lost_and_the_lease_is_given_up_when_the_work_has_ended() -> None:
    async with server.running() as api:
        clock = ManualClock()
        working = asyncio.Event()
        async with tasks.Group() as group:
            leader = group.start("leader", play(api.connect(clock=clock), "one", working))
            await working.wait()
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leader
            assert await holder(api.client) == ""
        with pytest.raises(BaseExceptionGroup) as raised:
            async with tasks.Group() as group:
                working.clear()
                group.start("leader", play(api.connect(clock=clock), "one", working))
                await working.wait()
                lease = await api.client.get(coordination_v1.Lease, "job", "kube-system")
                assert lease.spec is not None
                lease.spec.holderIdentity = "usurper"
                await api.client.update(lease)
                for _ in range(8):
                    await waiting.until(lambda: clock.waiting or group)
                    clock.advance(2.0)
                    await asyncio.sleep(0.05)
        assert raised.group_contains(leading.LeadLost, match="kube-system/job could not be renewed for 10 s", depth=2)


async def test_equal_events_are_counted_on_one_object() -> None:
    async with server.running() as api, tasks.Group() as group:
        about = await api.client.create(config("a"))
        recorder = Recorder(api.client, "tester")
        group.start("events", recorder.run())
        for _ in range(3):
            recorder.event(about, "Warning", "Odd", "it is odd")
        recorder.event(about, "Normal", "Fine", "it is fine")

        async def counted() -> bool:
            events, _ = await api.client.list(core_v1.Event, "default")
            return sorted((e.reason, e.count) for e in events) == [("Fine", 1), ("Odd", 3)]

        await waiting.until(counted)
        group.cancel()
