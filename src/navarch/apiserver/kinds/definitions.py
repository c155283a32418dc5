"""What makes a CustomResourceDefinition invalid, in upstream's words and at its paths.

What all versions say alike (as one version alone does) is reported at the place where upstream's internal form has it: `spec.validation`,
`spec.subresources`, `spec.additionalPrinterColumns`, `spec.selectableFields`. An update is asked no more than the old definition gave.

Upstream counterpart: apiextensions-apiserver's pkg/apis/apiextensions/validation and pkg/apihelpers.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography import x509

from navarch.api.apiextensions import v1 as extensions_v1
from navarch.apiserver.kinds import checks, webhooks
from navarch.apiserver.kinds import metadata as metadata_rules
from navarch.apiserver.kinds.checks import Found
from navarch.machinery import codec, field, goform, names
from navarch.machinery.cel.rules import DefinitionRules
from navarch.machinery.structural import definition as schema_rules
from navarch.machinery.structural import formats, paths
from navarch.machinery.structural.definition import Asked
from navarch.machinery.structural.schema import Structural, Unsupported, parse

Definition = extensions_v1.CustomResourceDefinition
Spec = extensions_v1.CustomResourceDefinitionSpec
Version = extensions_v1.CustomResourceDefinitionVersion
Document = dict[str, Any]

APPROVED = "api-approved.kubernetes.io"
MOST_SELECTABLE = 8
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_REVIEWS = ("v1", "v1beta1")
_MOST_WARNING = 256
_EVERYTHING = Asked()


@dataclass(frozen=True, slots=True)
class _Rules:
    """What is asked of a definition."""

    schemas: Asked = _EVERYTHING
    schema_required: bool = True
    known_review: bool = True
    """Its webhook must take a version of reviews that we know."""
    immutable_names: bool = False
    any_certificates: bool = True
    unchanged: frozenset[str] = frozenset()
    """Versions whose schemas are what they were: their rules may cost what they did."""
    many_selectable: frozenset[str] = frozenset()
    """Versions that had more selectable fields than may be, and have the same."""
    plain_approval: str | None = None
    """What the approval was: it may stay so."""
    preserves: bool = False
    """Unknown fields were kept everywhere, and may be still."""


# ---- entry points --------------------------------------------------------------------------------------------------


def validate(obj: Definition) -> Found:
    """The problems of a new definition."""
    found: Found = []
    spec, metadata = _spec(obj), obj.metadata
    if metadata is not None and metadata.name != f"{_names(spec).plural or ''}.{spec.group or ''}":
        found.append(field.invalid("metadata.name", metadata.name or "", 'must be spec.names.plural+"."+spec.group'))
    return found + _definition(obj, _Rules())


def validate_update(new: Definition, old: Definition) -> Found:
    """The problems of a definition that replaces another."""
    spec, before = _spec(new), _spec(old)
    found = _definition(new, _of_update(new, old))
    if established(old):
        checks.same(found, "spec.scope", spec.scope, before.scope)
        checks.same(found, "spec.names.kind", _names(spec).kind, _names(before).kind)
    checks.same(found, "spec.group", spec.group, before.group)
    checks.same(found, "spec.names.plural", _names(spec).plural, _names(before).plural)
    return found


def validate_status(new: Definition, old: Definition) -> Found:
    """The problems of a changed status."""
    del old
    found: Found = []
    if new.status is not None and new.status.acceptedNames is not None:
        _check_names(found, "status.acceptedNames", new.status.acceptedNames)
    return found


def established(obj: Definition) -> bool:
    conditions = (obj.status.conditions or ()) if obj.status else ()
    return any(c.type == "Established" and c.status == "True" for c in conditions)


def _spec(obj: Definition) -> Spec:
    assert obj.spec is not None
    return obj.spec


def _names(spec: Spec) -> extensions_v1.CustomResourceDefinitionNames:
    return spec.names or extensions_v1.CustomResourceDefinitionNames()


def _documents(spec: Spec) -> dict[str, Document]:
    """The schemas there are, by version."""
    found = {}
    for version in spec.versions or ():
        if version.schema is not None and version.schema.openAPIV3Schema is not None:
            found[version.name or ""] = codec.to_tree(version.schema.openAPIV3Schema)
    return found


def _of_update(new: Definition, old: Definition) -> _Rules:
    """What is asked of what replaces a definition: no more than that gave."""
    before, after = _documents(_spec(old)), _documents(_spec(new))
    asked = schema_rules.of_update(before.values())
    if not _spec(new).preserveUnknownFields:
        asked = replace(asked, structural=True)
    conversion = _spec(old).conversion
    hook = conversion.webhook if conversion else None
    reviews = (hook.conversionReviewVersions or ()) if hook else ()
    client = hook.clientConfig if hook else None
    return _Rules(
        schemas=asked,
        schema_required=len(before) == len(_spec(old).versions or ()),
        known_review=not reviews or any(version in _REVIEWS for version in reviews),
        immutable_names=established(old),
        any_certificates=not established(old) or bool(client and client.caBundle and _certificates(client.caBundle)),
        unchanged=frozenset(name for name, document in after.items() if before.get(name) == document),
        many_selectable=_many_selectable(_spec(new), _spec(old)),
        plain_approval=approval((old.metadata.annotations or {}) if old.metadata else {})[0],
        preserves=bool(_spec(old).preserveUnknownFields),
    )


def _many_selectable(new: Spec, old: Spec) -> frozenset[str]:
    held = {version.name: version.selectableFields or [] for version in old.versions or ()}
    return frozenset(
        version.name or ""
        for version in new.versions or ()
        if len(held.get(version.name, ())) > MOST_SELECTABLE and held[version.name] == version.selectableFields
    )


# ---- the whole -----------------------------------------------------------------------------------------------------


def _definition(obj: Definition, rules: _Rules) -> Found:
    found: Found = []
    spec, metadata = _spec(obj), obj.metadata
    assert metadata is not None
    _check_spec(found, spec, rules)
    found += validate_status(obj, obj)
    _stored_versions(found, obj)
    _approval(found, spec, metadata.annotations or {}, rules)
    if spec.preserveUnknownFields and not rules.preserves:
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        found.append(field.invalid("spec.preserveUnknownFields", True, why))
    return found


def _check_spec(found: Found, spec: Spec, rules: _Rules) -> None:
    if not spec.group:
        found.append(field.required("spec.group"))
    elif problems := names.dns_subdomain(spec.group):
        found.append(field.invalid("spec.group", spec.group, ",".join(problems)))
    elif "." not in spec.group:
        found.append(field.invalid("spec.group", spec.group, "should be a domain with at least one dot"))
    checks.one_of(found, "spec.scope", spec.scope, ("Cluster", "Namespaced"))
    versions = spec.versions or []
    documents = _documents(spec)
    _schemas_are_there(found, spec, documents, rules)
    if spec.preserveUnknownFields and any(_has_default(document) for document in documents.values()):
        found.append(field.invalid("spec.preserveUnknownFields", True, "must be false in order to use defaults in the schema"))
    _check_versions(found, spec, documents, rules)
    shown = [version.name for version in versions] or None
    if len({version.name for version in versions}) != len(versions):
        found.append(field.invalid("spec.versions", shown, "must contain unique version names"))
    if sum(bool(version.storage) for version in versions) != 1:
        found.append(field.invalid("spec.versions", shown, "must have exactly one version marked as storage version"))
    if versions and (problems := names.dns_label_1035(versions[0].name or "")):
        found.append(field.invalid("spec.version", versions[0].name or "", ",".join(problems)))
    held = _names(spec)
    found += (field.required(f"spec.names.{part}") for part in ("plural", "singular", "kind", "listKind") if not getattr(held, part))
    _check_names(found, "spec.names", held)
    _together(found, versions, documents, rules)
    if spec.preserveUnknownFields and spec.conversion is not None and spec.conversion.strategy != "None":
        why = "must be None if spec.preserveUnknownFields is true"
        found.append(field.invalid("spec.conversion.strategy", spec.conversion.strategy or "", why))
    _conversion(found, spec.conversion, rules)


def _schemas_are_there(found: Found, spec: Spec, documents: Mapping[str, Document], rules: _Rules) -> None:
    for i, version in enumerate(spec.versions or ()):
        if (version.name or "") in documents:
            continue
        at = f"spec.versions[{i}].schema.openAPIV3Schema"
        if rules.schema_required:
            found.append(field.required(at))
        elif version.served and not spec.preserveUnknownFields:
            found.append(field.required(at, "because otherwise all fields are pruned"))


def _alike(values: Sequence[Any]) -> bool:
    """Whether all versions say the same, so that upstream says it once."""
    return bool(values) and all(value == values[0] for value in values)


def _check_versions(found: Found, spec: Spec, documents: Mapping[str, Document], rules: _Rules) -> None:
    """What versions say each for itself."""
    versions = spec.versions or []
    own_schema = not _alike([documents.get(v.name or "") for v in versions])
    own_parts = not _alike([v.subresources for v in versions])
    own_columns = not _alike([v.additionalPrinterColumns for v in versions])
    own_fields = own_schema or not _alike([v.selectableFields for v in versions])
    for i, version in enumerate(versions):
        at = f"spec.versions[{i}]"
        if problems := names.dns_label_1035(version.name or ""):
            found.append(field.invalid(f"{at}.name", version.name or "", ",".join(problems)))
        found += (field.invalid(f"{at}.deprecationWarning", version.deprecationWarning, why) for why in _warning(version))
        document = documents.get(version.name or "")
        if own_schema and document is not None:
            _schema(found, document, f"{at}.schema.openAPIV3Schema", _has_status(version), version.name or "", rules)
        if own_parts:
            _subresources(found, f"{at}.subresources", version.subresources)
        if own_columns:
            _columns(found, f"{at}.additionalPrinterColumns", version.additionalPrinterColumns or ())
        if own_fields:
            _selectable(found, f"{at}.selectableFields", version, document, rules)


def _together(found: Found, versions: Sequence[Version], documents: Mapping[str, Document], rules: _Rules) -> None:
    """What all versions say alike."""
    if not versions:
        return
    first = versions[0]
    document = documents.get(first.name or "")
    one_schema = _alike([documents.get(v.name or "") for v in versions])
    if one_schema and document is not None:
        known = all((v.name or "") in rules.unchanged for v in versions)
        asked = rules if known else replace(rules, unchanged=frozenset())
        _schema(found, document, "spec.validation.openAPIV3Schema", any(map(_has_status, versions)), first.name or "", asked)
    if _alike([v.subresources for v in versions]):
        _subresources(found, "spec.subresources", first.subresources)
    if _alike([v.additionalPrinterColumns for v in versions]):
        _columns(found, "spec.additionalPrinterColumns", first.additionalPrinterColumns or ())
    if one_schema and _alike([v.selectableFields for v in versions]):
        _selectable(found, "spec.selectableFields", first, document, rules)


def _has_status(version: Version) -> bool:
    return version.subresources is not None and version.subresources.status is not None


def _warning(version: Version) -> Iterator[str]:
    """What is wrong with a version's deprecation warning."""
    text = version.deprecationWarning
    if text is None:
        return
    if not version.deprecated:
        yield "can only be set for deprecated versions"
    if len(text.encode()) > _MOST_WARNING:
        yield f"must be <= {_MOST_WARNING} characters long"
    if not text:
        yield "must not be an empty string"
    at = 0
    for sign in text:
        if not sign.isprintable():
            yield f"must only contain printable UTF-8 characters; non-printable character found at index {at}"
            break
        at += len(sign.encode())


