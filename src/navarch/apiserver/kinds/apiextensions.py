"""apiextensions.k8s.io: CustomResourceDefinitions.

Upstream counterpart: apiextensions-apiserver's pkg/apis/apiextensions/{v1/defaults.go,validation} and pkg/registry/customresourcedefinition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.api.apiextensions import v1 as extensions_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import CREATED
from navarch.apiserver.kinds.strategy import Key, Strategy
from navarch.machinery import codec, field, names

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


def validate_definition(obj: extensions_v1.CustomResourceDefinition) -> Found:
    found: Found = []
    spec, metadata = obj.spec, obj.metadata
    assert spec is not None and spec.names is not None and metadata is not None
    wanted = f"{spec.names.plural or ''}.{spec.group or ''}"
    if metadata.name != wanted:
        found.append(field.invalid("metadata.name", metadata.name, 'must be spec.names.plural+"."+spec.group'))
    if not spec.group:
        found.append(field.required("spec.group"))
    else:
        checks.subdomain(found, "spec.group", spec.group)
        if "." not in spec.group:
            found.append(field.invalid("spec.group", spec.group, "should be a domain with at least one dot"))
    checks.one_of(found, "spec.scope", spec.scope, ("Cluster", "Namespaced"))
    _versions(found, spec.versions or [])
    _names(found, spec.names)
    if spec.preserveUnknownFields:
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        found.append(field.invalid("spec.preserveUnknownFields", True, why))
    conversion = spec.conversion
    if conversion is not None:
        checks.one_of(found, "spec.conversion.strategy", conversion.strategy, ("None", "Webhook"))
        if conversion.strategy == "Webhook" and (conversion.webhook is None or conversion.webhook.clientConfig is None):
            why = "required when strategy is set to Webhook"
            found.append(field.required("spec.conversion.webhookClientConfig", why))
    return found


def _names(found: Found, held: extensions_v1.CustomResourceDefinitionNames) -> None:
    for part in ("plural", "singular", "kind", "listKind"):
        value = getattr(held, part)
        if not value:
            found.append(field.required(f"spec.names.{part}"))
            continue
        lowered = value.lower() if part in ("kind", "listKind") else value
        for problem in names.dns_label_1035(lowered):
            said = f"may have mixed case, but should otherwise match: {problem}" if lowered != value else problem
            found.append(field.invalid(f"spec.names.{part}", value, said))
    for i, short in enumerate(held.shortNames or ()):
        found += (field.invalid(f"spec.names.shortNames[{i}]", short, p) for p in names.dns_label_1035(short))
    if held.kind and held.kind == held.listKind:
        found.append(field.invalid("spec.names.listKind", held.listKind, "kind and listKind may not be the same"))


def _versions(found: Found, versions: list[extensions_v1.CustomResourceDefinitionVersion]) -> None:
    seen: set[str] = set()
    unique = True
    for i, version in enumerate(versions):
        name = version.name or ""
        unique = unique and name not in seen
        seen.add(name)
        at = f"spec.versions[{i}]"
        found += (field.invalid(f"{at}.name", name, p) for p in names.dns_label_1035(name))
        if version.schema is None or version.schema.openAPIV3Schema is None:
            found.append(field.required(f"{at}.schema.openAPIV3Schema"))
        else:
            place = "spec.validation" if len(versions) == 1 else f"{at}.schema"
            structural(found, f"{place}.openAPIV3Schema", version.schema.openAPIV3Schema)
        scale = version.subresources.scale if version.subresources else None
        if scale is not None:
            for part, prefix in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
                value = getattr(scale, part)
                if not value:
                    found.append(field.required(f"{at}.subresources.scale.{part}"))
                elif not value.startswith(prefix):
                    why = f"should be a json path under {prefix.rstrip('.')}"
                    found.append(field.invalid(f"{at}.subresources.scale.{part}", value, why))
    if not unique:
        found.append(field.invalid("spec.versions", sorted(seen), "must contain unique version names"))
    if sum(bool(v.storage) for v in versions) != 1:
        shown = [v.name for v in versions] or None
        found.append(field.invalid("spec.versions", shown, "must have exactly one version marked as storage version"))


def validate_definition_update(new: extensions_v1.CustomResourceDefinition, old: extensions_v1.CustomResourceDefinition) -> Found:
    found = validate_definition(new)
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None and spec.names is not None and before.names is not None
    checks.same(found, "spec.group", spec.group, before.group)
    checks.same(found, "spec.names.plural", spec.names.plural, before.names.plural)
    conditions = (old.status.conditions or ()) if old.status else ()
    if any(c.type == "Established" and c.status == "True" for c in conditions):
        checks.same(found, "spec.scope", spec.scope, before.scope)
        checks.same(found, "spec.names.kind", spec.names.kind, before.names.kind)
    stored = (old.status.storedVersions or ()) if old.status else ()
    for i, name in enumerate(stored):
        if name not in {v.name for v in spec.versions or ()}:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage "
                f"migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            )
            found.append(field.invalid(f"status.storedVersions[{i}]", name, why))
    return found


Props = extensions_v1.JSONSchemaProps


def structural(found: Found, at: str, schema: Props) -> None:
    """The root is an object, and every place below says what type it has."""
    if not schema.type:
        found.append(field.required(f"{at}.type", "must not be empty at the root"))
    elif schema.type != "object":
        found.append(field.invalid(f"{at}.type", schema.type, "must be object at the root"))
    _below(found, at, schema)


_TYPES = ("array", "boolean", "integer", "number", "object", "string")


def _below(found: Found, at: str, schema: Props) -> None:
    if schema.type and schema.type not in _TYPES:
        found.append(field.not_supported(f"{at}.type", schema.type, _TYPES))
    for name, child in (schema.properties or {}).items():
        _typed(found, f"{at}.properties[{name}]", child, "specified object fields")
    items = _props(schema.items)
    if items is not None:
        _typed(found, f"{at}.items", items, "specified array items")
    elif schema.items is None and schema.type == "array":
        found.append(field.required(f"{at}.items", "must be specified"))
    more = _props(schema.additionalProperties)
    if more is not None:
        _typed(found, f"{at}.additionalProperties", more, "specified object fields")
    if schema.properties and schema.additionalProperties not in (None, False):
        found.append(field.forbidden(f"{at}.additionalProperties", "additionalProperties and properties are mutual exclusive"))


def _props(value: Any) -> Props | None:
    """A schema where a truth value or a list could stand too."""
    return codec.from_tree(Props, value) if isinstance(value, dict) else None


def _typed(found: Found, at: str, schema: Props, what: str) -> None:
    free = schema.x_kubernetes_int_or_string or schema.x_kubernetes_preserve_unknown_fields
    if not schema.type and not free:
        found.append(field.required(f"{at}.type", f"must not be empty for {what}"))
    _below(found, at, schema)


KINDS: dict[Key, Strategy] = {
    ("apiextensions.k8s.io", "customresourcedefinitions"): Strategy(
        default=default_definition,
        prepare_create=prepare_definition,
        prepare_update=keep_stored_versions,
        finalizers=cleanup,
        terminate=terminate,
        validate=validate_definition,
        validate_update=validate_definition_update,
        generation=True,
        conditional_update=True,
        columns=CREATED,
    )
}
