"""Versions that are not the stored one: converted once, when a change is applied, and waited for in order where somebody else converts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from navarch.api import resources
from navarch.api.core import v1 as core_v1
from navarch.apiserver import views
from navarch.apiserver.kinds.strategy import Selectable, Strategy
from navarch.apiserver.served import Served
from navarch.apiserver.shapes import Typed
from navarch.apiserver.views import Converted, Direct, View
from navarch.apiserver.watch_cache import Cache, Peek
from navarch.machinery import errors
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")


class Gadgets(Typed):
    """Objects that look like Secrets and are none."""

    def __init__(self) -> None:
        super().__init__(core_v1.Secret)
        self.envelope = ("example.test/v1", "Gadget")


class Converter:
    """Converts v1 to v2, where `type` is `sort`, when it is allowed to."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False

    async def convert(self, bodies: Sequence[bytes]) -> Sequence[bytes]:
        self.calls.append(len(bodies))
        await self.open.wait()
        if self.broken:
            raise errors.internal("conversion webhook for example.test/v1, Kind=Gadget failed: it is broken")
        return [body.replace(b"example.test/v1", b"example.test/v2").replace(b'"type":', b'"sort":') for body in bodies]


class Kind:
    """Gadgets in two versions: v1, which is stored, and v2."""

    def __init__(self, api: server.ApiServer, namespace: str) -> None:
        self.converter = Converter()
        self.v1, self.v2 = (f"/apis/example.test/{version}/namespaces/{namespace}/gadgets" for version in ("v1", "v2"))
        catalog = api.parts.catalog
        cache, shape = Cache("/registry/gadgets.example.test/", (Selectable("type"),)), Gadgets()
        self.view = View(cache, self.converter, catalog.converted, Peek((Selectable("sort"),)))
        for version, view in (("v1", None), ("v2", self.view)):
            resource = resources.Resource("example.test", version, "gadgets", "Gadget", True, VERBS, {})
            catalog.add(Served(resource, Strategy(), cache, shape, shape, view=view))


@pytest_asyncio.fixture(loop_scope="module")
async def kind(api: server.ApiServer, ns: str) -> AsyncIterator[Kind]:
    yield Kind(api, ns)
    for version in ("v1", "v2"):
        api.parts.catalog.remove("example.test", version, "gadgets")


def gadget(name: str, sort: str = "plain") -> dict[str, Any]:
    return {"apiVersion": "example.test/v1", "kind": "Gadget", "metadata": {"name": name}, "type": sort}


class Watch:
    """A watch's events, as they come."""

    def __init__(self, http: Any, path: str, **query: str) -> None:
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._read(http, path, query))

    async def _read(self, http: Any, path: str, query: dict[str, str]) -> None:
        async with http.stream(path, {"watch": "1", **query}) as response:
            async for line in response.content:
                self._events.put_nowait(json.loads(line))
        self._events.put_nowait({"type": "END"})

    async def next(self) -> str:
        async with asyncio.timeout(10):
            event = await self._events.get()
        found = event.get("object", {})
        if event["type"] == "ERROR":
            return f"ERROR {found['message']}"
        return f"{event['type']} {found.get('metadata', {}).get('name', '')} {found.get('sort') or found.get('type', '')}".strip()

    def nothing(self) -> bool:
        return self._events.empty()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def make(http: Any, kind: Kind, *names: str, sort: str = "plain") -> int:
    """Makes gadgets in the stored version; the last one's revision."""
    answers = [await http("POST", kind.v1, gadget(name, sort)) for name in names]
    assert {answer.status for answer in answers} == {201}
    return int(answers[-1].json["metadata"]["resourceVersion"])


async def test_a_get_converts_one_and_a_list_what_is_not_kept(http: Any, kind: Kind) -> None:
    await make(http, kind, "a", "b", "c")
    assert kind.converter.calls == [], "nobody asked for v2"
    got = (await http("GET", f"{kind.v2}/a")).json
    assert (got["apiVersion"], got["sort"], kind.converter.calls) == ("example.test/v2", "plain", [1])
    listed = (await http("GET", kind.v2)).json["items"]
    assert [o["metadata"]["name"] for o in listed] == ["a", "b", "c"] and {o["apiVersion"] for o in listed} == {"example.test/v2"}
    assert kind.converter.calls == [1, 2]
    assert len((await http("GET", kind.v2)).json["items"]) == 3 and kind.converter.calls == [1, 2]
    await http("DELETE", f"{kind.v1}/a")
    page = (await http("GET", kind.v2, query={"limit": "1"})).json
    assert [o["metadata"]["name"] for o in page["items"]] == ["b"] and page["metadata"]["continue"]


async def test_long_lists_are_converted_in_chunks(api: server.ApiServer, http: Any, kind: Kind) -> None:
    body = gadget("n")
    pending = [http("POST", kind.v1, {**body, "metadata": {"name": f"n{i:04}"}}) for i in range(1200)]
    for at in range(0, len(pending), 50):
        await asyncio.gather(*pending[at : at + 50])
    listed = await asyncio.gather(*(http("GET", kind.v2) for _ in range(4)))
    assert all(len(answer.json["items"]) == 1200 for answer in listed)
    assert kind.converter.calls == [500, 500, 200], "four lists at once share what one of them converts"
    past = await http(
        "GET", kind.v2, query={"resourceVersion": listed[0].json["metadata"]["resourceVersion"], "resourceVersionMatch": "Exact", "limit": "3"}
    )
    assert {o["apiVersion"] for o in past.json["items"]} == {"example.test/v2"}


