"""`x-kubernetes-validations`: rules in CEL that the objects of a structural schema must keep.

`Validator` holds objects to them: in, an object and on an update the old one; out, what they break, at the paths and in the words of
upstream, and what that cost. Rules that speak of `oldSelf` hold only where an old value stands beside the new one; what did not change need
not keep the others (`Correlated`), which then are warnings.

`DefinitionRules` holds the rules themselves to what rules must be, when a definition is written: that they compile, what they give, and
what they can cost at most.

Upstream counterparts: apiextensions-apiserver's pkg/apiserver/schema/cel (compilation.go, validation.go), pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from navarch.lib.patience import Impatient
from navarch.machinery import field, goform
from navarch.machinery.cel import cost, expressions, libraries, types
from navarch.machinery.cel.declared import MAX_REQUEST, Declared, declare
from navarch.machinery.cel.expressions import BUDGET, COMPILING, CompileError, Expression
from navarch.machinery.cel.frames import MAX_COST, CostExceeded
from navarch.machinery.cel.values import NONE, EvaluationError, Optional
from navarch.machinery.field import Problem
from navarch.machinery.structural import paths
from navarch.machinery.structural.definition import Place, ShownRule
from navarch.machinery.structural.ratcheting import Correlated, MapList
from navarch.machinery.structural.schema import Rule, Structural
from navarch.machinery.structural.validate import NO_FIELD

MAX_MESSAGE = 5 * 1024
"""Bytes of what a messageExpression may say."""
COST_LIMIT = 10_000_000
"""What one rule may cost at most, for all its places in an object."""
TOTAL_COST_LIMIT = 100_000_000
"""What all rules of a schema may."""
_OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_CANCELLED = "operation cancelled: actual cost limit exceeded"
_BLOCKING = frozenset({"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"})


# ---- compiling -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule, or why it is none."""

    rule: Rule
    expression: Expression | None = None
    error: str = ""
    message: Expression | None = None
    message_error: str = ""
    field_path: str = ""

    @property
    def uses_old(self) -> bool:
        return self.expression is not None and "oldSelf" in self.expression.names


def compiled(schema: Structural, declared: Declared | None) -> tuple[Compiled, ...]:
    """The rules of one place."""
    return tuple(_compiled(rule, schema, declared) for rule in schema.rules)


def _compiled(rule: Rule, schema: Structural, declared: Declared | None) -> Compiled:
    if not rule.rule.strip():
        return Compiled(rule)
    if declared is None:
        return Compiled(rule, error="failed to convert to declType for CEL validation rules")
    old = types.optional(declared.type) if rule.optional_old_self else declared.type
    environment = libraries.BASE.extended({"self": declared.type, "oldSelf": old})
    size_of = cost.of_declared(declared)
    try:
        expression = expressions.compile(rule.rule, environment, (types.BOOL,), size_of, "cel expression must evaluate to a bool")
    except CompileError as error:
        return Compiled(rule, error=str(error))
    message: Expression | None = None
    told = ""
    if rule.message_expression:
        try:
            message = expressions.compile(
                rule.message_expression, environment, (types.STRING,), size_of, "messageExpression must evaluate to a string"
            )
        except CompileError as error:
            told = str(error).replace("compilation failed", "messageExpression compilation failed", 1)
            told = told.replace("program instantiation failed", "messageExpression instantiation failed", 1)
    return Compiled(rule, expression, "", message, told, _field_path(rule, schema))


def _field_path(rule: Rule, schema: Structural) -> str:
    if not rule.field_path:
        return ""
    try:
        return paths.resolve(rule.field_path, schema)[0]
    except paths.Invalid:
        return ""


# ---- objects -------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    problems: list[Problem]
    warnings: list[str]
    """Problems of what did not change."""
    remaining: int
    """Of the budget; negative when it ran out."""


class Validator:
    """The rules of a schema, compiled when first met. Thread-safe: compiling twice does no harm."""

    def __init__(self, schema: Structural, *, root: bool = True) -> None:
        self._place = _Place(schema, root)

    def validate(
        self, obj: Any, old: Any = None, *, path: str = "", pair: Correlated | None = None, budget: int = BUDGET, patience: int | None = None
    ) -> Outcome:
        """What an object breaks. `old`, on an update, is what it was, and `pair` the two of them, if what did not change may stay.

        `patience`: what that may cost before it is given up with `Impatient`.
        """
        if not self._place.schema.below.rules:
            return Outcome([], [], budget)
        walk = _Walk(budget, patience)
        walk.visit(self._place, path, obj, old, _Ratchet(pair, None))
        return Outcome(walk.problems, walk.warnings, walk.budget)


