"""PodTemplates and ReplicationControllers: what apps/v1 grew out of.

Upstream counterparts: pkg/registry/core/{podtemplate,replicationcontroller}, pkg/apis/core/validation.
"""

from __future__ import annotations

from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks, template_defaults, templates, workloads
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import Tree, age_of, containers, label_text, name_of, sheet, spec_of, status_of, template_spec
from navarch.apiserver.kinds.strategy import Key, Selectable, Strategy, again
from navarch.machinery import field


def default_pod_template(obj: core_v1.PodTemplate) -> None:
    obj.template = template_defaults.template(obj.template)


def validate_pod_template(obj: core_v1.PodTemplate) -> Found:
    found: Found = []
    assert obj.template is not None
    templates.template(found, "template", obj.template)
    return found


def pod_template_row(t: Tree, now: float) -> list[Any]:
    template = t.get("template") or {}
    return [name_of(t, now), *containers(template.get("spec") or {}), label_text((template.get("metadata") or {}).get("labels"))]


def default_replication_controller(obj: core_v1.ReplicationController) -> None:
    spec = obj.spec = obj.spec or core_v1.ReplicationControllerSpec()
    if spec.replicas is None:
        spec.replicas = 1
    if spec.template is None:
        return
    spec.template = template_defaults.template(spec.template)
    labels = spec.template.metadata.labels if spec.template.metadata else None
    if labels:
        spec.selector = spec.selector or dict(labels)
        if obj.metadata is not None:
            obj.metadata.labels = obj.metadata.labels or dict(labels)


def validate_replication_controller(obj: core_v1.ReplicationController) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None
    checks.not_negative(found, "spec.minReadySeconds", spec.minReadySeconds)
    if not spec.selector:
        found.append(field.required("spec.selector"))
    checks.not_negative(found, "spec.replicas", spec.replicas)
    if spec.template is None:
        found.append(field.required("spec.template"))
        return found
    if spec.selector and not spec.selector.items() <= (workloads.template_labels(spec.template) or {}).items():
        found.append(field.invalid("spec.template.metadata.labels", workloads.template_labels(spec.template), workloads.LABELS_MISMATCH))
    workloads.check_always(found, spec.template, "ReplicationController")
    return found


def replication_controller_row(t: Tree, now: float) -> list[Any]:
    spec, status = spec_of(t), status_of(t)
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name_of(t, now), *counts, age_of(t, now), *containers(template_spec(t)), label_text(spec.get("selector"))]


KINDS: dict[Key, Strategy] = {
    ("", "podtemplates"): Strategy(
        default=default_pod_template,
        validate=validate_pod_template,
        validate_update=again(validate_pod_template),
        generation=True,
        returns_deleted=True,
        columns=sheet("Name|Containers|Images|Pod Labels", pod_template_row),
    ),
    ("", "replicationcontrollers"): Strategy(
        default=default_replication_controller,
        prepare_create=workloads.blank_status(lambda: core_v1.ReplicationControllerStatus(replicas=0)),
        validate=validate_replication_controller,
        validate_update=again(validate_replication_controller),
        orphans=True,
        generation=True,
        columns=sheet("Name|Desired#|Current#|Ready#|Age|Containers*|Images*|Selector*", replication_controller_row),
        selectable=(Selectable("status.replicas", absent="0"),),
    ),
}
