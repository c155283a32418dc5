"""What an expression can cost, before it runs: the least and the most.

In: a checked tree, and the largest size that a schema allows at a path (`SizeOf`). Out: an `Estimate`. Definitions are refused by it, so
that an expression that was accepted rarely meets its limit when it runs.

The walk follows cel-go's: for each node a cost, and where it can be known the size of its value, the sizes of what that holds, and
the path from a variable to it, by which a schema is asked. Numbers stop at 2^64 - 1.

Upstream counterparts: cel-go's checker/cost.go and ext, apiserver's pkg/cel/library/cost.go (EstimateCallCost).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from navarch.machinery.cel.charges import AUTHORIZATION, COMPARED, LIST, MAP, MAX_FORMAT_REGEX, MESSAGE, REGEX, TRAVERSAL
from navarch.machinery.cel.declared import Declared
from navarch.machinery.cel.functions.standard import LIBRARY as STANDARD
from navarch.machinery.cel.syntax import RESULT, Call, Const, Fold, Ident, ListOf, MapOf, Message, Node, Select
from navarch.machinery.cel.types import Type

MAX = 2**64 - 1


class Range(NamedTuple):
    """Between two numbers: sizes, or costs."""

    least: int
    most: int

    def plus(self, other: Range) -> Range:
        return Range(_capped(self.least + other.least), _capped(self.most + other.most))

    def times(self, other: Range) -> Range:
        return Range(_capped(self.least * other.least), _capped(self.most * other.most))

    def scaled(self, factor: float) -> Range:
        """Rounded up."""
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.least, other.least), max(self.most, other.most))


def _capped(number: int) -> int:
    return min(number, MAX)


def _scaled(number: int, factor: float) -> int:
    return min(math.ceil(float(number) * factor), MAX) if float(number) * factor < 2.0**64 else MAX


def exactly(number: int) -> Range:
    return Range(number, number)


UNKNOWN, NOTHING, ONE = Range(0, MAX), Range(0, 0), Range(1, 1)
Path = tuple[str, ...]
SizeOf = Callable[[Path], Range | None]
"""The size of what is at a path: a variable's name, then fields, "@items", "@values", "@keys"."""


@dataclass(slots=True)
class _Entries:
    """The sizes of what a list or map holds."""

    kind: str
    key: Range
    value: Range

    def union(self, other: _Entries | None) -> _Entries | None:
        return None if other is None else _Entries(self.kind, self.key.union(other.key), self.value.union(other.value))


class _Local(NamedTuple):
    path: Path
    size: Range | None
    entries: _Entries | None


class _Value(NamedTuple):
    """What is known of an operand."""

    node: Node | None
    path: Path
    type: Type | None
    size: Range | None


class Called(NamedTuple):
    """What a call costs without its arguments, and the size of what it gives, if that is known."""

    cost: Range
    size: Range | None = None


def of_declared(root: Declared) -> SizeOf:
    """Sizes by the type of the variables, which are all of one."""

    def size_of(path: Path) -> Range | None:
        place: Declared | None = root
        for step in path[1:]:
            if place is None:
                return None
            if step in ("@items", "@values"):
                place = place.element
            elif step == "@keys":
                place = place.key
            else:
                place = (place.fields or {}).get(step)
        return None if place is None else Range(0, place.most)

    return size_of


def nothing_known(path: Path) -> Range | None:
    return None


def estimate(tree: Node, size_of: SizeOf = nothing_known) -> Range:
    return _Coster(size_of).cost(tree)


