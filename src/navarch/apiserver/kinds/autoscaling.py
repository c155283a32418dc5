"""autoscaling: HorizontalPodAutoscalers, served as v1 and v2, stored as the latter.

Upstream counterparts: pkg/apis/autoscaling/{v1,v2,validation}, pkg/registry/autoscaling.
"""

from __future__ import annotations

import json
from typing import Any

from navarch.api.autoscaling import v2 as autoscaling_v2
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import NOTHING, UNKNOWN, UNSET, Tree, age_of, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.core import events
from navarch.apiserver.kinds.strategy import Key, Stored, Strategy, again
from navarch.machinery import amounts, field, names

_SCALE_UP = (
    autoscaling_v2.HPAScalingPolicy(type="Pods", value=4, periodSeconds=15),
    autoscaling_v2.HPAScalingPolicy(type="Percent", value=100, periodSeconds=15),
)
_SCALE_DOWN = (autoscaling_v2.HPAScalingPolicy(type="Percent", value=100, periodSeconds=15),)


def default_autoscaler(obj: autoscaling_v2.HorizontalPodAutoscaler) -> None:
    spec = obj.spec = obj.spec or autoscaling_v2.HorizontalPodAutoscalerSpec()
    if spec.minReplicas is None:
        spec.minReplicas = 1
    if not spec.metrics:
        target = autoscaling_v2.MetricTarget(type="Utilization", averageUtilization=80)
        spec.metrics = [autoscaling_v2.MetricSpec(type="Resource", resource=autoscaling_v2.ResourceMetricSource(name="cpu", target=target))]
    for metric in spec.metrics:
        for part in (metric.resource, metric.containerResource, metric.pods, metric.object, metric.external):
            if part is not None and part.target is not None:
                _target(part.target)
    if spec.behavior is not None:
        up = spec.behavior.scaleUp = spec.behavior.scaleUp or autoscaling_v2.HPAScalingRules()
        if up.stabilizationWindowSeconds is None:
            up.stabilizationWindowSeconds = 0
        up.selectPolicy = up.selectPolicy or "Max"
        up.policies = list(_SCALE_UP) if up.policies is None else up.policies
        down = spec.behavior.scaleDown = spec.behavior.scaleDown or autoscaling_v2.HPAScalingRules()
        down.selectPolicy = down.selectPolicy or "Max"
        down.policies = list(_SCALE_DOWN) if down.policies is None else down.policies


def _target(target: autoscaling_v2.MetricTarget) -> None:
    if target.value is not None:
        target.value = amounts.stored(target.value)
    if target.averageValue is not None:
        target.averageValue = amounts.stored(target.averageValue)


def prepare_autoscaler(obj: autoscaling_v2.HorizontalPodAutoscaler, now: float) -> None:
    obj.status = autoscaling_v2.HorizontalPodAutoscalerStatus(desiredReplicas=0, currentMetrics=None)


