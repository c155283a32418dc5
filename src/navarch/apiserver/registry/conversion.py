"""Conversion between two served versions of one kind, on builtin trees.

Only two kinds are really served in two shapes: Events (core/v1 and events.k8s.io/v1) and HorizontalPodAutoscalers
(autoscaling/v1 and v2). Upstream counterparts: pkg/apis/core/v1, pkg/apis/autoscaling/v1 conversion.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a version is stored (`home`: group, version, plural) and how its objects get there and back."""

    home: tuple[str, str, str]
    inward: Callable[[Tree], Tree]
    outward: Callable[[Tree], Tree]


_EVENT_NAMES = {
    "note": "message",
    "regarding": "involvedObject",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}


def _head(tree: Tree, api_version: str) -> Tree:
    return {"apiVersion": api_version, "kind": tree.get("kind"), "metadata": tree.get("metadata") or {}}


def event_in(tree: Tree) -> Tree:
    """events.k8s.io/v1 → core/v1."""
    made = _head(tree, "v1")
    made |= {_EVENT_NAMES.get(k, k): v for k, v in tree.items() if k not in made}
    return made


def event_out(tree: Tree) -> Tree:
    """core/v1 → events.k8s.io/v1."""
    back = {v: k for k, v in _EVENT_NAMES.items()}
    made = _head(tree, "events.k8s.io/v1")
    made |= {back.get(k, k): v for k, v in tree.items() if k not in made}
    return made


_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"


def autoscaler_in(tree: Tree) -> Tree:
    """autoscaling/v1 → v2: the CPU target becomes a metric; what v1 cannot say rides in annotations."""
    made = _head(tree, "autoscaling/v2")
    metadata = dict(made["metadata"])
    notes = dict(metadata.get("annotations") or {})
    spec = dict(tree.get("spec") or {})
    target = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = json.loads(notes.pop(_METRICS)) if _METRICS in notes else []
    if target is not None:
        cpu = {"type": "Utilization", "averageUtilization": target}
        metrics = [*metrics, {"type": "Resource", "resource": {"name": "cpu", "target": cpu}}]
    if metrics:
        spec["metrics"] = metrics
    if _BEHAVIOR in notes:
        spec["behavior"] = json.loads(notes.pop(_BEHAVIOR))
    status = dict(tree.get("status") or {})
    current = status.pop("currentCPUUtilizationPercentage", None)
    held = json.loads(notes.pop(_CURRENT)) if _CURRENT in notes else []
    if current is not None:
        held = [*held, {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": current}}}]
    if held:
        status["currentMetrics"] = held
    if _CONDITIONS in notes:
        status["conditions"] = json.loads(notes.pop(_CONDITIONS))
    return _autoscaler(made, metadata, notes, spec, status)


def autoscaler_out(tree: Tree) -> Tree:
    """autoscaling/v2 → v1."""
    made = _head(tree, "autoscaling/v1")
    metadata = dict(made["metadata"])
    notes = dict(metadata.get("annotations") or {})
    spec = dict(tree.get("spec") or {})
    status = dict(tree.get("status") or {})
    target, rest = _cpu(spec.pop("metrics", None), "target")
    current, others = _cpu(status.pop("currentMetrics", None), "current")
    if target is not None:
        spec["targetCPUUtilizationPercentage"] = target
    if current is not None:
        status["currentCPUUtilizationPercentage"] = current
    behavior, conditions = spec.pop("behavior", None), status.pop("conditions", None)
    for name, value in ((_METRICS, rest), (_CURRENT, others), (_BEHAVIOR, behavior), (_CONDITIONS, conditions)):
        if value:
            notes[name] = json.dumps(value, separators=(",", ":"))
    return _autoscaler(made, metadata, notes, spec, status)


def _cpu(metrics: list[Tree] | None, field: str) -> tuple[int | None, list[Tree]]:
    """The CPU utilization among metrics, and the other metrics."""
    found, rest = None, []
    for metric in metrics or ():
        resource = metric.get("resource") or {}
        value = (resource.get(field) or {}).get("averageUtilization")
        if found is None and metric.get("type") == "Resource" and resource.get("name") == "cpu" and value is not None:
            found = value
        else:
            rest.append(metric)
    return found, rest


def _autoscaler(made: Tree, metadata: Tree, notes: dict[str, str], spec: Tree, status: Tree) -> Tree:
    metadata.pop("annotations", None)
    if notes:
        metadata["annotations"] = notes
    made["metadata"] = metadata
    if spec:
        made["spec"] = spec
    if status:
        made["status"] = status
    return made


STORED: dict[tuple[str, str, str], Stored] = {
    ("events.k8s.io", "v1", "events"): Stored(("", "v1", "events"), event_in, event_out),
    ("autoscaling", "v1", "horizontalpodautoscalers"): Stored(("autoscaling", "v2", "horizontalpodautoscalers"), autoscaler_in, autoscaler_out),
}
