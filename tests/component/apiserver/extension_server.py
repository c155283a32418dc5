"""An extension API server inside a test: over TLS on a free loopback port, with an authority of its own, serving one group.

It asks for the front proxy's certificate as a real one does, and says of every request who it was told the user is. `broken` makes it one that does
not do what it should. `register` makes what a cluster must know of it: a Service, its EndpointSlice, an APIService.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
import pathlib
import ssl
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from navarch.api.apiregistration import v1 as registration_v1
from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.lib import pki
from navarch.machinery import codec
from navarch.testing.server import ApiServer

GROUP, VERSION = "shop.example.com", "v1"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
NAMESPACE, SERVICE, PORT = "default", "shop", 7443
VERBS = ["create", "delete", "get", "list", "watch"]


@dataclass(slots=True)
class Extension:
    """A running server."""

    port: int
    authorities: bytes
    broken: set[str] = field(default_factory=set)
    """What it does not do right: hang, garbage, legacy, cut, refuse, stale."""
    requests: list[web.BaseRequest] = field(default_factory=list)
    uploaded: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    watching: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    kinds: list[str] = field(default_factory=lambda: ["widgets"])

    @property
    def bundle(self) -> str:
        return base64.b64encode(self.authorities).decode()

    def api_service(self, version: str = VERSION, group: str = GROUP, **spec: Any) -> registration_v1.APIService:
        reference = registration_v1.ServiceReference(namespace=NAMESPACE, name=SERVICE, port=PORT)
        whole = {"group": group, "version": version, "groupPriorityMinimum": 2000, "versionPriority": 200, "caBundle": self.bundle, **spec}
        return registration_v1.APIService(
            metadata=meta_v1.ObjectMeta(name=f"{version}.{group}"), spec=registration_v1.APIServiceSpec(service=reference, **whole)
        )

    async def register(self, api: ApiServer, **spec: Any) -> None:
        await service(api)
        await endpoints(api, self.port)
        await api.client.create(self.api_service(**spec))


async def service(api: ApiServer) -> None:
    port = core_v1.ServicePort(port=PORT, protocol="TCP")
    await api.client.create(core_v1.Service(metadata=meta_v1.ObjectMeta(name=SERVICE, namespace=NAMESPACE), spec=core_v1.ServiceSpec(ports=[port])))


async def endpoints(api: ApiServer, port: int) -> None:
    """Loopback is no address that an endpoint may have, for clients: the slice is written by the server itself."""
    metadata = meta_v1.ObjectMeta(name=SERVICE, namespace=NAMESPACE, labels={"kubernetes.io/service-name": SERVICE})
    made = discovery_v1.EndpointSlice(
        apiVersion="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=metadata,
        addressType="IPv4",
        endpoints=[discovery_v1.Endpoint(addresses=["127.0.0.1"], conditions=discovery_v1.EndpointConditions(ready=True))],
        ports=[discovery_v1.EndpointPort(name="", port=port, protocol="TCP")],
    )
    storage = api.parts.storage
    served = api.parts.catalog.of("discovery.k8s.io", "endpointslices")
    held = served.cache.get(f"{NAMESPACE}/{SERVICE}")
    await storage.put(served, SERVICE, NAMESPACE, codec.encode(made), held.version if held is not None else 0)


def resource_list(kinds: list[str], version: str = VERSION) -> dict[str, Any]:
    listed = [{"name": plural, "singularName": plural[:-1], "namespaced": True, "kind": plural[:-1].capitalize(), "verbs": VERBS} for plural in kinds]
    status = [{"name": f"{plural}/status", "singularName": "", "namespaced": True, "kind": "Widget", "verbs": ["get"]} for plural in kinds]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{version}", "resources": [*listed, *status]}


def group_list(kinds: list[str], version: str = VERSION) -> dict[str, Any]:
    found = [
        {
            "resource": plural,
            "responseKind": {"group": GROUP, "version": version, "kind": plural[:-1].capitalize()},
            "scope": "Namespaced",
            "singularResource": plural[:-1],
            "verbs": VERBS,
        }
        for plural in kinds
    ]
    versions = [{"version": version, "resources": found, "freshness": "Current"}]
    metadata = {"name": GROUP, "creationTimestamp": None}
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [{"metadata": metadata, "versions": versions}],
    }


def openapi(kinds: list[str]) -> dict[str, Any]:
    """The v2 document: with a type that conflicts with one of the cluster's own."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/widgets"
    operation = {"operationId": "listWidget", "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/com.example.Widget"}}}}
    metadata = {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    kind = {"group": GROUP, "version": VERSION, "kind": "Widget"}
    return {
        "swagger": "2.0",
        "info": {"title": "Shop", "version": "1"},
        "paths": {path: {"get": operation}},
        "definitions": {
            "com.example.Widget": {"type": "object", "properties": {"metadata": metadata}, "x-kubernetes-group-version-kind": [kind]},
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "description": "Another one.", "properties": {}},
        },
    }


