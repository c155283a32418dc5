"""The literal table of admission plugins: upstream's names, in upstream's order.

`--enable-admission-plugins` and `--disable-admission-plugins` choose from it. Every name upstream has is known: one that we do not
have may be disabled, since it is, and is refused when it is asked for.

Upstream counterpart: pkg/kubeapiserver/options/plugins.go.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Protocol

from navarch.apiserver.admission import certificates, escalation, limits, namespaces, nodes, pods, podsecurity, quota, serviceaccounts, storage
from navarch.apiserver.admission.chain import OPERATIONS, Chain, Plugin, Run
from navarch.apiserver.admission.policies import mutating as mutating_policies
from navarch.apiserver.admission.policies import permissions
from navarch.apiserver.admission.policies import validating as validating_policies
from navarch.apiserver.admission.policies.source import Source
from navarch.apiserver.admission.webhooks import mutating, validating
from navarch.apiserver.admission.webhooks.calling import Caller
from navarch.apiserver.admission.webhooks.registered import Registered
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.extensions.clients import Calls
from navarch.apiserver.metrics import Metrics
from navarch.apiserver.served import Catalog
from navarch.apiserver.storage import Storage

_CREATE, _UPDATE, _DELETE = ("CREATE",), ("UPDATE",), ("DELETE",)
_WRITES = ("CREATE", "UPDATE")


class Parts(Protocol):
    """What plugins are made with."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def storage(self) -> Storage: ...

    @property
    def authorizer(self) -> Authorizer: ...

    @property
    def calls(self) -> Calls: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def pod_security(self) -> podsecurity.Configuration: ...


def plugins(parts: Parts) -> tuple[Plugin, ...]:
    """All plugins, each with what it decides by."""
    catalog, authorizer = parts.catalog, parts.authorizer
    quotas = quota.Quotas(catalog, parts.storage)
    return (
        Plugin("NamespaceLifecycle", (*_CREATE, *_DELETE), partial(namespaces.lifecycle, catalog=catalog)),
        Plugin("LimitRanger", _WRITES, partial(limits.mutate, catalog=catalog), partial(limits.validate, catalog=catalog)),
        Plugin("ServiceAccount", _WRITES, partial(serviceaccounts.mutate, catalog=catalog), partial(serviceaccounts.validate, catalog=catalog)),
        Plugin("NodeRestriction", (*_WRITES, *_DELETE), partial(nodes.restrict, parts=parts)),
        Plugin("TaintNodesByCondition", _CREATE, pods.nodes),
        Plugin("PodSecurity", _WRITES, None, partial(podsecurity.check, parts=parts)),
        Plugin("Priority", _WRITES, partial(pods.priority, catalog=catalog), partial(pods.one_default, catalog=catalog)),
        Plugin("DefaultTolerationSeconds", _WRITES, pods.tolerate),
        Plugin("DefaultStorageClass", _CREATE, partial(storage.default_class, catalog=catalog)),
        Plugin("StorageObjectInUseProtection", _CREATE, storage.protect),
        Plugin("PersistentVolumeClaimResize", _UPDATE, None, partial(storage.resize, catalog=catalog)),
        Plugin("RuntimeClass", _CREATE, partial(pods.runtime_class, catalog=catalog)),
        Plugin("CertificateApproval", _UPDATE, None, partial(certificates.approval, authorizer=authorizer)),
        Plugin("CertificateSigning", _UPDATE, None, partial(certificates.signing, authorizer=authorizer)),
        Plugin("CertificateSubjectRestriction", _CREATE, None, certificates.subject),
        Plugin("DefaultIngressClass", _CREATE, partial(storage.default_ingress_class, catalog=catalog)),
        Plugin("", _CREATE, certificates.identity),
        Plugin("", _WRITES, None, partial(escalation.check, authorizer=authorizer)),
        Plugin("", _WRITES, None, partial(permissions.check, catalog=catalog, authorizer=authorizer)),
        Plugin("MutatingAdmissionPolicy", (*_WRITES, "CONNECT"), policies_that_mutate(parts)),
        Plugin(mutating.PLUGIN, OPERATIONS, mutating_webhooks(parts)),
        Plugin("ValidatingAdmissionPolicy", OPERATIONS, None, policies_that_validate(parts)),
        Plugin(validating.PLUGIN, OPERATIONS, None, validating_webhooks(parts)),
        Plugin("ResourceQuota", _WRITES, None, partial(quota.check, quotas=quotas)),
    )


def mutating_webhooks(parts: Parts) -> mutating.MutatingWebhooks:
    return mutating.MutatingWebhooks(_registered(parts, "mutatingwebhookconfigurations"), _caller(parts, "admit"))


def validating_webhooks(parts: Parts) -> validating.ValidatingWebhooks:
    return validating.ValidatingWebhooks(_registered(parts, "validatingwebhookconfigurations"), _caller(parts, "validating"))


def _registered(parts: Parts, plural: str) -> Registered:
    """The webhooks of a resource of configurations, which hears of their changes."""
    made = Registered(parts.catalog, plural)
    parts.storage.listen(made.changed)
    return made


def _caller(parts: Parts, step: str) -> Caller:
    return Caller(step, parts.calls, parts.catalog, parts.authorizer, parts.metrics.webhooks)


def policies_that_mutate(parts: Parts) -> Run:
    source = Source(parts.catalog, parts.storage, "mutatingadmissionpolicies", mutating_policies.compiled)
    return mutating_policies.Mutating(source, parts.authorizer).mutate


def policies_that_validate(parts: Parts) -> Run:
    source = Source(parts.catalog, parts.storage, "validatingadmissionpolicies", validating_policies.compiled)
    return validating_policies.Validating(source, parts.authorizer).validate


MISSING = frozenset(
    {
        "AlwaysAdmit", "AlwaysDeny", "AlwaysPullImages", "ClusterTrustBundleAttest", "DenyServiceExternalIPs", "EventRateLimit",
        "ExtendedResourceToleration", "ImagePolicyWebhook", "JobValidation", "LimitPodHardAntiAffinityTopology",
        "NamespaceAutoProvision", "NamespaceExists", "NodeDeclaredFeatureValidator",
        "OwnerReferencesPermissionEnforcement", "PodGroupProtection", "PodGroupWorkloadExists", "PodNodeSelector", "PodResizeValidator",
        "PodTolerationRestriction", "PodTopologyLabels",
    }
)  # fmt: skip
"""Upstream's plugins that we do not have."""


def chain(parts: Parts, enabled: Collection[str] = (), disabled: Collection[str] = ()) -> Chain:
    """The plugins that run. ValueError, in upstream's words where it has them, for names that cannot be meant."""
    every = plugins(parts)
    ours = {p.name for p in every if p.name}
    for flag, names in (("disable-admission-plugins", disabled), ("enable-admission-plugins", enabled)):
        for name in names:
            if name not in ours and name not in MISSING:
                raise ValueError(f'{flag} plugin "{name}" is unknown')
    if both := sorted(set(enabled) & set(disabled)):
        raise ValueError(f"[{' '.join(both)}] in enable-admission-plugins and disable-admission-plugins overlapped")
    if absent := sorted(set(enabled) & MISSING):
        raise ValueError(f"enable-admission-plugins: this server does not have {', '.join(absent)}; it has {', '.join(sorted(ours))}")
    return Chain(p for p in every if p.name not in disabled)
