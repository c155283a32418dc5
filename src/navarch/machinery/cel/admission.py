"""What the expressions of admission see, and how they are evaluated: those of policies, and the match conditions of webhooks.

| variable | what it is |
|---|---|
| object, oldObject | the object and what it was, as JSON has them; null where there is none |
| request | who asks for what (`kubernetes.AdmissionRequest`) |
| namespaceObject | the namespace; null for what is in none |
| params | what a binding refers to; null without |
| authorizer, authorizer.requestResource | what the user may do |
| variables | what a policy names; each evaluated when it is first asked for |

In: texts, compiled once per policy (`Compiler`), and `Inputs`, made once per request. Out: a `Result` each, and what is left of the budget.

Upstream counterpart: apiserver's pkg/admission/plugin/cel (compile.go, composition.go, activation.go, condition.go), webhook/matchconditions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from navarch.lib.patience import Impatient
from navarch.machinery.cel import expressions, libraries, patches, types
from navarch.machinery.cel.environment import Environment
from navarch.machinery.cel.expressions import MATCH_CONDITIONS_BUDGET, CompileError, Expression
from navarch.machinery.cel.frames import MAX_COST, CostExceeded
from navarch.machinery.cel.types import Type
from navarch.machinery.cel.values import EvaluationError

_OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_CANCELLED = "operation cancelled: actual cost limit exceeded"


# ---- types ---------------------------------------------------------------------------------------------------------


def _object(name: str, /, **fields: Type) -> Type:
    return Type(f"kubernetes.{name}", fields=fields)


_S, _LABELS = types.STRING, types.map_of(types.STRING, types.STRING)
_KIND = _object("GroupVersionKind", group=_S, version=_S, kind=_S)
_RESOURCE = _object("GroupVersionResource", group=_S, version=_S, resource=_S)
_USER = _object("UserInfo", username=_S, uid=_S, groups=types.list_of(_S), extra=types.map_of(_S, types.list_of(_S)))
REQUEST = _object(
    "AdmissionRequest",
    kind=_KIND,
    resource=_RESOURCE,
    subResource=_S,
    requestKind=_KIND,
    requestResource=_RESOURCE,
    requestSubResource=_S,
    name=_S,
    namespace=_S,
    operation=_S,
    userInfo=_USER,
    dryRun=types.BOOL,
    options=types.DYN,
)
NAMESPACE = _object(
    "Namespace",
    metadata=_object(
        "NamespaceMetadata",
        name=_S,
        generateName=_S,
        namespace=_S,
        labels=_LABELS,
        annotations=_LABELS,
        UID=_S,
        creationTimestamp=types.TIMESTAMP,
        deletionGracePeriodSeconds=types.INT,
        deletionTimestamp=types.TIMESTAMP,
        generation=types.INT,
        resourceVersion=_S,
        finalizers=types.list_of(_S),
    ),
    spec=_object("NamespaceSpec", finalizers=types.list_of(_S)),
    status=_object(
        "NamespaceStatus",
        conditions=types.list_of(_object("NamespaceCondition", status=_S, type=_S, lastTransitionTime=types.TIMESTAMP, message=_S, reason=_S)),
        phase=_S,
    ),
)
_NAMESPACE_METADATA = (
    "name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "labels", "annotations", "finalizers",
)  # fmt: skip
REQUEST_RESOURCE = "authorizer.requestResource"
_ALWAYS = {"object": types.DYN, "oldObject": types.DYN, "namespaceObject": NAMESPACE, "request": REQUEST}
_AUTHORIZING = {
    "authorizer": Type("kubernetes.authorization.Authorizer"),
    REQUEST_RESOURCE: Type("kubernetes.authorization.ResourceCheck"),
}


def namespace_object(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """What expressions see of a namespace."""
    metadata = namespace.get("metadata") or {}
    shown = {key: metadata[key] for key in _NAMESPACE_METADATA if key in metadata}
    return {"metadata": shown, "spec": namespace.get("spec") or {}, "status": namespace.get("status") or {}}


# ---- compiling -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression, or why it is none. `name` is a match condition's or an annotation's."""

    text: str
    expression: Expression | None = None
    error: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Typing:
    """The types of what expressions see, where they are known: for the check of a policy's types."""

    object: Type = types.DYN
    params: Type = types.DYN