class _Place:
    """A place of a schema, with its compiled rules and what is below it that has some."""

    __slots__ = ("_below", "_rules", "root", "schema")

    def __init__(self, schema: Structural, root: bool) -> None:
        self.schema = schema
        self.root = root
        self._rules: tuple[Compiled, ...] | None = None
        self._below: dict[str, _Place | None] = {}

    @property
    def rules(self) -> tuple[Compiled, ...]:
        if self._rules is None:
            self._rules = compiled(self.schema, declare(self.schema, root=self.root)) if self.schema.rules else ()
        return self._rules

    @property
    def compiled(self) -> bool:
        return self._rules is not None

    @property
    def compares(self) -> bool:
        """Whether a rule here speaks of the old value. Only then messages may."""
        return any(rule.uses_old for rule in self.rules)

    def below(self, key: str, schema: Structural | None) -> _Place | None:
        if key not in self._below:
            has_rules = schema is not None and schema.below.rules
            self._below[key] = _Place(schema, schema.embedded) if has_rules and schema is not None else None
        return self._below[key]


@dataclass(frozen=True, slots=True)
class _Ratchet:
    """The pair of a place, or of the nearest place above it that has one."""

    pair: Correlated | None
    above: Correlated | None

    def key(self, name: str) -> _Ratchet:
        if self.pair is None:
            return self
        if self.above is None and name in ("apiVersion", "kind"):
            return _Ratchet(None, None)
        return _Ratchet(self.pair.key(name), self.pair)

    def index(self, position: int) -> _Ratchet:
        return self if self.pair is None else _Ratchet(self.pair.index(position), self.pair)

    @property
    def unchanged(self) -> bool:
        known = self.pair or self.above
        return known is not None and known.equal()


