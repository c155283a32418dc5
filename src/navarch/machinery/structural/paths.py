"""Paths into objects as definitions write them: `.spec.replicas`, `.metadata['name']`.

In: a path and the schema it leads into. Out: the path as problems name places ("spec.replicas"), and the schema there. `Invalid` says why
a path leads nowhere, in upstream's words.

Upstream counterpart: ValidFieldPath of apiextensions-apiserver's pkg/apiserver/schema/cel.
"""

from __future__ import annotations

import re

from navarch.machinery.structural.schema import Structural

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


class Invalid(ValueError):
    """The path leads nowhere; the message is upstream's."""


def resolve(path: str, schema: Structural, *, brackets: bool = True) -> tuple[str, Structural | None]:
    """Where a path leads. `brackets`: whether `['name']` may be written."""
    tokens = _tokens(path)
    shown = ""
    place: Structural | None = schema
    while tokens:
        token = tokens.pop(0)
        if token not in (".", "["):
            raise Invalid(f"expected [ or . but got: {token}")
        if token == "[" and not brackets:
            raise Invalid("array notation is not allowed")
        name = _next(tokens)
        if token == "[":
            name = _literal(name)
        shown, place = _step(shown, place, name)
        if token == "[" and (closing := _next(tokens)) != "]":
            raise Invalid(f"expected ] but got {closing}")
    return shown, place


def _tokens(path: str) -> list[str]:
    """The signs `.`, `[`, `]`, and what stands between them; a quoted string is one token whatever it holds."""
    found: list[str] = []
    rest = path
    while rest:
        quoted = re.match(r"'(?:\\'|[^'])*'", rest) if rest[0] == "'" else None
        plain = re.match(r"[^.\[\]]+", rest)
        token = quoted[0] if quoted else rest if rest[0] == "'" else plain[0] if plain else rest[0]
        found.append(token)
        rest = rest[len(token) :]
    return found


def _next(tokens: list[str]) -> str:
    if not tokens:
        raise Invalid("unexpected end of JSON path")
    return tokens.pop(0)


def _literal(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise Invalid(f"expected single quoted string but got {token}")

    def unescaped(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise Invalid(f"invalid string literal: invalid escape char {match[0]}")
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", unescaped, token[1:-1])


def _step(shown: str, place: Structural | None, name: str) -> tuple[str, Structural | None]:
    if place is not None and place.properties:
        if name not in place.properties:
            raise Invalid("does not refer to a valid field")
        return f"{shown}.{name}" if shown else name, place.properties[name]
    if place is not None and place.additional is not None:
        return f"{shown}[{name}]", place.additional_schema
    raise Invalid("does not refer to a valid field")