def validate_autoscaler(obj: autoscaling_v2.HorizontalPodAutoscaler) -> Found:
    found: Found = []
    spec = obj.spec or autoscaling_v2.HorizontalPodAutoscalerSpec()
    least, most = spec.minReplicas, spec.maxReplicas or 0
    if least is not None and least < 1:
        found.append(field.invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        found.append(field.required("spec.maxReplicas", "must be set and greater than 0"))
    elif least is not None and most < least:
        found.append(field.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.scaleTargetRef or autoscaling_v2.CrossVersionObjectReference()
    for part in ("kind", "name"):
        value = getattr(target, part)
        if not value:
            found.append(field.required(f"spec.scaleTargetRef.{part}"))
        else:
            found += (field.invalid(f"spec.scaleTargetRef.{part}", value, p) for p in names.path_segment(value))
    if "/" not in (target.apiVersion or "") and target.kind != "ReplicationController":
        found.append(field.invalid("spec.scaleTargetRef.apiVersion", target.apiVersion or "", "apiVersion must specify API group"))
    for i, metric in enumerate(spec.metrics or ()):
        _check_metric(found, f"spec.metrics[{i}]", metric)
    return found


def autoscaler_row(t: Tree, now: float) -> list[Any]:
    """Of an autoscaling/v2 object."""
    spec, status = spec_of(t), status_of(t)
    target = spec.get("scaleTargetRef") or {}
    specs, seen = spec.get("metrics") or [], status.get("currentMetrics") or []
    parts = [_shown_metric(m, seen[i] if i < len(seen) else {}) for i, m in enumerate(specs)]
    shown = ", ".join(parts[:2]) + (f" + {len(parts) - 2} more..." if len(parts) > 2 else "") if parts else NOTHING
    if "targetCPUUtilizationPercentage" in spec:
        current = status.get("currentCPUUtilizationPercentage")
        shown = f"cpu: {UNKNOWN if current is None else f'{current}%'}/{spec['targetCPUUtilizationPercentage']}%"
    least = spec.get("minReplicas")
    counts = [UNSET if least is None else str(least), spec.get("maxReplicas", 0), status.get("currentReplicas", 0)]
    return [name_of(t, now), f"{target.get('kind', '')}/{target.get('name', '')}", shown, *counts, age_of(t, now)]


_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"


def autoscaler_inward(tree: Tree) -> Tree:
    """autoscaling/v1 → v2: the CPU target becomes a metric; what v1 cannot say rides in annotations."""
    made = events._event_head(tree, "autoscaling/v2")
    metadata = dict(made["metadata"])
    notes = dict(metadata.get("annotations") or {})
    spec = dict(tree.get("spec") or {})
    target = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = json.loads(notes.pop(_NOTED_METRICS)) if _NOTED_METRICS in notes else []
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


def autoscaler_outward(tree: Tree) -> Tree:
    """autoscaling/v2 → v1."""
    made = events._event_head(tree, "autoscaling/v1")
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
    for name, value in ((_NOTED_METRICS, rest), (_CURRENT, others), (_BEHAVIOR, behavior), (_CONDITIONS, conditions)):
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


_NOTED_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_METRIC_FIELDS = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_SHOWN_PARTS = {
    "External": "external",
    "Pods": "pods",
    "Object": "object",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _check_metric(found: Found, at: str, metric: autoscaling_v2.MetricSpec) -> None:
    if not metric.type:
        found.append(field.required(f"{at}.type", "must specify a metric source type"))
        return
    if metric.type not in _METRIC_FIELDS:
        found.append(field.not_supported(f"{at}.type", metric.type, sorted(_METRIC_FIELDS)))
        return
    part = _METRIC_FIELDS[metric.type]
    held: Any = getattr(metric, part)
    if held is None:
        why = "must populate information for the given metric source"
        found.append(field.required(f"{at}.{part}", why))
        return
    target = held.target
    if target is None or not target.type:
        found.append(field.required(f"{at}.{part}.target.type", "must specify a metric target type"))
        return
    if target.type not in ("Utilization", "Value", "AverageValue"):
        why = "must be either Utilization, Value, or AverageValue"
        found.append(field.invalid(f"{at}.{part}.target.type", target.type, why))
    if target.averageUtilization is not None and target.averageUtilization < 1:
        found.append(field.invalid(f"{at}.{part}.target.averageUtilization", target.averageUtilization, "must be greater than 0"))
    if part in ("resource", "containerResource"):
        if not held.name:
            found.append(field.required(f"{at}.{part}.name", "must specify a resource name"))
        if target.averageUtilization is None and target.averageValue is None:
            path = f"{at}.{part}.target.averageUtilization"
            found.append(field.required(path, "must set either a target raw value or a target utilization"))
        if target.averageUtilization is not None and target.averageValue is not None:
            why = "may not set both a target raw value and a target utilization"
            found.append(field.forbidden(f"{at}.{part}.target.averageValue", why))


def _shown_metric(spec: Tree, status: Tree) -> str:
    part = _SHOWN_PARTS.get(spec.get("type", ""))
    if part is None:
        return "<unknown type>"
    held, seen = spec.get(part) or {}, (status.get(part) or {}).get("current") or {}
    target = held.get("target") or {}
    if part in ("resource", "containerResource"):
        head = f"{held.get('name', '')}: "
        if target.get("averageValue") is not None:
            return f"{head}{seen.get('averageValue', UNKNOWN)}/{target['averageValue']}"
        now, goal = seen.get("averageUtilization"), target.get("averageUtilization")
        return f"{head}{UNKNOWN if now is None else f'{now}%'}/{'<auto>' if goal is None else f'{goal}%'}"
    if target.get("averageValue") is not None:
        tail = "" if part == "pods" else " (avg)"
        return f"{seen.get('averageValue', UNKNOWN)}/{target['averageValue']}{tail}"
    return f"{seen.get('value', UNKNOWN)}/{target.get('value', '0')}"


KINDS: dict[Key, Strategy] = {
    ("autoscaling", "horizontalpodautoscalers"): Strategy(
        default=default_autoscaler,
        prepare_create=prepare_autoscaler,
        validate=validate_autoscaler,
        validate_update=again(validate_autoscaler),
        versions={"v1": Stored(("autoscaling", "v2", "horizontalpodautoscalers"), autoscaler_inward, autoscaler_outward)},
        columns=sheet("Name|Reference|Targets|MinPods|MaxPods|Replicas|Age", autoscaler_row),
    )
}