class _Walk:
    def __init__(self, budget: int, patience: int | None) -> None:
        self.budget = budget
        self.patience = patience
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def visit(self, place: _Place, path: str, value: Any, old: Any, ratchet: _Ratchet) -> None:
        if value is None or self.budget < 0:
            return
        if place.schema.rules:
            self.check(place, path, value, old, ratchet)
        if self.budget < 0:
            return
        if value.__class__ is list:
            self.items(place, path, value, old, ratchet)
        elif value.__class__ is dict:
            self.fields(place, path, value, old, ratchet)

    def items(self, place: _Place, path: str, items: list[Any], old: Any, ratchet: _Ratchet) -> None:
        below = place.below("items", place.schema.items)
        if below is None:
            return
        keyed = place.schema.list_type == "map" and old.__class__ is list
        olds = MapList(place.schema.list_keys, old) if keyed else None
        for i, item in enumerate(items):
            self.visit(below, f"{path}[{i}]", item, None if olds is None else olds.get(item), ratchet.index(i))

    def fields(self, place: _Place, path: str, obj: dict[str, Any], old: Any, ratchet: _Ratchet) -> None:
        held = old if old.__class__ is dict else {}
        extra = place.below("additional", place.schema.additional_schema)
        for key, value in obj.items():
            named = place.schema.properties.get(key)
            if named is not None:
                below = place.below(f".{key}", named)
                if below is not None:
                    self.visit(below, f"{path}.{key}" if path else key, value, held.get(key), ratchet.key(key))
            elif extra is not None:
                self.visit(extra, f"{path}[{key}]", value, held.get(key), ratchet.key(key))

    def check(self, place: _Place, path: str, value: Any, old: Any, ratchet: _Ratchet) -> None:
        """The rules of one place."""
        kind, at = place.schema.type, path or NO_FIELD
        if not place.compiled:
            self.lose(len(place.schema.rules) * COMPILING)
        if not place.compares:
            old = None
        if self.budget <= 0:
            self.problems.append(field.invalid(at, kind, _OUT_OF_BUDGET))
            self.budget = -1
            return
        variables = _Variables({"self": value} if old is None else {"self": value, "oldSelf": old})
        maybe = {"self": value, "oldSelf": NONE if old is None else Optional(old)}
        for rule in place.rules:
            if rule.error:
                self.problems.append(field.invalid(at, kind, f"rule compile error: {rule.error}"))
                continue
            optional = bool(rule.rule.optional_old_self)
            if rule.expression is None or (rule.uses_old and old is None and not optional):
                continue
            held = self.evaluate(rule, maybe if optional else variables, at, kind)
            if self.budget < 0:
                return
            if held is False:
                self.broken(rule, path, kind, value, maybe if optional else variables, ratchet)
                if self.budget < 0:
                    return

    def evaluate(self, rule: Compiled, variables: Mapping[str, Any], at: str, kind: str) -> bool | None:
        """Whether a rule holds; None when it cannot be said, which is told."""
        assert rule.expression is not None
        told = _told(rule.rule)
        try:
            held, spent = rule.expression.evaluate(variables, MAX_COST if self.patience is None else min(MAX_COST, self.patience))
        except EvaluationError as error:
            if self.spend(error.cost, at, kind):
                self.problems.append(field.invalid(at, kind, _failed(str(error), told)))
            return None
        except CostExceeded as error:
            if self.patience is not None and self.patience < MAX_COST:
                raise Impatient from None
            if self.spend(error.cost, at, kind):
                detail = f"'{_CANCELLED}': no further validation rules will be run due to call cost exceeds limit for rule: {told}"
                self.problems.append(field.invalid(at, kind, detail))
                self.budget = -1
            return None
        return held is True if self.spend(spent, at, kind) else None

    def lose(self, cost: int) -> None:
        """Takes a cost from the patience, if there is an end to it. Impatient."""
        if self.patience is not None:
            self.patience -= cost
            if self.patience < 0:
                raise Impatient

    def spend(self, cost: int, at: str, kind: str) -> bool:
        """Takes a cost from the budget; false, and told, when it is not there."""
        self.lose(cost)
        if cost > self.budget:
            self.problems.append(field.invalid(at, kind, _OUT_OF_BUDGET))
            self.budget = -1
            return False
        self.budget -= cost
        return True

    def broken(self, rule: Compiled, path: str, kind: str, value: Any, variables: Mapping[str, Any], ratchet: _Ratchet) -> None:
        at = path or NO_FIELD
        if rule.field_path:
            at = f"{path}.{rule.field_path}" if path else rule.field_path
        detail = ""
        if rule.message is not None:
            said = self.message(rule, variables)
            if isinstance(said, Problem):
                self.add(rule, field.invalid(at, kind, said.detail), ratchet)
                return
            detail = said
        shown = field.OMIT if kind in ("object", "array") else value
        self.add(rule, _problem(at, shown, detail or _message(rule.rule), rule.rule.reason), ratchet)

    def add(self, rule: Compiled, problem: Problem, ratchet: _Ratchet) -> None:
        """A rule that does not compare may be broken by what did not change."""
        if not rule.uses_old and ratchet.unchanged:
            self.warnings.append(str(problem))
        else:
            self.problems.append(problem)

    def message(self, rule: Compiled, variables: Mapping[str, Any]) -> str | Problem:
        """What a messageExpression says, "" when that is no message; a problem when there is no budget for it."""
        assert rule.message is not None
        try:
            said, spent = rule.message.evaluate(variables)
        except (EvaluationError, CostExceeded) as error:
            said, spent = "", error.cost
            if isinstance(error, CostExceeded) and spent <= self.budget:
                self.budget = -1
                why = "no further validation rules will be run due to call cost exceeds limit for messageExpression"
                return Problem("FieldValueInvalid", "", "", f"{why}: {goform.quoted(rule.message.text)}")
        if spent > self.budget:
            self.budget = -1
            why = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
            return Problem("FieldValueInvalid", "", "", why)
        self.budget -= spent
        said = said.strip() if isinstance(said, str) else ""
        return "" if "\n" in said or len(said.encode("utf-8", "replace")) > MAX_MESSAGE else said


class _Variables(dict[str, Any]):
    """What a rule speaks of. Without an old value, a message may still ask for it."""

    __slots__ = ()

    def __missing__(self, name: str) -> Any:
        raise EvaluationError(f"no such attribute(s): {name}")


