"""Objects to bytes and back.

Decoding is strict and fast where the input is clean: `msgspec` checks types and refuses unknown fields in one pass. Only
when that fails does the slow path walk the input again: it drops unknown fields, names each of them and each duplicate key
(upstream's strict decoding errors), and turns a wrong type into the sentence Go's decoder would have said.

Upstream counterparts: apimachinery's serializer/json and sigs.k8s.io/json.
"""

from __future__ import annotations

import functools
import json
import re
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import yaml

from navarch.api.scalars import Object

T = TypeVar("T", bound=msgspec.Struct)
_encoder = msgspec.json.Encoder()
encode: Callable[[Any], bytes] = _encoder.encode
_decode_any = msgspec.json.Decoder().decode
_GO_KINDS = {"str": "string", "int": "number", "float": "number", "bool": "bool", "object": "object", "array": "array", "null": "null"}
_MESSAGE = re.compile(r"(.*?)(?: - at `(.*)`)?\Z", re.S)


class DecodeError(ValueError):
    """The input is no object of the type; the message is what Go's decoder says."""


@functools.cache
def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """The decoder of a type, made once."""
    return msgspec.json.Decoder(kind)


def decode(kind: type[T], data: bytes) -> T:
    """An object from JSON; unknown fields are dropped. DecodeError when it is none."""
    try:
        made: T = decoder(kind).decode(data)
        return made
    except msgspec.ValidationError:
        return decode_reporting(kind, data)[0]
    except msgspec.DecodeError as error:
        raise DecodeError(_syntax(data, error)) from None


