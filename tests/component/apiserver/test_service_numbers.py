"""Addresses and node ports of Services: held by objects that are written with them, so that no two servers give out the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.networking import v1 as networking_v1
from navarch.apiserver import loop
from navarch.apiserver.numbers import holders
from navarch.client.rest import Client
from navarch.lib.clock import SYSTEM
from navarch.machinery import codec, errors
from navarch.store.interface import Change, Committed, Conflict, Delete, Put, Subscriber
from navarch.store.memory import Memory
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")
MANAGED = {"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}


def service(name: str, ns: str, **spec: Any) -> core_v1.Service:
    spec.setdefault("ports", [{"port": 80}])
    return codec.from_tree(core_v1.Service, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": ns}, "spec": spec})


def named(name: str, namespace: str | None = None) -> meta_v1.ObjectMeta:
    return meta_v1.ObjectMeta(name=name, namespace=namespace)


async def addresses(client: Client, ns: str) -> dict[str, str]:
    """IPAddress → the Service of a namespace that holds it."""
    found, _ = await client.list(networking_v1.IPAddress)
    refs = {a.metadata.name: a.spec.parentRef for a in found if a.metadata and a.spec and a.spec.parentRef}
    return {str(name): str(ref.name) for name, ref in refs.items() if ref.namespace == ns}


def ports(api: server.ApiServer, ns: str) -> dict[int, str]:
    """Node port → the Service of a namespace that holds it."""
    held = {int(e.key): holders.holder(e.body) for e in api.parts.catalog.caches[holders.PORTS].select_all()}
    return {port: holder[1] for port, holder in held.items() if holder and holder[0] == ns}


def numbers(made: core_v1.Service) -> tuple[list[str], list[int]]:
    assert made.spec is not None
    return made.spec.clusterIPs or [], [p.nodePort for p in made.spec.ports or () if p.nodePort]


async def test_numbers_come_and_go_with_their_service(api: server.ApiServer, ns: str) -> None:
    made = await api.client.create(service("a", ns, type="NodePort", ports=[{"port": 80, "name": "x"}, {"port": 81, "name": "y"}]))
    held, given = numbers(made)
    assert await addresses(api.client, ns) == {held[0]: "a"} and ports(api, ns) == dict.fromkeys(given, "a")
    address = await api.client.get(networking_v1.IPAddress, held[0])
    assert address.metadata is not None and address.metadata.labels == MANAGED and address.metadata.uid
    assert address.metadata.resourceVersion == (made.metadata and made.metadata.resourceVersion), "one transaction"
    assert made.spec is not None
    made.spec.type = "ClusterIP"
    for port in made.spec.ports or ():
        port.nodePort = None
    made = await api.client.update(made)
    assert numbers(made) == (held, []) and ports(api, ns) == {} and await addresses(api.client, ns) == {held[0]: "a"}
    assert made.spec is not None
    made.spec.type, made.spec.externalName, made.spec.clusterIP, made.spec.clusterIPs = "ExternalName", "a.test", None, None
    await api.client.update(made)
    assert await addresses(api.client, ns) == {}
    await api.client.patch(core_v1.Service, "a", {"spec": {"type": "NodePort", "externalName": None}}, ns)
    assert list((await addresses(api.client, ns)).values()) == ["a"] and len(ports(api, ns)) == 2
    await api.client.delete(core_v1.Service, "a", ns)
    assert await addresses(api.client, ns) == {} and ports(api, ns) == {}


async def test_a_refused_service_holds_nothing(api: server.ApiServer, ns: str) -> None:
    await api.client.create(service("a", ns))
    before = await addresses(api.client, ns)
    with pytest.raises(errors.AlreadyExists):
        await api.client.create(service("a", ns, type="NodePort"))
    with pytest.raises(errors.Invalid):
        await api.client.create(service("b", ns, ports=[{"port": 0}]))
    await api.client.request("POST", f"/api/v1/namespaces/{ns}/services", body=codec.encode(service("c", ns)), query={"dryRun": "All"})
    assert await addresses(api.client, ns) == before and ports(api, ns) == {}
    assert not api.parts.numbers.addresses and not api.parts.numbers.ports, "nothing stays set aside"


async def test_an_address_that_something_else_holds_is_not_given_out(api: server.ApiServer, ns: str) -> None:
    reference = networking_v1.ParentReference(group="mine", resource="things", name="x", namespace=ns)
    other = networking_v1.IPAddress(metadata=named("10.96.77.7"), spec=networking_v1.IPAddressSpec(parentRef=reference))
    await api.client.create(other)
    with pytest.raises(errors.Invalid, match=r"failed to allocate IP 10.96.77.7: provided IP is already allocated"):
        await api.client.create(service("a", ns, clusterIP="10.96.77.7"))
    await api.parts.bootstrap.repair.everything()
    assert (await api.client.get(networking_v1.IPAddress, "10.96.77.7")).spec == other.spec, "it is none of ours to clean up"


async def test_more_ranges_are_used_when_they_are_ready(api: server.ApiServer, ns: str) -> None:
    with pytest.raises(errors.Invalid, match="the provided network does not match the current range"):
        await api.client.create(service("a", ns, clusterIP="172.30.0.5"))
    spec = networking_v1.ServiceCIDRSpec(cidrs=["172.30.0.0/28"])
    await api.client.create(networking_v1.ServiceCIDR(metadata=named(f"more-{ns}"), spec=spec))
    made = await api.client.create(service("a", ns, clusterIP="172.30.0.5"))
    assert numbers(made)[0] == ["172.30.0.5"]
    default = await api.client.get(networking_v1.ServiceCIDR, "kubernetes")
    assert default.spec and default.spec.cidrs == ["10.96.0.0/16"]
    assert default.status and [(c.type, c.status) for c in default.status.conditions or ()] == [("Ready", "True")]
    await api.client.patch(networking_v1.ServiceCIDR, f"more-{ns}", {"metadata": {"finalizers": ["test.io/wait"]}})
    await api.client.delete(networking_v1.ServiceCIDR, f"more-{ns}")
    with pytest.raises(errors.Invalid, match="the provided network does not match the current range"):
        await api.client.create(service("b", ns, clusterIP="172.30.0.6"))


async def test_what_others_did_is_repaired(api: server.ApiServer, ns: str) -> None:
    made = await api.client.create(service("a", ns, type="NodePort"))
    (held,), (port,) = numbers(made)
    await api.client.delete(networking_v1.IPAddress, held)
    storage = api.parts.storage
    assert await storage.commit(Delete(f"{holders.PORTS}{port}"))
    await api.parts.bootstrap.repair.run()
    assert (await addresses(api.client, ns), ports(api, ns)) == ({held: "a"}, {port: "a"})
    foreign = holders.address(held, "nowhere", "none", SYSTEM.now())
    entry = api.parts.catalog.caches[holders.ADDRESSES].get(held)
    assert entry is not None and await storage.commit(Put(holders.ADDRESSES + held, foreign, entry.version))
    await api.parts.bootstrap.repair.everything()
    assert await addresses(api.client, ns) == {held: "a"}, "a wrong reference is put right"


async def test_what_leaked_is_cleaned_up_after_a_while(api: server.ApiServer, ns: str) -> None:
    now = SYSTEM.now()
    storage = api.parts.storage
    for text, age in (("10.96.70.1", 5.0), ("10.96.70.2", 3600.0)):
        assert await storage.commit(Put(holders.ADDRESSES + text, holders.address(text, ns, "gone", now - age), 0))
    assert await storage.commit(Put(f"{holders.PORTS}31999", holders.port(31999, ns, "gone", now - 3600), 0))
    await api.parts.bootstrap.repair.run()
    assert (await addresses(api.client, ns), ports(api, ns)) == ({"10.96.70.1": "gone"}, {})


async def test_services_from_before_get_what_stands_for_their_numbers(tmp_path: pathlib.Path) -> None:
    """A data folder of a version that kept numbers in Services alone."""
    async with server.running(tmp_path) as api:
        ns = await api.namespace()
        made = await api.client.create(service("a", ns, type="NodePort"))
        (held,), (port,) = numbers(made)
        assert await api.parts.storage.commit(Delete(holders.ADDRESSES + held), Delete(f"{holders.PORTS}{port}"))
    async with server.running(tmp_path) as api:
        assert (await addresses(api.client, ns), ports(api, ns)) == ({held: "a"}, {port: "a"})
        with pytest.raises(errors.Invalid, match="provided IP is already allocated"):
            await api.client.create(service("b", ns, clusterIP=held))
        with pytest.raises(errors.Invalid, match="provided port is already allocated"):
            await api.client.create(service("b", ns, type="NodePort", ports=[{"port": 80, "nodePort": port}]))


# ---- several servers ----


class Shared:
    """One store for several servers: each hears late of what the others wrote, as of a store across a network."""

    alone = False

    def __init__(self, store: Memory, delay: float) -> None:
        self._store = store
        self._delay = delay
        self._heard = 0
        self._turned = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def subscribe(self, fn: Subscriber) -> Callable[[], None]:
        def later(changes: tuple[Change, ...]) -> None:
            asyncio.get_running_loop().call_later(self._delay, hear, changes)

        def hear(changes: tuple[Change, ...]) -> None:
            fn(changes)
            self._heard = changes[-1].revision
            self._turned.set()
            self._turned = asyncio.Event()

        return self._store.subscribe(later)

    async def txn(self, *ops: Put | Delete) -> Committed | Conflict:
        outcome = await self._store.txn(*ops)
        while isinstance(outcome, Committed) and self._heard < outcome.revision:
            await self._turned.wait()
        return outcome


@contextlib.asynccontextmanager
async def several(*delays: float) -> AsyncIterator[list[server.ApiServer]]:
    store = Memory()
    await store.start()
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for delay in delays:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            shared: Any = Shared(store, delay)
            options = server._options(folder, 0, {"service_cluster_ip_range": "10.9.0.0/26", "service_node_port_range": "30000-30039"})
            parts = await stack.enter_async_context(loop.serving(options, shared))
            api = server.ApiServer(parts, store)
            stack.push_async_callback(api.client.close)
            made.append(api)
        yield made
    await store.close()


@pytest.mark.asyncio(loop_scope="function")
async def test_two_servers_never_give_out_the_same() -> None:
    """A narrow range, so that they collide all the time."""
    async with several(0.02, 0.03) as (one, two):
        await one.namespace("shared")
        await two.parts.storage.fresh()
        made = await asyncio.gather(
            *(api.client.create(service(f"{name}{n}", "shared", type="NodePort")) for n in range(18) for api, name in ((one, "x"), (two, "y"))),
            return_exceptions=True,
        )
        done = [m for m in made if isinstance(m, core_v1.Service)]
        failed = [m for m in made if not isinstance(m, core_v1.Service)]
        assert len(done) >= 30 and all(isinstance(e, errors.Conflict | errors.InternalError) for e in failed), failed
        counted = Counter(a for m in done for a in numbers(m)[0]) + Counter(str(p) for m in done for p in numbers(m)[1])
        assert set(counted.values()) == {1}
        assert len(await addresses(one.client, "shared")) == len(done) == len(ports(one, "shared"))
        wanted = service("s", "shared", clusterIP="10.9.0.9"), service("t", "shared", clusterIP="10.9.0.9")
        await one.client.request("DELETE", "/api/v1/namespaces/shared/services")
        await two.parts.storage.fresh()
        both = await asyncio.gather(one.client.create(wanted[0]), two.client.create(wanted[1]), return_exceptions=True)
        assert sorted(type(m).__name__ for m in both) == ["Invalid", "Service"], both
        assert any("provided IP is already allocated" in str(m) for m in both)


@pytest.mark.asyncio(loop_scope="function")
async def test_reads_that_must_be_current_wait_for_what_others_wrote() -> None:
    async with several(0.0, 0.1) as (one, two):
        ns = await one.namespace()
        for n in range(5):
            made = await one.client.create(core_v1.ConfigMap(metadata=named(f"m{n}", ns)))
            assert (await two.client.get(core_v1.ConfigMap, f"m{n}", ns)).metadata == made.metadata
            assert len((await two.client.list(core_v1.ConfigMap, ns))[0]) == n + 1
        await one.client.create(core_v1.ConfigMap(metadata=named("late", ns)))
        raw = json.loads(await two.client.request("GET", f"/api/v1/namespaces/{ns}/configmaps", query={"resourceVersion": "0"}))
        assert len(raw["items"]) == 5, "a read that may be old waits for nothing"
