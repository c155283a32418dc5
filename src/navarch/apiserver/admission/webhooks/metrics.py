"""What is counted of webhooks, by upstream's names and labels.

Upstream counterpart: apiserver's pkg/admission/metrics.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

_PREFIX = "apiserver_admission_"
_MOST_CODE = 600
_WEBHOOK_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25)
_CONDITION_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25)
CALLING_ERROR, INTERNAL_ERROR, NO_ERROR = "calling_webhook_error", "apiserver_internal_error", "no_error"


class _Count(Collector):
    """A counter whose name does not end in `_total`, as some of upstream's do not."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._values: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def add(self, *values: str) -> None:
        self._values[values] = self._values.get(values, 0) + 1

    def collect(self) -> Iterator[Metric]:
        made = Metric(self._name, self._text, "unknown")
        for values, count in self._values.items():
            made.add_sample(self._name, dict(zip(self._labels, values, strict=True)), count)
        yield made


class WebhookMetrics:
    """`step` is "admit" for mutating webhooks, "validating" for the others."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            f"{_PREFIX}webhook_admission_duration_seconds",
            "Admission webhook latency in seconds, by name, operation, type and whether the request was rejected.",
            ("name", "type", "operation", "rejected"),
            registry=registry,
            buckets=_WEBHOOK_SECONDS,
        )
        self._requests = Counter(
            f"{_PREFIX}webhook_request",
            "Requests to admission webhooks. Codes greater than 600 count as 600.",
            ("name", "type", "operation", "code", "rejected"),
            registry=registry,
        )
        self._rejections = _Count(
            f"{_PREFIX}webhook_rejection_count",
            "Rejections by admission webhooks, or for want of their answer. Codes greater than 600 count as 600.",
            ("name", "type", "operation", "error_type", "rejection_code"),
            registry,
        )
        self._open = _Count(f"{_PREFIX}webhook_fail_open_count", "Admission webhooks that failed and were passed over.", ("name", "type"), registry)
        labels = ("name", "kind", "type", "operation")
        self._condition_errors = Counter(f"{_PREFIX}match_condition_evaluation_errors", "Match conditions that failed.", labels, registry=registry)
        self._exclusions = Counter(
            f"{_PREFIX}match_condition_exclusions", "Webhooks that were not called as a match condition was false.", labels, registry=registry
        )
        self._condition_seconds = Histogram(
            f"{_PREFIX}match_condition_evaluation_seconds",
            "How long match conditions took.",
            labels,
            registry=registry,
            buckets=_CONDITION_SECONDS,
        )

    def called(self, name: str, step: str, operation: str, seconds: float, code: int, *, rejected: bool) -> None:
        told = "true" if rejected else "false"
        self._requests.labels(name, step, operation, str(min(code, _MOST_CODE)), told).inc()
        self._seconds.labels(name, step, operation, told).observe(seconds)

    def rejected(self, name: str, step: str, operation: str, error: str, code: int) -> None:
        self._rejections.add(name, step, operation, error, str(min(code, _MOST_CODE)))

    def passed_over(self, name: str, step: str) -> None:
        self._open.add(name, step)

    def conditions(self, name: str, step: str, operation: str, seconds: float, *, excluded: bool, failed: bool) -> None:
        labels = (name, "webhook", step, operation)
        self._condition_seconds.labels(*labels).observe(seconds)
        if excluded:
            self._exclusions.labels(*labels).inc()
        if failed:
            self._condition_errors.labels(*labels).inc()