def decode_reporting(kind: type[T], data: bytes) -> tuple[T, list[str]]:
    """An object from JSON, and what a strict reader objects to: `unknown field "spec.x"`, `duplicate field "spec.y"`."""
    problems: list[str] = []
    try:
        tree = _decode_any(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DecodeError(_syntax(data, error)) from None
    clean: T | None
    try:
        clean = decoder(kind).decode(data)
    except msgspec.ValidationError:
        clean = None
    if data.count(b'":') != encode(tree).count(b'":'):
        problems += duplicates(data)
    if clean is not None:
        return clean, problems
    unknown: list[str] = []
    tree = prune(kind, tree, unknown)
    return from_tree(kind, tree), sorted_problems(unknown, problems)


def sorted_problems(unknown: list[str], repeated: list[str]) -> list[str]:
    """Strict decoding errors: unknown fields, then duplicates. (Upstream names them in the order of the text.)"""
    return [*(f'unknown field "{path}"' for path in unknown), *repeated]


def from_tree(kind: type[T], tree: Any) -> T:
    """An object from builtin values. DecodeError, in Go's words, when a type is wrong."""
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        unknown: list[str] = []
        pruned = prune(kind, tree, unknown)
        if unknown:
            return from_tree(kind, pruned)
        raise DecodeError(_go_words(kind, str(error), tree)) from None


def tree(data: bytes) -> Any:
    """Builtin values from JSON that is known to be good."""
    return _decode_any(data)


def to_tree(value: msgspec.Struct | dict[str, Any]) -> dict[str, Any]:
    """An object as builtin values; always new at every level."""
    made: dict[str, Any] = _decode_any(encode(value))
    return made


def from_yaml(data: bytes | str) -> Any:
    """Builtin values from one YAML document, with JSON's scalars: times stay strings. DecodeError when it is none."""
    try:
        return yaml.load(data, Loader=_JsonLoader)
    except yaml.YAMLError as error:
        raise DecodeError(f"error converting YAML to JSON: yaml: {error}") from None


def yaml_duplicates(data: bytes) -> list[str]:
    """What a strict YAML reader says of keys that a mapping has twice; empty when there is none."""
    try:
        root = yaml.compose(data, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return []
    found: list[str] = []
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, child in node.value:
                waiting.append(child)
                if isinstance(key, yaml.ScalarNode) and (key.value in seen or seen.add(key.value)):  # type: ignore[func-returns-value]
                    found.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
    return ["yaml: unmarshal errors:\n  " + "\n  ".join(found)] if found else []


class _JsonLoader(yaml.CSafeLoader):
    """YAML as JSON sees it: a time is a string."""


_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


# ---- the slow path: what exactly was wrong ------------------------------------------------------------------------


def duplicates(data: bytes) -> list[str]:
    """`duplicate field "spec.x"` for each key an object of the text has twice, by path, each once."""
    found: dict[str, None] = {}

    class Pairs(dict[str, Any]):
        repeated: typing.ClassVar[set[str]] = set()

    def pairs(items: list[tuple[str, Any]]) -> Any:
        made = Pairs(items)
        if len(made) != len(items):
            seen: set[str] = set()
            made.__dict__["twice"] = [k for k, _ in items if k in seen or seen.add(k)]  # type: ignore[func-returns-value]
        return made

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for key in node.__dict__.get("twice", ()):
                found[_join(path, key)] = None
            for key, child in node.items():
                walk(child, _join(path, key))
        elif isinstance(node, list):
            for i, child in enumerate(node):
                walk(child, f"{path}[{i}]")

    walk(json.loads(data, object_pairs_hook=pairs), "")
    return [f'duplicate field "{path}"' for path in found]


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


@functools.cache
def field_types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON field name → its annotation without `| None`."""
    hints = _hints(kind, False)
    names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    return {encoded: _required(hints[attribute]) for attribute, encoded in names}


@functools.cache
def _hints(kind: type[msgspec.Struct], extras: bool) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=extras)


def _is_int32(owner: Any, name: str) -> bool:
    """Whether a field of a type is a 32-bit number: those carry their range."""
    if not (isinstance(owner, type) and issubclass(owner, msgspec.Struct)):
        return True
    attributes = dict(zip(owner.__struct_encode_fields__, owner.__struct_fields__, strict=True))
    return "Meta(" in repr(_hints(owner, True).get(attributes.get(name, "")))


def _required(hint: Any) -> Any:
    if get_origin(hint) in (typing.Union, types.UnionType):
        rest = [a for a in get_args(hint) if a is not type(None)]
        return rest[0] if len(rest) == 1 else tuple(rest)
    return hint


def prune(kind: Any, tree: Any, unknown: list[str], path: str = "") -> Any:
    """The tree without fields its type does not know; their paths are added to `unknown`."""
    if isinstance(kind, type) and issubclass(kind, Object) and isinstance(tree, dict):
        known = field_types(kind)
        kept = {}
        for key, child in tree.items():
            if key in known:
                kept[key] = prune(known[key], child, unknown, _join(path, key))
            else:
                unknown.append(_join(path, key))
        return kept
    if get_origin(kind) is list and isinstance(tree, list):
        return [prune(get_args(kind)[0], child, unknown, f"{path}[{i}]") for i, child in enumerate(tree)]
    if get_origin(kind) is dict and isinstance(tree, dict):
        return {key: prune(get_args(kind)[1], child, unknown, _join(path, key)) for key, child in tree.items()}
    return tree


def _syntax(data: bytes, error: Exception) -> str:
    """A JSON syntax error in the words of Go's parser, as far as they can be had."""
    text = data.strip()
    if not text or "truncated" in str(error):
        return "unexpected end of JSON input"
    match = re.search(r"byte (\d+)", str(error))
    at = int(match[1]) if match else 0
    char = data[at : at + 1].decode("utf-8", "replace")
    char = repr(char)[1:-1]
    where = "looking for beginning of value" if at == 0 else "in JSON input"
    return f"invalid character '{char}' {where}"


def _go_words(kind: type[msgspec.Struct], message: str, tree: Any) -> str:
    """`json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`."""
    match = _MESSAGE.match(message)
    assert match is not None
    steps = re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", match[2] or "$")
    owner: Any = kind
    current: Any = kind
    value = tree
    dotted: list[str] = []
    for name, position in steps:
        if name:
            if isinstance(current, type) and issubclass(current, msgspec.Struct):
                owner, current = current, field_types(current).get(name)
            elif get_origin(current) is dict:
                current = get_args(current)[1]
            value = value.get(name) if isinstance(value, dict) else None
            dotted.append(name)
        else:
            current = get_args(current)[-1] if get_args(current) else None
            value = _element(current, value, position)
    if not dotted:
        return f"json: cannot unmarshal {_go_value(value)} into Go value of type {_go_type(current)}"
    wanted = "int64" if current is int and not _is_int32(owner, dotted[-1]) else _go_type(current)
    into = f"Go struct field {owner.__name__}.{'.'.join(dotted)} of type {wanted}"
    return f"json: cannot unmarshal {_go_value(value)} into {into}"


def _element(kind: Any, value: Any, position: str) -> Any:
    """The element a validation message means: by number in a list, the first of a wrong type in a map."""
    if isinstance(value, list):
        return value[int(position)] if position.isdigit() else None
    for child in value.values() if isinstance(value, dict) else ():
        try:
            msgspec.convert(child, kind)
        except msgspec.ValidationError:
            return child
    return None


def _go_value(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return f"number {value}" if abs(value) >= 2**31 else "number"
        case float():
            return f"number {value}"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def _go_type(hint: Any) -> str:
    if hint is int:
        return "int32"
    if hint is str:
        return "string"
    if hint is bool:
        return "bool"
    if hint is float:
        return "float64"
    if get_origin(hint) is list:
        return f"[]{_go_type(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return f"map[string]{_go_type(get_args(hint)[1])}"
    if isinstance(hint, type):
        package = hint.__module__.removeprefix("navarch.api.").split(".")
        return f"{package[-1]}.{hint.__name__}"
    return "interface {}"
