"""Which nodes a pod's node selector and required node affinity allow.

Upstream counterpart: k8s.io/component-helpers/scheduling/corev1/nodeaffinity (GetRequiredNodeAffinity).
"""

from __future__ import annotations

from collections.abc import Mapping

from navarch.api.core import v1 as core_v1
from navarch.machinery import selectors
from navarch.objects import meta


def allows(spec: core_v1.PodSpec, node: core_v1.Node) -> bool:
    """Whether a pod of this spec may be on a node, by selector and required affinity. A term without requirements matches nothing."""
    labels = meta.of(node).labels or {}
    if any(labels.get(key) != value for key, value in (spec.nodeSelector or {}).items()):
        return False
    affinity = spec.affinity.nodeAffinity if spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    if required is None:
        return True
    fields = {"metadata.name": meta.of(node).name or ""}
    return any(_term(term, labels, fields) for term in required.nodeSelectorTerms or ())


def _term(term: core_v1.NodeSelectorTerm, labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    if not term.matchExpressions and not term.matchFields:
        return False
    return all(_matches(e, labels) for e in term.matchExpressions or ()) and all(_matches(e, fields) for e in term.matchFields or ())


def _matches(requirement: core_v1.NodeSelectorRequirement, values: Mapping[str, str]) -> bool:
    return selectors.expression(requirement.key or "", requirement.operator or "", requirement.values).matches(values)
