"""What clients see when the store is not what it should be."""

from __future__ import annotations

import asyncio
import json
import pathlib
import sqlite3
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

import apsw
import pytest
import pytest_asyncio

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import loop
from navarch.machinery import errors
from navarch.store.interface import StoreFailed
from navarch.store.sqlite import Sqlite
from navarch.testing import server
from navarch.testing.disk import Disk, Operation

PATH = "/api/v1/namespaces/default/configmaps"
OPTION = "ignoreStoreReadErrorWithClusterBreakingPotential"


def config(name: str, **data: str) -> core_v1.ConfigMap:
    return core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name=name, namespace="default"), data=data)


@pytest_asyncio.fixture
async def damaged(tmp_path: pathlib.Path) -> AsyncIterator[server.ApiServer]:
    """A server whose store holds `sound` and `broken`, a byte of which was changed while it was down."""
    async with server.running(tmp_path) as api:
        await api.client.create(config("sound"))
        await api.client.create(config("broken", key="value"))
    with sqlite3.connect(tmp_path / "store.db") as connection:
        change = "UPDATE history SET value = CAST(replace(value, '\"value\"', '\"vague\"') AS BLOB) WHERE key = '/registry/configmaps/default/broken'"
        assert connection.execute(change).rowcount == 1
    async with server.running(tmp_path) as api:
        yield api


async def refused(api: server.ApiServer, method: str, path: str, body: object = None, media: str = "application/json") -> errors.ApiError:
    path, _, query = path.partition("?")
    with pytest.raises(errors.ApiError) as caught:
        await api.client.request(
            method, path, query=dict(parse_qsl(query)), body=None if body is None else json.dumps(body).encode(), content_type=media
        )
    return caught.value


async def test_a_damaged_object_is_named_wherever_it_is_asked_for(damaged: server.ApiServer) -> None:
    whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "broken"}}
    for error in (
        await refused(damaged, "GET", f"{PATH}/broken"),
        await refused(damaged, "PUT", f"{PATH}/broken", whole),
        await refused(damaged, "PATCH", f"{PATH}/broken", {"data": {"a": "b"}}, "application/merge-patch+json"),
        await refused(damaged, "PATCH", f"{PATH}/broken?fieldManager=me", whole, "application/apply-patch+yaml"),
        await refused(damaged, "DELETE", f"{PATH}/broken"),
        await refused(damaged, "POST", PATH, whole),
    ):
        assert error.status.code == 500
        assert "configmaps/default/broken" in (error.status.message or "")
        assert "damaged" in (error.status.message or "")
    assert (await damaged.client.get(core_v1.ConfigMap, "sound", "default")).metadata is not None


async def test_it_is_reported_and_keeps_nobody_else_from_working(damaged: server.ApiServer) -> None:
    assert await damaged.client.request("GET", "/readyz") == b"ok"
    assert b"damaged and set aside: configmaps/default/broken" in await damaged.client.request("GET", "/readyz", query={"verbose": "true"})
    assert b"configmaps/default/broken" in await damaged.client.request("GET", "/api/v1/componentstatuses/store")
    names = [obj.metadata.name for obj in (await damaged.client.list(core_v1.ConfigMap, "default"))[0] if obj.metadata]
    assert "sound" in names
    assert "broken" not in names


async def test_it_can_be_removed_by_who_may(damaged: server.ApiServer) -> None:
    options = {"kind": "DeleteOptions", "apiVersion": "v1", OPTION: True}
    error = await refused(damaged, "DELETE", f"{PATH}/sound", options)
    assert "is exclusively used to delete corrupt object(s)" in (error.status.message or "")
    error = await refused(damaged, "DELETE", f"{PATH}/broken", {**options, "gracePeriodSeconds": 5})
    assert "cannot be set together with .gracePeriodSeconds" in (error.status.message or "")
    await damaged.client.request("DELETE", f"{PATH}/broken", body=json.dumps(options).encode(), content_type="application/json")
    assert (await refused(damaged, "GET", f"{PATH}/broken")).status.code == 404
    assert b"damaged" not in await damaged.client.request("GET", "/readyz", query={"verbose": "true"})
    await damaged.client.create(config("broken"))


