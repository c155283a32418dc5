"""Resource quantities: "500m", "1.5Gi", "2e3".

In: what JSON holds (string or number). Out: exact integers in the unit asked for, and the canonical string upstream
would store. Arithmetic is on `Fraction`-free integers: a quantity is an integer count of nano-units plus a format.

What a quantity costs does not grow with what it says: digits are counted before they become a number, and an amount beyond
10^400 is held as that, which is more than anything it is ever compared with. Upstream keeps any number of digits; here more
than 400 that matter are no number.

Upstream counterpart: k8s.io/apimachinery/pkg/api/resource. Its quirks are kept, since objects are compared by their text: a
quantity that is written canonically keeps its text ("+1", "1.", "1.001"), one past 10^18 in decimal form loses its suffix.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from navarch.lib import integers, texts

_FORM = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)\Z")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_EXACT_DIGITS = 18
"""Digits that upstream's fast representation, an int64 and a scale, is sure to hold."""
_MOST_DIGITS = 400
_MOST_TEXT = 65536
_MOST: Final[int] = 10**_MOST_DIGITS
_MOST_BINARY = (1 << 63) - 1
NANO: Final = 10**9
_MILLI: Final = 10**6
BAD_FORMAT: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
BAD_NUMBER: Final = "unable to parse numeric part of quantity"
BAD_SUFFIX: Final = "unable to parse quantity's suffix"


class Quantity(NamedTuple):
    """An exact amount: `nano` billionths of the unit; `form` is how it is written: decimal, binary or exponent."""

    nano: int
    form: str


class _Parts(NamedTuple):
    """What a text says: mantissa * 10^exponent * 2^shift, with whether upstream keeps the text as it is written."""

    mantissa: int
    exponent: int
    shift: int
    form: str
    fast: bool
    kept: bool


@texts.remembered(4096)
def _parts(text: str) -> _Parts:
    if len(text) > _MOST_TEXT:
        raise ValueError(BAD_NUMBER)
    match = _FORM.match(text)
    if match is None or not text:
        raise ValueError(BAD_FORMAT)
    sign, whole, fraction, suffix = match[1], match[2].lstrip("0"), match[3] or "", match[4]
    exponent, shift, form = _suffix(suffix)
    digits = (whole or "0") + fraction
    fast = len(digits) <= _EXACT_DIGITS if form != "binary" else not fraction and 15 - len(digits) - int(shift * 3 / 10) - 1 >= 0
    exponent -= len(fraction)
    fast = fast and exponent >= -9
    if not fast and not (match[2] or fraction):
        raise ValueError(BAD_NUMBER)
    mantissa, exponent = _number(digits, exponent)
    if form == "binary":
        fast = fast and mantissa << shift < 1 << 63
        kept = fast and bool(mantissa & 7)
    else:
        kept = fast and exponent % 3 == 0 and not digits.endswith("000") and not digits.startswith("0")
    return _Parts(-mantissa if sign == "-" else mantissa, exponent, shift, form, fast, kept)


def _suffix(suffix: str) -> tuple[int, int, str]:
    """Exponent of ten, exponent of two, and form."""
    if suffix in _DECIMAL:
        return _DECIMAL[suffix], 0, "decimal"
    if suffix in _BINARY:
        return 0, _BINARY[suffix], "binary"
    if suffix[:1] not in ("e", "E"):
        raise ValueError(BAD_SUFFIX)
    try:
        exponent = integers.required(suffix[1:])
    except ValueError:
        raise ValueError(BAD_SUFFIX) from None
    return (exponent + (1 << 31)) % (1 << 32) - (1 << 31), 0, "exponent"


def _number(digits: str, exponent: int) -> tuple[int, int]:
    """The digits as a number. What is finer than a billionth is rounded up, away from zero, before it costs anything."""
    digits = digits.lstrip("0")
    if exponent < -9 and digits:
        finer = -9 - exponent
        rest = digits[-finer:].strip("0") if finer < len(digits) else "1"
        kept = digits[:-finer] if finer < len(digits) else ""
        if len(kept) > _MOST_DIGITS:
            raise ValueError(BAD_NUMBER)
        return int(kept or "0") + bool(rest), -9
    if len(digits) > _MOST_DIGITS:
        raise ValueError(BAD_NUMBER)
    return int(digits or "0"), exponent if digits else 0


