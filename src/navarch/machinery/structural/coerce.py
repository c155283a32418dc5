"""Objects within objects: their apiVersion, kind and metadata are held to what all objects are held to.

In: an object as plain dicts, which is changed, and its schema; places with `x-kubernetes-embedded-resource` are whole objects. Out:
metadata without unknown fields (their paths are returned), and the first thing of a wrong type; `problems` says what else is wrong.

What metadata must be is known to who asks (`MetadataCheck`): the rules of names and labels stand with the API server's own.

Upstream counterpart: apiextensions-apiserver's pkg/apiserver/schema/objectmeta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from navarch.api.meta import v1 as meta_v1
from navarch.machinery import codec, field, names
from navarch.machinery.field import Problem
from navarch.machinery.structural.schema import Structural

MetadataCheck = Callable[[meta_v1.ObjectMeta, str], list[Problem]]
"""The problems of some object's metadata, which stands at a path. A missing name is no problem."""


def coerce(obj: Any, schema: Structural, *, root: bool = False, drop_invalid: bool = False, path: str = "") -> tuple[Problem | None, list[str]]:
    """Prunes the metadata of embedded objects: the first problem, if any, and the unknown fields by path, sorted.

    `root`: the object itself counts as embedded. `drop_invalid`: what has a wrong type is dropped, as for objects read from the store.
    """
    unknown: list[str] = []
    for place, at in _embedded(obj, schema, path, root):
        problem = _envelope(place, at, drop_invalid, unknown)
        if problem is not None:
            return problem, sorted(unknown)
    return None, sorted(unknown)


def problems(obj: Any, schema: Structural, check_metadata: MetadataCheck, *, root: bool = False, path: str = "") -> list[Problem]:
    """What is wrong with the apiVersion, kind and metadata of embedded objects."""
    found: list[Problem] = []
    for place, at in _embedded(obj, schema, path, root):
        found += _problems(place, at, check_metadata)
    return found


def _embedded(value: Any, schema: Structural | None, path: str, root: bool = False) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects in an object, outermost first, each with its path."""
    if schema is None or not (root or schema.below.embedded):
        return
    if value.__class__ is dict:
        if root or schema.embedded:
            yield value, path
        for key, held in list(value.items()) if schema.below.embedded else ():
            child = schema.properties.get(key)
            if child is not None:
                yield from _embedded(held, child, _join(path, key))
            elif schema.additional is not None:
                yield from _embedded(held, schema.additional_schema, f"{path}[{key}]")
    elif value.__class__ is list:
        for i, item in enumerate(value):
            yield from _embedded(item, schema.items, f"{path}[{i}]")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _envelope(obj: dict[str, Any], path: str, drop_invalid: bool, unknown: list[str]) -> Problem | None:
    for key in ("apiVersion", "kind"):
        if key in obj and not isinstance(obj[key], str):
            if not drop_invalid:
                return field.invalid(_join(path, key), obj[key], "must be a string")
            del obj[key]
    if "metadata" not in obj:
        return None
    held = obj["metadata"]
    try:
        obj["metadata"] = metadata(held, _join(path, "metadata"), unknown)
    except codec.DecodeError as error:
        if not drop_invalid:
            return field.invalid(_join(path, "metadata"), held, str(error))
        if isinstance(held, dict):
            obj["metadata"] = _good_fields(held)
    return None


def metadata(held: Any, path: str, unknown: list[str]) -> dict[str, Any]:
    """Metadata without unknown fields, whose paths are added to `unknown`. DecodeError, in Go's words, when it is none."""
    below: list[str] = []
    tree = codec.prune(meta_v1.ObjectMeta, {} if held is None else held, below)
    made = codec.to_tree(codec.from_tree(meta_v1.ObjectMeta, tree))
    unknown += (f"{path}.{name}" for name in below)
    return made


def _good_fields(held: dict[str, Any]) -> dict[str, Any]:
    """Metadata field by field, those of a wrong type left out."""
    made: dict[str, Any] = {}
    for key, value in held.items():
        try:
            made |= metadata({key: value}, "", [])
        except codec.DecodeError:
            continue
    return made


def _problems(obj: dict[str, Any], path: str, check_metadata: MetadataCheck) -> Iterator[Problem]:
    yield from (field.required(_join(path, key)) for key in ("apiVersion", "kind") if key not in obj)
    if "apiVersion" in obj and (told := _version_problem(obj["apiVersion"])):
        yield field.invalid(_join(path, "apiVersion"), obj["apiVersion"], told)
    if "kind" in obj and (told := _kind_problem(obj["kind"])):
        yield field.invalid(_join(path, "kind"), obj["kind"], told)
    if "metadata" in obj:
        at = _join(path, "metadata")
        try:
            made = codec.from_tree(meta_v1.ObjectMeta, metadata(obj["metadata"], at, []))
        except codec.DecodeError as error:
            yield field.invalid(at, obj["metadata"], str(error))
        else:
            yield from check_metadata(made, at)


def _version_problem(value: Any) -> str:
    if not isinstance(value, str):
        return "must be a string"
    if not value:
        return "must not be empty"
    return f"unexpected GroupVersion string: {value}" if value.count("/") > 1 else ""


def _kind_problem(value: Any) -> str:
    if not isinstance(value, str):
        return "must be a string"
    if not value:
        return "must not be empty"
    told = names.dns_label_1035(value.lower())
    return f"may have mixed case, but should otherwise match: {','.join(told)}" if told else ""