async def test_a_version_is_selected_by_its_own_fields(http: Any, kind: Kind) -> None:
    await make(http, kind, "a", sort="odd")
    await make(http, kind, "b", sort="even")
    watch = Watch(http, kind.v2, fieldSelector="sort=odd")
    assert await watch.next() == "ADDED a odd"
    listed = (await http("GET", kind.v2, query={"fieldSelector": "sort=odd"})).json["items"]
    assert [o["metadata"]["name"] for o in listed] == ["a"]
    held = (await http("GET", f"{kind.v1}/a")).json
    await http("PUT", f"{kind.v1}/a", {**held, "type": "even"})
    assert await watch.next() == "DELETED a odd"
    await watch.stop()


async def test_changes_wait_in_order_for_their_conversion(http: Any, kind: Kind) -> None:
    first = await make(http, kind, "a")
    watches = [Watch(http, kind.v2), Watch(http, kind.v2, resourceVersion=str(first))]
    plain = Watch(http, kind.v1, resourceVersion=str(first))
    assert await watches[0].next() == "ADDED a plain"
    kind.converter.open.clear()
    await make(http, kind, "b", "c", "d")
    assert [await plain.next() for _ in "bcd"] == ["ADDED b plain", "ADDED c plain", "ADDED d plain"], "the stored version does not wait"
    late = Watch(http, kind.v2, resourceVersion=str(first))
    await asyncio.sleep(0.1)
    assert all(w.nothing() for w in (*watches, late))
    before = sum(kind.converter.calls)
    kind.converter.open.set()
    for watch in (*watches, late):
        assert [await watch.next() for _ in "bcd"] == ["ADDED b plain", "ADDED c plain", "ADDED d plain"]
    await http("DELETE", f"{kind.v1}/c")
    for watch in (*watches, late):
        assert await watch.next() == "DELETED c plain"
        await watch.stop()
    assert sum(kind.converter.calls) - before <= 3, "each object is converted once for all who watch"
    await plain.stop()


async def test_a_conversion_that_fails_ends_the_watches_and_nothing_else(http: Any, kind: Kind) -> None:
    revision = await make(http, kind, "a")
    watches = [Watch(http, kind.v2) for _ in range(3)]
    for watch in watches:
        assert await watch.next() == "ADDED a plain"
    kind.converter.broken = True
    calls = len(kind.converter.calls)
    await make(http, kind, "b")
    for watch in watches:
        assert "it is broken" in await watch.next()
        assert await watch.next() == "END"
    assert len(kind.converter.calls) == calls + 1, "one failure for all"
    refused = await http("GET", kind.v2)
    assert refused.status == 500 and "it is broken" in refused.message
    assert (await http("GET", f"{kind.v2}/a")).status == 200, "it had been converted before"
    assert len((await http("GET", kind.v1)).json["items"]) == 2
    failing = Watch(http, kind.v2, resourceVersion=str(revision))
    assert "it is broken" in await failing.next()
    kind.converter.broken = False
    again = Watch(http, kind.v2, resourceVersion=str(revision))
    assert await again.next() == "ADDED b plain"
    await again.stop()


async def test_who_watches_is_cut_off_when_the_converter_is_too_slow(http: Any, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST_WAITING", 3)
    await make(http, kind, "a")
    watch = Watch(http, kind.v2)
    assert await watch.next() == "ADDED a plain"
    kind.converter.open.clear()
    with pytest.raises(aiohttp.ClientError):
        await make(http, kind, *(f"n{i}" for i in range(5)))
        async with asyncio.timeout(10):
            await watch._task
    kind.converter.open.set()


async def test_events_of_both_versions_are_shown_to_all(http: Any, ns: str) -> None:
    core, own = f"/api/v1/namespaces/{ns}/events", f"/apis/events.k8s.io/v1/namespaces/{ns}/events"
    watches = [Watch(http, own), Watch(http, own, fieldSelector="regarding.name=p"), Watch(http, core)]
    await asyncio.sleep(0.2)
    event = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": ns}, "reason": "R", "type": "Normal"}
    assert (await http("POST", core, event)).status == 201
    for watch in watches:
        assert await watch.next() == "ADDED e Normal"
        await watch.stop()
    assert (await http("GET", own)).json["items"][0]["regarding"]["name"] == "p"
    assert (await http("GET", f"{own}/e")).json["apiVersion"] == "events.k8s.io/v1"


@pytest.mark.asyncio(loop_scope="function")
async def test_what_is_kept_is_bounded() -> None:
    cache, kept = Cache("/registry/things/"), Converted(4000)
    view = View(cache, Direct(lambda body: body + b" "), kept)
    for n in range(100):
        entry = cache.entry(f"a/{n}", b'{"metadata":{"name":"%d","namespace":"a","labels":{"l":"%s"}}}' % (n, b"x" * 50), n + 1)
        await view.entry(entry)
        assert kept.bytes <= 4000
    assert 5 < len(kept) < 30
    view.close()
    assert (len(kept), kept.bytes) == (0, 0)
