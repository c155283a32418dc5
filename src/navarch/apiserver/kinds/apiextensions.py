"""apiextensions.k8s.io: CustomResourceDefinitions. What makes one invalid stands in `definitions`.

Upstream counterpart: apiextensions-apiserver's pkg/apis/apiextensions/v1/defaults.go and pkg/registry/customresourcedefinition.
"""

from __future__ import annotations

from collections.abc import Sequence

from navarch.api.apiextensions import v1 as extensions_v1
from navarch.apiserver.kinds import definitions
from navarch.apiserver.kinds.admissionpolicies import WEIGHT
from navarch.apiserver.kinds.columns import CREATED
from navarch.apiserver.kinds.strategy import Key, Strategy

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


def default_definition(obj: extensions_v1.CustomResourceDefinition) -> None:
    spec = obj.spec = obj.spec or extensions_v1.CustomResourceDefinitionSpec()
    names = spec.names = spec.names or extensions_v1.CustomResourceDefinitionNames()
    names.singular = names.singular or (names.kind or "").lower() or None
    if names.kind:
        names.listKind = names.listKind or f"{names.kind}List"
    spec.conversion = spec.conversion or extensions_v1.CustomResourceConversion(strategy="None")
    hook = spec.conversion.webhook
    service = hook.clientConfig.service if hook and hook.clientConfig else None
    if service is not None and service.port is None:
        service.port = 443


def prepare_definition(obj: extensions_v1.CustomResourceDefinition, now: float) -> None:
    spec = obj.spec
    assert spec is not None
    stored = [v.name or "" for v in spec.versions or () if v.storage][:1]
    obj.status = extensions_v1.CustomResourceDefinitionStatus(
        acceptedNames=extensions_v1.CustomResourceDefinitionNames(kind="", plural=""), storedVersions=stored, conditions=[]
    )


def keep_stored_versions(new: extensions_v1.CustomResourceDefinition, old: extensions_v1.CustomResourceDefinition, now: float) -> None:
    """A version that is stored from now on is among those that have been."""
    if new.spec is None or new.status is None:
        return
    held = new.status.storedVersions or []
    new.status.storedVersions = held + [v.name or "" for v in new.spec.versions or () if v.storage and v.name not in held][:1]


def cleanup(obj: extensions_v1.CustomResourceDefinition) -> Sequence[str]:
    """A definition goes after its objects: the first DELETE waits for them."""
    assert obj.metadata is not None
    return () if obj.metadata.deletionTimestamp is not None else (CLEANUP,)


def terminate(obj: extensions_v1.CustomResourceDefinition) -> None:
    """Shows that a definition is going, and that its objects must go first."""
    metadata = obj.metadata
    assert metadata is not None
    status = obj.status = obj.status or extensions_v1.CustomResourceDefinitionStatus()
    conditions = status.conditions = status.conditions or []
    if any(condition.type == "Terminating" for condition in conditions):
        return
    metadata.finalizers = [*(f for f in metadata.finalizers or () if f != CLEANUP), CLEANUP]
    conditions.append(
        extensions_v1.CustomResourceDefinitionCondition(
            type="Terminating",
            status="True",
            lastTransitionTime=metadata.deletionTimestamp,
            reason="InstanceDeletionPending",
            message="CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        )
    )


def warn_of_formats(new: extensions_v1.CustomResourceDefinition, old: extensions_v1.CustomResourceDefinition | None) -> list[str]:
    """The formats that a definition begins to use and that nothing is held to."""
    before = definitions.unknown_formats(old) if old is not None else []
    return [f'unrecognized format "{name}"' for name in definitions.unknown_formats(new) if name not in before]


KINDS: dict[Key, Strategy] = {
    ("apiextensions.k8s.io", "customresourcedefinitions"): Strategy(
        default=default_definition,
        prepare_create=prepare_definition,
        prepare_update=keep_stored_versions,
        finalizers=cleanup,
        terminate=terminate,
        validate=definitions.validate,
        validate_update=definitions.validate_update,
        validate_status=definitions.validate_status,
        weight=WEIGHT,
        warnings=warn_of_formats,
        generation=True,
        conditional_update=True,
        columns=CREATED,
    )
}
