"""What calls cost when they are made.

In: a function and the id of its overload. Out: a number, or what makes one of the arguments and the result. All else that costs (names,
selections, lists) `program` counts by itself.

Upstream counterparts: cel-go's interpreter/runtimecost.go and ext, apiserver's pkg/cel/library/cost.go (CallCost).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from navarch.machinery.cel.values import MAX_ITEMS, size

TRAVERSAL, REGEX = 0.1, 0.25
"""Of a character looked at, and of one of a pattern."""
LIST, MAP, MESSAGE = 10, 30, 40
"""Of making one."""
SELECTOR_REQUIREMENT = 0.5 * (LIST + MESSAGE)
"""Of a character of a label or field selector: two make a requirement."""
AUTHORIZATION = 350_000
"""Of asking the authorizer: two fit into one expression."""
MAX_FORMAT_REGEX = 128
COMPARED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
"""What has an order, by the names overloads have."""

Charge = Callable[[Sequence[Any], Any], int]


def _traverse(position: int, factor: float = TRAVERSAL) -> Charge:
    return lambda args, result: math.ceil(size(args[position]) * factor)


def _smaller(args: Sequence[Any], result: Any) -> int:
    return math.ceil(min(size(args[0]), size(args[1])) * TRAVERSAL)


def _both(args: Sequence[Any], result: Any) -> int:
    return math.ceil((size(args[0]) + size(args[1])) * TRAVERSAL)


def _joined(args: Sequence[Any], result: Any) -> int:
    return math.ceil(size(result) * 2 * TRAVERSAL)


def _made(args: Sequence[Any], result: Any) -> int:
    return len(result) + 1 + LIST


OF_RESULT: frozenset[Charge] = frozenset({_joined, _made})
"""What goes by the result, not by the arguments alone."""


def _pattern(args: Sequence[Any], result: Any) -> int:
    return math.ceil((1 + size(args[0])) * TRAVERSAL) * math.ceil(size(args[1]) * REGEX)


def _part(args: Sequence[Any], result: Any) -> int:
    return math.ceil(size(args[0]) * TRAVERSAL) * math.ceil(size(args[1]) * TRAVERSAL)


def _whole(args: Sequence[Any], result: Any) -> int:
    return _traversed(args[0])


def _traversed(value: Any) -> int:
    """Everything in a value, once."""
    cost, waiting = 0, [value]
    while waiting and cost + len(waiting) <= MAX_ITEMS:
        one = waiting.pop()
        if isinstance(one, str):
            cost += int(len(one.encode("utf-8", "replace")) * TRAVERSAL)
        elif isinstance(one, bytes):
            cost += int(len(one) * TRAVERSAL)
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += itertools.chain(one, one.values())
        else:
            cost += 1
    return cost + len(waiting)


def _selector(args: Sequence[Any], result: Any) -> int:
    length = size(args[1])
    return LIST + math.ceil(length * TRAVERSAL) + math.ceil(math.ceil(length * 0.5) * (LIST + MESSAGE))


def _listed(factor: Callable[[Sequence[Any], Any], float]) -> Charge:
    """A call that makes a list: itself, the list, and what it looks at."""
    return lambda args, result: int(factor(args, result)) + 1 + LIST


def _with_itself(position: int) -> Callable[[Sequence[Any], Any], float]:
    """Each element with each other."""

    def factor(args: Sequence[Any], result: Any) -> float:
        items = args[position]
        each = 2 + TRAVERSAL if items and isinstance(items[0], str | bytes) else 2
        return len(items) ** 2 * each

    return factor


def _sets(times: int) -> Charge:
    return lambda args, result: 1 + len(args[0]) * len(args[1]) * times


def _flat(args: Sequence[Any], result: Any) -> float:
    return len(args[0]) * (float(args[1]) if len(args) == 2 else 1)


def _validated(args: Sequence[Any], result: Any) -> int:
    pattern: int = args[0].max_regex_size
    return math.ceil((1 + size(args[1])) * TRAVERSAL) * math.ceil(pattern * REGEX)


def _within(text: bool, network: bool) -> Charge:
    def charge(args: Sequence[Any], result: Any) -> int:
        held = size(args[0])
        cost = math.ceil(2 * held * TRAVERSAL)
        if network:
            cost += math.ceil(held * TRAVERSAL) + 1
        return cost + (math.ceil(size(args[1]) * TRAVERSAL) if text else 0)

    return charge


BY_FUNCTION: Mapping[str, Charge | int] = {
    "check": AUTHORIZATION,
    "fieldSelector": _selector,
    "labelSelector": _selector,
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _whole),
    **dict.fromkeys(("url", "lowerAscii", "upperAscii", "substring", "trim", "jsonpatch.escapeKey"), _traverse(0)),
    **dict.fromkeys(("replace", "split", "ip.isCanonical"), _traverse(0, 2 * TRAVERSAL)),
    "join": _joined,
    **dict.fromkeys(("find", "findAll"), _pattern),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "ip", "quantity", "isQuantity", "semver", "isSemver"), _traverse(0)),
    "validate": _validated,
}
"""Functions whose overloads all cost alike."""
BY_OVERLOAD: Mapping[str, Charge | int] = {
    "cidr_ip": 1,
    "cidr_contains_ip_string": _within(text=True, network=False),
    "cidr_contains_ip_ip": _within(text=False, network=False),
    "cidr_contains_cidr_string": _within(text=True, network=True),
    "cidr_contains_cidr": _within(text=False, network=True),
    **dict.fromkeys(("starts_with_string", "ends_with_string", "string_to_bytes", "bytes_to_string", "strings_quote", "string_format"), _traverse(0)),
    "in_list": lambda args, result: size(args[1]),
    **{f"{name}_{kind}": _smaller for name in ("less", "greater", "less_equals", "greater_equals") for kind in ("string", "bytes")},
    "equals": _smaller,
    "not_equals": _smaller,
    "add_string": _both,
    "add_bytes": _both,
    "matches": _pattern,
    "matches_string": _pattern,
    "contains_string": _part,
    **dict.fromkeys(("list_slice", "lists_range", "list_reverse"), _made),
    **dict.fromkeys(("list_flatten", "list_flatten_int"), _listed(_flat)),
    "list_distinct": _listed(_with_itself(0)),
    **{f"list_{kind}_sort": _listed(_with_itself(0)) for kind in COMPARED},
    **{f"list_{kind}_sortByAssociatedKeys": _listed(_with_itself(1)) for kind in COMPARED},
    "list_sets_contains_list": _sets(1),
    "list_sets_intersects_list": _sets(1),
    "list_sets_equivalent_list": _sets(2),
}


def of(function: str, overload: str) -> Charge | int:
    """What one call costs; most cost 1."""
    found = BY_OVERLOAD.get(overload)
    if found is None:
        found = BY_FUNCTION.get(function)
    return 1 if found is None else found
