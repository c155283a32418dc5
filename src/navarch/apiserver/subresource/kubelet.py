"""Subresources that somebody else answers: the kubelet (log, exec, attach, portforward, nodes/proxy), a pod or a service (proxy).

Upstream counterparts: pkg/registry/core/pod/{rest,strategy} (locations) and service/node proxy storages.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from aiohttp import web

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.apiserver.context import Context
from navarch.apiserver.kubelets import Target, forward, tunnel, upgrade_wanted
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.verbs import get
from navarch.apiserver.watch_cache import Scope
from navarch.machinery import codec, errors, field, selectors

_STREAMS = {"exec": "exec", "attach": "attach", "portforward": "portForward"}


def _pod(context: Context, served: Served) -> core_v1.Pod:
    entry = get.entry_of(served, context.info.name, context.info.namespace)
    return codec.decode(core_v1.Pod, entry.body)


def _containers(pod: core_v1.Pod) -> list[str]:
    spec = pod.spec or core_v1.PodSpec()
    every = (*(spec.containers or ()), *(spec.initContainers or ()), *(spec.ephemeralContainers or ()))
    return [c.name or "" for c in every]


def _container(context: Context, pod: core_v1.Pod) -> str:
    """The container asked for, or the only one. BadRequest when that is not clear."""
    assert pod.metadata is not None
    name = context.query.get("container", "")
    known = _containers(pod)
    if name:
        if name not in known:
            raise errors.BadRequest(f"container {name} is not valid for pod {pod.metadata.name}")
        return name
    spec = pod.spec or core_v1.PodSpec()
    main = [c.name or "" for c in spec.containers or ()]
    if len(main) == 1:
        return main[0]
    if not main:
        raise errors.BadRequest(f"a container name must be specified for pod {pod.metadata.name}")
    default = (pod.metadata.annotations or {}).get("kubectl.kubernetes.io/default-container", "")
    if context.info.subresource == "log" or default not in main:
        init = [c.name or "" for c in spec.initContainers or ()]
        choices = f"choose one of: [{' '.join(main)}]" + (f" or one of the init containers: [{' '.join(init)}]" if init else "")
        raise errors.BadRequest(f"a container name must be specified for pod {pod.metadata.name}, {choices}")
    return default


async def log(context: Context, served: Served, server: Server) -> web.StreamResponse:
    """The container's log, as the kubelet streams it."""
    if context.info.verb != "get":
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    pod = _pod(context, served)
    _check_log_options(context)
    container = _container(context, pod)
    assert pod.metadata is not None and pod.spec is not None
    if not pod.spec.nodeName:
        return web.Response(body=b"", content_type="text/plain")
    target = server.kubelets.target(pod.spec.nodeName)
    path = f"/containerLogs/{pod.metadata.namespace}/{pod.metadata.name}/{container}"
    query = [(k, v) for k, v in context.query.items() if k not in ("container", "insecureSkipTLSVerifyBackend", "pretty", "timeout")]
    if upgrade_wanted(context.request):
        from navarch.apiserver.subresource import log_socket

        return await log_socket.handle(context, server, target, _with(path, query))
    return await forward(context.request, server.kubelets, target, _with(path, query), drop=_DROP)


_DROP = frozenset({"authorization", "host", "accept-encoding"})


