"""The literal lists of admission plugins, in upstream's order. Webhooks and policies go between the two groups of each list."""

from __future__ import annotations

from navarch.apiserver.admission import (
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

MUTATING: tuple[Plugin, ...] = (
    namespaces.lifecycle,
    limits.mutate,
    serviceaccounts.mutate,
    nodes.restrict,
    pods.nodes,
    pods.priority,
    pods.tolerate,
    storage.default_class,
    pods.runtime_class,
    storage.default_ingress_class,
    certificates.identity,
)
VALIDATING: tuple[Plugin, ...] = (
    podsecurity.check,
    limits.validate,
    pods.one_default,
    storage.resize,
    certificates.approval,
    certificates.signing,
    certificates.subject,
    escalation.check,
    quota.check,
)