def _nano(parts: _Parts) -> int:
    exponent = parts.exponent + 9
    if not parts.mantissa:
        return 0
    if exponent > _MOST_DIGITS:
        return _MOST if parts.mantissa > 0 else -_MOST
    if exponent < 0:  # a binary suffix on a fraction of more than nine digits
        unit: int = 10**-exponent
        nano = -(-(abs(parts.mantissa) << parts.shift) // unit)
    else:
        nano = (abs(parts.mantissa) << parts.shift) * int(10**exponent)
    if parts.form == "binary" and not parts.fast:
        nano = min(nano, _MOST_BINARY * NANO)
    return nano if parts.mantissa > 0 else -nano


@texts.remembered(4096)
def _parse(text: str) -> Quantity:
    parts = _parts(text)
    return Quantity(_nano(parts), parts.form)


def parse(value: str | int | float) -> Quantity:
    """The exact amount. ValueError, in upstream's words, when it is none."""
    return _parse(value if isinstance(value, str) else repr(value))


def value(quantity: str | int | float | None) -> int:
    """Whole units, rounded up: bytes of memory, count of pods. Absent is 0."""
    return 0 if quantity is None else -(-parse(quantity).nano // NANO)


def milli(quantity: str | int | float | None) -> int:
    """Thousandths, rounded up: the CPU's usual unit. Absent is 0."""
    return 0 if quantity is None else -(-parse(quantity).nano // _MILLI)


def _decimal(mantissa: int, exponent: int, *, exponent_form: bool) -> str:
    """mantissa * 10^exponent, with no fraction and the largest exponent divisible by three."""
    digits = str(abs(mantissa))
    stripped = digits.rstrip("0")
    exponent += len(digits) - len(stripped)
    down = exponent - exponent % 3
    number = ("-" if mantissa < 0 else "") + stripped + "0" * (exponent - down)
    if exponent_form:
        return f"{number}e{down}" if down else number
    return number + _DECIMAL_SUFFIX.get(down, "")


def _format_binary(nano: int) -> str:
    if nano % NANO or abs(nano) < 1024 * NANO:
        return _decimal(nano, -9, exponent_form=False)
    amount, suffix = nano // NANO, ""
    for name in _BINARY:
        if amount % 1024:
            break
        amount, suffix = amount // 1024, name
    return f"{amount}{suffix}"


def format_as(nano: int, form: str) -> str:
    """The canonical string of an amount in a form ("decimal", "binary", "exponent")."""
    if not nano:
        return "0"
    return _format_binary(nano) if form == "binary" else _decimal(nano, -9, exponent_form=form == "exponent")


def _formatted(parts: _Parts, nano: int) -> str:
    if parts.mantissa and parts.form != "binary" and abs(nano) >= _MOST:
        return _decimal(parts.mantissa, parts.exponent, exponent_form=parts.form == "exponent")
    return format_as(nano, parts.form)


@texts.remembered(4096)
def _canonical(text: str) -> str:
    parts = _parts(text)
    return text if parts.kept else _formatted(parts, _nano(parts))


def canonical(quantity: str | int | float) -> str:
    """The string upstream stores: no fraction, largest suffix that needs none ("1000m" → "1", "0.5Gi" → "512Mi")."""
    return _canonical(quantity if isinstance(quantity, str) else repr(quantity))


@texts.remembered(4096)
def _stored(text: str) -> str:
    parts = _parts(text)
    if parts.kept and parts.exponent >= -3:
        return text
    return _formatted(parts, up_to_thousandths(_nano(parts)))


def up_to_thousandths(nano: int) -> int:
    """Rounded up to the thousandth, away from zero."""
    rounded = -(-abs(nano) // _MILLI) * _MILLI
    return rounded if nano > 0 else -rounded


def stored(quantity: str | int | float) -> str:
    """The canonical string of an amount rounded up to the thousandth, as lists of resources have it."""
    return _stored(quantity if isinstance(quantity, str) else repr(quantity))


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
