"""Tells in the status of ValidatingAdmissionPolicies which of their expressions do not fit what they match.

A policy is looked at again when its specification changes. What is known of custom resources is what their definitions say at that time.

Upstream counterpart: pkg/controller/validatingadmissionpolicystatus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from navarch.api import resources
from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.apiextensions import v1 as extensions_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.core import type_checking
from navarch.controllers.core.type_checking import Kind
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery.structural import builtin, schema
from navarch.machinery.structural.schema import Structural
from navarch.objects import meta

_MANAGER = "validatingadmissionpolicy-status"


class TypeCheckingController(Reconciler):
    """Writes what the type checker says."""

    name = "validatingadmissionpolicy-status"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._policies = context.informer(admission_v1.ValidatingAdmissionPolicy)
        self._definitions = context.informer(extensions_v1.CustomResourceDefinition)

    def watches(self) -> Iterable[Watch]:
        yield Watch(admission_v1.ValidatingAdmissionPolicy, lambda p: [meta.key(p)])

    async def reconcile(self, key: str) -> float | None:
        policy = self._policies.get(key)
        if policy is None or (generation := meta.of(policy).generation or 0) <= ((policy.status.observedGeneration if policy.status else 0) or 0):
            return None
        # A large type has thousands of fields, and each expression is checked against each kind.
        warnings = await asyncio.to_thread(_check, policy, self._definitions.list())
        status = admission_v1.ValidatingAdmissionPolicyStatus(
            observedGeneration=generation, typeChecking=admission_v1.TypeChecking(expressionWarnings=warnings or None)
        )
        version, kind = resources.group_version_kind(admission_v1.ValidatingAdmissionPolicy)
        wanted = admission_v1.ValidatingAdmissionPolicy(apiVersion=version, kind=kind, metadata=meta_v1.ObjectMeta(name=key), status=status)
        await self._client.patch(
            admission_v1.ValidatingAdmissionPolicy, key, wanted, how="apply", subresource="status", field_manager=_MANAGER, force=True
        )
        return None


def _check(
    policy: admission_v1.ValidatingAdmissionPolicy, definitions: Sequence[extensions_v1.CustomResourceDefinition]
) -> list[admission_v1.ExpressionWarning]:
    def kinds(group: str, version: str, plural: str) -> Iterator[str]:
        built_in = resources.table().get((group, version, plural))
        if built_in is not None:
            yield built_in.kind
        for spec in _specs(definitions, group):
            if spec.names is not None and spec.names.plural == plural:
                yield spec.names.kind or ""

    def schema_of(kind: Kind) -> Structural | None:
        found = builtin.kind(*kind)
        if found is not None:
            return found
        for spec in _specs(definitions, kind.group):
            if spec.names is not None and spec.names.kind == kind.kind:
                held = next((v.schema for v in spec.versions or () if v.name == kind.version), None)
                return None if held is None else _parsed(held.openAPIV3Schema)
        return None

    return type_checking.check(policy, kinds, schema_of)


def _specs(definitions: Sequence[extensions_v1.CustomResourceDefinition], group: str) -> Iterator[extensions_v1.CustomResourceDefinitionSpec]:
    return (d.spec for d in definitions if d.spec is not None and d.spec.group == group)


def _parsed(held: extensions_v1.JSONSchemaProps | None) -> Structural | None:
    try:
        return schema.parse(held)
    except schema.Unsupported:
        return None
