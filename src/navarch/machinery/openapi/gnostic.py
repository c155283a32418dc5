"""The OpenAPI v2 document as protobuf: gnostic's `openapi_v2.Document`, which client-go's `OpenAPISchema()` asks for.

In: the document as `documents.v2` makes it. Out: bytes. A message is a table from JSON key to field number and to what is there;
keys that begin with `x-` are vendor extensions, and any JSON value stands there as text, since JSON is YAML.

Upstream counterpart: google/gnostic-models' openapiv2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec

from navarch.machinery.protobuf import sized, varint

Tree = dict[str, Any]
Encoder = Callable[[Any], bytes]
Message = dict[str, tuple[int, Encoder | str]]
"""JSON key → field number and what it holds: "text", "bool", "int", "double", or a function that makes a message's bytes. A list in
the document is a repeated field."""

TAGS = {"text": 2, "bool": 0, "int": 0, "double": 1}


def encode(document: Tree) -> bytes:
    """The document's bytes."""
    return message(DOCUMENT, document, 16)


def message(fields: Message, tree: Tree, extensions: int = 0) -> bytes:
    """One message; `extensions` is the number of its `vendor_extension` field."""
    parts: list[bytes] = []
    for key, value in tree.items():
        if key.startswith("x-"):
            if extensions:
                parts.append(sized(varint(extensions << 3 | 2), named(key, anything(value))))
            continue
        if key not in fields:
            continue
        number, kind = fields[key]
        for one in value if isinstance(value, list) else [value]:
            parts.append(field(number, kind, one))
    return b"".join(parts)


def field(number: int, kind: Encoder | str, value: Any) -> bytes:
    if not isinstance(kind, str):
        return sized(varint(number << 3 | 2), kind(value))
    if kind == "text":
        return sized(varint(number << 3 | 2), str(value).encode())
    if kind == "double":
        return varint(number << 3 | 1) + struct.pack("<d", value)
    return varint(number << 3) + varint(int(value))


def named(name: str, value: bytes) -> bytes:
    """A `NamedX`: name and value."""
    return sized(b"\x0a", name.encode()) + sized(b"\x12", value)


def anything(value: Any) -> bytes:
    """An `Any`: the value as YAML text."""
    return sized(b"\x12", msgspec.json.encode(value) + b"\n")


def each(number: int, encoder: Encoder) -> Encoder:
    """A message that is nothing but named entries."""

    def made(tree: Tree) -> bytes:
        tag = varint(number << 3 | 2)
        return b"".join(sized(tag, named(name, encoder(value))) for name, value in tree.items())

    return made


def only(number: int, encoder: Encoder) -> Encoder:
    """A message that holds one of several messages: this one."""
    return lambda value: sized(varint(number << 3 | 2), encoder(value))


def strings(value: Any) -> bytes:
    """A message that is a list of strings in field 1."""
    return b"".join(sized(b"\x0a", text.encode()) for text in (value if isinstance(value, list) else [value]))


def schema(tree: Tree) -> bytes:
    return message(SCHEMA, tree, 31)


def additional(value: Any) -> bytes:
    return b"\x10" + varint(int(value)) if isinstance(value, bool) else sized(b"\x0a", schema(value))


def items(value: Any) -> bytes:
    return b"".join(sized(b"\x0a", schema(one)) for one in (value if isinstance(value, list) else [value]))


SCHEMA: Message = {
    "$ref": (1, "text"), "format": (2, "text"), "title": (3, "text"), "description": (4, "text"), "default": (5, anything),
    "multipleOf": (6, "double"), "maximum": (7, "double"), "exclusiveMaximum": (8, "bool"), "minimum": (9, "double"),
    "exclusiveMinimum": (10, "bool"), "maxLength": (11, "int"), "minLength": (12, "int"), "pattern": (13, "text"),
    "maxItems": (14, "int"), "minItems": (15, "int"), "uniqueItems": (16, "bool"), "maxProperties": (17, "int"),
    "minProperties": (18, "int"), "required": (19, "text"), "enum": (20, anything), "additionalProperties": (21, additional),
    "type": (22, strings), "items": (23, items), "allOf": (24, schema), "properties": (25, each(1, schema)),
    "discriminator": (26, "text"), "readOnly": (27, "bool"), "externalDocs": (29, lambda tree: message(EXTERNAL, tree, 3)),
    "example": (30, anything),
}  # fmt: skip
EXTERNAL: Message = {"description": (1, "text"), "url": (2, "text")}
BODY: Message = {"description": (1, "text"), "name": (2, "text"), "in": (3, "text"), "required": (4, "bool"), "schema": (5, schema)}
IN_PATH: Message = {
    "required": (1, "bool"), "in": (2, "text"), "description": (3, "text"), "name": (4, "text"), "type": (5, "text"),
    "format": (6, "text"), "uniqueItems": (19, "bool"),
}  # fmt: skip
IN_QUERY: Message = {
    "required": (1, "bool"), "in": (2, "text"), "description": (3, "text"), "name": (4, "text"), "type": (6, "text"),
    "format": (7, "text"), "uniqueItems": (20, "bool"),
}  # fmt: skip
REFERENCE: Message = {"$ref": (1, "text"), "description": (2, "text")}


def parameter(tree: Tree) -> bytes:
    if tree["in"] == "body":
        return only(1, lambda value: message(BODY, value, 6))(tree)
    if tree["in"] == "path":
        return only(2, only(4, lambda value: message(IN_PATH, value, 22)))(tree)
    return only(2, only(3, lambda value: message(IN_QUERY, value, 23)))(tree)


def parameters_item(tree: Tree) -> bytes:
    return only(2, lambda value: message(REFERENCE, value))(tree) if "$ref" in tree else only(1, parameter)(tree)


def response(tree: Tree) -> bytes:
    return only(1, lambda value: message(RESPONSE, value, 5))(tree)


RESPONSE: Message = {"description": (1, "text"), "schema": (2, only(1, schema))}


def operation(tree: Tree) -> bytes:
    return message(OPERATION, tree, 13)


OPERATION: Message = {
    "tags": (1, "text"), "summary": (2, "text"), "description": (3, "text"), "operationId": (5, "text"), "produces": (6, "text"),
    "consumes": (7, "text"), "parameters": (8, parameters_item), "responses": (9, each(1, response)), "schemes": (10, "text"),
    "deprecated": (11, "bool"),
}  # fmt: skip
PATH_ITEM: Message = {
    "get": (2, operation), "put": (3, operation), "post": (4, operation), "delete": (5, operation), "options": (6, operation),
    "head": (7, operation), "patch": (8, operation), "parameters": (9, parameters_item),
}  # fmt: skip
INFO: Message = {"title": (1, "text"), "version": (2, "text"), "description": (3, "text")}
API_KEY: Message = {"type": (1, "text"), "name": (2, "text"), "in": (3, "text"), "description": (4, "text")}
DOCUMENT: Message = {
    "swagger": (1, "text"), "info": (2, lambda tree: message(INFO, tree, 7)), "host": (3, "text"), "basePath": (4, "text"),
    "schemes": (5, "text"), "consumes": (6, "text"), "produces": (7, "text"),
    "paths": (8, each(2, lambda tree: message(PATH_ITEM, tree, 10))), "definitions": (9, each(1, schema)),
    "parameters": (10, each(1, parameter)), "security": (12, each(1, strings)),
    "securityDefinitions": (13, each(1, only(2, lambda tree: message(API_KEY, tree, 5)))),
}  # fmt: skip
