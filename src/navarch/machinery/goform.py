"""Values as Go prints them: with %v and %q in messages, with encoding/json in what messages quote.

In: builtin values. Out: text. Clients compare messages with upstream's, and 1e+06, sorted keys and `\\u003c` are part of those.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

_string = msgspec.json.Encoder().encode
_ESCAPED = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})
_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", '"': '\\"', "\\": "\\\\"}


def number(value: float) -> str:
    """A number as %v prints it: integers bare, floats in as few digits as tell them apart, from 1e+06 on with an exponent."""
    return str(value) if isinstance(value, int) else _float(value, -4, 6, 2)


def quoted(text: str) -> str:
    """A string as %q prints it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_QUOTED.get(c) or (c if c.isprintable() else _code(ord(c))) for c in text) + '"'


def _code(point: int) -> str:
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def json(value: Any) -> str:
    """A value as encoding/json writes it: keys sorted (a struct's in its order), `<`, `>` and `&` escaped, whole floats bare."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value).decode().translate(_ESCAPED)
        case int():
            return str(value)
        case float():
            return _float(value, -6, 21, 1)
        case list() | tuple():
            return f"[{','.join(json(item) for item in value)}]"
        case dict():
            return "{" + ",".join(f"{json(key)}:{json(value[key])}" for key in sorted(value)) + "}"
        case msgspec.Struct():
            fields = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            return "{" + ",".join(f"{json(name)}:{json(getattr(value, own))}" for name, own in fields) + "}"
        case _:
            return json(msgspec.to_builtins(value))


def _float(value: float, low: int, high: int, width: int) -> str:
    """Exponents below `low`, and from `high` on, are written, in at least `width` digits."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    sign = "-" if math.copysign(1, value) < 0 else ""
    if value == 0:
        return f"{sign}0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, part = mantissa.partition(".")
    digits = (whole + part).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + part) - len(digits))
    digits = digits.rstrip("0")
    power = point - 1
    if power < low or power >= high:
        return f"{sign}{digits[0]}{'.' + digits[1:] if len(digits) > 1 else ''}e{'-' if power < 0 else '+'}{abs(power):0{width}d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    digits = digits.ljust(point, "0")
    return f"{sign}{digits[:point]}{'.' + digits[point:] if len(digits) > point else ''}"
