"""The proxy subresources: any request, sent on to a pod, to a pod behind a Service, or to a node's kubelet.

Upstream counterparts: pkg/registry/core/{pod,service,node}/rest/proxy.go and the ResourceLocation of each.
"""

from __future__ import annotations

import posixpath
import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.apiserver.answers import Answer, Document, Forward, Tunnel
from navarch.apiserver.call import Call
from navarch.apiserver.kubelets import Kubelets
from navarch.apiserver.served import Catalog, Served
from navarch.apiserver.subresource import connecting
from navarch.apiserver.targets import Target
from navarch.apiserver.verbs import get
from navarch.apiserver.verbs.write import Writer, author_of
from navarch.apiserver.watch_cache import Scope
from navarch.lib import integers
from navarch.machinery import codec, errors, selectors

_PATH_CHARACTERS = "/:@!$&'()*+,;=~"


@dataclass(frozen=True, slots=True)
class Proxies:
    """What proxies find their targets by, and who admits the connection."""

    catalog: Catalog
    kubelets: Kubelets
    writer: Writer


@dataclass(frozen=True, slots=True)
class _Id:
    """`https:name:port`, `name:port` or `name`."""

    scheme: str
    name: str
    port: str


def _split(kind: str, text: str) -> _Id:
    parts = text.split(":")
    match parts:
        case [name] if name:
            return _Id("", name, "")
        case [name, port] if name:
            return _Id("", name, port)
        case [scheme, name, port] if name and scheme in ("http", "https", ""):
            return _Id(scheme, name, port)
    raise errors.BadRequest(f'invalid {kind} request "{text}"')


async def pod(proxies: Proxies, call: Call, served: Served) -> Answer:
    await _admit(proxies, call, served)
    wanted = _split("pod", call.info.name)
    found = codec.decode(core_v1.Pod, get.entry_of(served, wanted.name, call.info.namespace).body)
    address = found.status.podIP if found.status is not None else None
    if not address:
        raise errors.BadRequest("address not allowed")
    return await _proxy(proxies, call, Target(address, _pod_port(found, wanted), _tls(proxies, wanted)))


def _tls(proxies: Proxies, wanted: _Id) -> ssl.SSLContext | None:
    return proxies.kubelets.insecure if wanted.scheme == "https" else None


def _number(port: str) -> int:
    number = integers.parse(port, 1, 65535)
    if number is None:
        raise errors.BadRequest(f'invalid port "{port}"')
    return number


def _pod_port(found: core_v1.Pod, wanted: _Id) -> int:
    """The port asked for, else the first one a container declares."""
    if integers.parse(wanted.port) is not None:
        return _number(wanted.port)
    for container in (found.spec.containers or ()) if found.spec is not None else ():
        for declared in container.ports or ():
            if declared.containerPort and (not wanted.port or declared.name == wanted.port):
                return declared.containerPort
    return 443 if wanted.scheme == "https" else 80


async def service(proxies: Proxies, call: Call, served: Served) -> Answer:
    await _admit(proxies, call, served)
    wanted = _split("service", call.info.name)
    found = codec.decode(core_v1.Service, get.entry_of(served, wanted.name, call.info.namespace).body)
    candidates = list(_endpoints(proxies, call.info.namespace, wanted.name, _port_name(found, wanted)))
    if not candidates:
        raise errors.ServiceUnavailable(f'no endpoints available for service "{call.info.name}"')
    host, number = random.choice(candidates)
    return await _proxy(proxies, call, Target(host, number, _tls(proxies, wanted)))


def _port_name(found: core_v1.Service, wanted: _Id) -> str:
    """The name of a Service's port, asked for by name or number, else of its first one."""
    ports = (found.spec.ports if found.spec is not None else None) or []
    chosen = [p for p in ports if wanted.port in (p.name or "", str(p.port))] if wanted.port else ports[:1]
    if not chosen:
        raise errors.ServiceUnavailable(f'no service port {wanted.port} found for service "{wanted.name}"')
    return chosen[0].name or ""


def _endpoints(proxies: Proxies, namespace: str, name: str, port: str) -> Iterator[tuple[str, int]]:
    """Where a Service's port is ready. Only pods' own addresses count: anybody may write an endpoint."""
    label = selectors.parse_labels(f"kubernetes.io/service-name={name}")
    for entry in proxies.catalog.of("discovery.k8s.io", "endpointslices").cache.select(Scope(namespace, label)):
        found = codec.decode(discovery_v1.EndpointSlice, entry.body)
        number = next((p.port for p in found.ports or () if (p.name or "") == port), None)
        for endpoint in found.endpoints or ():
            ready = endpoint.conditions is None or endpoint.conditions.ready is not False
            address = (endpoint.addresses or [""])[0]
            if number and ready and _is_pods(proxies, namespace, endpoint.targetRef, address):
                yield address, number


def _is_pods(proxies: Proxies, namespace: str, reference: core_v1.ObjectReference | None, address: str) -> bool:
    if reference is None or (reference.namespace or "") != namespace:
        return False
    entry = proxies.catalog.of("", "pods").cache.get(f"{namespace}/{reference.name}")
    status = codec.decode(core_v1.Pod, entry.body).status if entry is not None else None
    return status is not None and any(i.ip == address for i in status.podIPs or ())


async def node(proxies: Proxies, call: Call, served: Served) -> Answer:
    await _admit(proxies, call, served)
    wanted = _split("node", call.info.name)
    get.entry_of(served, wanted.name, "")
    target = proxies.kubelets.target(wanted.name)
    if wanted.port and _number(wanted.port) != target.port:
        target = Target(target.host, _number(wanted.port), _tls(proxies, wanted))
    return await _proxy(proxies, call, target)


async def _admit(proxies: Proxies, call: Call, served: Served) -> None:
    info = call.info
    await proxies.writer.admit(author_of(call), served, "CONNECT", info.name, info.namespace, connecting.options(call), "proxy")


async def _proxy(proxies: Proxies, call: Call, target: Target) -> Answer:
    """Sends the request on; `/proxy` without its slash is redirected where links would break otherwise."""
    info = call.info
    target = await proxies.kubelets.proxied(target)
    query = f"?{call.query.raw}" if call.query.raw else ""
    if call.upgrade_wanted:
        return Tunnel(target, _path(info.rest, info.path) + query)
    if not info.rest and not info.path.endswith("/") and call.method in ("GET", "HEAD"):
        return Document(b"", 301, headers={"Location": f"{quote(info.path, _PATH_CHARACTERS)}/{query}"})
    prefix = quote(info.path.rstrip("/").removesuffix(info.rest).rstrip("/"), _PATH_CHARACTERS)
    return Forward(target, _path(info.rest, info.path) + query, prefix)


def _path(rest: str, whole: str) -> str:
    """The path at the target: what follows `/proxy/`, without ways up, with the slash it ended in."""
    cleaned = posixpath.normpath(f"/{rest}").replace("//", "/")
    return quote(cleaned if cleaned.endswith("/") or not whole.endswith("/") else f"{cleaned}/", _PATH_CHARACTERS)
