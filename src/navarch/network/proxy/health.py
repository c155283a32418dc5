"""What kube-proxy answers over HTTP: its own health, its metrics, and per-service health checks for load balancers.

`/healthz` is 503 when a change waits longer than a minute to reach the kernel or the node is being deleted; `/livez` leaves
out the node. A Service with externalTrafficPolicy Local gets a port of its own that says how many local endpoints it has.

Upstream counterparts: pkg/proxy/healthcheck's proxy_health.go and service_health.go.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from aiohttp import web
from prometheus_client import CollectorRegistry, exposition

from navarch.network.proxy.core.compiling import HealthCheck

_log = logging.getLogger(__name__)
TIMEOUT = 60.0
Handler = Callable[[web.Request], web.StreamResponse]


class Health:
    """When the kernel was last brought up to date, and since when something waits."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.updated = 0.0
        self.waiting_since: float | None = None
        self.node_eligible = True

    def queued(self) -> None:
        if self.waiting_since is None:
            self.waiting_since = self._clock()

    def done(self) -> None:
        self.updated, self.waiting_since = self._clock(), None

    @property
    def healthy(self) -> bool:
        return self.updated > 0 and (self.waiting_since is None or self._clock() - self.waiting_since < TIMEOUT)

    def answer(self, *, with_node: bool) -> web.Response:
        healthy = self.healthy and (self.node_eligible or not with_node)
        body: dict[str, object] = {"lastUpdated": _stamp(self.updated), "currentTime": _stamp(self._clock())}
        if with_node:
            body["nodeEligible"] = self.node_eligible
        return web.json_response(body, status=200 if healthy else 503, headers={"X-Content-Type-Options": "nosniff"})


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")


async def listen(address: str, port: int, routes: Mapping[str, Handler]) -> web.AppRunner:
    """Serves GET handlers by path; stop it with `cleanup()`. OSError when the port is taken."""

    def handler(answer: Handler) -> Callable[[web.Request], object]:
        async def serve(request: web.Request) -> web.StreamResponse:
            return answer(request)

        return serve

    application = web.Application()
    for path, answer in routes.items():
        application.router.add_get(path, handler(answer))  # type: ignore[arg-type]
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port, reuse_address=True).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


def health_routes(health: Health) -> dict[str, Handler]:
    return {"/healthz": lambda _: health.answer(with_node=True), "/livez": lambda _: health.answer(with_node=False)}


def metrics_routes(registry: CollectorRegistry, mode: str) -> dict[str, Handler]:
    def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition.generate_latest(registry), headers={"Content-Type": exposition.CONTENT_TYPE_LATEST})

    return {"/metrics": metrics, "/healthz": lambda _: web.Response(text="ok"), "/proxyMode": lambda _: web.Response(text=mode)}


class ServiceChecks:
    """The ports of the per-service checks, opened and closed as Services come and go."""

    def __init__(self, health: Health, address: str = "0.0.0.0") -> None:
        self._health, self._address = health, address
        self._open: dict[str, tuple[int, web.AppRunner]] = {}
        self._counts: dict[str, int] = {}

    async def sync(self, wanted: Mapping[str, HealthCheck]) -> None:
        """`wanted` maps `namespace/name` to its check."""
        self._counts = {owner: check.local_endpoints for owner, check in wanted.items()}
        for owner, (port, runner) in list(self._open.items()):
            if owner not in wanted or wanted[owner].port != port:
                await runner.cleanup()
                del self._open[owner]
        for owner, check in wanted.items():
            if owner not in self._open:
                try:
                    runner = await listen(self._address, check.port, {"/{path:.*}": self._answers(owner)})
                except OSError as error:
                    _log.error("no health check for service %s on port %d: %s", owner, check.port, error)
                    continue
                self._open[owner] = (check.port, runner)

    async def close(self) -> None:
        await self.sync({})

    def _answers(self, owner: str) -> Handler:
        namespace, _, name = owner.partition("/")

        def answer(_: web.Request) -> web.Response:
            count = self._counts.get(owner, 0)
            body = {
                "service": {"namespace": namespace, "name": name},
                "localEndpoints": count,
                "serviceProxyHealthy": self._health.healthy,
            }
            headers = {"X-Content-Type-Options": "nosniff", "X-Load-Balancing-Endpoint-Weight": str(count)}
            status = 200 if count and self._health.healthy else 503
            return web.Response(text=json.dumps(body, indent="\t"), status=status, headers=headers, content_type="application/json")

        return answer
