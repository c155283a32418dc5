"""What the API server counts, in the Prometheus text format.

Names and labels are upstream's (apiserver_request_total and so on), so that its dashboards and alerts work.
"""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


class Metrics:
    """The server's own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("verb", "group", "version", "resource", "subresource", "code")
        self.requests = Counter("apiserver_request", "Requests by verb, resource and response code.", labels, registry=self.registry)
        self.seconds = Histogram(
            "apiserver_request_duration_seconds",
            "Response latency by verb and resource.",
            ("verb", "resource"),
            registry=self.registry,
            buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30),
        )
        self.watchers = Gauge("apiserver_longrunning_requests", "Watches and streams open now.", ("verb",), registry=self.registry)

    def answer(self) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
