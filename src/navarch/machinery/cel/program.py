"""An expression ready to be evaluated: its checked tree as closures.

In: a tree and its environment. Out: a `Program`. Evaluating gives a value, or fails with `EvaluationError` in cel-go's words; it counts what
it costs as cel-go does, and stops at a limit (`CostExceeded`).

Each node becomes a function of the frame: a list of the cost so far, the limit, the variables, and a slot for each variable of a
comprehension. What a node costs whenever it runs is added up when it is compiled; only branches and loops count as they run, and calls
whose cost goes by what they are given. So a simple expression counts once.

Values are those of the object itself: dicts, lists, strings. What a schema means by them (a timestamp, bytes) they become when selected.

Upstream counterparts: cel-go's interpreter (planner.go, interpretable.go, attributes.go, runtimecost.go).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from navarch.machinery import regexp
from navarch.machinery.cel import calling, charges, schema_values, selecting, values
from navarch.machinery.cel.environment import Environment, Implementation
from navarch.machinery.cel.frames import COST, MAX_COST, SLOTS, VARIABLES, Compiled, CostExceeded, Frame, Run, count
from navarch.machinery.cel.functions.standard import CONVERSIONS
from navarch.machinery.cel.syntax import Call, Const, Fold, Ident, ListOf, MapOf, Message, Node, Select
from navarch.machinery.cel.types import is_dyn
from navarch.machinery.cel.values import NONE, EvaluationError, Optional, TypeValue

_SMALLER = charges.of("_==_", "equals")
_NO_LITERAL: Any = object()
_PATTERNS = frozenset({"matches", "find", "findAll"})


class Unfit(ValueError):
    """The expression cannot be made ready: a literal cannot be what a conversion makes of it."""


class Program:
    """Thread-safe: what evaluating changes is in its frame."""

    __slots__ = ("_fixed", "_run", "_slots", "text")

    def __init__(self, text: str, tree: Node, environment: Environment) -> None:
        self.text = text
        compiler = _Compiler(environment)
        self._run, self._fixed = compiler.compile(tree)
        self._slots = [None] * compiler.slots

    def evaluate(self, variables: Mapping[str, Any], limit: int = MAX_COST) -> tuple[Any, int]:
        """The value and what it cost. On failure the error has the cost as `cost`."""
        frame: Frame = [self._fixed, limit, variables, *self._slots]
        try:
            value = self._run(frame)
            if frame[COST] > limit:
                raise CostExceeded
        except (EvaluationError, CostExceeded) as error:
            error.cost = frame[COST]
            raise
        except (TypeError, AttributeError, RecursionError) as error:
            # The object is not what its schema says: it was stored before that said so, and has not changed since.
            failed = EvaluationError("no such overload")
            failed.cost = frame[COST]
            raise failed from error
        return value, frame[COST]


class _Compiler:
    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.implementations = {overload.id: overload for held in environment.functions.values() for overload in held}
        self.slots = 0
        self.scopes: list[dict[str, int]] = []

    def compile(self, node: Node) -> Compiled:
        value = self.literal(node)
        if value is not _NO_LITERAL:
            return (lambda frame: value), 0
        return _COMPILES[node.__class__](self, node)

    def literal(self, node: Node) -> Any:
        """The value of what is known now: literals, lists and maps of them, and what conversions make of them. It costs nothing."""
        match node:
            case Const():
                return node.value
            case ListOf() if not node.optional:
                return self.all_literal(node.elements)
            case MapOf() if not any(entry.optional for entry in node.entries):
                keys = self.all_literal([entry.key for entry in node.entries if isinstance(entry.key, Node)])
                held = self.all_literal([entry.value for entry in node.entries])
                return _NO_LITERAL if keys is _NO_LITERAL or held is _NO_LITERAL else dict(zip(keys, held, strict=True))
            case Call() if node.function in CONVERSIONS and len(node.args) == 1 and node.target is None:
                return self.converted(node, self.literal(node.args[0]))
            case _:
                return _NO_LITERAL

    def all_literal(self, nodes: Sequence[Node]) -> Any:
        found = [self.literal(node) for node in nodes]
        return _NO_LITERAL if any(value is _NO_LITERAL for value in found) else found

    def converted(self, node: Call, value: Any) -> Any:
        """The conversion of a literal, done now."""
        if value is _NO_LITERAL:
            return value
        try:
            return self.implementation(node)(value)
        except EvaluationError as error:
            raise Unfit(str(error)) from None

    def slot(self) -> int:
        self.slots += 1
        return SLOTS + self.slots - 1

    def local(self, name: str) -> int | None:
        return next((scope[name] for scope in reversed(self.scopes) if name in scope), None)

    # ---- what stands for itself ------------------------------------------------------------------------------------

    def ident(self, node: Ident) -> Compiled:
        name = node.name.removeprefix(".")
        slot = self.local(name)
        if slot is not None:
            return (lambda frame: frame[slot]), 1
        if name not in self.environment.variables:
            held = TypeValue(name)
            return (lambda frame: held), 0
        convert = schema_values.converter(node.type)
        if convert is not None:
            return (lambda frame: convert(frame[VARIABLES][name])), 1
        return (lambda frame: frame[VARIABLES][name]), 1

    def list_of(self, node: ListOf) -> Compiled:
        compiled = [self.compile(item) for item in node.elements]
        cost = charges.LIST + sum(cost for _, cost in compiled)
        runs = [run for run, _ in compiled]
        if not node.optional:
            return (lambda frame: [run(frame) for run in runs]), cost
        optional = node.optional

        def some(frame: Frame) -> list[Any]:
            made = []
            for i, run in enumerate(runs):
                value = run(frame)
                if i not in optional:
                    made.append(value)
                elif value.present:
                    made.append(value.held)
            return made

        return some, cost

    def map_of(self, node: MapOf) -> Compiled:
        entries = [(self.compile(e.key), self.compile(e.value), e.optional) for e in node.entries if isinstance(e.key, Node)]
        cost = charges.MAP + sum(key[1] + value[1] for key, value, _ in entries)

        def make(frame: Frame) -> dict[Any, Any]:
            made: dict[Any, Any] = {}
            for (key, _), (value, _), optional in entries:
                name, held = key(frame), value(frame)
                if not optional:
                    made[name] = held
                elif held.present:
                    made[name] = held.held
            return made

        return make, cost

    def message(self, node: Message) -> Compiled:
        """An object as a dict, with the names its type has outside of expressions."""
        assert node.type is not None
        entries = [(schema_values.raw_name(node.type, str(e.key)), self.compile(e.value), e.optional) for e in node.entries]
        cost = charges.MESSAGE + sum(value[1] for _, value, _ in entries)
        make_object = schema_values.maker(node.type)

        def make(frame: Frame) -> Any:
            made: dict[str, Any] = {}
            for name, (value, _), optional in entries:
                held = value(frame)
                if not optional:
                    made[name] = held
                elif held.present:
                    made[name] = held.held
            return make_object(made)

        return make, cost

    # ---- selecting -------------------------------------------------------------------------------------------------

    def select(self, node: Select) -> Compiled:
        if (whole := node.whole) is not None:
            return self.ident(whole)
        run, cost = self.compile(node.operand)
        name = schema_values.raw_name(node.operand.type, node.field)
        if node.test:
            hides_null = schema_values.hides_null(node.operand.type)
            if node.operand.type is not None and node.operand.type.name == "optional_type":

                def has(frame: Frame) -> bool:
                    present = selecting.present(run(frame), name, hides_null)
                    frame[COST] += present
                    return present

                return has, cost - 1
            return (lambda frame: selecting.present(run(frame), name, hides_null)), cost
        cost += 1 + selecting.starts(node.operand)
        path = self.path(node)
        select = selecting.select(run, name, node.field, schema_values.hides_null(node.operand.type))
        if path is not None:
            select = selecting.select_path(path, select)
        convert = schema_values.converter(node.type)
        return (select if convert is None else lambda frame: convert(select(frame))), cost

    def path(self, node: Node) -> list[str] | None:
        """The names of `variable.a.b`, where none of them is optional; None for anything else."""
        names: list[str] = []
        while isinstance(node, Select) and not node.test:
            names.append(schema_values.raw_name(node.operand.type, node.field))
            node = node.operand
        if not isinstance(node, Ident) or self.local(node.name) is not None or node.name not in self.environment.variables:
            return None
        return [node.name, *reversed(names)]

    def index(self, node: Call) -> Compiled:
        held, index = node.args
        run, cost = self.compile(held)
        at, at_cost = self.compile(index)
        cost += at_cost + selecting.starts(held) + (0 if selecting.names(index) else 1)
        convert = schema_values.converter(node.type)
        if convert is not None:
            return (lambda frame: convert(selecting.indexed(run(frame), at(frame)))), cost
        return (lambda frame: selecting.indexed(run(frame), at(frame))), cost

    def optional_select(self, node: Call) -> Compiled:
        run, cost = self.compile(node.args[0])
        name_node = node.args[1]
        assert isinstance(name_node, Const)
        name = schema_values.raw_name(node.args[0].type, name_node.value)
        convert = schema_values.converter(node.type.parameters[0] if node.type and node.type.parameters else None)
        hides_null = schema_values.hides_null(node.args[0].type)

        def select(frame: Frame) -> Optional:
            made = selecting.optional(run(frame), name)
            if made.held is None and hides_null:
                return NONE
            if made.present:
                frame[COST] += 1
                if convert is not None:
                    return Optional(convert(made.held))
            return made

        return select, cost + selecting.starts(node.args[0])

    def optional_index(self, node: Call) -> Compiled:
        run, cost = self.compile(node.args[0])
        at, at_cost = self.compile(node.args[1])
        counted = at_cost if selecting.names(node.args[1]) else 1

        def index(frame: Frame) -> Optional:
            made = selecting.optional(run(frame), at(frame))
            if made.present:
                frame[COST] += counted
            return made

        return index, cost + selecting.starts(node.args[0]) + (0 if selecting.names(node.args[1]) else at_cost)

    # ---- what does not evaluate all it is given --------------------------------------------------------------------

    def logical(self, node: Call) -> Compiled:
        """&& and ||: the other side decides where one fails."""
        decides = node.function == "_||_"
        (left, cost), (right, right_cost) = self.compile(node.args[0]), self.compile(node.args[1])

        def run(frame: Frame) -> Any:
            failed: EvaluationError | None = None
            try:
                one = left(frame)
            except EvaluationError as error:
                failed = error
            else:
                if one is decides:
                    return decides
                if one is not (not decides):
                    failed = values.no_such_overload()
            frame[COST] += right_cost
            other = right(frame)
            if other is decides:
                return decides
            if failed is not None:
                raise failed
            if other is not (not decides):
                raise values.no_such_overload()
            return not decides

        return run, cost

    def conditional(self, node: Call) -> Compiled:
        condition, cost = self.compile(node.args[0])
        then, then_cost = self.branch(node.args[1])
        otherwise, otherwise_cost = self.branch(node.args[2])

        def run(frame: Frame) -> Any:
            holds = condition(frame)
            if holds is True:
                frame[COST] += then_cost
                return then(frame)
            if holds is False:
                frame[COST] += otherwise_cost
                return otherwise(frame)
            raise values.no_such_overload()

        return run, cost

    def branch(self, node: Node) -> Compiled:
        """A branch that only names something costs one less: cel-go looks it up together with the condition."""
        run, cost = self.compile(node)
        return run, cost - 1 if selecting.names(node) else cost

    def not_strictly_false(self, node: Call) -> Compiled:
        inner, cost = self.compile(node.args[0])

        def run(frame: Frame) -> bool:
            try:
                return inner(frame) is not False
            except EvaluationError:
                return True

        return run, cost + 1

    def or_value(self, node: Call) -> Compiled:
        """`orValue` and `or`: what stands in for a missing value is looked at only then."""
        assert node.target is not None
        held, cost = self.compile(node.target)
        other, other_cost = self.compile(node.args[0])
        unwrap = node.function == "orValue"

        def run(frame: Frame) -> Any:
            value = held(frame)
            if value.__class__ is not Optional:
                raise values.no_such_overload()
            if value.present:
                return value.held if unwrap else value
            frame[COST] += other_cost
            return other(frame)

        return run, cost

    # ---- calls -----------------------------------------------------------------------------------------------------

    def call(self, node: Call) -> Compiled:
        special = _SPECIAL.get(node.function)
        if special is not None:
            return special(self, node)
        operands = node.operands()
        if node.function in _PATTERNS:
            self.check_pattern(node.args[-1] if len(operands) < 3 else node.args[0])
        if node.function == "@in" and (found := _in_literal(self, node)) is not None:
            return found
        compiled = [self.compile(operand) for operand in operands]
        runs, cost = [run for run, _ in compiled], sum(each for _, each in compiled)
        call = schema_values.operation(node)
        if call is None:
            call = self.implementation(node)
            runs = [_converted(run, operand) for run, operand in zip(runs, operands, strict=True)]
        charge = charges.of(node.function, node.overloads[0] if len(node.overloads) == 1 else "")
        if charge is _SMALLER and any(schema_values.is_scalar(operand.type) for operand in operands):
            charge = 1
        if isinstance(charge, int):
            return calling.plain(call, runs), cost + charge
        return calling.charged(call, runs, charge), cost

    def check_pattern(self, node: Node) -> None:
        """A pattern that is known now must be one."""
        if isinstance(node, Const) and isinstance(node.value, str) and (told := regexp.problem(node.value)):
            raise Unfit(told)

    def implementation(self, node: Call) -> Implementation:
        """The overload that is meant, or what finds it by the values that come."""
        operands = node.operands()
        known = all(operand.type is not None and not is_dyn(operand.type) for operand in operands)
        if len(node.overloads) == 1 and known:
            return self.implementations[node.overloads[0]].call
        forms = [
            (tuple(schema_values.accepts(parameter) for parameter in overload.parameters), overload.call)
            for overload in self.environment.functions[node.function]
            if overload.member is (node.target is not None) and len(overload.parameters) == len(operands)
        ]
        return calling.dispatch(node.function, forms)

    # ---- comprehensions --------------------------------------------------------------------------------------------

    def fold(self, node: Fold) -> Compiled:
        if node.binds:
            return self.bind(node)
        over, cost = self.compile(node.over)
        start, start_cost = self.compile(node.start)
        scope = {node.variable: self.slot()}
        if node.second:
            scope[node.second] = self.slot()
        accumulator = self.slot()
        self.scopes += [{node.accumulator: accumulator}, scope]
        items = _Items(over, node, scope)
        loop = _LOOPS.get(node.macro, _Compiler.any_fold)
        run, each = loop(self, node, items, accumulator, start)
        self.scopes.pop()
        _, result_cost = self.compile(node.result)
        self.scopes.pop()
        return run, cost + start_cost + result_cost + each

    def bind(self, node: Fold) -> Compiled:
        value, cost = self.compile(node.start)
        slot = self.slot()
        self.scopes.append({node.accumulator: slot})
        result, result_cost = self.compile(node.result)
        self.scopes.pop()

        def run(frame: Frame) -> Any:
            frame[slot] = value(frame)
            return result(frame)

        return run, cost + result_cost

    def any_fold(self, node: Fold, items: _Items, accumulator: int, start: Run) -> Compiled:
        go_on, go_on_cost = self.compile(node.go_on)
        step, step_cost = self.compile(node.step)
        self.scopes.append({})
        result, _ = self.compile(node.result)
        self.scopes.pop()

        def run(frame: Frame) -> Any:
            frame[accumulator] = start(frame)
            for _ in items.each(frame):
                count(frame, go_on_cost)
                if go_on(frame) is False:
                    break
                frame[COST] += step_cost
                frame[accumulator] = step(frame)
            return result(frame)

        return run, 0

    def quantified(self, node: Fold, items: _Items, accumulator: int, start: Run) -> Compiled:
        """`all` and `exists`: true until one is false, or the other way round; what fails counts only if none decides."""
        assert isinstance(node.step, Call)
        decides = node.macro == "exists"
        holds, cost = self.compile(node.step.args[1])
        condition = 3 if decides else 2
        each = condition + 1 + cost

        def run(frame: Frame) -> Any:
            failed: EvaluationError | None = None
            iterator = items.each(frame)
            for _ in iterator:
                count(frame, each)
                try:
                    one = holds(frame)
                except EvaluationError as error:
                    failed = failed or error
                    continue
                if one is decides:
                    if next(iterator, None) is not None:
                        frame[COST] += condition
                    return decides
                if one is not (not decides):
                    failed = failed or values.no_such_overload()
            if failed is not None:
                raise failed
            return not decides

        return run, 0

    def exactly_one(self, node: Fold, items: _Items, accumulator: int, start: Run) -> Compiled:
        assert isinstance(node.step, Call)
        holds, cost = self.compile(node.step.args[0])

        def run(frame: Frame) -> bool:
            found = 0
            for _ in items.each(frame):
                count(frame, cost)
                one = holds(frame)
                if one is True:
                    frame[COST] += 2
                    found += 1
                elif one is not False:
                    raise values.no_such_overload()
            return found == 1

        return run, 0

    def gathered(self, node: Fold, items: _Items, accumulator: int, start: Run) -> Compiled:
        """`map`, `filter` and `transformList`: one list is made, not one for each element."""
        step, condition, condition_cost = self.step(node)
        element = _single(step.args[1])
        make, cost = self.compile(element)
        cost += 2 if self.literal(element) is not _NO_LITERAL else charges.LIST + 2

        def run(frame: Frame) -> list[Any]:
            made: list[Any] = []
            for _ in items.each(frame):
                count(frame, condition_cost)
                if condition is not None and not _holds(condition(frame)):
                    continue
                frame[COST] += cost
                made.append(make(frame))
            return made

        return run, 0

    def mapped(self, node: Fold, items: _Items, accumulator: int, start: Run) -> Compiled:
        """`transformMap` and `transformMapEntry`."""
        step, check, condition_cost = self.step(node)
        compiled = [self.compile(arg) for arg in step.args[1:]]
        cost = sum(each for _, each in compiled) + 2
        runs = [run for run, _ in compiled]

        def run(frame: Frame) -> dict[Any, Any]:
            made: dict[Any, Any] = {}
            for _ in items.each(frame):
                count(frame, condition_cost)
                if check is not None and not _holds(check(frame)):
                    continue
                frame[COST] += cost
                found = [one(frame) for one in runs]
                for key, value in [found] if len(found) == 2 else found[0].items():
                    if values.lookup(made, key)[0]:
                        raise EvaluationError(f"insert failed: key {key} already exists")
                    made[key] = value
            return made

        return run, 0

    def step(self, node: Fold) -> tuple[Call, Run | None, int]:
        """What each element adds; the condition under which it does, and what that costs."""
        assert isinstance(node.step, Call)
        if node.step.function != "_?_:_":
            return node.step, None, 0
        condition, cost = self.compile(node.step.args[0])
        added = node.step.args[1]
        assert isinstance(added, Call)
        return added, condition, cost


def _holds(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise values.no_such_overload()


def _single(node: Node) -> Node:
    assert isinstance(node, ListOf)
    return node.elements[0]


class _Items:
    """What a comprehension goes over. `each` puts an element into its slots, then stops for the loop."""

    def __init__(self, over: Run, node: Fold, scope: Mapping[str, int]) -> None:
        self.over = over
        self.first = scope[node.variable]
        self.second = scope[node.second] if node.second else None
        held = node.over.type
        self.convert = schema_values.converter(held.parameters[-1] if held is not None and held.parameters else None)

    def each(self, frame: Frame) -> Any:
        held = self.over(frame)
        if held.__class__ is list:
            items = held if self.convert is None else map(self.convert, held)
            if self.second is None:
                return self._single(frame, items)
            return self._pairs(frame, enumerate(items))
        if held.__class__ is dict:
            if self.second is None:
                return self._single(frame, list(held))
            return self._pairs(frame, list(held.items()))
        raise EvaluationError(f"got '{schema_values.go_type(held)}', expected iterable type")

    def _single(self, frame: Frame, items: Any) -> Any:
        slot = self.first
        for item in items:
            frame[slot] = item
            yield True

    def _pairs(self, frame: Frame, items: Any) -> Any:
        first, second = self.first, self.second
        assert second is not None
        for frame[first], frame[second] in items:
            yield True


def _converted(run: Run, operand: Node) -> Run:
    convert = schema_values.items_converter(operand.type)
    return run if convert is None else lambda frame: convert(run(frame))


def _in_literal(compiler: _Compiler, node: Call) -> Compiled | None:
    """`x in ['a', 'b']`: a look into a set, which costs nothing."""
    literals = compiler.literal(node.args[1]) if isinstance(node.args[1], ListOf) else _NO_LITERAL
    if literals is _NO_LITERAL:
        return None
    run, cost = compiler.compile(node.args[0])
    if all(isinstance(literal, str) for literal in literals):
        words = frozenset(literals)

        def among(frame: Frame) -> bool:
            value = run(frame)
            return value.__class__ is str and value in words

        return among, cost

    def one_of(frame: Frame) -> bool:
        value = run(frame)
        return any(values.equal(value, literal) for literal in literals)

    return one_of, cost


_SPECIAL: Mapping[str, Callable[[_Compiler, Any], Compiled]] = {
    "_&&_": _Compiler.logical,
    "_||_": _Compiler.logical,
    "_?_:_": _Compiler.conditional,
    "@not_strictly_false": _Compiler.not_strictly_false,
    "_[_]": _Compiler.index,
    "_?._": _Compiler.optional_select,
    "_[?_]": _Compiler.optional_index,
    "orValue": _Compiler.or_value,
    "or": _Compiler.or_value,
}
_COMPILES: Mapping[type[Node], Callable[[_Compiler, Any], Compiled]] = {
    Ident: _Compiler.ident,
    Select: _Compiler.select,
    Call: _Compiler.call,
    ListOf: _Compiler.list_of,
    MapOf: _Compiler.map_of,
    Message: _Compiler.message,
    Fold: _Compiler.fold,
}
_LOOPS: Mapping[str, Callable[[_Compiler, Fold, _Items, int, Run], Compiled]] = {
    "all": _Compiler.quantified,
    "exists": _Compiler.quantified,
    "exists_one": _Compiler.exactly_one,
    "list": _Compiler.gathered,
    "map": _Compiler.mapped,
}
