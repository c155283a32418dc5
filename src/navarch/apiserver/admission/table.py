"""The literal table of admission plugins: upstream's names, in upstream's order.

`--enable-admission-plugins` and `--disable-admission-plugins` choose from it. Every name upstream has is known: one that we do not
have may be disabled, since it is, and is refused when it is asked for.

Upstream counterpart: pkg/kubeapiserver/options/plugins.go.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from navarch.apiserver.admission import (
    Chain,
    Plugin,
    certificates,
    escalation,
    limits,
    namespaces,
    nodes,
    pods,
    podsecurity,
    quota,
    serviceaccounts,
    storage,
)


@dataclass(frozen=True, slots=True)
class Row:
    """A plugin's halves. One without a name is no plugin upstream but a check of the registry: it cannot be switched off."""

    name: str
    mutate: Plugin | None = None
    validate: Plugin | None = None


ROWS: tuple[Row, ...] = (
    Row("NamespaceLifecycle", namespaces.lifecycle),
    Row("LimitRanger", limits.mutate, limits.validate),
    Row("ServiceAccount", serviceaccounts.mutate, serviceaccounts.validate),
    Row("NodeRestriction", nodes.restrict),
    Row("TaintNodesByCondition", pods.nodes),
    Row("PodSecurity", None, podsecurity.check),
    Row("Priority", pods.priority, pods.one_default),
    Row("DefaultTolerationSeconds", pods.tolerate),
    Row("DefaultStorageClass", storage.default_class),
    Row("StorageObjectInUseProtection", storage.protect),
    Row("PersistentVolumeClaimResize", None, storage.resize),
    Row("RuntimeClass", pods.runtime_class),
    Row("CertificateApproval", None, certificates.approval),
    Row("CertificateSigning", None, certificates.signing),
    Row("CertificateSubjectRestriction", None, certificates.subject),
    Row("DefaultIngressClass", storage.default_ingress_class),
    Row("", certificates.identity),
    Row("", None, escalation.check),
    Row("ResourceQuota", None, quota.check),
)

MISSING = frozenset(
    {
        "AlwaysAdmit", "AlwaysDeny", "AlwaysPullImages", "ClusterTrustBundleAttest", "DenyServiceExternalIPs", "EventRateLimit",
        "ExtendedResourceToleration", "ImagePolicyWebhook", "JobValidation", "LimitPodHardAntiAffinityTopology", "MutatingAdmissionPolicy",
        "MutatingAdmissionWebhook", "NamespaceAutoProvision", "NamespaceExists", "NodeDeclaredFeatureValidator",
        "OwnerReferencesPermissionEnforcement", "PodGroupProtection", "PodGroupWorkloadExists", "PodNodeSelector", "PodResizeValidator",
        "PodTolerationRestriction", "PodTopologyLabels", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook",
    }
)  # fmt: skip
"""Upstream's plugins that we do not have."""


def chain(enabled: Collection[str] = (), disabled: Collection[str] = ()) -> Chain:
    """The plugins that run. ValueError, in upstream's words where it has them, for names that cannot be meant."""
    ours = {row.name for row in ROWS if row.name}
    for flag, names in (("disable-admission-plugins", disabled), ("enable-admission-plugins", enabled)):
        for name in names:
            if name not in ours and name not in MISSING:
                raise ValueError(f'{flag} plugin "{name}" is unknown')
    if both := sorted(set(enabled) & set(disabled)):
        raise ValueError(f"[{' '.join(both)}] in enable-admission-plugins and disable-admission-plugins overlapped")
    if absent := sorted(set(enabled) & MISSING):
        raise ValueError(f"enable-admission-plugins: this server does not have {', '.join(absent)}; it has {', '.join(sorted(ours))}")
    running = [row for row in ROWS if row.name not in disabled]
    return Chain(tuple(r.mutate for r in running if r.mutate), tuple(r.validate for r in running if r.validate))