class Compiler:
    """Compiles the expressions of one policy, in order: its variables first, of which each sees those before it."""

    def __init__(self, *, params: bool, composed: bool = True, typing: Typing | None = None) -> None:
        self._params = params
        self._typing = typing
        self._variables: dict[str, Type] | None = {} if composed else None
        self.variables: dict[str, Compiled] = {}

    def condition(self, text: str, name: str = "") -> Compiled:
        """Something that is true or not."""
        return self._compile(text, (types.BOOL,), name=name)

    def message(self, text: str) -> Compiled:
        return self._compile(text, (types.STRING,), authorizer=False)

    def annotation(self, text: str, name: str) -> Compiled:
        return self._compile(text, (types.STRING, types.NULL), name=name)

    def apply_configuration(self, text: str) -> Compiled:
        return self._compile(text, (patches.OBJECT,), patch=True)

    def json_patch(self, text: str) -> Compiled:
        return self._compile(text, (types.list_of(patches.JSON_PATCH),), patch=True)

    def anything(self, text: str) -> Compiled:
        """Only to see whether the types are right."""
        return self._compile(text, ())

    def variable(self, name: str, text: str) -> Compiled:
        found = self._compile(text, (), name=name)
        if self._variables is not None:
            self._variables[name] = _declared(found.expression.type) if found.expression else types.DYN
        self.variables[name] = found
        return found

    def _compile(self, text: str, wanted: Sequence[Type], *, authorizer: bool = True, patch: bool = False, name: str = "") -> Compiled:
        try:
            return Compiled(text, expressions.compile(text, self._environment(authorizer, patch), wanted), name=name)
        except CompileError as error:
            return Compiled(text, None, str(error), name)

    def _environment(self, authorizer: bool, patch: bool) -> Environment:
        made = _BASES[self._params, authorizer, patch]
        known: dict[str, Type] = {}
        if self._variables is not None:
            known["variables"] = Type("kubernetes.variables", fields=dict(self._variables))
        if self._typing is not None:
            known |= {"object": self._typing.object, "oldObject": self._typing.object}
            if self._params:
                known["params"] = self._typing.params
        return made.extended(known) if known else made


@functools.lru_cache(4096)
def _condition(text: str) -> Compiled:
    return Compiler(params=False, composed=False).condition(text)


def condition(text: str, name: str = "") -> Compiled:
    """A webhook's match condition. Remembered: what is checked when it is written is needed when it counts."""
    return replace(_condition(text.strip()), name=name)


def _base(params: bool, authorizer: bool, patch: bool) -> Environment:
    variables: dict[str, Type] = dict(_ALWAYS)
    if params:
        variables["params"] = types.DYN
    if authorizer:
        variables |= _AUTHORIZING
    return (libraries.JSON_PATCH if patch else libraries.BASE).extended(variables, patches.OBJECTS if patch else types.NO_TYPES)


_BASES = {(p, a, o): _base(p, a, o) for p in (False, True) for a in (False, True) for o in (False, True)}
_KEPT = frozenset({"bool", "bytes", "double", "duration", "int", "null_type", "string", "timestamp", "uint", "any"})


def _declared(held: Type) -> Type:
    """The type of a variable: objects and what libraries add are seen as anything."""
    if held.name in ("list", "map"):
        return Type(held.name, tuple(_declared(p) for p in held.parameters))
    return held if held.name in _KEPT else types.DYN


# ---- evaluating ----------------------------------------------------------------------------------------------------


class Inputs(dict[str, Any]):
    """Variables by name; what costs something to make is made when an expression first asks for it."""

    __slots__ = ("_makers",)

    def __init__(self, makers: Mapping[str, Callable[[], Any]], **held: Any) -> None:
        super().__init__(held)
        self._makers = makers

    def __missing__(self, name: str) -> Any:
        value = self[name] = self._makers[name]()
        return value


class _Variables:
    """`variables`: what was evaluated of them, and what that cost."""

    __slots__ = ("_compiled", "_held", "_inputs", "_patience", "asked", "cost")
    type_name = "kubernetes.variables"

    def __init__(self, compiled: Mapping[str, Compiled], inputs: Mapping[str, Any], patience: int | None) -> None:
        self._compiled = compiled
        self._inputs = inputs
        self._patience = patience
        self._held: dict[str, Any] = {}
        self.cost = self.asked = 0

    def __getitem__(self, name: str) -> Any:
        try:
            return self._held[name]
        except KeyError:
            return self._evaluate(name)

    def field(self, name: str) -> Any:
        return self[name]

    def has(self, name: str) -> bool:
        return name in self._compiled

    def _evaluate(self, name: str) -> Any:
        compiled = self._compiled.get(name)
        if compiled is None:
            raise EvaluationError(f"no such key: {name}")
        if compiled.expression is None:
            raise EvaluationError(f'composited variable "{name}" fails to compile: {compiled.error}')
        self.asked += compiled.expression.asked
        try:
            value, cost = _evaluated(compiled.expression, self._inputs, self._patience)
        except (EvaluationError, CostExceeded) as error:
            self.cost += error.cost
            raise EvaluationError(f'composited variable "{name}" fails to evaluate: {_words(error)}') from None
        self.cost += cost
        self._held[name] = value
        return value


