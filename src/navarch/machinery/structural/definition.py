"""Whether the schema of a CustomResourceDefinition's version may stand.

In: the schema as plain dicts, its path in the definition, and what is asked of it (`Asked`: an update asks no more than the old schemas
gave, whatever was stored stays). Out: problems, in upstream's words and at its paths.

Three things are checked: that the schema is structural, that its defaults are good, and what each place of it says. Rules in CEL are
somebody else's (`Rules`): they are handed each place that has some, once nothing else is wrong with it.

Upstream counterpart: validateCustomResourceDefinitionValidation in apiextensions-apiserver's pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from navarch.machinery import field
from navarch.machinery.field import Problem
from navarch.machinery.structural import defaults, paths, structural
from navarch.machinery.structural import schema as schemas
from navarch.machinery.structural.coerce import MetadataCheck
from navarch.machinery.structural.schema import META_FIELDS, Document, Structural, Unsupported, parse

TYPES = ("array", "boolean", "integer", "number", "object", "string")
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_AT_ROOT = {
    "id": "",
    "$schema": "",
    "$ref": "",
    "description": "Description",
    "type": "Type",
    "nullable": "",
    "format": "Format",
    "title": "Title",
    "default": "",
    "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum",
    "minimum": "Minimum",
    "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength",
    "minLength": "MinLength",
    "pattern": "Pattern",
    "maxItems": "MaxItems",
    "minItems": "MinItems",
    "uniqueItems": "UniqueItems",
    "multipleOf": "MultipleOf",
    "enum": "",
    "maxProperties": "",
    "minProperties": "",
    "required": "Required",
    "items": "Items",
    "allOf": "",
    "oneOf": "",
    "anyOf": "",
    "not": "",
    "properties": "Properties",
    "additionalProperties": "",
    "patternProperties": "",
    "dependencies": "",
    "additionalItems": "",
    "definitions": "",
    "externalDocs": "ExternalDocs",
    "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields",
    "x-kubernetes-embedded-resource": "",
    "x-kubernetes-int-or-string": "",
    "x-kubernetes-list-map-keys": "",
    "x-kubernetes-list-type": "",
    "x-kubernetes-map-type": "",
    "x-kubernetes-validations": "XValidations",
}
"""What a schema may say, in upstream's order; with a name, also at the root of one whose status is a resource of its own."""
_FORBIDDEN = {
    "id": "id is not supported",
    "additionalItems": "additionalItems is not supported",
    "patternProperties": "patternProperties is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "$ref": "$ref is not supported",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a schema. On an update, no more than the old one's schemas gave (`of_update`)."""

    structural: bool = True
    known_types: bool = True
    atomic_sets: bool = True
    """Items of a set are atomic."""
    whole_keys: bool = True
    """The keys of a list of list-type `map` are always there, and its items no nulls."""
    status: bool = False
    """The status is a resource of its own."""


def of_update(old: Iterable[Document]) -> Asked:
    """What may be asked of the schemas that replace these."""
    places = [place for document in old for place in everywhere(document)]
    return Asked(
        structural=all(map(_is_structural, old)),
        known_types=all(not place.get("type") or place["type"] in TYPES for place in places),
        atomic_sets=not any(list(_set_items(place, "")) for place in places),
        whole_keys=not any(list(_keyed_items(place, "")) for place in places),
    )


def _is_structural(document: Document) -> bool:
    try:
        return not structural.problems(parse(document), "")
    except Unsupported:
        return False


def everywhere(held: Any) -> Iterator[Document]:
    """A schema and every schema within it."""
    if not isinstance(held, Mapping):
        return
    yield held
    for key in ("items", "additionalProperties", "additionalItems", "not"):
        yield from everywhere(held.get(key))
    for key in ("allOf", "anyOf", "oneOf"):
        for clause in held.get(key) or ():
            yield from everywhere(clause)
    for key in ("properties", "patternProperties", "definitions"):
        for child in (held.get(key) or {}).values():
            yield from everywhere(child)


# ---- rules in CEL --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """A place of a schema, as far as its rules go."""

    path: str
    schema: Structural
    cardinality: int | None
    """How often the place can be in an object, by the bounds above it; None for no bound."""
    uncorrelated: str
    """The path of the list or map above it whose items have no old values, "" for none: rules may not use oldSelf."""
    root: bool
    """Whether the place is a whole object."""
    above: Place | None = None


class Rules(Protocol):
    """What checks the rules of a schema; made anew for each."""

    def problems(self, place: Place) -> list[Problem]:
        """The problems of a place's rules."""

    def total(self, path: str) -> list[Problem]:
        """The problems of all of them together, told once, at the end."""

    def of_value(self, value: Any, schema: Structural, path: str, whole: bool) -> list[Problem]:
        """What the rules find wrong with a value: a default of the schema."""


class NoRules:
    """For who does not know CEL."""

    def problems(self, place: Place) -> list[Problem]:
        return []

    def total(self, path: str) -> list[Problem]:
        return []

    def of_value(self, value: Any, schema: Structural, path: str, whole: bool) -> list[Problem]:
        return []


# ---- the check -----------------------------------------------------------------------------------------------------


def problems(document: Document, path: str, check_metadata: MetadataCheck, asked: Asked = Asked(), rules: Rules = NoRules()) -> list[Problem]:  # noqa: B008
    """All that is wrong with a version's `openAPIV3Schema`, which stands at a path."""
    found = list(_root(document, path, asked.status))
    tree: Structural | None = None
    unsupported: list[Problem] = []
    if asked.structural:
        try:
            tree = parse(document)
        except Unsupported as error:
            unsupported = [field.invalid(path, "", str(error))]
        else:
            wrong = structural.problems(tree, path) or defaults.problems(tree, path, check_metadata, rules.of_value)
            found += wrong
            tree = None if wrong else tree
    place = None if tree is None else Place(path, tree, 1, "", True)
    of_schema, of_rules = _Checks(asked, rules).visit(document, path, _Around(root=True), place)
    found += of_schema + of_rules
    if not found:
        found = unsupported
    return found if tree is None else found + rules.total(path)


def _root(document: Document, path: str, status: bool) -> Iterator[Problem]:
    if status:
        said = [key for key in _AT_ROOT if document.get(key) not in (None, "", False, [], {})]
        if document.get("type", "object") not in ("", "object"):
            why = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            yield field.invalid(f"{path}.type", document["type"], why)
        elif any(not _AT_ROOT[key] for key in said):
            allowed = " ".join(name for name in _ROOT_ORDER)
            why = f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
            yield field.invalid(path, document, why)
    if document.get("nullable"):
        yield field.forbidden(f"{path}.nullable", "nullable cannot be true at the root")


_ROOT_ORDER = [name for name in _AT_ROOT.values() if name]


@dataclass(frozen=True, slots=True)
class _Around:
    """What stands around a place."""

    root: bool = False
    no_defaults: str | None = None
    """Why there may be no defaults; None where there may."""
    metadata: bool = False
    """Whether the place is in some object's apiVersion, kind or metadata."""
    uncorrelated: str = ""


Both = tuple[list[Problem], list[Problem]]
"""Problems of schemas, and of rules, which upstream tells after all others."""


class _Checks:
    def __init__(self, asked: Asked, rules: Rules) -> None:
        self.asked = asked
        self.rules = rules

    def visit(self, held: Document, path: str, around: _Around, place: Place | None) -> Both:
        """`place`: where the rules are looked at; None in clauses, and where the schema is not structural."""
        found = [*self._standard(held, path, around)]
        of_rules: list[Problem] = []
        for step, child, inner, below in self._below(held, path, around, place):
            wrong, rules_wrong = self.visit(child, path + step, inner, below)
            found += wrong
            of_rules += rules_wrong
        found += _keeps(held, path)
        found += _map_type(held, path)
        found += self._list_type(held, path)
        if self.asked.whole_keys:
            found += _keyed_items(held, path)
        for i, rule in enumerate(held.get("x-kubernetes-validations") or ()):
            found += _rule(rule, held, f"{path}.x-kubernetes-validations[{i}]")
        if held.get("x-kubernetes-validations") and not found and place is not None:
            of_rules += self.rules.problems(replace(place, uncorrelated=around.uncorrelated))
        return found, of_rules

    def _standard(self, held: Document, path: str, around: _Around) -> Iterator[Problem]:
        kind = held.get("type")
        if self.asked.known_types and kind and kind not in TYPES:
            yield field.not_supported(f"{path}.type", kind, TYPES)
        if held.get("default") is not None and around.no_defaults is not None:
            yield field.forbidden(f"{path}.default", f"must not be set {around.no_defaults}")
        yield from (field.forbidden(f"{path}.{key}", why) for key, why in _FORBIDDEN.items() if held.get(key) not in (None, "", {}))
        if kind == "null":
            yield field.forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
        if isinstance(held.get("items"), list) and held["items"]:
            yield field.forbidden(f"{path}.items", "items must be a schema object and not an array")
        if around.metadata and held.get("x-kubernetes-embedded-resource"):
            yield field.forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
        if held.get("uniqueItems"):
            why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            yield field.forbidden(f"{path}.uniqueItems", why)
        additional = held.get("additionalProperties")
        if held.get("properties") and additional is not None and additional is not True:
            yield field.forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")

    def _below(self, held: Document, path: str, around: _Around, place: Place | None) -> Iterator[tuple[str, Document, _Around, Place | None]]:
        """The schemas within a schema, with what stands around each."""
        inner = replace(around, root=False)
        most = _most(held, place)
        additional = held.get("additionalProperties")
        if isinstance(additional, Mapping):
            why = "inside additionalProperties applying to object metadata" if around.metadata else around.no_defaults
            below = _place(place, place.schema.additional_schema if place else None, f"{path}.additionalProperties", most)
            yield ".additionalProperties", additional, replace(inner, no_defaults=why), below
        for name, child in (held.get("properties") or {}).items():
            below = _place(place, place.schema.properties.get(name) if place else None, f"{path}.properties[{name}]", most)
            yield f".properties[{name}]", child, _around_property(held, path, name, around), below
        for step, clause in _clauses(held):
            yield step, clause, inner, None
        items = held.get("items")
        if isinstance(items, Mapping):
            if held.get("x-kubernetes-list-type") != "map":
                inner = replace(inner, uncorrelated=inner.uncorrelated or path)
            yield ".items", items, inner, _place(place, place.schema.items if place else None, f"{path}.items", most)

    def _list_type(self, held: Document, path: str) -> Iterator[Problem]:
        listed, keys = held.get("x-kubernetes-list-type"), held.get("x-kubernetes-list-map-keys") or []
        at = f"{path}.x-kubernetes-list-type"
        if listed is not None and held.get("type") != "array":
            why = "must be array if x-kubernetes-list-type is specified"
            yield field.invalid(f"{path}.type", held["type"], why) if held.get("type") else field.required(f"{path}.type", why)
        elif self.asked.atomic_sets:
            yield from _set_items(held, path)
        if listed is not None and listed not in ("atomic", "set", "map"):
            yield field.not_supported(at, listed, ("atomic", "set", "map"))
        if keys and listed != "map":
            why = "must be map if x-kubernetes-list-map-keys is non-empty"
            yield field.required(at, why) if listed is None else field.invalid(at, listed, why)
        if listed == "map":
            yield from _map_list(held, path, keys)


def _around_property(held: Document, path: str, name: str, around: _Around) -> _Around:
    inner = replace(around, root=False)
    if held.get("x-kubernetes-map-type") not in (None, "granular", "atomic"):
        inner = replace(inner, uncorrelated=inner.uncorrelated or path)
    if (around.root or held.get("x-kubernetes-embedded-resource")) and name in META_FIELDS:
        inner = replace(inner, metadata=True, no_defaults=f"in top-level {name}" if around.root else inner.no_defaults)
    return inner


def _clauses(held: Document) -> Iterator[tuple[str, Document]]:
    if held.get("not") is not None:
        yield ".not", held["not"]
    for key in ("allOf", "oneOf", "anyOf"):
        yield from ((f".{key}[{i}]", clause) for i, clause in enumerate(held.get(key) or ()))


def _place(above: Place | None, schema: Structural | None, path: str, most: int | None) -> Place | None:
    if above is None or schema is None:
        return None
    return Place(path, schema, most, "", schema.embedded, above)


def _most(held: Document, place: Place | None) -> int | None:
    """How often a place below this one can be there."""
    if place is None or place.cardinality is None:
        return None
    match held.get("type"):
        case "object" if held.get("additionalProperties") is not None:
            bound = held.get("maxProperties")
        case "array":
            bound = held.get("maxItems")
        case _:
            bound = 1
    return None if bound is None else place.cardinality * max(0, bound)


# ---- what single places say ----------------------------------------------------------------------------------------


def _keeps(held: Document, path: str) -> Iterator[Problem]:
    if held.get("x-kubernetes-preserve-unknown-fields") is False:
        yield field.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")


def _map_type(held: Document, path: str) -> Iterator[Problem]:
    mapped = held.get("x-kubernetes-map-type")
    if mapped is None:
        return
    if held.get("type") != "object":
        why = "must be object if x-kubernetes-map-type is specified"
        yield field.invalid(f"{path}.type", held["type"], why) if held.get("type") else field.required(f"{path}.type", why)
    if mapped not in ("atomic", "granular"):
        yield field.not_supported(f"{path}.x-kubernetes-map-type", mapped, ("atomic", "granular"))


def _set_items(held: Document, path: str) -> Iterator[Problem]:
    """The items of a set are compared as wholes."""
    items = held.get("items")
    if held.get("x-kubernetes-list-type") != "set" or not isinstance(items, Mapping):
        return
    listed = items.get("x-kubernetes-list-type")
    why = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and listed not in (None, "atomic"):
        yield field.invalid(f"{path}.items.x-kubernetes-list-type", listed, why)
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        yield field.invalid(f"{path}.items.x-kubernetes-map-type", listed, why)


def _map_list(held: Document, path: str, keys: Sequence[str]) -> Iterator[Problem]:
    items, at = held.get("items"), f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        yield field.required(at, "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield field.required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
        return
    if not isinstance(items, Mapping):
        yield field.invalid(f"{path}.items", items, "must only have a single schema if x-kubernetes-list-type is map")
        return
    if items.get("type") != "object":
        yield field.invalid(f"{path}.items.type", items.get("type") or "", "must be object if parent array's x-kubernetes-list-type is map")
        return
    for i, key in enumerate(keys):
        child = (items.get("properties") or {}).get(key)
        if child is None:
            yield field.invalid(at, keys, "entries must all be names of item properties")
        elif child.get("type") in ("array", "object"):
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield field.invalid(f"{path}.items.properties[{key}].type", items["type"], why)
        if key in keys[:i]:
            yield field.invalid(at, keys, "must not contain duplicate entries")


def _keyed_items(held: Document, path: str) -> Iterator[Problem]:
    items, listed = held.get("items"), held.get("x-kubernetes-list-type")
    if listed not in ("set", "map") or not isinstance(items, Mapping):
        return
    if items.get("nullable"):
        yield field.forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {listed}")
    for key in held.get("x-kubernetes-list-map-keys") or () if listed == "map" else ():
        child = (items.get("properties") or {}).get(key)
        if child is None:
            continue
        at = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or ()) and child.get("default") is None:
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield field.required(f"{at}.default", why)
        if child.get("nullable"):
            yield field.forbidden(f"{at}.nullable", "this property is in x-kubernetes-list-map-keys, so it cannot be nullable")


def _rule(rule: Document, held: Document, path: str) -> Iterator[Problem]:
    """What a rule says of itself; the expressions are looked at later."""
    text, message = rule.get("rule") or "", rule.get("message") or ""
    if not text.strip():
        yield field.required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        yield field.invalid(f"{path}.message", message, "must be non-empty if specified")
    elif has_newlines(message.strip()):
        yield field.invalid(f"{path}.message", message, "must not contain line breaks")
    elif has_newlines(text.strip()) and not message.strip():
        yield field.required(f"{path}.message", "message must be specified if rule contains line breaks")
    expression = rule.get("messageExpression") or ""
    if expression and not expression.strip():
        yield field.required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    if rule.get("reason") is not None and rule["reason"] not in REASONS:
        yield field.not_supported(f"{path}.reason", rule["reason"], REASONS)
    yield from _field_path(rule.get("fieldPath") or "", held, f"{path}.fieldPath")


def _field_path(value: str, held: Document, path: str) -> Iterator[Problem]:
    if not value:
        return
    if not value.strip():
        yield field.invalid(path, value, "must be non-empty if specified")
    if has_newlines(value):
        yield field.invalid(path, value, "must not contain line breaks")
    try:
        paths.resolve(value, parse(held))
    except paths.Invalid:
        yield field.invalid(path, value, "must be a valid path")
    except Unsupported:
        return


def has_newlines(text: str) -> bool:
    return re.search(r"[\n\r]", text) is not None


class ShownRule(msgspec.Struct):
    """A rule as problems show it: upstream's internal type, as JSON."""

    Rule: str
    Message: str
    MessageExpression: str
    Reason: str | None
    FieldPath: str
    OptionalOldSelf: bool | None

    @classmethod
    def of(cls, rule: schemas.Rule) -> ShownRule:
        return cls(rule.rule, rule.message, rule.message_expression, rule.reason, rule.field_path, rule.optional_old_self)
