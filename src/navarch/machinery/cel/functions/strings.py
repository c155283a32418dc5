"""Functions of strings, and `format`.

Upstream counterparts: cel-go's ext/strings.go (version 2), ext/formatting.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from navarch.lib import integers
from navarch.machinery import goform
from navarch.machinery.cel import times, values
from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.values import Duration, EvaluationError, Timestamp, TypeValue, Uint

_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""What Go's TrimSpace takes off."""
_LOWER = str.maketrans({chr(c): chr(c + 32) for c in range(ord("A"), ord("Z") + 1)})
_UPPER = str.maketrans({chr(c): chr(c - 32) for c in range(ord("a"), ord("z") + 1)})
_QUOTED = str.maketrans({"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"'})


def _out_of_range(index: int) -> EvaluationError:
    return EvaluationError(f"index out of range: {index}")


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise _out_of_range(index)
    return text[index : index + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if not part:
        return start
    if start < 0:
        raise _out_of_range(start)
    return text.find(part, start)


def _last_index_of(text: str, part: str) -> int:
    return text.rfind(part)


def _last_index_before(text: str, part: str, start: int) -> int:
    if not part:
        return start
    if start < 0:
        raise _out_of_range(start)
    return -1 if start >= len(text) else text.rfind(part, 0, start + len(part))


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    times = text.count(old) if count < 0 else min(count, text.count(old))
    if len(text) + times * (len(new) - len(old)) > values.MAX_TEXT:
        raise values.too_much()
    return text.replace(old, new, count)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if separator:
        return text.split(separator, -1 if count < 0 else count - 1)
    parts = list(text)
    return parts if count < 0 or len(parts) <= count else [*parts[: count - 1], "".join(parts[count - 1 :])]


def _substring(text: str, start: int) -> str:
    if not 0 <= start <= len(text):
        raise _out_of_range(start)
    return text[start:]


def _substring_between(text: str, start: int, end: int) -> str:
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for index in (start, end):
        if not 0 <= index <= len(text):
            raise _out_of_range(index)
    return text[start:end]


def _join(parts: list[Any], separator: str = "") -> str:
    for part in parts:
        if not isinstance(part, str):
            raise EvaluationError(f"join: invalid input: {part}")
    if sum(map(len, parts)) + len(parts) * len(separator) > values.MAX_TEXT:
        raise values.too_much()
    return separator.join(parts)


# ---- format --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clause:
    """`%.2f`: what is to be shown how."""

    letter: str
    precision: int | None


class BadClause(EvaluationError):
    """The format itself is wrong."""


def clauses(form: str) -> Iterator[str | Clause]:
    """The text of a format, and the clauses in it."""
    at = 0
    while at < len(form):
        sign = form.find("%", at)
        if sign < 0:
            yield form[at:]
            return
        yield form[at:sign]
        at = sign + 1
        if at >= len(form):
            raise BadClause("unexpected end of string")
        if form[at] == "%":
            yield "%"
            at += 1
            continue
        precision = None
        if form[at] == ".":
            digits = at + 1
            while digits < len(form) and integers.is_digits(form[digits]):
                digits += 1
            if digits == at + 1:
                told = 'error while converting precision to integer: strconv.Atoi: parsing "": invalid syntax'
                raise BadClause(f"could not parse formatting clause: error while parsing precision: {told}")
            precision, at = int(form[at + 1 : digits][:6]), digits
            if at >= len(form):
                raise BadClause("could not parse formatting clause: unexpected end of string")
        if form[at] not in _CLAUSES:
            raise BadClause(f'could not parse formatting clause: unrecognized formatting clause "{form[at]}"')
        yield Clause(form[at], precision)
        at += 1


def formatted(form: str, args: Sequence[Any]) -> str:
    made: list[str] = []
    used = length = 0
    for part in clauses(form):
        if isinstance(part, str):
            made.append(part)
            continue
        if used >= len(args):
            raise EvaluationError(f"index {used} out of range")
        made.append(_CLAUSES[part.letter](values.limited(args[used]), part.precision))
        used += 1
        length += len(made[-1])
        if length > values.MAX_TEXT:
            raise values.too_much()
    return "".join(made)


def literal_problems(form: str, kinds: Sequence[str]) -> Iterator[tuple[int | None, str]]:
    """What is wrong with a format and the types of its arguments: the first thing, with the argument's position if it is one's."""
    used = 0
    try:
        for part in clauses(form):
            if isinstance(part, str):
                continue
            if used >= len(kinds):
                yield None, f"index {used} out of range"
                return
            name, wanted, accepted = _WANTED[part.letter]
            if kinds[used] not in (*accepted, "dyn"):
                yield used, f"error during formatting: {name} clause can only be used on {wanted}, was given {kinds[used]}"
                return
            used += 1
    except BadClause as error:
        yield None, str(error)
        return
    if used < len(kinds):
        yield None, f"too many arguments supplied to string.format (expected {used}, got {len(kinds)})"


def _unfit(name: str, wanted: str, value: Any) -> EvaluationError:
    return EvaluationError(f"error during formatting: {name} clause can only be used on {wanted}, was given {values.type_name(value)}")


def _as_string(value: Any, precision: int | None) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case Uint() | int():
            return str(int(value))
        case float():
            return goform.number(value)
        case None:
            return "null"
        case bytes():
            return value.decode("utf-8", "replace")
        case Timestamp():
            return times.show_timestamp(value)
        case Duration():
            return times.show_duration(value)
        case TypeValue():
            return value.name
        case list():
            return f"[{', '.join(map(_element, value))}]"
        case dict():
            return "{" + ", ".join(sorted(f"{_element(key)}:{_element(held)}" for key, held in value.items())) + "}"
        case _:
            wanted = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
            raise _unfit("string", wanted, value)


def _element(value: Any) -> str:
    """A value within a list or map: strings quoted, doubles with six places."""
    match value:
        case str():
            return f'"{value}"'
        case float():
            return _as_fixed(value, None)
        case Timestamp() | Duration():
            return f'{"timestamp" if isinstance(value, Timestamp) else "duration"}("{_as_string(value, None)}")'
        case bytes():
            return f'b"{_as_string(value, None)}"'
        case _:
            return _as_string(value, None)


def _as_integer(value: Any, precision: int | None) -> str:
    if value.__class__ not in (int, Uint):
        raise _unfit("decimal", "integers", value)
    return str(int(value))


def _as_fixed(value: Any, precision: int | None) -> str:
    if value.__class__ is not float:
        raise _unfit("fixed-point", "doubles", value)
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "NaN")
    return f"{value:.{6 if precision is None else precision}f}"


def _as_scientific(value: Any, precision: int | None) -> str:
    if value.__class__ is not float:
        raise _unfit("scientific", "doubles", value)
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "NaN")
    mantissa, _, exponent = f"{value:.6e}".partition("e")
    return f"{mantissa}×10{exponent.removeprefix('+').translate(_RAISED)}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _as_binary(value: Any, precision: int | None) -> str:
    if value.__class__ not in (int, Uint, bool):
        raise _unfit("binary", "integers and bools", value)
    return f"{int(value):b}"


def _as_octal(value: Any, precision: int | None) -> str:
    if value.__class__ not in (int, Uint):
        raise _unfit("octal", "integers", value)
    return f"{int(value):o}"


def _as_hex(value: Any, precision: int | None) -> str:
    match value:
        case bool():
            raise _unfit("hex", "integers, byte buffers, and strings", value)
        case int():
            return f"{int(value):x}"
        case str():
            return value.encode().hex()
        case bytes():
            return value.hex()
        case _:
            raise _unfit("hex", "integers, byte buffers, and strings", value)


_CLAUSES: dict[str, Callable[[Any, int | None], str]] = {
    "s": _as_string,
    "d": _as_integer,
    "f": _as_fixed,
    "e": _as_scientific,
    "b": _as_binary,
    "o": _as_octal,
    "x": _as_hex,
    "X": lambda value, precision: _as_hex(value, precision).upper(),
}
_INTEGERS = ("int", "uint")
_HEX = ("hex", "integers, byte buffers, and strings", (*_INTEGERS, "string", "bytes"))
_WANTED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "s": (
        "string",
        "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
        (*_INTEGERS, "string", "bool", "bytes", "double", "map", "list", "type", "duration", "timestamp", "null_type"),
    ),
    "d": ("decimal", "integers", _INTEGERS),
    "f": ("fixed-point", "doubles", ("double",)),
    "e": ("scientific", "doubles", ("double",)),
    "b": ("binary", "integers and bools", (*_INTEGERS, "bool")),
    "o": ("octal", "integers", _INTEGERS),
    "x": _HEX,
    "X": _HEX,
}
"""Of each clause: its name, what it shows, in words and by the names of types."""
LIBRARY: Library = {
    "charAt": (Overload("string_char_at_int", "string.(int) -> string", _char_at),),
    "indexOf": (
        Overload("string_index_of_string", "string.(string) -> int", _index_of),
        Overload("string_index_of_string_int", "string.(string, int) -> int", _index_of),
    ),
    "lastIndexOf": (
        Overload("string_last_index_of_string", "string.(string) -> int", _last_index_of),
        Overload("string_last_index_of_string_int", "string.(string, int) -> int", _last_index_before),
    ),
    "lowerAscii": (Overload("string_lower_ascii", "string.() -> string", lambda text: text.translate(_LOWER)),),
    "upperAscii": (Overload("string_upper_ascii", "string.() -> string", lambda text: text.translate(_UPPER)),),
    "replace": (
        Overload("string_replace_string_string", "string.(string, string) -> string", _replace),
        Overload("string_replace_string_string_int", "string.(string, string, int) -> string", _replace),
    ),
    "split": (
        Overload("string_split_string", "string.(string) -> list(string)", _split),
        Overload("string_split_string_int", "string.(string, int) -> list(string)", _split),
    ),
    "substring": (
        Overload("string_substring_int", "string.(int) -> string", _substring),
        Overload("string_substring_int_int", "string.(int, int) -> string", _substring_between),
    ),
    "trim": (Overload("string_trim", "string.() -> string", lambda text: text.strip(_SPACE)),),
    "format": (Overload("string_format", "string.(list(dyn)) -> string", formatted),),
    "strings.quote": (Overload("strings_quote", "(string) -> string", lambda text: f'"{text.translate(_QUOTED)}"'),),
    "join": (
        Overload("list_join", "list(string).() -> string", _join),
        Overload("list_join_string", "list(string).(string) -> string", _join),
    ),
}