# ---- schemas -------------------------------------------------------------------------------------------------------


def _schema(found: Found, document: Document, at: str, status: bool, version: str, rules: _Rules) -> None:
    asked = replace(rules.schemas, status=status)
    cel = DefinitionRules(known=version in rules.unchanged)
    found += schema_rules.problems(document, at, metadata_rules.embedded, asked, cel)


def _has_default(document: Document) -> bool:
    return any(place.get("default") is not None for place in schema_rules.everywhere(document))


def unknown_formats(obj: Definition) -> list[str]:
    """The formats a definition's schemas name that say nothing to us."""
    spec = obj.spec
    if spec is None:
        return []
    found: dict[str, None] = {}
    for document in _documents(spec).values():
        for place in schema_rules.everywhere(document):
            name = place.get("format") or ""
            kinds = (place["type"],) if place.get("type") else ()
            if name and formats.unrecognized(name, kinds):
                found[name] = None
    return list(found)


def _selectable(found: Found, at: str, version: Version, document: Document | None, rules: _Rules) -> None:
    fields = version.selectableFields or ()
    if not fields:
        return
    if document is None:
        found.append(field.invalid(at, "", "may only be set when `version.schema.openAPIV3Schema` is not included"))
        return
    try:
        tree = parse(document)
    except Unsupported:
        return  # told of the schema
    seen: set[str] = set()
    for i, selectable in enumerate(fields):
        found += _selectable_field(selectable.jsonPath or "", tree, f"{at}[{i}].jsonPath", seen)
    if len(seen) > MOST_SELECTABLE and (version.name or "") not in rules.many_selectable:
        found.append(field.too_many(at, len(seen), MOST_SELECTABLE))


