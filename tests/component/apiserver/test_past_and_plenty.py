"""Reads of the past and of plenty: pages that read only themselves, large answers in pieces, watchers that share what they read."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

import pytest
import yaml

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import streams
from navarch.apiserver.http import connections
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def maps(ns: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{ns}/configmaps" + (f"/{name}" if name else "")


async def fill(api: server.ApiServer, ns: str, count: int, size: int = 10, start: int = 0) -> None:
    def made(n: int) -> core_v1.ConfigMap:
        labels = {"odd": str(n % 2)}
        return core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name=f"m{n:05}", namespace=ns, labels=labels), data={"a": "x" * size})

    for at in range(start, start + count, 50):
        await asyncio.gather(*(api.client.create(made(n)) for n in range(at, min(at + 50, start + count))))


class Counting:
    """A store that counts what is read from it."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records = self.changes = 0
        reading, history = store.range, store.changes

        async def counted_range(*args: Any, **kwargs: Any) -> Any:
            found = await reading(*args, **kwargs)
            self.records += len(found.records)
            return found

        async def counted_changes(*args: Any, **kwargs: Any) -> Any:
            found = await history(*args, **kwargs)
            self.changes += len(found.changes)
            return found

        monkeypatch.setattr(store, "range", counted_range)
        monkeypatch.setattr(store, "changes", counted_changes)


