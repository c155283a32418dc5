"""ValidatingAdmissionPolicies: whether a request may be, by the expressions of policies.

For each policy that matches, each of its bindings that does, and each object the binding hands over, the validations are evaluated;
what fails is denied, told as a warning, or noted for the audit log, as the binding says.

`compiled` and `decide` are pure: a policy and inputs in, `Decided` out. `Validating` is the admission plugin.

Upstream counterpart: apiserver's admission/plugin/policy/validating (compilation in plugin.go, validator.go, dispatcher.go).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.admission.attributes import Attributes, refuse
from navarch.apiserver.admission.expressions import Request
from navarch.apiserver.admission.policies.invoking import Invocation, invocations
from navarch.apiserver.admission.policies.source import Binding, Policy, Source
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.machinery import codec, errors
from navarch.machinery.cel import admission
from navarch.machinery.cel.admission import Compiled, Compiler, Evaluation, Inputs, OutOfBudget, Result
from navarch.machinery.cel.expressions import BUDGET
from navarch.machinery.cel.functions.authorization import Ask

_LONGEST_MESSAGE, _LONGEST_ANNOTATION = 5 * 1024, 10 * 1024
_FAILURE = "validation.policy.admission.k8s.io/validation_failure"
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}


# ---- compiling -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Validation:
    """`message`: what is said without an expression for it."""

    condition: Compiled
    told: Compiled | None
    message: str
    reason: str


@dataclass(frozen=True, slots=True)
class Validations:
    """A policy's expressions."""

    conditions: tuple[Compiled, ...]
    variables: dict[str, Compiled]
    validations: tuple[Validation, ...]
    annotations: tuple[Compiled, ...]


def compiled(spec: admission_v1.ValidatingAdmissionPolicySpec) -> Validations:
    compiler = Compiler(params=spec.paramKind is not None)
    for variable in spec.variables or ():
        compiler.variable(variable.name or "", variable.expression or "")
    return Validations(
        tuple(compiler.condition(c.expression or "", c.name or "") for c in spec.matchConditions or ()),
        compiler.variables,
        tuple(_validation(v, compiler) for v in spec.validations or ()),
        tuple(compiler.annotation(a.valueExpression or "", a.key or "") for a in spec.auditAnnotations or ()),
    )


def _validation(held: admission_v1.Validation, compiler: Compiler) -> Validation:
    text = held.expression or ""
    told = compiler.message(held.messageExpression) if held.messageExpression else None
    message = (held.message or "").strip() or f"failed expression: {text.strip()}"
    return Validation(compiler.condition(text), told, message, held.reason or "Invalid")


# ---- deciding ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """A validation that does not hold, or that cannot be evaluated (`reason` is empty then). `index`: which one it is."""

    message: str
    reason: str = ""
    index: int = 0


@dataclass(slots=True)
class Decided:
    """What a policy says of a request, with one object of one binding."""

    failures: list[Failure] = field(default_factory=list)
    annotations: list[tuple[str, str]] = field(default_factory=list)
    refused: list[Failure] = field(default_factory=list)
    """Audit annotations that cannot be evaluated: these deny, whatever the binding says."""


def decide(policy: Validations, ignore: bool, make: Callable[[], Inputs], patience: int | None) -> Decided:
    """`ignore`: the failure policy. `make` gives the inputs, anew for each list of expressions: variables are evaluated for each. Impatient."""
    if policy.conditions:
        seen = make()
        seen["namespaceObject"] = None  # match conditions see none
        matched = admission.match(policy.conditions, seen, policy.variables, ignore=ignore, patience=patience)
        if matched.error:
            return Decided([Failure(matched.error)])
        if not matched.matches:
            return Decided()
    evaluation = Evaluation(make(), policy.variables, BUDGET, patience)
    try:
        results = evaluation.all([v.condition for v in policy.validations])
    except OutOfBudget as error:
        return Decided([] if ignore else [Failure(str(error))])
    decided = Decided(_failures(policy, ignore, results, Evaluation(make(), policy.variables, evaluation.budget, patience)))
    if policy.annotations:
        _annotate(decided, policy, ignore, Evaluation(make(), policy.variables, BUDGET, patience))
    return decided


def _failures(policy: Validations, ignore: bool, results: Iterable[Result], messages: Evaluation) -> list[Failure]:
    found = []
    for i, (validation, result) in enumerate(zip(policy.validations, results, strict=True)):
        if result.error:
            if not ignore:
                found.append(Failure(result.error, index=i))
        elif result.value is not True:
            try:
                found.append(Failure(_message(validation, messages), validation.reason, i))
            except OutOfBudget as error:
                if not ignore:
                    found.append(Failure(f"failed messageExpression: {error}", index=i))
    return found