class _Coster:
    def __init__(self, size_of: SizeOf) -> None:
        self.size_of = size_of
        self.paths: dict[int, Path] = {}
        self.sizes: dict[int, Range] = {}
        self.entries: dict[int, _Entries] = {}
        self.locals: dict[str, list[_Local]] = {}

    def cost(self, node: Node) -> Range:
        match node:
            case Const():
                return NOTHING
            case Ident():
                local = self.local(node.name)
                self.paths[id(node)] = (node.name,) if local is None else local.path
                return ONE
            case Select():
                return self.select(node)
            case Call():
                return self.call(node)
            case ListOf():
                return self.list_of(node)
            case MapOf():
                return self.map_of(node)
            case Message():
                return exactly(MESSAGE).plus(self.all(node.parts()))
            case Fold():
                return self.bind(node) if node.binds else self.fold(node)
            case _:
                return NOTHING

    def all(self, nodes: object) -> Range:
        total = NOTHING
        for node in nodes:  # type: ignore[attr-defined]
            total = total.plus(self.cost(node))
        return total

    # ---- what is known of nodes ------------------------------------------------------------------------------------

    def local(self, name: str) -> _Local | None:
        held = self.locals.get(name)
        return held[-1] if held else None

    def path(self, node: Node) -> Path:
        if isinstance(node, Ident) and (local := self.local(node.name)) is not None:
            return local.path
        return self.paths.get(id(node), ())

    def value(self, node: Node) -> _Value:
        path = self.path(node)
        return _Value(node, () if path[:1] == (RESULT,) else path, node.type, self.size(node))

    def size(self, node: Node) -> Range | None:
        known = self.sizes.get(id(node))
        if known is None:
            known = _literal_size(node)
        if known is not None:
            return known
        asked = self.asked(self.path(node))
        if asked is not None:
            self.sizes[id(node)] = asked
            return asked
        if _is_scalar(node.type):
            return ONE
        local = self.local(node.name) if isinstance(node, Ident) else None
        return None if local is None else local.size

    def asked(self, path: Path) -> Range | None:
        return self.size_of(path) if path else None

    def size_or_unknown(self, node: Node) -> Range:
        return self.size(node) or UNKNOWN

    def held(self, node: Node) -> _Entries | None:
        """The sizes of what a value holds."""
        known = self.entries.get(id(node))
        if known is None and isinstance(node, Ident):
            local = self.local(node.name)
            return None if local is None else local.entries
        return known

    def remember(self, node: Node, size: Range | None, entries: _Entries | None = None) -> None:
        if size is not None:
            self.sizes[id(node)] = size
        if entries is not None:
            self.entries[id(node)] = entries

    # ---- nodes -----------------------------------------------------------------------------------------------------

    def select(self, node: Select) -> Range:
        if node.whole is not None:
            return ONE
        total = self.cost(node.operand)
        if node.test:
            return total
        held = node.operand.type
        if held is not None and (held.name == "map" or held.fields is not None):
            total = total.plus(ONE)
        self.paths[id(node)] = (*self.path(node.operand), node.field)
        return total

    def list_of(self, node: ListOf) -> Range:
        total = exactly(LIST)
        item = Range(0 if not node.elements else MAX, 0)
        for element in node.elements:
            total = total.plus(self.cost(element))
            item = item.union(self.size_or_unknown(element))
        self.remember(node, None, _Entries("list", ONE, item))
        return total

    def map_of(self, node: MapOf) -> Range:
        total = exactly(MAP)
        key = value = Range(0 if not node.entries else MAX, 0)
        for entry in node.entries:
            assert isinstance(entry.key, Node)
            total = total.plus(self.cost(entry.key)).plus(self.cost(entry.value))
            key, value = key.union(self.size_or_unknown(entry.key)), value.union(self.size_or_unknown(entry.value))
        self.remember(node, None, _Entries("map", key, value))
        return total

    def fold(self, node: Fold) -> Range:
        total = self.cost(node.over).plus(self.cost(node.start))
        self.push(node.accumulator, self.path(node.start), self.size(node.start), self.held(node.start))
        self.push_variables(node)
        each = self.cost(node.go_on).plus(self.cost(node.step))
        for name in (node.variable, node.second):
            if name:
                self.locals[name].pop()
        total = total.plus(self.cost(node.result))
        self.locals[node.accumulator].pop()
        count = self.size_or_unknown(node.over)
        if isinstance(node.start, Const):
            self.remember(node, self.size(node.start))
        elif isinstance(node.start, ListOf | MapOf):
            self.remember(node, count, self.held(node.step))
        return total.plus(count.times(each))

    def push(self, name: str, path: Path, size: Range | None, entries: _Entries | None = None) -> None:
        self.locals.setdefault(name, []).append(_Local(path, size, entries))

    def push_variables(self, node: Fold) -> None:
        held, path = self.held(node.over), self.path(node.over)
        listed = (held.kind if held is not None else node.over.type.name if node.over.type else "") == "list"
        if node.second:
            self.push(node.variable, (*path, "@indices" if listed else "@keys"), held.key if held else None)
            self.push(node.second, (*path, "@items" if listed else "@values"), held.value if held else None)
        else:
            size = None if held is None else held.value if listed else held.key
            self.push(node.variable, (*path, "@items" if listed else "@keys"), size)

    def bind(self, node: Fold) -> Range:
        total = self.cost(node.over).plus(self.cost(node.start))
        self.push(node.accumulator, self.path(node.start), self.size(node.start), self.held(node.start))
        total = total.plus(self.cost(node.result))
        self.locals[node.accumulator].pop()
        self.remember(node, self.size(node.result), self.held(node.result))
        return total

    # ---- calls -----------------------------------------------------------------------------------------------------

    def call(self, node: Call) -> Range:
        if node.function == "dyn":
            total = ONE.plus(self.cost(node.args[0]))
            self.remember(node, self.size(node.args[0]), self.held(node.args[0]))
            return total
        costs, args = [], []
        for arg in node.args:
            costs.append(self.cost(arg))
            args.append(self.value(arg))
        total, target = NOTHING, None
        if node.target is not None:
            total = self.cost(node.target)
            target = self.value(node.target)
        cost: Range | None = None
        size: Range | None = None
        for overload in node.overloads:
            called = self.overload(node, overload, target, args, costs)
            cost = called.cost if cost is None else cost.union(called.cost)
            if called.size is not None:
                size = called.size if size is None else size.union(called.size)
            if overload in ("index_list", "index_map"):
                held = self.held(node.args[0])
                size = None if held is None else held.value
                self.paths[id(node)] = (*self.path(node.args[0]), "@items" if overload == "index_list" else "@values")
            size = self.size(node) if size is None else size
        self.remember(node, size)
        return total.plus(cost or NOTHING)

    def overload(self, node: Call, overload: str, target: _Value | None, args: Sequence[_Value], costs: Sequence[Range]) -> Called:
        if overload in ("logical_and", "logical_or"):
            return Called(Range(costs[0].least, _capped(costs[0].most + costs[1].most)))
        if overload == "conditional":
            return self.conditional(node, costs)
        total = NOTHING
        for each in costs:
            total = total.plus(each)
        found = self.extension(node.function, overload, target, args)
        if found is None:
            found = self.standard(node, overload, target, args)
        return Called(found.cost.plus(total), found.size)

    def conditional(self, node: Call, costs: Sequence[Range]) -> Called:
        then, otherwise = node.args[1], node.args[2]
        one, other = self.held(then), self.held(otherwise)
        if one is not None and other is not None:
            self.remember(node, None, one.union(other))
        size = self.size_or_unknown(then).union(self.size_or_unknown(otherwise))
        return Called(costs[0].plus(costs[1].union(costs[2])), size)

    def known(self, value: _Value) -> Range:
        """The size of an operand, asked for if it must be."""
        return value.size or self.asked(value.path) or UNKNOWN

    def standard(self, node: Call, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called:
        """CEL's own functions."""

        def size(value: _Value) -> Range:
            return value.size or UNKNOWN

        match overload:
            case "string_format" if target is not None:
                return Called(size(target).scaled(TRAVERSAL))
            case "string_to_bytes":
                held = size(args[0])
                return Called(held.scaled(TRAVERSAL), Range(held.least, (held.most * 4) & MAX))
            case "bytes_to_string":
                held = size(args[0])
                return Called(held.scaled(TRAVERSAL), Range(held.least // 4, held.most))
            case "strings_quote":
                held = size(args[0])
                return Called(held.scaled(TRAVERSAL), Range(held.least + 2, (held.most * 2 + 2) & MAX))
            case "starts_with_string" | "ends_with_string":
                return Called(size(args[0]).scaled(TRAVERSAL))
            case "in_list":
                return Called(size(args[1]).scaled(1))
            case "matches_string" if target is not None:
                text = size(target).plus(ONE).scaled(TRAVERSAL)
                return Called(text.times(size(args[0]).scaled(REGEX)))
            case "contains_string" if target is not None:
                return Called(size(target).scaled(TRAVERSAL).times(size(args[0]).scaled(TRAVERSAL)))
            case "add_string" | "add_bytes" | "add_list":
                return self.added(node, overload, size(args[0]).plus(size(args[1])))
            case _ if overload in _COMPARISONS:
                most = min(size(args[0]).most, size(args[1]).most)
                return Called(Range(1 if most > 0 else 0, most).scaled(TRAVERSAL))
            case _:
                return Called(ONE)

    def added(self, node: Call, overload: str, made: Range) -> Called:
        left, right = self.held(node.args[0]), self.held(node.args[1])
        if left is not None and right is not None:
            self.remember(node, None, left.union(right))
        return Called(ONE if overload == "add_list" else made.scaled(TRAVERSAL), made)

    def extension(self, function: str, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called | None:
        """What libraries say of their functions; None where they say nothing."""
        if overload in _LISTED:
            return _LISTED[overload](self, target, args)
        if function in _NOMINAL or overload == "cidr_ip":
            return Called(ONE)
        if function == "_==_" and args[0].type is not None and args[0].type == args[1].type:
            return _equality(args[0].type, args[1].size)
        estimator = _FUNCTIONS.get(function)
        return None if estimator is None else estimator(self, overload, target, args)


# ---- libraries -----------------------------------------------------------------------------------------------------

_NOMINAL = frozenset(
    {
        *("serviceAccount", "path", "group", "resource", "subresource", "namespace", "name", "allowed", "reason", "error", "errored"),
        *("masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast", "isLinkLocalUnicast", "isGlobalUnicast"),
        *("sign", "asInteger", "isInteger", "asApproximateFloat", "isGreaterThan", "isLessThan", "compareTo", "add", "sub"),
        *("major", "minor", "patch", "format.named"),
        *("getScheme", "getHostname", "getHost", "getPort", "getEscapedPath", "getQuery"),
    }
)
"""Functions that cost one whatever they are given."""
_CHEAP_EQUALITY = frozenset(
    {
        *("net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver"),
        *(f"kubernetes.authorization.{name}" for name in ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")),
    }
)
_COMPARISONS = frozenset(
    {"equals", "not_equals"}
    | {overload.id for name in ("_<_", "_<=_", "_>_", "_>=_") for overload in STANDARD[name] if overload.id.endswith(("_string", "_bytes"))}
)
Estimator = Callable[[_Coster, str, "_Value | None", Sequence[_Value]], "Called | None"]


def _equality(held: Type, size: Range | None) -> Called | None:
    if held.name in _CHEAP_EQUALITY:
        return Called(ONE)
    if held.name == "kubernetes.NamedFormat":
        return Called(Range(1, 64).scaled(TRAVERSAL))
    if held.name == "kubernetes.URL":
        return Called(Range(1, 1 if size is None else size.most).scaled(TRAVERSAL))
    return None


def _fixed(cost: int) -> Estimator:
    return lambda coster, overload, target, args: Called(exactly(cost))


def _selector(coster: _Coster, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called:
    length = coster.known(args[0])
    return Called(exactly(LIST).plus(length.scaled(TRAVERSAL)).plus(length.scaled(0.5).scaled(LIST + MESSAGE)))


def _each(coster: _Coster, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called | None:
    """Each element of a list, or each character of a string."""
    if target is None:
        return None
    size = coster.known(target)
    element = _element(target)
    if element is None:
        return Called(size.scaled(TRAVERSAL))
    cost = ONE
    if element.type is not None and element.type.name in ("string", "bytes"):
        cost = cost.plus(coster.known(element).scaled(TRAVERSAL))
    return Called(size.times(cost))


def _element(held: _Value) -> _Value | None:
    if held.type is None or not held.type.parameters:
        return None
    return _Value(None, (*held.path, "@items") if held.path else (), held.type.parameters[0], None)


def _argument(factor: float, *, gives: bool = False) -> Estimator:
    def estimator(coster: _Coster, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called:
        size = coster.known(args[0])
        return Called(size.scaled(factor), size if gives else None)

    return estimator


def _same_size(coster: _Coster, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called | None:
    if target is None:
        return None
    size = coster.known(target)
    return Called(size.scaled(TRAVERSAL), size)


def _replace(coster: _Coster, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called | None:
    if target is None:
        return None
    size, old, new = coster.known(target), coster.known(args[0]), coster.known(args[1])
    most_count = most_kept = least_count = least_kept = 0
    if old.least == 0:
        most_count, most_kept = _capped(size.most + 1), size.most
    elif new.most <= old.least:
        most_kept = size.most
    else:
        most_count = min(math.ceil(size.most / old.least), MAX)
    if old.most == 0:
        least_count, least_kept = _capped(size.least + 1), size.least
    elif old.most <= new.least:
        least_kept = size.least
    else:
        least_count = math.ceil(size.least / old.most)
    made = Range(least_count, most_count).times(new).plus(Range(least_kept, most_kept))
    return Called(size.scaled(2 * TRAVERSAL), made)


def _split(coster: _Coster, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called | None:
    if target is None:
        return None
    size = coster.known(target)
    most = size.most
    if len(args) > 1 and isinstance(args[1].node, Const):
        most = args[1].node.value & MAX
    return Called(size.scaled(2 * TRAVERSAL), Range(0, most))


def _join(coster: _Coster, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called | None:
    if target is None:
        return None
    size = coster.known(target)
    element = _element(target)
    made = NOTHING if element is None else size.times(coster.known(element))
    if args:
        separators = Range(max(0, size.least - 1), max(0, size.most - 1))
        made = made.plus(coster.known(args[0]).times(separators))
    return Called(made.scaled(TRAVERSAL), made)


def _find(coster: _Coster, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called | None:
    if target is None:
        return None
    size = coster.known(target)
    cost = size.plus(ONE).scaled(TRAVERSAL).times(coster.known(args[0]).scaled(REGEX))
    return Called(cost, Range(0, size.most))


def _within(coster: _Coster, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called:
    """`containsIP` and `containsCIDR`: 4 or 16 bytes are compared."""
    address = Range(4, 16)
    cost = address.plus(address).scaled(TRAVERSAL)
    if overload.startswith("cidr_contains_cidr"):
        cost = cost.plus(address.scaled(TRAVERSAL)).plus(ONE)
    return Called(cost.plus(coster.known(args[0]).scaled(TRAVERSAL)) if overload.endswith("_string") else cost)


def _validate(coster: _Coster, overload: str, target: _Value | None, args: Sequence[_Value]) -> Called:
    return Called(coster.known(args[0]).scaled(TRAVERSAL).scaled(MAX_FORMAT_REGEX * REGEX))


_FUNCTIONS: dict[str, Estimator] = {
    "check": _fixed(AUTHORIZATION),
    **dict.fromkeys(("fieldSelector", "labelSelector"), _selector),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _each),
    **dict.fromkeys(("url", "jsonpatch.escapeKey"), _argument(TRAVERSAL, gives=True)),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _same_size),
    "replace": _replace,
    "split": _split,
    "join": _join,
    **dict.fromkeys(("find", "findAll"), _find),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "ip", "quantity", "isQuantity", "semver", "isSemver"), _argument(TRAVERSAL)),
    "ip.isCanonical": _argument(2 * TRAVERSAL),
    **dict.fromkeys(("containsIP", "containsCIDR"), _within),
    "validate": _validate,
}


# ---- cel-go's lists and sets ---------------------------------------------------------------------------------------

Listing = Callable[[_Coster, "_Value | None", Sequence[_Value]], Called]


def _list_call(factor: float, size: Range) -> Called:
    return Called(size.scaled(factor).plus(ONE).plus(exactly(LIST)), size)


def _integer(value: _Value, otherwise: int) -> int:
    if isinstance(value.node, Const) and value.node.value.__class__ is int:
        return int(value.node.value) & MAX
    return otherwise


def _target(coster: _Coster, target: _Value | None) -> Range:
    return UNKNOWN if target is None else coster.known(target)


def _slice(coster: _Coster, target: _Value | None, args: Sequence[_Value]) -> Called:
    size = _target(coster, target)
    return _list_call(1, exactly((_integer(args[1], size.most) - _integer(args[0], 0)) & MAX))


def _flatten(coster: _Coster, target: _Value | None, args: Sequence[_Value]) -> Called:
    return _list_call(float(_integer(args[0], MAX)) if args else 1.0, _target(coster, target))


def _with_itself(kind: str, keys: bool = False) -> Listing:
    factor = 2 + TRAVERSAL if kind in ("string", "bytes") else 2.0

    def listing(coster: _Coster, target: _Value | None, args: Sequence[_Value]) -> Called:
        size = coster.known(args[0]) if keys else _target(coster, target)
        return _list_call(factor, size.times(size))

    return listing


def _sets(factor: float) -> Listing:
    return lambda coster, target, args: Called(coster.known(args[0]).times(coster.known(args[1])).scaled(factor).plus(ONE))


_LISTED: dict[str, Listing] = {
    "list_slice": _slice,
    "lists_range": lambda coster, target, args: _list_call(1, exactly(_integer(args[0], MAX))),
    "list_reverse": lambda coster, target, args: _list_call(1, _target(coster, target)),
    "list_flatten": _flatten,
    "list_flatten_int": _flatten,
    "list_distinct": _with_itself(""),
    **{f"list_{kind}_sort": _with_itself(kind) for kind in COMPARED},
    **{f"list_{kind}_sortByAssociatedKeys": _with_itself(kind, keys=True) for kind in COMPARED},
    "list_sets_contains_list": _sets(1),
    "list_sets_intersects_list": _sets(1),
    "list_sets_equivalent_list": _sets(2),
}
"""By overload: what cel-go's own extensions say."""


def _literal_size(node: Node) -> Range | None:
    match node:
        case Const():
            return exactly(len(node.value) if isinstance(node.value, str | bytes) else 1)
        case ListOf():
            return exactly(len(node.elements))
        case MapOf():
            return exactly(len(node.entries))
        case _:
            return None


_SCALARS = frozenset({"bool", "double", "duration", "int", "timestamp", "uint"})


def _is_scalar(held: Type | None) -> bool:
    if held is not None and held.name == "optional_type":
        return _is_scalar(held.parameters[0])
    return held is not None and held.name in _SCALARS
