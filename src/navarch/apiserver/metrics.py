"""What the API server counts, in the Prometheus text format.

Names and labels are upstream's (apiserver_request_total and so on), so that its dashboards and alerts work.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from navarch.apiserver.admission.webhooks.metrics import WebhookMetrics
from navarch.apiserver.aggregation.metrics import Availabilities
from navarch.apiserver.answers import Document
from navarch.apiserver.call import Call
from navarch.apiserver.routes import RequestInfo
from navarch.apiserver.served import Catalog


class Metrics:
    """The server's own registry."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
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
        self.webhooks = WebhookMetrics(self.registry)
        self.availabilities = Availabilities(self.registry)
        self._counters: dict[tuple[str, str, str, str, str, str], Counter] = {}
        self._timers: dict[tuple[str, str], Histogram] = {}

    def count(self, call: Call, code: int) -> None:
        """Notes an answered request. Watches are counted but not timed: they last as long as they are wanted."""
        if not code:
            return
        info = call.info
        verb = info.verb.upper()
        key = (verb, info.group, info.version, info.plural, info.subresource, str(code))
        counter = self._counters.get(key)
        plural = info.plural
        if counter is None:
            if not self._served(info):
                key, plural = (verb, "", "", "", "", str(code)), ""
            counter = self._counters.setdefault(key, self.requests.labels(*key))
        counter.inc()
        if verb == "WATCH":
            return
        timer = self._timers.get((verb, plural))
        if timer is None:
            timer = self._timers[verb, plural] = self.seconds.labels(verb, plural)
        timer.observe(time.perf_counter() - call.began)

    def _served(self, info: RequestInfo) -> bool:
        """Whether a request names something there is. What there is not has no series: clients could make any number of them."""
        served = self._catalog.get(info.group, info.version, info.plural)
        return served is not None and (not info.subresource or info.subresource in served.resource.subresources)

    def answer(self) -> Document:
        return Document(generate_latest(self.registry), media=CONTENT_TYPE_LATEST)