def _message(validation: Validation, messages: Evaluation) -> str:
    """What its expression says, if that is one line of a bearable length; else what is written."""
    if validation.told is not None:
        said = messages.one(validation.told).value
        text = said.strip() if isinstance(said, str) else ""
        if text and "\n" not in text and len(text.encode()) <= _LONGEST_MESSAGE:
            return text
    return validation.message


def _annotate(decided: Decided, policy: Validations, ignore: bool, evaluation: Evaluation) -> None:
    try:
        results = evaluation.all(policy.annotations)
    except OutOfBudget as error:
        if not ignore:
            decided.failures = [Failure(str(error))]
        return
    for result in results:
        if result.error:
            if not ignore:
                decided.refused.append(Failure(result.error))
        elif isinstance(result.value, str) and (text := result.value.strip()):
            decided.annotations.append((result.compiled.name, text))


# ---- the plugin ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Denial:
    policy: str
    binding: str
    failure: Failure

    @property
    def message(self) -> str:
        bound = f" with binding '{self.binding}'" if self.binding else ""
        return f"ValidatingAdmissionPolicy '{self.policy}'{bound} denied request: {self.failure.message}"


class Validating:
    """The plugin ValidatingAdmissionPolicy."""

    def __init__(self, source: Source[Validations], authorizer: Authorizer) -> None:
        self._source = source
        self._authorizer = authorizer

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        """None where no policy can concern the request."""
        policies = self._source.concerning(attributes)
        return self._run(attributes, policies) if policies else None

    async def _run(self, attributes: Attributes, policies: tuple[Policy[Validations], ...]) -> None:
        request = Request(attributes, self._source.catalog, self._authorizer)
        denials: list[_Denial] = []
        annotations: dict[tuple[str, str], list[str]] = {}

        def misconfigured(policy: Policy[Validations], binding: Binding | None, why: str) -> None:
            if not policy.ignore:
                denials.append(_Denial(policy.name, binding.name if binding else "", Failure(why)))

        async for invocation in invocations(self._source.catalog, policies, attributes, misconfigured):
            request.check_namespace()
            _act(attributes, invocation, await _decided(request, invocation), denials, annotations)
        for (policy, key), values in annotations.items():
            attributes.annotations.setdefault(f"{policy}/{key}", ", ".join(values))
        if denials:
            raise _refusal(attributes, denials)


async def _decided(request: Request, invocation: Invocation[Validations]) -> Decided:
    policy = invocation.policy
    await policy.prepare()

    def work(ask: Ask, patience: int | None) -> Decided:
        return decide(policy.compiled, policy.ignore, lambda: request.inputs(invocation.matched, invocation.params, ask), patience)

    return await request.evaluated(work)


def _act(
    attributes: Attributes,
    invocation: Invocation[Validations],
    decided: Decided,
    denials: list[_Denial],
    annotations: dict[tuple[str, str], list[str]],
) -> None:
    """Does with what was decided what the binding says."""
    policy, binding, spec = invocation.policy.name, invocation.binding.name, invocation.binding.spec
    assert isinstance(spec, admission_v1.ValidatingAdmissionPolicyBindingSpec)
    actions = spec.validationActions or []
    for failure in decided.failures:
        for action in actions:
            match action:
                case "Deny":
                    denials.append(_Denial(policy, binding, failure))
                case "Warn":
                    told = f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {failure.message}"
                    attributes.warnings.append(told)
                case "Audit":
                    attributes.annotations.setdefault(_FAILURE, _audited(policy, binding, actions, failure))
                case _:
                    pass  # validation lets none other in
    for key, value in decided.annotations:
        values = annotations.setdefault((policy, key), [])
        cut = value.encode()[:_LONGEST_ANNOTATION].decode(errors="ignore")
        if cut not in values:
            values.append(cut)
    denials += (_Denial(policy, binding, failure) for failure in decided.refused)


def _audited(policy: str, binding: str, actions: list[str], failure: Failure) -> str:
    held = {"message": failure.message, "policy": policy, "binding": binding, "expressionIndex": failure.index, "validationActions": actions}
    return codec.encode([held]).decode()


def _refusal(attributes: Attributes, denials: list[_Denial]) -> errors.Forbidden:
    """The first denial's words, with its reason and the code of that."""
    first = denials[0]
    refusal = refuse(attributes, first.message)
    status = refusal.status
    status.reason = first.failure.reason or "Invalid"
    status.code = _CODES.get(status.reason, 422)
    assert status.details is not None
    status.details.causes = [*(status.details.causes or ()), meta_v1.StatusCause(message=first.message)]
    return refusal
