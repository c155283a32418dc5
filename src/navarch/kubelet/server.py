"""The kubelet's own HTTPS server: logs, exec, attach, port-forward, statistics, health.

The API server is its main client; metrics collectors are others. Each request is checked first (`access`). In:
the node's workers and their runtime. Upstream's counterpart is pkg/kubelet/server.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import pathlib
import resource
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from aiohttp import web

from navarch.api.core import v1
from navarch.client.rest import Client
from navarch.cri.client import Client as CriClient
from navarch.cri.client import CriError
from navarch.kubelet import logs, remote
from navarch.kubelet.access import Access
from navarch.kubelet.core import containers
from navarch.kubelet.core.model import ContainerView, Running, State
from navarch.kubelet.stats import Meter, exposition
from navarch.lib import beneath, tls
from navarch.machinery import codec, timestamps

log = logging.getLogger(__name__)

YES = ("1", "true", "True", "TRUE", "t", "T")


class HasState(Protocol):
    """What is asked of a worker."""

    @property
    def state(self) -> State: ...


class Serves(Protocol):
    """The server's flags."""

    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls_cert_file(self) -> str: ...
    @property
    def tls_private_key_file(self) -> str: ...
    @property
    def client_ca_file(self) -> str: ...
    @property
    def anonymous_auth(self) -> bool: ...
    @property
    def authorization_mode(self) -> str: ...
    @property
    def pod_log_dir(self) -> str: ...


