"""A server started again on the same file: everything is there, and watches go on from where they were."""

from __future__ import annotations

import asyncio
import json
import pathlib
from typing import Any

import pytest

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import storage
from navarch.client import watch
from navarch.machinery import errors
from navarch.testing import server


def config(name: str, namespace: str = "default") -> core_v1.ConfigMap:
    return core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name=name, namespace=namespace))


def version(obj: core_v1.ConfigMap) -> str:
    assert obj.metadata is not None
    return obj.metadata.resourceVersion or ""


async def test_everything_is_there_after_a_restart(tmp_path: pathlib.Path) -> None:
    async with server.running(tmp_path) as api:
        namespace = await api.namespace("kept")
        made = [await api.client.create(config(f"m{i}", namespace)) for i in range(5)]
        await api.client.delete(core_v1.ConfigMap, "m3", namespace)
        before = await api.client.request("GET", f"/api/v1/namespaces/{namespace}/configmaps")
        whole = await api.client.request("GET", "/api/v1/namespaces")
    async with server.running(tmp_path) as api:
        assert await api.client.get(core_v1.ConfigMap, "m0", namespace) == made[0]
        after = json.loads(await api.client.request("GET", f"/api/v1/namespaces/{namespace}/configmaps"))
        assert after["items"] == json.loads(before)["items"]
        assert json.loads(await api.client.request("GET", "/api/v1/namespaces"))["items"] == json.loads(whole)["items"]
        later = await api.client.create(config("later"))
        assert int(version(later)) > int(version(made[-1]))


@pytest.mark.parametrize("last", ["deletion", "other"])
async def test_a_watch_goes_on_over_a_restart(tmp_path: pathlib.Path, last: str) -> None:
    """Also when the last thing that happened to the resource was that one of its objects went."""
    async with server.running(tmp_path) as api:
        await api.client.create(config("stays"))
        seen = await api.client.create(config("goes"))
        await api.client.delete(core_v1.ConfigMap, "goes", "default")
        if last == "other":
            await api.client.create(core_v1.Secret(metadata=meta_v1.ObjectMeta(name="s", namespace="default")))
    async with server.running(tmp_path) as api, asyncio.timeout(20):
        events = watch.stream(api.client, core_v1.ConfigMap, namespace="default", version=version(seen))
        first = await anext(events)
        assert (first.type, name(first.object)) == ("DELETED", "goes")
        await api.client.create(config("new"))
        second = await anext(events)
        assert (second.type, name(second.object)) == ("ADDED", "new")


async def test_a_watch_from_the_last_version_waits_for_what_comes(tmp_path: pathlib.Path) -> None:
    async with server.running(tmp_path) as api:
        seen = await api.client.create(config("a"))
        await api.client.create(core_v1.Secret(metadata=meta_v1.ObjectMeta(name="s", namespace="default")))
    async with server.running(tmp_path) as api, asyncio.timeout(20):
        events = watch.stream(api.client, core_v1.ConfigMap, namespace="default", version=version(seen))
        waiting = asyncio.gather(anext(events))
        await api.client.create(config("b"))
        assert [name(e.object) for e in await waiting] == ["b"]


async def test_lists_of_the_past_over_a_restart(tmp_path: pathlib.Path) -> None:
    async with server.running(tmp_path) as api:
        for i in range(4):
            await api.client.create(config(f"m{i}"))
        page = json.loads(await api.client.request("GET", "/api/v1/namespaces/default/configmaps", query={"limit": "2"}))
        await api.client.delete(core_v1.ConfigMap, "m3", "default")
    async with server.running(tmp_path) as api:
        query = {"limit": "2", "continue": page["metadata"]["continue"]}
        rest = json.loads(await api.client.request("GET", "/api/v1/namespaces/default/configmaps", query=query))
        assert [i["metadata"]["name"] for i in rest["items"]] == ["m2", "m3"]
        assert rest["metadata"]["resourceVersion"] == page["metadata"]["resourceVersion"]


async def test_tokens_outlive_a_restart_and_bad_ports_are_told(tmp_path: pathlib.Path) -> None:
    async with server.running(tmp_path) as api:
        namespace = await api.namespace()
        body = b'{"spec":{"expirationSeconds":3600}}'
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
        token = json.loads(await api.client.request("POST", path, body=body))["status"]["token"]
        with pytest.raises(OSError, match="address already in use"):
            async with server.running(port=api.port):
                pass
    async with server.running(tmp_path) as api:
        with pytest.raises(errors.Forbidden, match=f"system:serviceaccount:{namespace}:default"):
            await api.connect(token=token).list(core_v1.Secret)


def name(obj: Any) -> str:
    return str(obj.metadata.name)


async def test_numbers_of_services_are_known_after_a_restart_and_free_after_deletion(tmp_path: pathlib.Path) -> None:
    async with server.running(tmp_path) as api:
        first = await api.client.create(service("first"))
        assert first.spec is not None and first.spec.clusterIP and first.spec.ports
        address, port = first.spec.clusterIP, first.spec.ports[0].nodePort or 0
    async with server.running(tmp_path) as api:
        for wanted in (service("second", address), service("second", port=port)):
            with pytest.raises(errors.Invalid, match="is already allocated"):
                await api.client.create(wanted)
        await api.client.delete(core_v1.Service, "first", "default")
        second = await api.client.create(service("second", address, port))
        assert second.spec is not None and second.spec.clusterIP == address


def service(name: str, address: str = "", port: int = 0) -> core_v1.Service:
    ports = [core_v1.ServicePort(port=80, nodePort=port or None)]
    spec = core_v1.ServiceSpec(type="NodePort", clusterIP=address or None, ports=ports)
    return core_v1.Service(metadata=meta_v1.ObjectMeta(name=name, namespace="default"), spec=spec)


async def test_who_comes_back_after_a_restart_needs_nothing_from_the_store(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server.running(tmp_path) as api:
        seen = await api.client.create(config("before"))
        for n in range(30):
            await api.client.create(config(f"m{n}"))
        await api.client.patch(core_v1.ConfigMap, "m3", {"data": {"k": "v"}}, "default")
        await api.client.delete(core_v1.ConfigMap, "m5", "default")
    async with server.running(tmp_path) as api, asyncio.timeout(20):

        async def changes(*arguments: Any) -> Any:
            raise AssertionError("the store is read")

        monkeypatch.setattr(api.store, "changes", changes)
        told = []
        for _ in range(20):
            events = watch.stream(api.client, core_v1.ConfigMap, namespace="default", version=version(seen))
            told.append([f"{(e := await anext(events)).type} {name(e.object)}" for _ in range(32)])
        assert all(t == told[0] for t in told)
        assert told[0] == [*(f"ADDED m{n}" for n in range(30)), "MODIFIED m3", "DELETED m5"]


@pytest.mark.parametrize("most", [2000, 20000])
async def test_what_is_remembered_at_the_start_is_bounded(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(storage, "REMEMBERED_BYTES", most)
    monkeypatch.setattr(storage, "REMEMBERED", 20)
    async with server.running(tmp_path) as api:
        seen = [version(await api.client.create(config(f"m{n}"))) for n in range(40)]
    async with server.running(tmp_path) as api, asyncio.timeout(20):
        cache = api.parts.catalog.of("", "configmaps").cache
        assert len(cache.history) <= 20 and sum(event.size for event in cache.history) <= 2 * most
        for first in (0, 38):
            events = watch.stream(api.client, core_v1.ConfigMap, namespace="default", version=seen[first])
            assert [name((await anext(events)).object) for _ in range(39 - first)] == [f"m{n}" for n in range(first + 1, 40)]