@contextlib.asynccontextmanager
async def running(front_proxies: pathlib.Path, *broken: str) -> AsyncIterator[Extension]:
    """A server for the length of the block. `front_proxies`: the authority whose certificates it asks for."""
    now = datetime.datetime.now(datetime.UTC)
    authority = pki.authority("shop", now)
    pair = pki.issue(authority, "shop", now, names=["127.0.0.1", f"{SERVICE}.{NAMESPACE}.svc"], server=True)
    extension = Extension(0, authority.certificate, set(broken))
    runner = web.ServerRunner(web.Server(lambda request: _answer(extension, request)), shutdown_timeout=0.1)
    await runner.setup()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pair.write(folder / "tls.crt", folder / "tls.key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(str(front_proxies))
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    extension.port = runner.addresses[0][1]
    try:
        yield extension
    finally:
        extension.released.set()
        await runner.cleanup()


async def _answer(extension: Extension, request: web.BaseRequest) -> web.StreamResponse:
    extension.requests.append(request)
    root = f"/apis/{GROUP}/{VERSION}"
    if "hang" in extension.broken:
        await extension.released.wait()
    if "refuse" in extension.broken:
        return web.Response(status=500, text="out of order")
    if "garbage" in extension.broken and not request.path.startswith(f"{root}/"):
        return web.Response(text="{]", content_type="application/json")
    match request.path:
        case "/apis" if "legacy" not in extension.broken:
            body = json.dumps(group_list(extension.kinds)).encode()
            tag = f'"{len(body)}"'
            if request.headers.get("If-None-Match") == tag:
                return web.Response(status=304, headers={"ETag": tag})
            return web.Response(body=body, headers={"Content-Type": AGGREGATED, "ETag": tag})
        case path if path.startswith(f"/apis/{GROUP}/") and path.count("/") == 3:
            return web.json_response(resource_list(extension.kinds, path.rpartition("/")[2]))
        case "/openapi/v2":
            return web.json_response(openapi(extension.kinds))
        case "/openapi/v3":
            return web.json_response({"paths": {root[1:]: {"serverRelativeURL": f"/openapi/v3{root}?hash=ABC"}}})
        case path if path == f"/openapi/v3{root}":
            return web.json_response({"openapi": "3.0.0", "info": {"title": "Shop", "version": "1"}, "paths": {root: {}}})
        case path if path.startswith(f"{root}/"):
            return await _resource(extension, request)
    return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}, status=404)


async def _resource(extension: Extension, request: web.BaseRequest) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(f"{request.headers.get('X-Remote-User')}")
        async for message in socket:
            await socket.send_str(f"echo {message.data}")
        return socket
    if request.path.endswith("/upload"):
        async for part in request.content.iter_any():
            extension.uploaded += len(part)
        return web.json_response({"uploaded": extension.uploaded})
    if request.query.get("watch") == "true" or "cut" in extension.broken:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b'{"type":"ADDED","object":{"kind":"Widget","apiVersion":"shop.example.com/v1","metadata":{"name":"first"}}}\n')
        if "cut" in extension.broken:
            assert request.transport is not None
            request.transport.abort()
            return response
        while line := await extension.watching.get():
            await response.write(line)
        return response
    told = [(name, value) for name, value in request.headers.items() if name.lower().startswith(("x-remote", "authorization", "impersonate"))]
    widgets = {"kind": "WidgetList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": []}
    return web.json_response({**widgets, "path": request.raw_path, "told": told})
