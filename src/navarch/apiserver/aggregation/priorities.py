"""Where groups and versions stand among each other: the order of discovery, which decides what a short name means.

Upstream counterparts: pkg/controlplane/apiserver/aggregator.go and cmd/kube-apiserver/app/aggregator.go (the numbers), kube-aggregator's
pkg/apis/apiregistration/v1/helper (the order).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from navarch.apiserver.served import preference


class Priority(NamedTuple):
    """The larger come first. `group` counts between groups, `version` within one."""

    group: int
    version: int


GroupVersion = tuple[str, str]

OWN_GROUP = "apiregistration.k8s.io"
"""No APIService stands for it, and it comes first: without it there are no others."""

OWN = Priority(20001, 0)
CUSTOM = Priority(1000, 100)
"""Of groups that CustomResourceDefinitions define."""

BUILT_IN: Mapping[GroupVersion, Priority] = {
    ("", "v1"): Priority(18000, 1),
    ("apps", "v1"): Priority(17800, 15),
    ("events.k8s.io", "v1"): Priority(17750, 15),
    ("events.k8s.io", "v1beta1"): Priority(17750, 5),
    ("authentication.k8s.io", "v1"): Priority(17700, 15),
    ("authentication.k8s.io", "v1beta1"): Priority(17700, 9),
    ("authentication.k8s.io", "v1alpha1"): Priority(17700, 1),
    ("authorization.k8s.io", "v1"): Priority(17600, 15),
    ("autoscaling", "v1"): Priority(17500, 15),
    ("autoscaling", "v2"): Priority(17500, 30),
    ("autoscaling", "v2beta1"): Priority(17500, 9),
    ("autoscaling", "v2beta2"): Priority(17500, 1),
    ("batch", "v1"): Priority(17400, 15),
    ("batch", "v1beta1"): Priority(17400, 9),
    ("batch", "v2alpha1"): Priority(17400, 9),
    ("certificates.k8s.io", "v1"): Priority(17300, 15),
    ("certificates.k8s.io", "v1beta1"): Priority(17300, 9),
    ("certificates.k8s.io", "v1alpha1"): Priority(17300, 1),
    ("networking.k8s.io", "v1"): Priority(17200, 15),
    ("networking.k8s.io", "v1beta1"): Priority(17200, 9),
    ("policy", "v1"): Priority(17100, 15),
    ("policy", "v1beta1"): Priority(17100, 9),
    ("rbac.authorization.k8s.io", "v1"): Priority(17000, 15),
    ("storage.k8s.io", "v1"): Priority(16800, 15),
    ("storage.k8s.io", "v1beta1"): Priority(16800, 9),
    ("storage.k8s.io", "v1alpha1"): Priority(16800, 1),
    ("apiextensions.k8s.io", "v1"): Priority(16700, 15),
    ("admissionregistration.k8s.io", "v1"): Priority(16700, 15),
    ("admissionregistration.k8s.io", "v1beta1"): Priority(16700, 12),
    ("admissionregistration.k8s.io", "v1alpha1"): Priority(16700, 9),
    ("scheduling.k8s.io", "v1"): Priority(16600, 15),
    ("scheduling.k8s.io", "v1alpha2"): Priority(16600, 2),
    ("coordination.k8s.io", "v1"): Priority(16500, 15),
    ("coordination.k8s.io", "v1beta1"): Priority(16500, 13),
    ("coordination.k8s.io", "v1alpha2"): Priority(16500, 12),
    ("node.k8s.io", "v1"): Priority(16300, 15),
    ("node.k8s.io", "v1alpha1"): Priority(16300, 1),
    ("node.k8s.io", "v1beta1"): Priority(16300, 9),
    ("discovery.k8s.io", "v1"): Priority(16200, 15),
    ("discovery.k8s.io", "v1beta1"): Priority(16200, 12),
    ("resource.k8s.io", "v1"): Priority(16200, 21),
    ("resource.k8s.io", "v1beta2"): Priority(16200, 15),
    ("resource.k8s.io", "v1beta1"): Priority(16200, 9),
    ("resource.k8s.io", "v1alpha3"): Priority(16200, 1),
    ("flowcontrol.apiserver.k8s.io", "v1"): Priority(16100, 21),
    ("flowcontrol.apiserver.k8s.io", "v1beta3"): Priority(16100, 18),
    ("flowcontrol.apiserver.k8s.io", "v1beta2"): Priority(16100, 15),
    ("flowcontrol.apiserver.k8s.io", "v1beta1"): Priority(16100, 12),
    ("flowcontrol.apiserver.k8s.io", "v1alpha1"): Priority(16100, 9),
    ("internal.apiserver.k8s.io", "v1alpha1"): Priority(16000, 9),
    ("storagemigration.k8s.io", "v1beta1"): Priority(15800, 9),
}


def of_local(group: str, version: str) -> Priority:
    """The priority of a group version that this server serves."""
    return OWN if group == OWN_GROUP else BUILT_IN.get((group, version), CUSTOM)


def ordered(entries: Mapping[GroupVersion, Priority]) -> dict[str, list[str]]:
    """group → its versions, both in the order of discovery. A group stands where its best version puts it, and by name among equals."""
    groups: dict[str, list[str]] = {}
    for group, version in entries:
        groups.setdefault(group, []).append(version)
    best = {group: max(entries[group, version].group for version in versions) for group, versions in groups.items()}
    names = sorted(groups, key=lambda group: (-best[group], group))
    return {group: _versions(group, groups[group], entries) for group in names}


def _versions(group: str, versions: Iterable[str], entries: Mapping[GroupVersion, Priority]) -> list[str]:
    return sorted(versions, key=lambda version: (-entries[group, version].version, preference(version)))
