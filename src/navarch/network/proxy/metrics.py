"""kube-proxy's metrics under upstream's names (pkg/proxy/metrics)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384)


class Metrics:
    """One set per process; the `ip_family` label tells the families apart."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        family = ["ip_family"]

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(f"kubeproxy_{name}", text, family, registry=registry, buckets=_SECONDS)

        self.sync = histogram("sync_proxy_rules_duration_seconds", "Time of one sync of the rules")
        self.full_sync = histogram("sync_full_proxy_rules_duration_seconds", "Time of a sync of all rules")
        self.partial_sync = histogram("sync_partial_proxy_rules_duration_seconds", "Time of a sync of what changed")
        self.programming = histogram("network_programming_duration_seconds", "From the change of an endpoint to the kernel")
        self.last_sync = Gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "Time of the last sync", family, registry=registry)
        self.last_queued = Gauge(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "When a sync was last asked for", family, registry=registry
        )
        self.failures = Counter("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "Failed syncs", family, registry=registry)
        self.cleanup_failures = Counter(
            "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total", "Failed deletions of stale chains", family, registry=registry
        )
        self.service_changes = Counter("kubeproxy_sync_proxy_rules_service_changes_total", "Changes of Services", registry=registry)
        self.endpoint_changes = Counter("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Changes of EndpointSlices", registry=registry)
        self.no_local = Gauge(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "Service ports with a Local policy and no local endpoint",
            ["traffic_policy", *family],
            registry=registry,
        )