def _evaluated(expression: Expression, inputs: Mapping[str, Any], patience: int | None) -> tuple[Any, int]:
    """The value and what it cost. EvaluationError, CostExceeded, and Impatient when it would cost more than `patience`."""
    limit = MAX_COST if patience is None else min(MAX_COST, patience + expression.asked)
    try:
        return expression.evaluate(inputs, limit)
    except CostExceeded:
        if limit < MAX_COST:
            raise Impatient from None
        raise


def _words(error: EvaluationError | CostExceeded) -> str:
    return _CANCELLED if isinstance(error, CostExceeded) else str(error)


@dataclass(frozen=True, slots=True)
class Result:
    """What one expression gave: a value, or an error in upstream's words."""

    compiled: Compiled
    value: Any = None
    error: str = ""


class OutOfBudget(Exception):
    """The expressions of a list cost more together than they may; the message is upstream's."""


@dataclass(slots=True)
class Evaluation:
    """Evaluates expressions one after another, with variables of their own and a budget for all of them.

    `patience`: what they may cost together before that is given up with `Impatient`; None for all that there is.
    """

    inputs: Inputs
    variables: Mapping[str, Compiled]
    budget: int
    patience: int | None = None
    _composed: _Variables | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.variables:
            self.inputs["variables"] = self._composed = _Variables(self.variables, self.inputs, self.patience)

    def one(self, compiled: Compiled) -> Result:
        """OutOfBudget, Impatient."""
        if compiled.expression is None:
            return Result(compiled, error=f"compilation error: {compiled.error}")
        try:
            value, cost = _evaluated(compiled.expression, self.inputs, self.patience)
        except (EvaluationError, CostExceeded) as error:
            self._spend(error.cost, compiled.expression.asked)
            return Result(compiled, error=f"expression '{compiled.text}' resulted in error: {_words(error)}")
        self._spend(cost, compiled.expression.asked)
        return Result(compiled, value)

    def all(self, compiled: Sequence[Compiled]) -> list[Result]:
        """OutOfBudget, Impatient."""
        return [self.one(each) for each in compiled]

    def _spend(self, cost: int, asked: int) -> None:
        """`asked`: what of the cost may stand for questions to the authorizer, which take no time."""
        if self._composed is not None:
            cost += self._composed.cost
            asked += self._composed.asked
            self._composed.cost = self._composed.asked = 0
        if self.patience is not None:
            self.patience = max(0, self.patience - max(0, cost - asked))
        self.budget -= cost
        if self.budget < 0:
            raise OutOfBudget(_OUT_OF_BUDGET)


@dataclass(frozen=True, slots=True)
class Match:
    """Whether all conditions hold. `error`: why that cannot be said, where the failure policy is Fail."""

    matches: bool
    error: str = ""
    failed: str = ""
    """The name of the first condition that does not hold."""
    errors: int = 0
    """How many could not be evaluated, whatever came of it."""


def match(conditions: Sequence[Compiled], inputs: Inputs, variables: Mapping[str, Compiled], *, ignore: bool, patience: int | None = None) -> Match:
    """One that is false decides, whatever the others are; errors matter else. `ignore`: the failure policy is Ignore. Impatient."""
    evaluation = Evaluation(inputs, variables, MATCH_CONDITIONS_BUDGET, patience)
    try:
        results = evaluation.all(conditions)
    except OutOfBudget as error:
        return Match(matches=False, error="" if ignore else str(error), errors=1)
    found = [result.error for result in results if result.error]
    for result in results:
        if result.value is False:
            return Match(matches=False, failed=result.compiled.name, errors=len(found))
    if not found:
        return Match(matches=True)
    told = list(dict.fromkeys(found))
    return Match(matches=False, error="" if ignore else told[0] if len(told) == 1 else f"[{', '.join(told)}]", errors=len(found))