class Server:
    """The routes and what they need."""

    def __init__(
        self,
        options: Serves,
        node: str,
        ips: tuple[str, ...],
        root: pathlib.Path,
        client: Client,
        cri: CriClient,
        workers: Mapping[str, HasState],
        healthy: Callable[[], str],
    ) -> None:
        self._options = options
        self._node = node
        self._ips = ips
        self._root = root
        self._cri = cri
        self._workers = workers
        self._healthy = healthy
        if options.authorization_mode not in ("Webhook", "AlwaysAllow"):
            raise ValueError(f'--authorization-mode: unknown authorization mode "{options.authorization_mode}": it is Webhook or AlwaysAllow')
        always = options.authorization_mode == "AlwaysAllow"
        self._access = Access(client, node, options.anonymous_auth, always)
        self._meter = Meter(cri, node, time.time())
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listens. OSError when the port is taken."""
        app = web.Application(middlewares=[self._guard], client_max_size=1 << 20)
        app.add_routes(self._routes())
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._options.address, self._options.port, ssl_context=self._tls(), reuse_address=True)
        await site.start()

    async def stop(self) -> None:
        """Ends all connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _tls(self) -> ssl.SSLContext:
        options = self._options
        certificate, key = options.tls_cert_file, options.tls_private_key_file
        if not certificate:
            certificate, key = own_certificate(self._root / "pki", self._node, self._ips)
        context = tls.server_context(certificate, key)
        if options.client_ca_file:
            context.ask_for_certificates([options.client_ca_file])
        return context

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
        await self._access.check(request)
        try:
            answer = await handler(request)  # type: ignore[misc]
        except CriError as error:
            raise web.HTTPInternalServerError(text=str(error)) from None
        assert isinstance(answer, web.StreamResponse)
        return answer

    def _routes(self) -> list[web.RouteDef]:
        get, post = web.get, web.post
        routes = [
            get("/healthz", self._health),
            get("/healthz/{check}", self._health),
            get("/pods", self._pods),
            get("/pods/", self._pods),
            get("/runningpods/", self._pods),
            get("/containerLogs/{namespace}/{pod}/{container}", self._logs),
            get("/stats/summary", self._summary),
            get("/metrics", self._metrics),
            get("/metrics/resource", self._resource_metrics),
            get("/metrics/cadvisor", self._resource_metrics),
            get("/metrics/probes", self._metrics),
            get("/configz", self._configz),
            post("/run/{namespace}/{pod}/{container}", self._run),
            post("/run/{namespace}/{pod}/{uid}/{container}", self._run),
        ]
        for name, handler in (("exec", self._exec), ("attach", self._attach)):
            for path in (f"/{name}/{{namespace}}/{{pod}}/{{container}}", f"/{name}/{{namespace}}/{{pod}}/{{uid}}/{{container}}"):
                routes += [get(path, handler), post(path, handler)]
        for path in ("/portForward/{namespace}/{pod}", "/portForward/{namespace}/{pod}/{uid}"):
            routes += [get(path, self._port_forward), post(path, self._port_forward)]
        return routes

    # ---- finding things ------------------------------------------------------------------------------------------------------

    def _state(self, request: web.Request) -> State:
        info = request.match_info
        for worker in self._workers.values():
            meta = worker.state.pod.metadata
            if meta is None or meta.name != info["pod"] or meta.namespace != info["namespace"]:
                continue
            if "uid" not in info or meta.uid == info["uid"]:
                return worker.state
        raise web.HTTPNotFound(text=f'pod "{info["pod"]}" not found in namespace "{info["namespace"]}"')

    def _running(self, request: web.Request) -> ContainerView:
        state, name = self._state(request), request.match_info["container"]
        if containers.find(state.pod, name) is None:
            raise web.HTTPNotFound(text=f'container not found ("{name}")')
        view = containers.latest(state.containers, name)
        if view is None or view.state is not Running.RUNNING:
            raise web.HTTPInternalServerError(text=f'container not found ("{name}")')
        return view

    # ---- health, pods, numbers -----------------------------------------------------------------------------------------------

    async def _health(self, request: web.Request) -> web.Response:
        problem = self._healthy() if request.match_info.get("check") != "ping" else ""
        return web.Response(text="ok" if not problem else f"healthz check failed: {problem}", status=500 if problem else 200)

    async def _pods(self, request: web.Request) -> web.Response:
        items = []
        for worker in self._workers.values():
            tree = codec.to_tree(worker.state.pod)
            if worker.state.status is not None:
                tree["status"] = codec.to_tree(worker.state.status)
            items.append(tree)
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        return web.json_response(body)

    async def _summary(self, request: web.Request) -> web.Response:
        return web.json_response(await self._meter.summary(self._root))

    async def _resource_metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=await self._meter.resource_metrics(), content_type="text/plain")

    async def _metrics(self, request: web.Request) -> web.Response:
        running = [c for w in self._workers.values() for c in w.state.containers]
        usage = resource.getrusage(resource.RUSAGE_SELF)
        samples: dict[str, list[tuple[Mapping[str, str], float]]] = {
            "kubelet_running_pods gauge": [({}, float(len(self._workers)))],
            "kubelet_running_containers gauge": [
                ({"container_state": state.value}, float(sum(c.state is state for c in running))) for state in Running
            ],
            "kubelet_node_name gauge": [({"node": self._node}, 1.0)],
            "process_cpu_seconds_total counter": [({}, usage.ru_utime + usage.ru_stime)],
            "process_resident_memory_bytes gauge": [({}, float(_resident()))],
        }
        return web.Response(text=exposition(samples), content_type="text/plain")

    async def _configz(self, request: web.Request) -> web.Response:
        config = {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "port": self._options.port}
        return web.json_response({"kubeletconfig": config})

    # ---- logs ----------------------------------------------------------------------------------------------------------------

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        state, name = self._state(request), request.match_info["container"]
        query = request.query
        if containers.find(state.pod, name) is None:
            raise web.HTTPNotFound(text=f'container "{name}" not found in pod "{request.match_info["pod"]}"')
        options = _log_options(query)
        previous = query.get("previous") in YES
        view = _log_source(state, name, previous)
        path = self._log_path(state, view)
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        answer.enable_chunked_encoding()
        try:
            (await asyncio.to_thread(beneath.open_file, path)).close()
        except FileNotFoundError:
            await answer.prepare(request)
            return answer
        except OSError as error:
            raise web.HTTPBadRequest(text=f"failed to open log file {path}: {error.strerror}") from None
        uid, container_id = (state.pod.metadata and state.pod.metadata.uid) or "", view.id

        def ended() -> bool:
            worker = self._workers.get(uid)
            now = next((c for c in worker.state.containers if c.id == container_id), None) if worker else None
            return now is None or now.state is Running.EXITED

        await answer.prepare(request)
        # Whoever follows a log goes when they have seen enough.
        with contextlib.suppress(ConnectionError):
            async for piece in logs.read(path, options, ended):
                await answer.write(piece)
            await answer.write_eof()
        return answer

    def _log_path(self, state: State, view: ContainerView) -> pathlib.Path:
        meta = state.pod.metadata
        assert meta is not None
        return pathlib.Path(self._options.pod_log_dir) / f"{meta.namespace}_{meta.name}_{meta.uid}" / view.name / f"{view.attempt}.log"

    # ---- streams -------------------------------------------------------------------------------------------------------------

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        view, wanted = self._running(request), _wanted(request.query)
        command = request.query.getall("command", [])
        if not command:
            raise web.HTTPBadRequest(text="you must specify at least 1 of stdin, stdout, stderr and a command")
        _check_wanted(wanted)
        url = await self._cri.exec_url(view.id, command, **wanted)
        return await self._stream_command(request, url, wanted)

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        view, wanted = self._running(request), _wanted(request.query)
        _check_wanted(wanted)
        state = self._state(request)
        spec = containers.find(state.pod, request.match_info["container"]) or v1.Container()
        wanted["tty"] = bool(spec.tty)
        url = await self._cri.attach_url(view.id, **wanted)
        return await self._stream_command(request, url, wanted)

    async def _stream_command(self, request: web.Request, url: str, wanted: Mapping[str, bool]) -> web.StreamResponse:
        if remote.is_websocket(request):
            return await remote.command(request, url, wanted)
        if remote.is_spdy(request):
            return await remote.pass_through(request, url)
        raise web.HTTPBadRequest(text="Upgrade request required")

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        state = self._state(request)
        sandbox = next((s for s in state.sandboxes if s.ready), None)
        if sandbox is None:
            raise web.HTTPInternalServerError(text="pod is not running")
        values = [value for key in ("port", "ports") for value in request.query.getall(key, [])]
        try:
            ports = [int(port) for value in values for port in value.split(",") if port]
        except ValueError:
            raise web.HTTPBadRequest(text="unable to parse ports") from None
        url = await self._cri.port_forward_url(sandbox.id, ports)
        if remote.is_websocket(request):
            return await remote.port_forward(request, url, ports)
        if remote.is_spdy(request):
            return await remote.pass_through(request, url)
        raise web.HTTPBadRequest(text="Upgrade request required")

    async def _run(self, request: web.Request) -> web.Response:
        view = self._running(request)
        form = await request.post()
        words = request.query.getall("cmd", []) or [str(form.get("cmd", ""))]
        result = await self._cri.exec_sync(view.id, words[0].split(" "), 0)
        return web.Response(body=result.stdout + result.stderr, content_type="text/plain")