def _selectable_field(path: str, tree: Structural, at: str, seen: set[str]) -> Iterator[field.Problem]:
    if not path:
        yield field.required(at)
        return
    try:
        shown, place = paths.resolve(path, tree, brackets=False)
    except paths.Invalid as error:
        yield field.invalid(at, path, f"is an invalid path: {error}")
        return
    if shown.split(".")[0] == "metadata":
        yield field.invalid(at, path, "must not point to fields in metadata")
    if place is None or place.type not in ("string", "boolean", "integer"):
        why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
        yield field.invalid(at, path, why)
    if shown in seen:
        yield field.duplicate(at, path)
    seen.add(shown)


# ---- subresources and columns --------------------------------------------------------------------------------------


def _subresources(found: Found, at: str, held: extensions_v1.CustomResourceSubresources | None) -> None:
    scale = held.scale if held is not None else None
    if scale is None:
        return
    for part, prefixes in (("specReplicasPath", (".spec.",)), ("statusReplicasPath", (".status.",))):
        value = getattr(scale, part)
        if not value:
            found.append(field.required(f"{at}.scale.{part}"))
        else:
            _below(found, f"{at}.scale.{part}", value, prefixes)
    if scale.labelSelectorPath:
        _below(found, f"{at}.scale.labelSelectorPath", scale.labelSelectorPath, (".spec.", ".status."))


