"""Whether the defaults of a schema may stand: known fields only, valid, and valid as part of the metadata they stand in.

In: a tree, and what checks rules in CEL (`ValueRules`), which this package does not know. Out: problems, at the paths of the defaults.

Upstream counterpart: apiextensions-apiserver's pkg/apiserver/schema/defaulting (validation.go, surroundingobject.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from navarch.machinery import field
from navarch.machinery.field import Problem
from navarch.machinery.structural import coerce, prune, validate
from navarch.machinery.structural.coerce import MetadataCheck
from navarch.machinery.structural.default import copied
from navarch.machinery.structural.schema import META_FIELDS, Structural

ValueRules = Callable[[Any, Structural, str, bool], list[Problem]]
"""The problems that a schema's rules find in a value: the value, the schema, the value's path, whether it is a whole object."""
Surround = Callable[[Any], Any]
"""Makes the whole object around a value, which stands where the schema has the default."""
_ENVELOPE = {"apiVersion": "validation/v1", "kind": "Validation"}


def no_rules(value: Any, schema: Structural, path: str, whole: bool) -> list[Problem]:
    return []


def problems(schema: Structural, path: str, check_metadata: MetadataCheck, rules: ValueRules = no_rules) -> list[Problem]:
    """The problems of all defaults of a resource's schema."""
    return list(_Defaults(check_metadata, rules).visit(schema, path, schema, _whole, inside=False, whole=True))


def _whole(value: Any) -> Any:
    return {**_ENVELOPE, **value} if isinstance(value, dict) else value


class _Defaults:
    def __init__(self, check_metadata: MetadataCheck, rules: ValueRules) -> None:
        self.check_metadata = check_metadata
        self.rules = rules

    def visit(self, schema: Structural, path: str, root: Structural, around: Surround, *, inside: bool, whole: bool = False) -> Iterator[Problem]:
        """`root`: the schema of the whole object; `inside`: the place is in its metadata; `whole`: the place is that object."""
        if not schema.below.defaults:
            return
        if schema.embedded or whole:
            inside, around, root, whole = False, _whole, schema, True
        if schema.default is not None:
            yield from self._default(schema, f"{path}.default", root, around, inside, whole)
        if schema.items is not None:
            yield from self.visit(schema.items, f"{path}.items", root, lambda value: around([value]), inside=inside)
        for name, child in schema.properties.items():
            into = inside or (whole and name in META_FIELDS)
            yield from self.visit(child, f"{path}.properties[{name}]", root, _field(around, name), inside=into)

    def _default(self, schema: Structural, path: str, root: Structural, around: Surround, inside: bool, whole: bool) -> Iterator[Problem]:
        value = copied(schema.default)
        if not inside and prune.pruned(copied(value), schema, root=whole):
            shown = copied(value)
            coerce.coerce(shown, schema, root=whole)
            yield field.invalid(path, shown, "must not have unknown fields")
        found = self._metadata(around(value), value, root, path) if inside else self._embedded(value, schema, path, whole)
        yield from found or validate.problems(schema.default, schema, path) or self.rules(schema.default, schema, path, whole)

    def _embedded(self, value: Any, schema: Structural, path: str, whole: bool) -> list[Problem]:
        problem, _ = coerce.coerce(value, schema, root=whole, path=path)
        return [problem] if problem else coerce.problems(value, schema, self.check_metadata, root=whole, path=path)

    def _metadata(self, obj: Any, value: Any, root: Structural, path: str) -> list[Problem]:
        problem, _ = coerce.coerce(obj, root, root=True)
        found = [problem] if problem else coerce.problems(obj, root, self.check_metadata, root=True)
        if not found:
            return []
        told = [str(p) for p in found]
        listed = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
        return [field.invalid(path, value, f"must result in valid metadata: {listed}")]


def _field(around: Surround, name: str) -> Surround:
    return lambda value: around({name: value})
