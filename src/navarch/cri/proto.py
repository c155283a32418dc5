"""CRI messages, made when first needed from the table `api/facts/proto-cri.json`.

Upstream generates Go code from api.proto with protoc; here the same facts (names, numbers, types) become a file descriptor
that protobuf turns into classes, so there is no generated code and no build step. In: the fact table. Out: message classes
by short name (`message("PodSandboxConfig")`), enum values by name, and for each RPC its path and message types. Not a client.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "runtime.v1"

_SCALARS = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "fixed64": 6, "fixed32": 7, "bool": 8,
    "string": 9, "bytes": 12, "uint32": 13, "sfixed32": 15, "sfixed64": 16, "sint32": 17, "sint64": 18,
}  # fmt: skip
_MESSAGE, _ENUM = 11, 14
_OPTIONAL, _REPEATED = 1, 3

Message = Any
"""A protobuf message; its fields are those of the table."""


@dataclass(frozen=True)
class Method:
    """One RPC: its gRPC path and classes. `streams` tells that the server answers with many messages."""

    path: str
    request: type[Message]
    response: type[Message]
    streams: bool


@functools.cache
def _facts() -> dict[str, Any]:
    text = resources.files("navarch.api.facts").joinpath("proto-cri.json").read_bytes()
    facts: dict[str, Any] = json.loads(text)
    return facts


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    facts = _facts()
    file = descriptor_pb2.FileDescriptorProto(name="navarch/cri.proto", package=PACKAGE, syntax="proto3")
    messages: dict[str, Any] = {}
    for full in sorted(facts["messages"], key=lambda name: name.count(".")):
        owner, short = _place(file, messages, full)
        messages[full] = owner.add(name=short)
    for full, values in facts["enums"].items():
        _add_enum(file, messages, full, values)
    for full, fields in facts["messages"].items():
        for name, (number, label, kind) in fields.items():
            _add_field(messages[full], full, name, number, label, kind, facts["enums"])
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _place(file: Any, messages: dict[str, Any], full: str) -> tuple[Any, str]:
    """Where a message belongs: inside its parent message, or at the top of the file."""
    parent, _, short = full.rpartition(".")
    return (messages[parent].nested_type if parent in messages else file.message_type), short


def _add_enum(file: Any, messages: dict[str, Any], full: str, values: dict[str, int]) -> None:
    parent, _, short = full.rpartition(".")
    enum = messages.get(parent, file).enum_type.add(name=short)
    ordered = sorted(values.items(), key=lambda item: item[1])
    if len({number for _, number in ordered}) < len(ordered):
        enum.options.allow_alias = True
    for name, number in ordered:
        enum.value.add(name=name, number=number)


def _add_field(message: Any, full: str, name: str, number: int, label: str, kind: Any, enums: dict[str, Any]) -> None:
    field = message.field.add(name=name, number=number, json_name=name, label=_OPTIONAL if label == "one" else _REPEATED)
    if label == "map":
        entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        nested = message.nested_type.add(name=entry)
        nested.options.map_entry = True
        for index, (part, part_kind) in enumerate(zip(("key", "value"), kind, strict=True), start=1):
            _set_type(nested.field.add(name=part, number=index, label=_OPTIONAL), part_kind, enums)
        field.type, field.type_name = _MESSAGE, f".{full}.{entry}"
        return
    _set_type(field, kind, enums)


def _set_type(field: Any, kind: str, enums: dict[str, Any]) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = (_ENUM if kind in enums else _MESSAGE), f".{kind}"


@functools.cache
def message(name: str) -> type[Message]:
    """The class of a CRI message by its short name; KeyError when there is none."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


def enum(name: str, value: str) -> int:
    """The number of an enum value: `enum("NamespaceMode", "NODE")`."""
    number: int = _facts()["enums"][f"{PACKAGE}.{name}"][value]
    return number


@functools.cache
def method(service: str, name: str) -> Method:
    """One RPC of `RuntimeService` or `ImageService`."""
    request, response, *rest = _facts()["services"][f"{PACKAGE}.{service}"][name]
    prefix = f"{PACKAGE}."
    return Method(
        path=f"/{PACKAGE}.{service}/{name}",
        request=message(request.removeprefix(prefix)),
        response=message(response.removeprefix(prefix)),
        streams=bool(rest),
    )
