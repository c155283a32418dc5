"""Versions of the server's own kinds that are not the stored one: converted once, when a change is applied."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from navarch.apiserver.views import Converted, View
from navarch.apiserver.watch_cache import Cache

pytestmark = pytest.mark.asyncio(loop_scope="module")


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

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


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


async def test_what_happened_before_is_told_first(http: Any, ns: str) -> None:
    core, own = f"/api/v1/namespaces/{ns}/events", f"/apis/events.k8s.io/v1/namespaces/{ns}/events"
    body = {"involvedObject": {"kind": "Pod", "name": "p", "namespace": ns}, "reason": "R", "type": "Normal"}
    made = [(await http("POST", core, {"metadata": {"name": f"e{i}"}, **body})).json for i in range(200)]
    watch = Watch(http, own, resourceVersion=made[9]["metadata"]["resourceVersion"])
    later = [asyncio.ensure_future(http("POST", core, {"metadata": {"name": f"f{i}"}, **body})) for i in range(20)]
    await asyncio.gather(*later)
    told = [await watch.next() for _ in range(210)]
    assert told[:190] == [f"ADDED e{i} Normal" for i in range(10, 200)]
    assert sorted(told[190:]) == sorted(f"ADDED f{i} Normal" for i in range(20))
    await watch.stop()


@pytest.mark.asyncio(loop_scope="function")
async def test_what_is_kept_is_bounded() -> None:
    cache, kept = Cache("/registry/things/"), Converted(4000)
    view = View(cache, lambda body: body + b" ", kept)
    for n in range(100):
        entry = cache.entry(f"a/{n}", b'{"metadata":{"name":"%d","namespace":"a","labels":{"l":"%s"}}}' % (n, b"x" * 50), n + 1)
        view.entry(entry)
        assert kept.bytes <= 4000
    assert 5 < len(kept) < 30
    view.close()
    assert (len(kept), kept.bytes) == (0, 0)
