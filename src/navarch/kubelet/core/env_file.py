"""Environment variables from a file in a volume: lines KEY='value'. Pure.

Only single quotes enclose a value, which is taken as it stands and may go over several lines; `#` begins a comment, before a line or
after a value. Upstream's counterpart is pkg/kubelet/util/env.
"""

from __future__ import annotations

BLANK = " \t"


class BadFile(ValueError):
    """The file is not in the format; the message says where."""


def value(text: str, key: str) -> str:
    """The value of `key`; empty when the file has none. What follows the key is not looked at. `BadFile` for what comes before it."""
    lines = text.split("\n")
    position = 0
    while position < len(lines):
        line = lines[position].rstrip("\r").lstrip(BLANK)
        position += 1
        if not line or line.startswith("#"):
            continue
        name, rest = _name(line, position)
        if rest[:1] in BLANK and rest:
            # A shell takes `KEY= 'value'` for an empty one.
            if name == key:
                return ""
            continue
        found, position = _quoted(lines, rest, position)
        if name == key:
            return found
    return ""


def _name(line: str, number: int) -> tuple[str, str]:
    written, equals, rest = line.partition("=")
    if not equals:
        raise _bad(number, "missing '='")
    name = written.rstrip(BLANK)
    if not name:
        raise _bad(number, "empty variable name")
    if name != written:
        raise _bad(number, "whitespace before '=' is not allowed")
    return name, rest


def _quoted(lines: list[str], rest: str, number: int) -> tuple[str, int]:
    """The value that begins in `rest`, and the number of the line it ends in."""
    first = number
    if not rest.startswith("'"):
        raise _bad(number, "value must be enclosed in single quotes")
    parts = []
    rest = rest[1:]
    while "'" not in rest:
        parts.append(rest)
        if number >= len(lines) or (number == len(lines) - 1 and not lines[number]):
            raise BadFile(f"invalid environment variable format starting at line {first}: unclosed single quote")
        rest = lines[number].rstrip("\r")
        number += 1
    end, _, after = rest.partition("'")
    after = after.lstrip(BLANK)
    if after and not after.startswith("#"):
        raise _bad(number, "unexpected content after closing quote")
    return "\n".join([*parts, end]), number


def _bad(number: int, what: str) -> BadFile:
    return BadFile(f"invalid environment variable format at line {number}: {what}")