def _told(rule: Rule) -> str:
    return (rule.message or rule.rule).strip()


def _message(rule: Rule) -> str:
    return rule.message.strip() if rule.message else f"failed rule: {_told(rule)}"


def _failed(error: str, told: str) -> str:
    if error.startswith("no such overload"):
        return f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {told}"
    return f"{error} evaluating rule: {told}"


def _problem(at: str, value: Any, detail: str, reason: str | None) -> Problem:
    match reason:
        case "FieldValueForbidden":
            return field.forbidden(at, detail)
        case "FieldValueRequired":
            return field.required(at, detail)
        case "FieldValueDuplicate":
            return field.duplicate(at, value)
        case _:
            return field.invalid(at, value, detail)


def blocked(problems: list[Problem]) -> Problem | None:
    """What to say instead of checking rules of an object that is not what its schema says: rules could not rely on it."""
    if not any(problem.reason in _BLOCKING for problem in problems):
        return None
    why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
    return field.invalid(NO_FIELD, None, why)


# ---- definitions ---------------------------------------------------------------------------------------------------


class DefinitionRules:
    """Checks the rules of one schema (`structural.definition.Rules`). `known`: the schema stands as it is, and costs no more than it did."""

    def __init__(self, *, known: bool = False) -> None:
        self._known = known
        self._total = 0
        self._expensive: list[tuple[int, str]] = []

    def problems(self, place: Place) -> list[Problem]:
        declared = declare(place.schema, root=place.root)
        if declared is None:
            why = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema"
            return [Problem("InternalError", f"{place.path}.x-kubernetes-validations", "", f"{why} to CEL declarations")]
        found: list[Problem] = []
        for i, rule in enumerate(compiled(place.schema, declared)):
            found += self._problems(rule, place, declared, f"{place.path}.x-kubernetes-validations[{i}]")
        return found

    def _problems(self, rule: Compiled, place: Place, declared: Declared, path: str) -> Iterator[Problem]:
        most = 0 if rule.expression is None else rule.expression.cost.most
        often = MAX_REQUEST // (declared.fewest + 1) if place.cardinality is None else place.cardinality
        yield from self._charge(min(most * often, cost.MAX), f"{path}.rule", "estimated rule cost")
        shown = ShownRule.of(rule.rule)
        if rule.error:
            yield field.invalid(f"{path}.rule", shown, rule.error)
        if rule.message_error:
            yield field.invalid(f"{path}.messageExpression", shown, rule.message_error)
        elif rule.message is not None:
            yield from self._charge(rule.message.cost.most, f"{path}.messageExpression", "estimated messageExpression cost")
        if rule.uses_old:
            if place.uncorrelated:
                why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelated}"
                yield field.invalid(f"{path}.rule", rule.rule.rule, why)
        elif rule.rule.optional_old_self is not None:
            why = "may not be set if oldSelf is not used in rule"
            yield field.invalid(f"{path}.optionalOldSelf", rule.rule.optional_old_self, why)

    def _charge(self, most: int, path: str, what: str) -> Iterator[Problem]:
        if most > COST_LIMIT and not self._known:
            yield field.forbidden(path, _too_expensive(what, most, COST_LIMIT))
        self._total = min(self._total + most, cost.MAX)
        if most >= TOTAL_COST_LIMIT // 100:
            self._expensive = sorted([*self._expensive, (most, path)], key=lambda each: -each[0])[:4]

    def total(self, path: str) -> list[Problem]:
        if self._total <= TOTAL_COST_LIMIT:
            return []
        why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        found = [field.forbidden(at, why) for _, at in self._expensive]
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        return [*found, field.forbidden(path, _too_expensive(what, self._total, TOTAL_COST_LIMIT))]

    def of_value(self, value: Any, schema: Structural, path: str, whole: bool) -> list[Problem]:
        """What a default breaks: as it stands, and as something new."""
        validator = Validator(schema, root=whole)
        found = validator.validate(value, value, path=path).problems
        return found or validator.validate(value, path=path).problems


def _too_expensive(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    advice = "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared"
    return f"{what} exceeds budget by factor of {shown} ({advice})"