@pytest.mark.parametrize("selector", ["", "odd=1"])
async def test_pages_of_the_past_read_only_themselves(
    api: server.ApiServer, http: Any, ns: str, selector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(api, ns, 1200)
    first = (await http("GET", maps(ns), query={"limit": "100", "labelSelector": selector})).json
    await http("DELETE", maps(ns, "m00150"))
    await http("DELETE", maps(ns, "m00151"))
    read = Counting(api.parts.storage.store, monkeypatch)
    seen = [item["metadata"]["name"] for item in first["items"]]
    token, pages = first["metadata"]["continue"], 1
    while token:
        page = (await http("GET", maps(ns), query={"limit": "100", "labelSelector": selector, "continue": token})).json
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        seen += [item["metadata"]["name"] for item in page["items"]]
        if not selector and page["metadata"].get("continue"):
            assert page["metadata"]["remainingItemCount"] == 1200 - len(seen)
        token, pages = page["metadata"].get("continue", ""), pages + 1
    assert seen == [f"m{n:05}" for n in range(1200) if not selector or n % 2]
    assert read.records <= (1200 if not selector else 600 * pages), "a page is read once, and what it passes over"


async def test_large_lists_are_the_same_in_every_form(api: server.ApiServer, http: Any, ns: str) -> None:
    await fill(api, ns, 120, 5_000)
    plain = await http("GET", maps(ns))
    assert len(plain.body) > streams.PIECE and int(plain.headers["Content-Length"]) == len(plain.body)
    names = [f"m{n:05}" for n in range(120)]
    assert [i["metadata"]["name"] for i in plain.json["items"]] == names
    pretty = await http("GET", maps(ns), query={"pretty": "true"})
    assert pretty.json["items"] == plain.json["items"] and pretty.body == json.dumps(pretty.json, indent=2, ensure_ascii=False).encode() + b"\n"
    as_yaml = yaml.load((await http("GET", maps(ns), accept="application/yaml")).body, yaml.CSafeLoader)
    assert as_yaml["items"] == plain.json["items"] and as_yaml["kind"] == "ConfigMapList"
    table = (await http("GET", maps(ns), accept=TABLE)).json
    assert [row["cells"][0] for row in table["rows"]] == names and table["kind"] == "Table"
    partial = (await http("GET", maps(ns), accept=PARTIAL_LIST)).json
    assert [i["metadata"]["name"] for i in partial["items"]] == names and partial["kind"] == "PartialObjectMetadataList"
    for accept in ("application/json", "application/yaml", TABLE, PARTIAL_LIST):
        nothing = await http("GET", maps(ns), query={"labelSelector": "odd=none"}, accept=accept)
        read = yaml.load(nothing.body, yaml.CSafeLoader)
        assert not read["rows" if accept == TABLE else "items"]
    nothing = await http("GET", maps(ns), query={"labelSelector": "odd=none", "pretty": "1"})
    assert nothing.json["items"] == []


async def test_a_watch_begins_with_more_than_a_connection_holds(api: server.ApiServer, http: Any, ns: str) -> None:
    """Also when something happens while what there was is still being written."""
    await fill(api, ns, 60, 400_000)
    query = {"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    kinds: list[str] = []
    names: list[str] = []
    async with http.stream(maps(ns), query) as response:
        await fill(api, ns, 5, 10, 60)
        async with asyncio.timeout(20):
            while len(names) < 65:
                line = await response.content.readuntil(b"\n")
                found = json.loads(line)
                kinds.append(found["type"])
                if found["type"] == "ADDED":
                    names.append(found["object"]["metadata"]["name"])
    assert names == [f"m{n:05}" for n in range(65)]
    assert kinds.count("BOOKMARK") == 1 and kinds.index("BOOKMARK") == 60


async def test_watchers_that_come_back_share_one_reading(api: server.ApiServer, http: Any, ns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(api, ns, 1)
    begins = [api.parts.storage.revision]
    for n in range(4):
        await fill(api, ns, 75, 10, 1 + n * 75)
        begins.append(api.parts.storage.revision)
    cache = api.parts.catalog.of("", "configmaps").cache
    cache.history.clear()
    cache.complete_since = cache.version
    read = Counting(api.parts.storage.store, monkeypatch)

    async def follow(n: int) -> list[str]:
        begin = begins[n % 4]
        names: list[str] = []
        async with asyncio.timeout(20), http.stream(maps(ns), {"watch": "1", "resourceVersion": str(begin)}) as response:
            while len(names) < 75 * (4 - n % 4):
                names.append(json.loads(await response.content.readuntil(b"\n"))["object"]["metadata"]["name"])
        return names

    for n, names in enumerate(await asyncio.gather(*(follow(n) for n in (3, 1, 2, 0, *range(36))))):
        first = (3, 1, 2, 0, *range(36))[n] % 4
        assert names == [f"m{m:05}" for m in range(1 + first * 75, 301)]
    assert read.changes <= 2 * 300, "each change is read once, or once more where an older reader came later"


async def test_a_bad_timeout_is_refused_before_anything_is_said(http: Any, ns: str) -> None:
    for query in ({"watch": "1", "timeoutSeconds": "abc"}, {"timeoutSeconds": "1_0"}, {"watch": "1", "timeoutSeconds": "9" * 30}):
        refused = await http("GET", maps(ns), query=query)
        assert refused.status == 400 and "strconv.ParseInt: parsing" in refused.message


async def test_an_answer_that_fails_after_its_head_is_cut(api: server.ApiServer, http: Any, ns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is said would be read as a part of the body."""
    await fill(api, ns, 120, 5_000)
    cache = api.parts.catalog.of("", "configmaps").cache
    broken = cache.get(f"{ns}/m00119")
    assert broken is not None
    monkeypatch.setattr(broken, "body", b"this is no JSON")
    async with http.stream(maps(ns), {}, accept=TABLE) as response:
        assert response.status == 200
        with pytest.raises(Exception, match=r"(?i)payload|connection|transfer"):
            await response.read()


# ---- connections --------------------------------------------------------------------------------------------------


async def opened(api: server.ApiServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return await asyncio.open_connection("127.0.0.1", api.port, ssl=context)


async def closed(reader: asyncio.StreamReader, seconds: float = 5.0) -> bytes:
    """All that came until the other side closed."""
    try:
        async with asyncio.timeout(seconds):
            return await reader.read()
    except (ConnectionError, ssl.SSLError):
        return b""


async def test_a_connection_that_asks_nothing_is_closed(api: server.ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)
    for beginning in (b"", b"GET /readyz HTTP/1.1\r\n", b"GET /readyz HTTP/1.1\r\nX-Slow: "):
        reader, writer = await opened(api)
        writer.write(beginning)
        assert await closed(reader) == b""
    reader, writer = await opened(api)
    for _ in range(3):
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readexactly(2)
        await asyncio.sleep(0.3)
    writer.close()


async def test_a_head_has_a_bound_however_many_fields_it_has(api: server.ApiServer) -> None:
    reader, writer = await opened(api)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n")
    for n in range(10):
        writer.write(b"X-%d: " % n + b"a" * 200_000 + b"\r\n")
    answer = await closed(reader)
    assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.0 431")) or not answer


async def test_of_too_many_silent_connections_the_oldest_goes(api: server.ApiServer, http: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_WAITING", 5)
    held = [await opened(api) for _ in range(8)]
    assert await closed(held[0][0]) == b""
    assert (await http("GET", "/readyz")).status == 200
    held[-1][1].write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await held[-1][0].readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    for _, writer in held:
        writer.close()


async def test_requests_beyond_the_limit_come_again_later(api: server.ApiServer, http: Any, ns: str) -> None:
    from tests.component.apiserver.conftest import Http

    lanes = api.parts.inflight
    nobody = Http(api, "")
    lanes.reading.now, lanes.mutating.now = lanes.reading.most, lanes.mutating.most
    try:
        for method, path in (("GET", "/version"), ("GET", maps(ns)), ("POST", maps(ns))):
            refused = await nobody(method, path)
            assert (refused.status, refused.body) == (429, b"Too many requests, please try again later.\n")
            assert ("Retry-After", "1") in refused.headers.items()
        assert (await http("GET", maps(ns))).status == 200, "system:masters is always answered"
    finally:
        lanes.reading.now = lanes.mutating.now = 0
        await nobody.close()
    assert (await http("GET", maps(ns))).status == 200
    assert (lanes.reading.now, lanes.mutating.now) == (0, 0), "who leaves is counted out"
