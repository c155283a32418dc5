"""Resource quantities: "500m", "1.5Gi", "2e3".

In: what JSON holds (string or number). Out: exact integers in the unit asked for, and the canonical string upstream
would store. Arithmetic is on `Fraction`-free integers: a quantity is an integer count of nano-units plus a format.

Upstream counterpart: k8s.io/apimachinery/pkg/api/resource.
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

_FORM = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?\Z")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
NANO: Final = 10**9
BAD_FORMAT: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class Quantity(NamedTuple):
    """An exact amount: `nano` billionths of the unit; `form` is how it is written: decimal, binary or exponent."""

    nano: int
    form: str


@functools.lru_cache(4096)
def _parse(text: str) -> Quantity:
    match = _FORM.match(text)
    if match is None:
        raise ValueError(BAD_FORMAT)
    sign, digits, suffix = match[1], match[2], match[3] or ""
    whole, _, fraction = digits.partition(".")
    mantissa = int((whole + fraction) or "0")
    if suffix in _BINARY:
        form, numerator, denominator = "binary", mantissa * NANO << _BINARY[suffix], 10 ** len(fraction)
    else:
        form = "decimal" if suffix in _DECIMAL else "exponent"
        exponent = (_DECIMAL[suffix] if form == "decimal" else int(suffix[1:])) + 9 - len(fraction)
        numerator, denominator = mantissa * 10 ** max(exponent, 0), 10 ** max(-exponent, 0)
    nano = -(-numerator // denominator)  # finer than a billionth rounds up, away from zero
    return Quantity(-nano if sign == "-" else nano, form)


def parse(value: str | int | float) -> Quantity:
    """The exact amount. ValueError, in upstream's words, when it is none."""
    return _parse(value if isinstance(value, str) else repr(value))


def value(quantity: str | int | float | None) -> int:
    """Whole units, rounded up: bytes of memory, count of pods. Absent is 0."""
    return 0 if quantity is None else -(-parse(quantity).nano // NANO)


def milli(quantity: str | int | float | None) -> int:
    """Thousandths, rounded up: the CPU's usual unit. Absent is 0."""
    return 0 if quantity is None else -(-parse(quantity).nano // 10**6)


def _strip(mantissa: int, exponent: int) -> tuple[int, int]:
    while mantissa and mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent + 1
    return mantissa, exponent


def _format_decimal(nano: int, *, exponent_form: bool) -> str:
    if nano == 0:
        return "0"
    mantissa, exponent = _strip(nano, -9)
    down = exponent - exponent % 3
    mantissa *= 10 ** (exponent - down)
    if exponent_form:
        return f"{mantissa}e{down}" if down else str(mantissa)
    suffix = next((s for s, e in _DECIMAL.items() if e == down), None)
    return f"{mantissa}{suffix}" if suffix is not None else f"{mantissa * 10 ** (down - 18)}E"


def _format_binary(nano: int) -> str:
    if nano % NANO or abs(nano) < 1024 * NANO:
        return _format_decimal(nano, exponent_form=False)
    amount, suffix = nano // NANO, ""
    for name in _BINARY:
        if amount % 1024:
            break
        amount, suffix = amount // 1024, name
    return f"{amount}{suffix}"


def format_as(nano: int, form: str) -> str:
    """The canonical string of an amount in a form ("decimal", "binary", "exponent")."""
    return _format_binary(nano) if form == "binary" else _format_decimal(nano, exponent_form=form == "exponent")


@functools.lru_cache(4096)
def _canonical(text: str) -> str:
    nano, form = _parse(text)
    return format_as(nano, form)


def canonical(quantity: str | int | float) -> str:
    """The string upstream stores: no fraction, largest suffix that needs none ("1000m" → "1", "0.5Gi" → "512Mi")."""
    return _canonical(quantity if isinstance(quantity, str) else repr(quantity))


def add(left: str | int | float, right: str | int | float) -> str:
    """The sum, in the form of the first (of the second when the first is zero)."""
    a, b = parse(left), parse(right)
    return format_as(a.nano + b.nano, a.form if a.nano else b.form)


def subtract(left: str | int | float, right: str | int | float) -> str:
    """The difference, in the form of the first."""
    a, b = parse(left), parse(right)
    return format_as(a.nano - b.nano, a.form if a.nano else b.form)


def compare(left: str | int | float, right: str | int | float) -> int:
    """-1, 0 or 1."""
    a, b = parse(left).nano, parse(right).nano
    return (a > b) - (a < b)