def _check_log_options(context: Context) -> None:
    problems = []
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        text = context.query.get(name)
        if text is None:
            continue
        try:
            value = int(text)
        except ValueError:
            raise errors.BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
        if value < least:
            detail = "must be greater than or equal to 0" if least == 0 else "must be greater than 0"
            problems.append(field.invalid(name, value, detail))
    if "sinceSeconds" in context.query and "sinceTime" in context.query:
        problems.append(field.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if problems:
        raise field.invalid_error("", "PodLogOptions", context.info.name, problems)


def _with(path: str, query: list[tuple[str, str]]) -> str:
    return f"{quote(path)}?{urlencode(query)}" if query else quote(path)


async def stream(context: Context, served: Served, server: Server) -> web.StreamResponse:
    """exec, attach, portforward: an upgraded connection handed over to the kubelet."""
    if context.info.verb not in ("create", "get"):
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    pod = _pod(context, served)
    assert pod.metadata is not None and pod.spec is not None
    what = context.info.subresource
    path = f"/{_STREAMS[what]}/{pod.metadata.namespace}/{pod.metadata.name}"
    query = list(context.query.items())
    if what != "portforward":
        container = _container(context, pod)
        path += f"/{container}"
        query = [(_KUBELET_NAMES.get(k, k), "1" if v == "true" else v) for k, v in query if k != "container"]
    if not pod.spec.nodeName:
        raise errors.BadRequest(f"pod {pod.metadata.name} does not have a host assigned")
    if pod.status is not None and pod.status.phase in ("Succeeded", "Failed") and what != "portforward":
        raise errors.BadRequest(f"cannot {what} into a container in a completed pod; current phase is {pod.status.phase}")
    await _admit(context, served, server, pod)
    target = server.kubelets.target(pod.spec.nodeName)
    if not upgrade_wanted(context.request):
        raise errors.BadRequest("Upgrade request required")
    return await tunnel(context.request, target, _with(path, query))


_KUBELET_NAMES = {"stdin": "input", "stdout": "output", "stderr": "error"}


async def _admit(context: Context, served: Served, server: Server, pod: core_v1.Pod) -> None:
    from navarch.apiserver import admission

    attributes = admission.Attributes(
        context, served, "CONNECT", context.info.name, context.info.namespace, pod, None, subresource=context.info.subresource
    )
    await admission.mutate(attributes, server)
    await admission.validate(attributes, server)


# ---- HTTP proxies -------------------------------------------------------------------------------------------------


def _split(name: str) -> tuple[str, str, str]:
    """scheme, name and port of `https:name:port`, `name:port`, `name`."""
    parts = name.split(":")
    match len(parts):
        case 1:
            return "", parts[0], ""
        case 2:
            return "", parts[0], parts[1]
        case 3 if parts[0] in ("http", "https", ""):
            return parts[0], parts[1], parts[2]
    raise errors.BadRequest(f"invalid proxy request {name!r}")


async def proxy_pod(context: Context, served: Served, server: Server) -> web.StreamResponse:
    scheme, name, port = _split(context.info.name)
    entry = get.entry_of(served, name, context.info.namespace)
    pod = codec.decode(core_v1.Pod, entry.body)
    address = pod.status.podIP if pod.status else None
    if not address:
        raise errors.BadRequest("address not allowed")
    number = _pod_port(pod, port)
    return await _proxy(context, server, Target(address, number, server.kubelets.insecure if scheme == "https" else None))


def _pod_port(pod: core_v1.Pod, port: str) -> int:
    if port.isdigit():
        return int(port)
    for container in (pod.spec.containers or ()) if pod.spec else ():
        for declared in container.ports or ():
            if declared.containerPort and (not port or declared.name == port):
                return declared.containerPort
    return 80


async def proxy_service(context: Context, served: Served, server: Server) -> web.StreamResponse:
    scheme, name, port = _split(context.info.name)
    entry = get.entry_of(served, name, context.info.namespace)
    service = codec.decode(core_v1.Service, entry.body)
    host, number = _endpoint(server, service, port)
    return await _proxy(context, server, Target(host, number, server.kubelets.insecure if scheme == "https" else None))


def _endpoint(server: Server, service: core_v1.Service, port: str) -> tuple[str, int]:
    """A ready endpoint of a service's port (by name or number)."""
    assert service.metadata is not None and service.spec is not None
    ports = service.spec.ports or []
    chosen = [p for p in ports if port in (p.name or "", str(p.port))] if port else ports[:1]
    if not chosen:
        raise errors.ServiceUnavailable(f'no service port "{port}" found for service "{service.metadata.name}"')
    label = selectors.parse_labels(f"kubernetes.io/service-name={service.metadata.name}")
    slices = server.catalog.of("discovery.k8s.io", "endpointslices").cache
    for entry in slices.select(Scope(service.metadata.namespace or "", label)):
        found = codec.decode(discovery_v1.EndpointSlice, entry.body)
        number = next((p.port for p in found.ports or () if (p.name or "") == (chosen[0].name or "")), None)
        for endpoint in found.endpoints or ():
            ready = endpoint.conditions is None or endpoint.conditions.ready is not False
            if ready and endpoint.addresses and number:
                return endpoint.addresses[0], number
    raise errors.ServiceUnavailable(f'no endpoints available for service "{service.metadata.name}"')


async def proxy_node(context: Context, served: Served, server: Server) -> web.StreamResponse:
    _, name, port = _split(context.info.name)
    get.entry_of(served, name, "")
    target = server.kubelets.target(name)
    if port and port.isdigit() and int(port) != target.port:
        target = Target(target.host, int(port), None)
    return await _proxy(context, server, target)


async def _proxy(context: Context, server: Server, target: Target) -> web.StreamResponse:
    """Sends the request on; `/proxy` without its slash is redirected where links would break otherwise."""
    info, request = context.info, context.request
    if request.path.endswith("/proxy") and request.method in ("GET", "HEAD"):
        query = f"?{request.query_string}" if request.query_string else ""
        return web.Response(status=301, headers={"Location": f"{request.path}/{query}"})
    segments = 8 if info.namespace else 6  # of "/api/v1/namespaces/NS/pods/NAME/proxy", "/api/v1/nodes/NAME/proxy"
    raw = "/" + "/".join(request.rel_url.raw_path.split("/")[segments:])
    path = raw + (f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else "")
    if upgrade_wanted(request):
        return await tunnel(request, target, path)
    prefix = "/".join(request.rel_url.raw_path.split("/")[:segments])
    return await forward(request, server.kubelets, target, path, drop=_DROP, prefix=prefix)
