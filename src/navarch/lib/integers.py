"""Integers written by others: annotations, labels, header values, revisions.

In: any text. Out: the integer it writes in base 10, or None. `str.isdigit` is not the question to ask: it is true of `²`, which `int`
refuses, and `int` refuses more than 4,300 digits.

Counterpart: Go's strconv.ParseInt(text, 10, 64).
"""

from __future__ import annotations

import re

LEAST, MOST = -(2**63), 2**63 - 1
_INTEGER = re.compile(r"([+-]?)(?=[0-9])0*+([0-9]{0,19})\Z")


def parse(text: str | None, least: int = LEAST, most: int = MOST) -> int | None:
    """The integer between `least` and `most` (both included) that ASCII digits with an optional sign write; None for anything else."""
    found = _INTEGER.match(text) if text else None
    if found is None:
        return None
    value = int(found[2] or "0")
    if found[1] == "-":
        value = -value
    return value if least <= value <= most else None


def relates(held: str, operator: str, bound: str) -> bool:
    """Whether a value is below (`Lt`) or above (`Gt`) a bound; False unless both are integers. For node selectors and tolerations."""
    number, limit = parse(held), parse(bound)
    if number is None or limit is None:
        return False
    return number < limit if operator == "Lt" else number > limit


def required(text: str) -> int:
    """The 64-bit integer of a text. ValueError, in the words of strconv.ParseInt, when it is none."""
    value = parse(text)
    if value is None:
        digits = text[1:] if text[:1] in ("+", "-") else text
        why = "value out of range" if is_digits(digits) else "invalid syntax"
        raise ValueError(f'strconv.ParseInt: parsing "{text}": {why}')
    return value


def is_digits(text: str) -> bool:
    """Whether a text is ASCII digits and nothing else."""
    return text.isascii() and text.isdigit()
