"""The words of an expression.

In: a text. Out: its tokens, and the places where none could be made. Literals carry the values they stand for.

Upstream counterpart: cel-go's parser (the lexer of CEL.g4, unescape.go).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from navarch.machinery.cel.problems import Problem
from navarch.machinery.cel.values import Uint

RESERVED = frozenset(
    "as break const continue else for function if import let loop package namespace return var void while".split()  # noqa: SIM905
)
_KEYWORDS = frozenset({"in", "true", "false", "null"})
_ESCAPE = r"\\(?:[abfnrtv\"'\\?`]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2})"
_QUOTED = (
    r'"""(?:{0}|[^\\])*?"""',
    r"'''(?:{0}|[^\\])*?'''",
    r'"(?:{0}|[^\\"\n\r])*"',
    r"'(?:{0}|[^\\'\n\r])*'",
)
_RAW = (r'"""[\s\S]*?"""', r"'''[\s\S]*?'''", r'"[^"\n\r]*"', r"'[^'\n\r]*'")
_TOKEN = re.compile(
    r"(?P<space>[\t\r\n\f ]+|//[^\n]*)"
    r"|(?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<uint>(?:0x[0-9a-fA-F]+|[0-9]+)[uU])"
    r"|(?P<int>0x[0-9a-fA-F]+|[0-9]+)"
    rf"|(?P<string>[rR](?:{'|'.join(_RAW)})|(?:{'|'.join(q.format(_ESCAPE) for q in _QUOTED)}))"
    rf"|(?P<bytes>[bB][rR](?:{'|'.join(_RAW)})|[bB](?:{'|'.join(q.format(_ESCAPE) for q in _QUOTED)}))"
    r"|(?P<word>[_a-zA-Z][_a-zA-Z0-9]*)"
    r"|(?P<quoted>`[a-zA-Z0-9_./ -]+`)"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||[\[\]{}()<>.,\-!?:+*/%])"
)
_ONE_ESCAPE = re.compile(_ESCAPE)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NOT_A_STRING = re.compile(r"""[rRbB]{0,2}("{3}|'{3}|"|')""")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: int, uint, float, string, bytes, word, quoted, end, or the sign or keyword itself."""

    kind: str
    text: str
    at: int
    value: Any = None


def split(text: str) -> tuple[list[Token], list[Problem]]:
    """The tokens, closed by one of kind "end", and what is wrong."""
    found: list[Token] = []
    wrong: list[Problem] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            end = _unrecognized(text, at)
            wrong.append(Problem(at, f"Syntax error: token recognition error at: '{_escaped(text[at:end])}'"))
            at = end
            continue
        at = match.end()
        if match.lastgroup != "space":
            found.append(_token(match, wrong))
    found.append(Token("end", "<EOF>", len(text)))
    return found, wrong


def _unrecognized(text: str, at: int) -> int:
    """Where what is no token ends: a string without an end takes the line up to its first bad escape."""
    opening = _NOT_A_STRING.match(text, at)
    if opening is None:
        return at + (2 if text[at] in "=|&" and text[at : at + 2] not in ("==", "||", "&&") and at + 1 < len(text) else 1)
    end = opening.end()
    while end < len(text) and text[end] not in "\n\r":
        if text[end] == "\\":
            escape = _ONE_ESCAPE.match(text, end)
            if escape is None:
                return min(len(text), end + 2)
            end = escape.end()
        else:
            end += 1
    return end


def _escaped(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _token(match: re.Match[str], wrong: list[Problem]) -> Token:
    kind, text, at = str(match.lastgroup), match[0], match.start()
    if kind == "sign" or text in _KEYWORDS:
        return Token(text, text, at)
    try:
        return Token(kind, text, at, _value(kind, text))
    except ValueError as error:
        wrong.append(Problem(at, str(error)))
        return Token(kind, text, at, 0)


_MAX_DIGITS = 1000
"""Of a number. Python's own bound is in other words."""


def _value(kind: str, text: str) -> Any:
    if kind in ("int", "uint") and len(text) > _MAX_DIGITS:
        raise ValueError(f"invalid {kind} literal")
    match kind:
        case "int":
            return int(text, 16) if text.startswith("0x") else int(text)
        case "uint":
            value = int(text[:-1], 16) if text.startswith("0x") else int(text[:-1])
            if value >= 2**64:
                raise ValueError("invalid uint literal")
            return Uint(value)
        case "float":
            if math.isinf(number := float(text)):
                raise ValueError("invalid double literal")
            return number
        case "string":
            return _string(text)
        case "bytes":
            return _bytes(text[1:])
        case _:
            return None


def _body(text: str) -> tuple[str, bool]:
    """What stands between the quotes, and whether backslashes are themselves."""
    raw = text[0] in "rR"
    text = text[1:] if raw else text
    quotes = 3 if text[:3] in ('"""', "'''") and len(text) >= 6 else 1
    return text[quotes:-quotes].replace("\r\n", "\n").replace("\r", "\n"), raw


def _string(text: str) -> str:
    body, raw = _body(text)
    return body if raw else _ONE_ESCAPE.sub(lambda match: _character(match[0][1:]), body)


def _character(escape: str) -> str:
    if escape[0] in _SIMPLE:
        return _SIMPLE[escape[0]]
    if escape[0] in "xXuU":
        point = int(escape[1:], 16)
    elif escape[0] in "01234567":
        point = int(escape, 8)
    else:
        return escape[0]
    if point > 0x10FFFF or 0xD800 <= point < 0xE000:
        raise ValueError("invalid unicode code point")
    return chr(point)


def _bytes(text: str) -> bytes:
    """In bytes, escapes by number are bytes; other characters are their UTF-8."""
    body, raw = _body(text)
    if raw:
        return body.encode()
    made, at = b"", 0
    for match in _ONE_ESCAPE.finditer(body):
        escape = match[0][1:]
        made += body[at : match.start()].encode()
        if escape[0] in "uU":
            raise ValueError("unable to unescape string")
        made += bytes([ord(_character(escape))])
        at = match.end()
    return made + body[at:].encode()
