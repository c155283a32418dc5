"""What is counted of APIServices, by upstream's names and labels.

Upstream counterpart: kube-aggregator's pkg/controllers/status/metrics.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Availabilities(Collector):
    """Which APIServices cannot be reached. One that is gone has no series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._available: dict[str, bool] = {}
        self._became_unavailable = Counter(
            "aggregator_unavailable_apiservice",
            "Counter of APIServices which are marked as unavailable broken down by APIService name and reason.",
            ("name", "reason"),
            registry=registry,
        )
        registry.register(self)

    def note(self, name: str, *, available: bool) -> None:
        self._available[name] = available

    def forget(self, name: str) -> None:
        self._available.pop(name, None)

    def became_unavailable(self, name: str, reason: str) -> None:
        self._became_unavailable.labels(name, reason).inc()

    def collect(self) -> Iterator[Metric]:
        text = "Gauge of APIServices which are marked as unavailable broken down by APIService name."
        made = GaugeMetricFamily("aggregator_unavailable_apiservice", text, labels=("name",))
        for name, available in self._available.items():
            made.add_metric((name,), 0.0 if available else 1.0)
        yield made