def own_certificate(folder: pathlib.Path, node: str, ips: Sequence[str]) -> tuple[str, str]:
    """Without a certificate given, one is made once, as upstream does: clients cannot verify it. Paths of certificate and key."""
    certificate, key = folder / "kubelet.crt", folder / "kubelet.key"
    if not certificate.exists():
        # Imported here since it costs 8 MB that a kubelet with a certificate never needs.
        from navarch.lib import pki

        now = datetime.datetime.now(datetime.UTC)
        authority = pki.authority(f"{node}-ca", now)
        pki.issue(authority, node, now, names=(node, *ips), server=True).write(certificate, key)
    return str(certificate), str(key)


def _wanted(query: Mapping[str, str]) -> dict[str, bool]:
    """Streams asked for, under the kubelet's parameter names and the API's."""
    names = {"stdin": ("input", "stdin"), "stdout": ("output", "stdout"), "stderr": ("error", "stderr"), "tty": ("tty",)}
    return {stream: any(query.get(key) in YES for key in keys) for stream, keys in names.items()}


def _check_wanted(wanted: dict[str, bool]) -> None:
    if wanted["tty"]:
        wanted["stderr"] = False
    if not (wanted["stdin"] or wanted["stdout"] or wanted["stderr"]):
        raise web.HTTPBadRequest(text="you must specify at least 1 of stdin, stdout, stderr")


def _log_options(query: Mapping[str, str]) -> logs.Options:
    try:
        since = 0.0
        if query.get("sinceTime"):
            since = timestamps.parse(query["sinceTime"])
        elif query.get("sinceSeconds"):
            since = time.time() - int(query["sinceSeconds"])
        return logs.Options(
            tail=int(query["tailLines"]) if query.get("tailLines") else None,
            since=since,
            limit=int(query["limitBytes"]) if query.get("limitBytes") else None,
            timestamps=query.get("timestamps") in YES,
            follow=query.get("follow") in YES,
            stream=query.get("stream") or "All",
        )
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"unable to decode query: {error}") from None


def _log_source(state: State, name: str, previous: bool) -> ContainerView:
    """The container whose log is wanted; refusals in upstream's words."""
    meta = state.pod.metadata
    pod = (meta and meta.name) or ""
    views = sorted((c for c in state.containers if c.name == name), key=lambda v: (v.attempt, v.created_at), reverse=True)
    if previous:
        ended = [view for view in views if view.state is Running.EXITED]
        if views and views[0] in ended and not state.waiting.get(name):
            ended = ended[1:]
        if not ended:
            raise web.HTTPBadRequest(text=f'previous terminated container "{name}" in pod "{pod}" not found')
        return ended[0]
    started = [view for view in views if view.started_at > 0]
    if started:
        return started[0]
    waiting = state.waiting.get(name)
    if waiting is None:
        raise web.HTTPBadRequest(text=f'container "{name}" in pod "{pod}" is waiting to start: {_reason(state)}')
    if waiting.reason in ("ErrImagePull", "ImagePullBackOff"):
        words = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
        raise web.HTTPBadRequest(text=f'container "{name}" in pod "{pod}" is waiting to start: {words[waiting.reason]}')
    raise web.HTTPBadRequest(text=f'container "{name}" in pod "{pod}" is waiting to start: {waiting.reason}')


def _reason(state: State) -> str:
    return "PodInitializing" if state.pod.spec and state.pod.spec.initContainers else "ContainerCreating"


def _resident() -> int:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
