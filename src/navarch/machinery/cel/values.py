"""What expressions compute with.

| in an expression | here |
|---|---|
| int, double, bool, string, bytes, null, list, map | int, float, bool, str, bytes, None, list, dict |
| uint | `Uint` |
| timestamp, duration | `Timestamp`, `Duration`: nanoseconds |
| type | `TypeValue` |
| optional | `Optional`, `NONE` |
| what libraries add (Quantity, URL …) | classes of their own, with a `type_name` |

Dicts and lists are those of the object that is looked at: nothing is converted. Operations fail with `EvaluationError`, in cel-go's words.

Upstream counterpart: cel-go's common/types.
"""

from __future__ import annotations

import datetime
from typing import Any

MAX_ITEMS = 1_000_000
"""Of a list, and of what is shown at once. Upstream makes larger ones, and costs them after."""
MAX_TEXT = 10_000_000
"""Characters."""
MAX_INT, MIN_INT, MAX_UINT = 2**63 - 1, -(2**63), 2**64 - 1


class EvaluationError(Exception):
    """An expression that cannot be evaluated; the message is cel-go's. `cost`: what it had cost by then."""

    cost = 0


class Uint(int):
    """An unsigned integer of 64 bits."""

    __slots__ = ()


class Timestamp:
    """A moment: nanoseconds since 1970."""

    __slots__ = ("nanoseconds",)
    type_name = "google.protobuf.Timestamp"

    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and other.nanoseconds == self.nanoseconds

    def __hash__(self) -> int:
        return hash(self.nanoseconds)


class Duration:
    """A length of time, in nanoseconds."""

    __slots__ = ("nanoseconds",)
    type_name = "google.protobuf.Duration"

    def __init__(self, nanoseconds: int) -> None:
        if not MIN_INT <= nanoseconds <= MAX_INT:
            raise EvaluationError("duration overflow")
        self.nanoseconds = nanoseconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and other.nanoseconds == self.nanoseconds

    def __hash__(self) -> int:
        return hash(("duration", self.nanoseconds))


class Optional:
    """A value that may be missing."""

    __slots__ = ("held", "present")
    type_name = "optional_type"

    def __init__(self, held: Any, present: bool = True) -> None:
        self.held = held
        self.present = present


NONE = Optional(None, present=False)


class TypeValue:
    """A type as a value: what `type(x)` gives."""

    __slots__ = ("name",)
    type_name = "type"

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


_NAMES = {
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    type(None): "null_type",
}


def type_name(value: Any) -> str:
    """The name of a value's type, as `type` tells it."""
    name = _NAMES.get(value.__class__)
    return name if name is not None else str(value.type_name)


# ---- equality and order --------------------------------------------------------------------------------------------


_NESTING = frozenset({list, dict, Optional})


def equal(left: Any, right: Any) -> bool:
    """Whether two values are one. Numbers count by value, whatever their types; other types never equal each other."""
    one = left.__class__
    if one is right.__class__:
        return _same(left, right, set()) if one in _NESTING else bool(left == right)
    if is_number(left) and is_number(right):
        return bool(left == right)
    return False


def _same(left: Any, right: Any, known: set[tuple[int, int]]) -> bool:
    """Lists that hold one list many times are small, and would be long to compare: `known` are the pairs that were found equal."""
    one = left.__class__
    if one is not right.__class__ or one not in _NESTING:
        return equal(left, right)
    if one is Optional:
        return left.present == right.present and (not left.present or _same(left.held, right.held, known))
    if len(left) != len(right):
        return False
    pair = (id(left), id(right))
    if pair in known:
        return True
    if one is list:
        same = all(_same(mine, other, known) for mine, other in zip(left, right, strict=True))
    else:
        same = all(_same_in(right, key, mine, known) for key, mine in left.items())
    if same:
        known.add(pair)
    return same


def _same_in(held: dict[Any, Any], key: Any, value: Any, known: set[tuple[int, int]]) -> bool:
    found, other = lookup(held, key)
    return found and _same(value, other, known)


def limited(value: Any) -> Any:
    """A value, unless there is too much in it to be shown or computed with at once."""
    more, waiting = MAX_ITEMS, [value]
    while waiting:
        one = waiting.pop()
        if one.__class__ is list or one.__class__ is dict:
            more -= len(one)
            if more < 0:
                raise too_much()
            waiting += one.values() if isinstance(one, dict) else one
    return value


def too_much() -> EvaluationError:
    return EvaluationError("operation cancelled: actual cost limit exceeded")


def is_number(value: Any) -> bool:
    return value.__class__ in (int, float, Uint)


def lookup(held: dict[Any, Any], key: Any) -> tuple[bool, Any]:
    """A map's value; numbers find each other, true and 1 do not."""
    if key.__class__ is str:
        return (True, held[key]) if key in held else (False, None)
    if key.__class__ is bool or is_number(key):
        for own, value in held.items():
            if own == key and (own.__class__ is bool) == (key.__class__ is bool):
                return True, value
        return False, None
    return False, None


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1. Only values of one type, or numbers, have an order."""
    if left.__class__ is Timestamp or left.__class__ is Duration:
        if right.__class__ is not left.__class__:
            raise no_such_overload()
        left, right = left.nanoseconds, right.nanoseconds
    elif not (is_number(left) and is_number(right)) and (left.__class__ is not right.__class__ or left.__class__ not in (str, bytes, bool)):
        raise no_such_overload()
    if left != left or right != right:
        raise EvaluationError("NaN values cannot be ordered")
    return 1 if left > right else -1 if left < right else 0


def no_such_overload() -> EvaluationError:
    return EvaluationError("no such overload")


# ---- sizes ---------------------------------------------------------------------------------------------------------


def size(value: Any) -> int:
    """What costs are counted by: characters, bytes, items; one for all else."""
    if value.__class__ in (str, list, dict, bytes):
        return len(value)
    if value.__class__ is Optional and value.present:
        return size(value.held)
    own = getattr(value, "size", None)
    return int(own()) if own is not None else 1


# ---- arithmetic ----------------------------------------------------------------------------------------------------


def checked_int(value: int) -> int:
    if MIN_INT <= value <= MAX_INT:
        return value
    raise EvaluationError("integer overflow")


def checked_uint(value: int) -> Uint:
    if 0 <= value <= MAX_UINT:
        return Uint(value)
    raise EvaluationError("unsigned integer overflow")


# ---- time ----------------------------------------------------------------------------------------------------------

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MIN_TIMESTAMP, MAX_TIMESTAMP = -62135596800 * 10**9, 253402300799 * 10**9 + 999999999


def checked_timestamp(nanoseconds: int) -> Timestamp:
    if MIN_TIMESTAMP <= nanoseconds <= MAX_TIMESTAMP:
        return Timestamp(nanoseconds)
    raise EvaluationError("timestamp overflow")


def moment(held: Timestamp) -> datetime.datetime:
    """To the microsecond, below which datetime knows nothing."""
    return _EPOCH + datetime.timedelta(microseconds=held.nanoseconds // 1000)


def is_zero(value: Any) -> bool:
    """Whether a value is what its type starts with: 0, "", an empty list."""
    if value.__class__ is Optional:
        return not value.present or is_zero(value.held)
    if value.__class__ in (Duration, Timestamp):
        return bool(value.nanoseconds == 0)
    own = getattr(value, "is_zero", None)
    return bool(own()) if own is not None else not value
