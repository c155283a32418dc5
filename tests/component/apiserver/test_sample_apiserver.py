"""Upstream's sample-apiserver, with an etcd of its own, behind a real API server: what upstream's end-to-end test of the aggregator does.

It runs where `sample-apiserver` and `etcd` are on the path, as processes on loopback; a Service and EndpointSlice lead there.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import json
import pathlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from navarch.api.apiregistration import v1 as registration_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.lib import pki
from navarch.machinery import errors
from navarch.testing import control_plane, server
from navarch.testing.control_plane import ControlPlane
from navarch.testing.server import ApiServer
from navarch.testing.waiting import until
from tests.component.apiserver import extension_server
from tests.component.apiserver.conftest import Http
from tests.component.apiserver.extension_server import AGGREGATED, NAMESPACE, PORT, SERVICE, Extension

GROUP, VERSION = "wardle.example.com", "v1alpha1"
NAME = f"{VERSION}.{GROUP}"
FLUNDERS = f"/apis/{GROUP}/{VERSION}/namespaces/default/flunders"
APISERVICE = f"/apis/apiregistration.k8s.io/v1/apiservices/{NAME}"
MERGE = "application/merge-patch+json"
pytestmark = pytest.mark.skipif(not (shutil.which("sample-apiserver") and shutil.which("etcd")), reason="needs sample-apiserver and etcd")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def process(log: pathlib.Path, *command: str) -> Iterator[None]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent) as started:
        try:
            yield
        finally:
            started.terminate()
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()


@contextlib.asynccontextmanager
async def sample(api: ApiServer, folder: pathlib.Path) -> AsyncIterator[Extension]:
    """The two processes, and what the cluster must know of them."""
    store, peers, port = free_port(), free_port(), free_port()
    authority = pki.authority("sample", datetime.datetime.now(datetime.UTC))
    names = [f"{SERVICE}.{NAMESPACE}.svc", "127.0.0.1"]
    pki.issue(authority, "sample", datetime.datetime.now(datetime.UTC), names=names, server=True).write(folder / "tls.crt", folder / "tls.key")
    config = str(api.write_kubeconfig(folder / "kubeconfig"))
    url = f"http://127.0.0.1:{store}"
    etcd = ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", f"http://127.0.0.1:{peers}"]
    etcd += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peers}", "--initial-cluster", f"default=http://127.0.0.1:{peers}"]
    flags = [f"--etcd-servers={url}", f"--tls-cert-file={folder}/tls.crt", f"--tls-private-key-file={folder}/tls.key"]
    flags += ["--bind-address=127.0.0.1", f"--secure-port={port}", f"--kubeconfig={config}"]
    flags += [f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}"]
    with process(folder / "etcd.log", "etcd", "--data-dir", str(folder / "etcd"), *etcd), process(folder / "sample.log", "sample-apiserver", *flags):
        extension = Extension(port, authority.certificate)
        await extension_server.service(api)
        await extension_server.endpoints(api, port)
        service = registration_v1.ServiceReference(namespace=NAMESPACE, name=SERVICE, port=PORT)
        spec = registration_v1.APIServiceSpec(
            group=GROUP, version=VERSION, groupPriorityMinimum=2000, versionPriority=200, caBundle=extension.bundle, service=service
        )
        await api.client.create(registration_v1.APIService(metadata=meta_v1.ObjectMeta(name=NAME), spec=spec))
        yield extension


@pytest.mark.asyncio
async def test_what_upstreams_end_to_end_test_asks(tmp_path: pathlib.Path) -> None:
    async with server.running() as api, sample(api, tmp_path):
        http = Http(api)
        try:
            await until(lambda: _answers(http), seconds=60, what=(tmp_path / "sample.log").read_text()[-3000:])
            await _flunders(http)
            await _discovery(http)
            await _status(http)
        finally:
            await http.close()


async def _answers(http: Http) -> bool:
    return (await http("GET", FLUNDERS)).status == 200


async def _flunders(http: Http) -> None:
    """A resource of the other server: created, listed, watched, read as a table, deleted."""
    flunder = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Flunder", "metadata": {"name": "one", "labels": {"sample-label": "true"}}, "spec": {}}
    made = await http("POST", FLUNDERS, flunder)
    assert (made.status, made.json["metadata"]["name"]) == (201, "one")
    listed = (await http("GET", FLUNDERS)).json
    assert [item["metadata"]["name"] for item in listed["items"]] == ["one"]
    async with http.stream(FLUNDERS, {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}) as answer:
        assert (await http("DELETE", f"{FLUNDERS}/one")).status == 200
        async with asyncio.timeout(10):
            assert json.loads(await answer.content.readline())["type"] == "DELETED"
    assert (await http("GET", FLUNDERS)).json["items"] == []
    assert (await http("GET", f"{FLUNDERS}/one")).reason == "NotFound"
    assert (await http("POST", FLUNDERS, {**flunder, "metadata": {"generateName": "many-"}})).status == 201
    assert (await http("DELETE", FLUNDERS)).status == 200


async def _discovery(http: Http) -> None:
    async def look() -> list[str]:
        found: dict[str, Any] = (await http("GET", "/apis", accept=AGGREGATED)).json
        versions = [v for item in found["items"] if item["metadata"]["name"] == GROUP for v in item["versions"]]
        return [r["resource"] for v in versions if v["version"] == VERSION and v["freshness"] == "Current" for r in v["resources"]]

    assert sorted(await until(look)) == ["fischers", "flunders"]

    async def linked() -> str:
        return str((await http("GET", "/openapi/v3")).json["paths"].get(f"apis/{GROUP}/{VERSION}", {}).get("serverRelativeURL", ""))

    schema = (await http("GET", await until(linked))).json
    assert any(name.endswith(".Flunder") for name in schema["components"]["schemas"])
    assert f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/flunders" in (await http("GET", "/openapi/v2")).json["paths"]


async def _status(http: Http) -> None:
    """The APIService's own reads and writes, and its deletion with others."""
    held = (await http("GET", f"{APISERVICE}/status")).json
    assert held["status"]["conditions"][0]["message"] == "all checks passed"
    patched = (await http("PATCH", APISERVICE, {"spec": {"versionPriority": 400}}, media=MERGE)).json
    assert patched["spec"]["versionPriority"] == 400 and int(patched["metadata"]["resourceVersion"]) > int(held["metadata"]["resourceVersion"])
    media = "application/strategic-merge-patch+json"
    assert (await http("PATCH", APISERVICE, {"metadata": {"labels": {"e2e-apiservice": "patched"}}}, media=media)).status == 200
    current = (await http("GET", f"{APISERVICE}/status")).json
    current["status"]["conditions"].append({"type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "Set from e2e test"})
    current["metadata"]["labels"] = {"lost": "yes"}
    assert (await http("PUT", f"{APISERVICE}/status", current)).status == 200
    found = (await http("GET", APISERVICE)).json
    assert found["metadata"]["labels"] == {"e2e-apiservice": "patched"}  # a change of the status touches no labels
    assert [c["type"] for c in found["status"]["conditions"]] == ["Available", "StatusUpdated"]
    conditions = [*found["status"]["conditions"], {"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "Set by e2e test"}]
    assert (await http("PATCH", f"{APISERVICE}/status", {"status": {"conditions": conditions}}, media=MERGE)).status == 200
    found = (await http("GET", APISERVICE)).json
    assert [c["type"] for c in found["status"]["conditions"]] == ["Available", "StatusUpdated", "StatusPatched"]
    bad = {"status": {"conditions": [{"type": "Other", "status": "Perhaps"}]}}
    assert (await http("PATCH", f"{APISERVICE}/status", bad, media=MERGE)).reason == "Invalid"
    assert (await http("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices", query={"labelSelector": "e2e-apiservice=patched"})).status == 200
    assert (await http("GET", APISERVICE)).reason == errors.NotFound.reason


@pytest.mark.asyncio
async def test_controllers_and_kubectl_see_what_other_servers_serve(tmp_path: pathlib.Path) -> None:
    """A namespace takes such objects with it, a quota counts them, the collector follows their owners."""
    (tmp_path / "sample").mkdir()
    async for plane in control_plane.running(tmp_path):
        async with sample(plane.api, tmp_path / "sample"):
            http = Http(plane.api)
            try:
                await until(functools.partial(_answers, http), seconds=60)
                await _controllers(plane, http)
            finally:
                await http.close()


async def _controllers(plane: ControlPlane, http: Http) -> None:
    ns = await plane.namespace()
    flunders = f"/apis/{GROUP}/{VERSION}/namespaces/{ns}/flunders"
    client = plane.api.client
    owner = await client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="owner", namespace=ns)))
    assert owner.metadata is not None
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}
    for name, owners in (("owned", [reference]), ("free", [])):
        flunder = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Flunder", "metadata": {"name": name, "ownerReferences": owners}, "spec": {}}
        assert (await http("POST", flunders, flunder)).status == 201

    async def names() -> list[str]:
        return [item["metadata"]["name"] for item in (await http("GET", flunders)).json["items"]]

    count = f"count/flunders.{GROUP}"
    quota = core_v1.ResourceQuota(metadata=meta_v1.ObjectMeta(name="flunders", namespace=ns), spec=core_v1.ResourceQuotaSpec(hard={count: "9"}))
    await client.create(quota)

    async def counted() -> bool:
        found = await client.get(core_v1.ResourceQuota, "flunders", ns)
        return found.status is not None and (found.status.used or {}).get(count) == "2"

    await until(counted, seconds=60, what="the quota counts")
    assert "owned" in await plane.kubectl(ns, "get", "flunders")
    await client.delete(core_v1.ConfigMap, "owner", ns)

    async def collected() -> bool:
        return await names() == ["free"]

    await until(collected, seconds=60, what="the collector")
    await client.delete(core_v1.Namespace, ns)

    async def gone() -> bool:
        return (await http("GET", f"/api/v1/namespaces/{ns}")).status == 404 and not await names()

    await until(gone, seconds=60, what="the namespace goes")
