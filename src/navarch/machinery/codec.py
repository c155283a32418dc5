"""Objects to bytes and back.

Decoding is strict and fast where the input is clean: `msgspec` checks types and refuses unknown fields in one pass. Only
when that fails does the slow path walk the input again: it drops unknown fields, names each of them and each duplicate key
(upstream's strict decoding errors), and turns a wrong type into the sentence Go's decoder would have said.

What comes from outside passes `well_formed` first: it bounds how deep a text nests and how many values it holds, and puts U+FFFD for
what is no Unicode, as Go does. What is decoded after it can be walked by functions that call themselves.

Upstream counterparts: apimachinery's serializer/json and sigs.k8s.io/json.
"""

from __future__ import annotations

import codecs
import functools
import json
import re
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from navarch.api.scalars import Object
from navarch.lib import integers
from navarch.machinery import yaml_json

T = TypeVar("T", bound=msgspec.Struct)


def _fields(value: Any) -> Any:
    """What is written of an object that is no struct: it says so itself (`json_fields`)."""
    try:
        return value.json_fields()
    except AttributeError:
        raise NotImplementedError(f"{type(value).__name__} has no form in JSON") from None


_encoder = msgspec.json.Encoder(enc_hook=_fields)
encode: Callable[[Any], bytes] = _encoder.encode
encode_sorted: Callable[[Any], bytes] = msgspec.json.Encoder(order="deterministic").encode
"""JSON with the keys of dicts in order, as Go writes maps."""
_decode_any = msgspec.json.Decoder().decode
_GO_KINDS = {"str": "string", "int": "number", "float": "number", "bool": "bool", "object": "object", "array": "array", "null": "null"}
_MESSAGE = re.compile(r"(.*?)(?: - at `(.*)`)?\Z", re.S)
MOST_DEPTH = 200
"""Lists and objects inside each other. Go's decoders stop at 10,000; here walks call themselves, up to four calls for a level, and
Python stops at 1,000 calls. The deepest built-in type, a schema of schemas, is nested 40 deep where people use it."""
MOST_CONTAINERS = 100_000
"""Lists and objects in one text: decoding as many takes 20 ms that nothing interrupts. What may be stored (1.5 MB) has a tenth of them."""
_MOST_PROBLEMS = 100
_MOST_STEP = 1000
_STRUCTURE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.S)
_ESCAPE = re.compile(rb"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.S)
"""An escape: a surrogate pair, half of one, any other."""


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
    tree = decoded_tree(data)
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
    """Strict decoding errors: unknown fields, then duplicates. (Upstream names them in the order of the text, and at most 100.)"""
    return [*(f'unknown field "{path}"' for path in unknown), *repeated][:_MOST_PROBLEMS]


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


def decoded_tree(data: bytes) -> Any:
    """Builtin values from a client's JSON. DecodeError, in Go's words, when it is none."""
    try:
        return _decode_any(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(_syntax(data, error)) from None


def to_tree(value: Any) -> dict[str, Any]:
    """An object as builtin values; always new at every level."""
    made: dict[str, Any] = _decode_any(encode(value))
    return made


def from_yaml(data: bytes | str) -> Any:
    """Builtin values from one YAML document, with JSON's scalars: times stay strings. DecodeError when it is none."""
    return tree(json_from_yaml(data)[0])


def json_from_yaml(data: bytes | str) -> tuple[bytes, list[str]]:
    """A YAML document as JSON, and what a strict reader says of keys that a mapping has twice. DecodeError when it is none."""
    try:
        document = yaml_json.load(data, MOST_DEPTH, MOST_CONTAINERS)
        text = encode(document.value)
        document.value = None
        return well_formed(text), strict_yaml(document.repeated)
    except (yaml_json.YamlError, DecodeError) as error:
        raise DecodeError(f"error converting YAML to JSON: {error}") from None


def yaml_duplicates(data: bytes) -> list[str]:
    """What a strict YAML reader says of keys that a mapping has twice; empty when there is none."""
    try:
        return strict_yaml(yaml_json.load(data, MOST_DEPTH, MOST_CONTAINERS).repeated)
    except yaml_json.YamlError:
        return []


def strict_yaml(repeated: list[str]) -> list[str]:
    """Repeated keys as one strict decoding error."""
    return ["yaml: unmarshal errors:\n  " + "\n  ".join(repeated)] if repeated else []


# ---- what comes from outside --------------------------------------------------------------------------------------


def well_formed(data: bytes) -> bytes:
    """A JSON text that is safe to decode, with U+FFFD in place of what is no Unicode. DecodeError when it nests too deep or holds too much.

    (2 µs for each KB: five searches in C. Only what nests often is looked at token by token.)
    """
    if not data.isascii():
        data = _replaced(data)
    if b"\\ud" in data or b"\\uD" in data:
        data = _ESCAPE.sub(lambda match: b"\\ufffd" if match[2] else match[0], data)
    if data.count(b"{") + data.count(b"[") > MOST_DEPTH:
        _check_structure(data)
    return data


def _replaced(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="navarch.replace").encode()
    return data


def _replacement(error: UnicodeError) -> tuple[str, int]:
    """One U+FFFD for each byte, as Go's decoder has it. (Python's own has one for a sequence.)"""
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("navarch.replace", _replacement)


def _check_structure(data: bytes) -> None:
    """DecodeError when lists and objects are nested too deep, or are too many. (0.2 µs for each token.)"""
    depth = containers = 0
    for match in _STRUCTURE.finditer(data):
        first = data[match.start()]
        if first == 0x5B or first == 0x7B:
            depth += 1
            containers += 1
            if depth > MOST_DEPTH:
                raise DecodeError("exceeded max depth")
            if containers > MOST_CONTAINERS:
                raise DecodeError(f"exceeded max number of lists and objects ({MOST_CONTAINERS})")
        elif first != 0x22:
            depth -= 1


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

    def walk(node: Any, path: Path) -> None:
        if isinstance(node, dict):
            for key in dict.fromkeys(node.__dict__.get("twice", ())):
                if len(found) < _MOST_PROBLEMS:
                    found[path_text((path, key))] = None
            for key, child in node.items():
                if isinstance(child, dict | list):
                    walk(child, (path, key))
        elif isinstance(node, list):
            for i, child in enumerate(node):
                if isinstance(child, dict | list):
                    walk(child, (path, i))

    walk(json.loads(data, object_pairs_hook=pairs, parse_int=float), None)
    return [f'duplicate field "{path}"' for path in found]


Path = tuple["Path", str | int] | None
"""Where a walk is: the step and the path to it. It becomes a text only where a problem is named: a text for each step would cost as
much as the longest key times the number of values."""


def path_text(path: Path) -> str:
    """`spec.containers[0].name`, at most 1,000 characters for each of its steps."""
    steps: list[str] = []
    while path is not None:
        path, step = path
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step[:_MOST_STEP]}")
    return "".join(reversed(steps)).removeprefix(".")


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
    """Whether a field of a type is a 32-bit number, by the range it carries."""
    if not (isinstance(owner, type) and issubclass(owner, msgspec.Struct)):
        return True
    attributes = dict(zip(owner.__struct_encode_fields__, owner.__struct_fields__, strict=True))
    return "2147483647" in repr(_hints(owner, True).get(attributes.get(name, "")))


def _required(hint: Any) -> Any:
    if get_origin(hint) in (typing.Union, types.UnionType):
        rest = [a for a in get_args(hint) if a is not type(None)]
        return rest[0] if len(rest) == 1 else tuple(rest)
    return hint


def prune(kind: Any, tree: Any, unknown: list[str], path: Path = None) -> Any:
    """The tree without fields its type does not know; the paths of the first hundred are added to `unknown`."""
    if isinstance(kind, type) and issubclass(kind, Object) and isinstance(tree, dict):
        known = field_types(kind)
        kept = {}
        for key, child in tree.items():
            if key in known:
                kept[key] = prune(known[key], child, unknown, (path, key))
            elif len(unknown) < _MOST_PROBLEMS:
                unknown.append(path_text((path, key)))
        return kept
    if get_origin(kind) is list and isinstance(tree, list):
        element = get_args(kind)[0]
        return [prune(element, child, unknown, (path, i)) if isinstance(child, dict | list) else child for i, child in enumerate(tree)]
    if get_origin(kind) is dict and isinstance(tree, dict):
        value = get_args(kind)[1]
        return {key: prune(value, child, unknown, (path, key)) if isinstance(child, dict | list) else child for key, child in tree.items()}
    return tree


def _syntax(data: bytes, error: Exception) -> str:
    """A JSON syntax error in the words of Go's parser, as far as they can be had."""
    text = data[:1].strip()
    if not (text or data.strip()) or "truncated" in str(error):
        return "unexpected end of JSON input"
    if "out of range" in str(error):
        return "json: cannot unmarshal number into Go value of type float64"
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
        return value[int(position)] if integers.is_digits(position) else None
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