def _below(found: Found, at: str, path: str, prefixes: Sequence[str]) -> None:
    if not path.startswith("."):
        found.append(field.invalid(at, path, "must be a simple json path starting with ."))
    elif not path.startswith(tuple(prefixes)):
        places = " or ".join(prefix.rstrip(".") for prefix in prefixes)
        found.append(field.invalid(at, path, f"should be a json path under {'either ' if len(prefixes) > 1 else ''}{places}"))


def _columns(found: Found, at: str, columns: Sequence[extensions_v1.CustomResourceColumnDefinition]) -> None:
    for i, column in enumerate(columns):
        place = f"{at}[{i}]"
        if not column.name:
            found.append(field.required(f"{place}.name"))
        must = f"must be one of {','.join(_COLUMN_TYPES)}"
        if not column.type:
            found.append(field.required(f"{place}.type", must))
        elif column.type not in _COLUMN_TYPES:
            found.append(field.invalid(f"{place}.type", column.type, must))
        if column.format and column.format not in _COLUMN_FORMATS:
            found.append(field.invalid(f"{place}.format", column.format, f"must be one of {','.join(_COLUMN_FORMATS)}"))
        if not column.jsonPath:
            found.append(field.required(f"{place}.JSONPath"))
        elif not column.jsonPath.startswith("."):
            found.append(field.invalid(f"{place}.JSONPath", column.jsonPath, "must be a simple json path starting with ."))


# ---- names, versions, approval -------------------------------------------------------------------------------------


def _check_names(found: Found, at: str, held: extensions_v1.CustomResourceDefinitionNames) -> None:
    for part in ("plural", "singular"):
        value = getattr(held, part)
        if value and (problems := names.dns_label_1035(value)):
            found.append(field.invalid(f"{at}.{part}", value, ",".join(problems)))
    for part in ("kind", "listKind"):
        value = getattr(held, part)
        if value and (problems := names.dns_label_1035(value.lower())):
            why = f"may have mixed case, but should otherwise match: {','.join(problems)}"
            found.append(field.invalid(f"{at}.{part}", value, why))
    for i, short in enumerate(held.shortNames or ()):
        if problems := names.dns_label_1035(short):
            found.append(field.invalid(f"{at}.shortNames[{i}]", short, ",".join(problems)))
    if held.kind and held.kind == held.listKind:
        found.append(field.invalid(f"{at}.listKind", held.listKind, "kind and listKind may not be the same"))
    for i, category in enumerate(held.categories or ()):
        if problems := names.dns_label_1035(category):
            found.append(field.invalid(f"{at}.categories[{i}]", category, ",".join(problems)))