async def test_a_cache_that_disagrees_with_the_store_ends_the_server() -> None:
    """Today's writer of such an object is told, and does not try for ever."""
    async with server.running() as api:
        await api.client.create(config("one"))
        cache = api.parts.catalog.of("", "configmaps").cache
        entry = cache.get("default/one")
        assert entry is not None
        entry.version -= 1
        for method, body, media in (("PATCH", {"data": {"a": "b"}}, "application/merge-patch+json"), ("DELETE", {}, "application/json")):
            async with asyncio.timeout(5):
                error = await refused(api, method, f"{PATH}/one", body, media)
            assert error.status.code == 500
            assert "the cache has /registry/configmaps/default/one at revision" in (error.status.message or "")
        assert (await refused(api, "GET", "/readyz")).status.code == 500
        with pytest.raises(StoreFailed, match="the store has it at another"):
            await loop._keep(api.parts)


async def test_an_object_that_only_the_store_knows_ends_the_server() -> None:
    async with server.running() as api:
        await api.client.create(config("one"))
        api.parts.catalog.of("", "configmaps").cache._remove("default/one")
        assert (await refused(api, "POST", PATH, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}})).status.code == 500
        assert api.parts.storage.failed.done()


async def test_a_name_that_is_taken_is_no_disagreement() -> None:
    async with server.running() as api:
        outcomes = await asyncio.gather(*(api.client.create(config("one")) for _ in range(40)), return_exceptions=True)
        assert sum(isinstance(outcome, errors.AlreadyExists) for outcome in outcomes) == 39
        for _ in range(10):  # creations and deletions in each other's way
            await asyncio.gather(
                *(api.client.delete(core_v1.ConfigMap, "one", "default") for _ in range(5)),
                *(api.client.create(config("one")) for _ in range(5)),
                return_exceptions=True,
            )
        assert not api.parts.storage.failed.done()


async def test_a_cache_that_cannot_take_a_change_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server.running() as api:
        cache = api.parts.catalog.of("", "configmaps").cache
        monkeypatch.setattr(cache, "apply", lambda change: {}[change.key])
        await api.client.create(config("one"))
        assert "could not take revision" in api.parts.storage.failed.result()


async def test_a_write_that_nobody_knows_of_is_never_a_success(tmp_path: pathlib.Path) -> None:
    disk = Disk()

    def broken(operation: Operation) -> None:
        if operation.what == "sync":
            raise apsw.IOError("the disk is broken")

    store = Sqlite(tmp_path / "store.db", vfs=disk.name)
    await store.start()
    try:
        async with loop.serving(server._options(tmp_path, 0, {}), store) as parts:
            api = server.ApiServer(parts, store)
            await api.client.create(config("before"))
            disk.fail = broken
            outcomes = await asyncio.gather(*(api.client.create(config(f"c{n}")) for n in range(5)), return_exceptions=True)
            disk.fail = None
            assert {(type(o), o.status.code) for o in outcomes if isinstance(o, errors.ApiError)} == {(errors.Timeout, 504)}
            assert len(outcomes) == 5
            assert (await refused(api, "POST", PATH, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})).status.code == 504
            error = await refused(api, "GET", "/readyz")
            assert error.status.code == 500
            with pytest.raises(StoreFailed, match="whether the last writes were done"):
                await loop._keep(parts)
            await api.client.close()
    finally:
        await store.close()
        disk.close()


async def test_patches_of_one_object_that_come_at_once_are_each_made_about_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server.running(tmp_path) as api:
        await api.client.create(config("one"))
        tries = 0
        real = api.parts.storage.put

        async def put(*args: object, **more: object) -> int | None:
            nonlocal tries
            tries += 1
            return await real(*args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(api.parts.storage, "put", put)
        await asyncio.gather(*(api.client.patch(core_v1.ConfigMap, "one", {"data": {f"k{n}": "v"}}, "default") for n in range(150)))
        held = await api.client.get(core_v1.ConfigMap, "one", "default")
        assert len(held.data or {}) == 150
        assert tries < 2 * 150