def _stored_versions(found: Found, obj: Definition) -> None:
    stored = (obj.status.storedVersions or []) if obj.status else []
    at = "status.storedVersions"
    if not stored:
        found.append(field.invalid(at, None, "must have at least one stored version"))
        return
    versions = _spec(obj).versions or []
    found += (field.invalid(at, stored, f"must have the storage version {v.name}") for v in versions if v.storage and v.name not in stored)
    there = {version.name for version in versions}
    for i, name in enumerate(stored):
        if name not in there:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage "
                f"migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            )
            found.append(field.invalid(f"{at}[{i}]", name, why))


def protected(group: str) -> bool:
    """Whether a group is the community's: its APIs need an approval."""
    return any(group == name or group.endswith(f".{name}") for name in ("k8s.io", "kubernetes.io"))


def approval(annotations: Mapping[str, str]) -> tuple[str, str]:
    """What the annotation of approval comes to (Missing, Bypassed, Approved, Invalid), and that in words."""
    value = annotations.get(APPROVED, "")
    where = "see https://github.com/kubernetes/enhancements/pull/1111"
    if not value:
        return "Missing", f"protected groups must have approval annotation {goform.quoted(APPROVED)}, {where}"
    if value.startswith("unapproved"):
        return "Bypassed", f"not approved: {goform.quoted(value)}"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]+", value):
        return "Approved", f"approved in {value}"
    either = 'with either a URL or a reason starting with "unapproved"'
    return "Invalid", f"protected groups must have approval annotation {goform.quoted(APPROVED)} {either}, {where}"


def _approval(found: Found, spec: Spec, annotations: Mapping[str, str], rules: _Rules) -> None:
    if not protected(spec.group or ""):
        return
    state, words = approval(annotations)
    if state == rules.plain_approval:
        return
    at = f"metadata.annotations[{APPROVED}]"
    if state == "Missing":
        found.append(field.required(at, words))
    elif state == "Invalid":
        found.append(field.invalid(at, annotations.get(APPROVED, ""), words))


# ---- conversion ----------------------------------------------------------------------------------------------------


def _conversion(found: Found, held: extensions_v1.CustomResourceConversion | None, rules: _Rules) -> None:
    if held is None:
        return
    at = "spec.conversion"
    checks.one_of(found, f"{at}.strategy", held.strategy, ("None", "Webhook"))
    hook = held.webhook
    client = hook.clientConfig if hook is not None else None
    reviews = (hook.conversionReviewVersions or []) if hook is not None else []
    if held.strategy != "Webhook":
        if client is not None:
            found.append(field.forbidden(f"{at}.webhookClientConfig", "should not be set when strategy is not set to Webhook"))
        if reviews:
            found.append(field.forbidden(f"{at}.conversionReviewVersions", "should not be set when strategy is not set to Webhook"))
        return
    _client(found, f"{at}.webhookClientConfig", client, rules)
    _reviews(found, f"{at}.conversionReviewVersions", reviews, rules)


def _client(found: Found, at: str, client: extensions_v1.WebhookClientConfig | None, rules: _Rules) -> None:
    if client is None:
        found.append(field.required(at, "required when strategy is set to Webhook"))
        return
    if (client.url is None) == (client.service is None):
        found.append(field.required(at, "exactly one of url or service is required"))
    elif client.url is not None:
        webhooks.webhook_url(found, f"{at}.url", client.url)
    elif client.service is not None:
        webhooks.webhook_service(found, f"{at}.service", client.service)
    if client.caBundle and not rules.any_certificates and (why := _certificates(client.caBundle)):
        found.append(field.invalid(f"{at}.caBundle", client.caBundle, f"unable to load root certificates: {why}"))


def _certificates(bundle: str) -> str:
    """Why a bundle holds no certificates; "" when it does."""
    try:
        pem = base64.b64decode(bundle, validate=True)
        if not pem.strip() or b"-----BEGIN CERTIFICATE-----" not in pem:
            return "unable to parse bytes as PEM block"
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        return f"failed to parse certificate: {error}"
    return ""


def _reviews(found: Found, at: str, versions: Sequence[str], rules: _Rules) -> None:
    if not versions:
        found.append(field.required(at))
        return
    for i, version in enumerate(versions):
        if version in versions[:i]:
            found.append(field.invalid(f"{at}[{i}]", version, "duplicate version"))
        else:
            found += (field.invalid(f"{at}[{i}]", version, why) for why in names.dns_label_1035(version))
    if rules.known_review and not any(version in _REVIEWS for version in versions):
        found.append(field.invalid(at, list(versions), f"must include at least one of {', '.join(_REVIEWS)}"))
