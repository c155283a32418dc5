"""MutatingAdmissionPolicies: changes that policies make to what is written.

For each policy that matches, each of its bindings that does, and each object the binding hands over, the mutations are made in order:
fields are merged in as server-side apply merges them (`ApplyConfiguration`), or a JSON patch is applied. What was changed is defaulted
anew. When something changed, the policies that ask for it (`IfNeeded`) are gone through once more.

`compiled`, `patch` and what they are made of are pure; `Mutating` is the admission plugin.

Upstream counterpart: apiserver's admission/plugin/policy/mutating (compilation.go, dispatcher.go, patch), policy/generic (policy_dispatcher.go).
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import Any

from navarch.api import resources
from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import writing
from navarch.apiserver.admission import reinvocation
from navarch.apiserver.admission.attributes import Attributes, refuse
from navarch.apiserver.admission.attributes import Kind as ObjectKind
from navarch.apiserver.admission.expressions import Request
from navarch.apiserver.admission.matching import Matched
from navarch.apiserver.admission.policies.invoking import Invocation, invocations
from navarch.apiserver.admission.policies.parameters import Tree
from navarch.apiserver.admission.policies.source import Binding, Policy, Source
from navarch.apiserver.admission.webhooks import patching
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.machinery import codec, errors, schema
from navarch.machinery.cel import admission, patches
from navarch.machinery.cel.admission import Compiled, Compiler, Evaluation, Inputs, OutOfBudget
from navarch.machinery.cel.expressions import BUDGET
from navarch.machinery.cel.functions.authorization import Ask
from navarch.machinery.patch import json_patch, typed
from navarch.machinery.schema import Kind, Schema

PLUGIN = "MutatingAdmissionPolicy"


class Refused(ValueError):
    """A mutation that cannot be made; the message is upstream's."""


# ---- compiling -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mutation:
    expression: Compiled
    json_patch: bool


@dataclass(frozen=True, slots=True)
class Mutations:
    """A policy's expressions."""

    conditions: tuple[Compiled, ...]
    variables: dict[str, Compiled]
    mutations: tuple[Mutation, ...]
    reinvoked: bool


def compiled(spec: admission_v1.MutatingAdmissionPolicySpec) -> Mutations:
    compiler = Compiler(params=spec.paramKind is not None)
    for variable in spec.variables or ():
        compiler.variable(variable.name or "", variable.expression or "")
    return Mutations(
        tuple(compiler.condition(c.expression or "", c.name or "") for c in spec.matchConditions or ()),
        compiler.variables,
        tuple(_mutations(spec, compiler)),
        spec.reinvocationPolicy == "IfNeeded",
    )


def _mutations(spec: admission_v1.MutatingAdmissionPolicySpec, compiler: Compiler) -> Iterator[Mutation]:
    for held in spec.mutations or ():
        if held.patchType == "JSONPatch" and held.jsonPatch is not None:
            yield Mutation(compiler.json_patch(held.jsonPatch.expression or ""), json_patch=True)
        elif held.applyConfiguration is not None:
            yield Mutation(compiler.apply_configuration(held.applyConfiguration.expression or ""), json_patch=False)


# ---- patching ------------------------------------------------------------------------------------------------------


def patch(mutation: Mutation, variables: dict[str, Compiled], inputs: Inputs, merging: Schema, patience: int | None) -> Tree:
    """The object after a mutation. Refused, Impatient."""
    compiled = mutation.expression
    if compiled.expression is None:
        raise Refused(compiled.error)
    try:
        result = Evaluation(inputs, variables, BUDGET, patience).one(compiled)
    except OutOfBudget as error:
        raise Refused(str(error)) from None
    if result.error:
        raise Refused(result.error)
    tree: Tree = inputs["object"]
    try:
        return (
            _patched(tree, patches.operations(result.value)) if mutation.json_patch else _merged(tree, patches.configuration(result.value), merging)
        )
    except patches.Unfit as error:
        raise Refused(str(error)) from None


def _patched(tree: Tree, operations: list[dict[str, Any]]) -> Tree:
    """A `test` that fails leaves the object as it is."""
    try:
        made = json_patch.apply(tree, operations)
    except errors.ApiError as error:
        if isinstance(error.__cause__, json_patch.TestFailed):
            return tree
        raise Refused(f"JSON Patch: {error.__cause__ or error}") from None
    if not isinstance(made, dict):
        raise Refused("JSON Patch: the result is no object")
    return made


def _merged(tree: Tree, configuration: Tree, merging: Schema) -> Tree:
    configuration = configuration | {"apiVersion": tree["apiVersion"], "kind": tree["kind"]}
    if problem := next(typed.problems(merging, configuration), None):
        raise Refused(f"error applying patch: failed to convert patch object to typed object: {problem}")
    if atomics := list(_atomics(merging, configuration, "")):
        raise Refused(f"error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {', '.join(atomics)}")
    try:
        made = typed.merged(merging, tree, configuration)
    except typed.TypeProblem as problem:
        raise Refused(f"error applying patch: failed to merge patch: {problem}") from None
    assert isinstance(made, dict)
    return made


def _atomics(place: Schema, value: Any, path: str) -> Iterator[str]:
    """Where a configuration names what can only be set as a whole: what it does not name there would be lost."""
    if isinstance(value, dict):
        if place.kind is Kind.ATOMIC:
            yield path
        for key, held in value.items():
            below = place.field(key)
            if below is not None:
                yield from _atomics(below, held, f"{path}.{key}")
    elif isinstance(value, list):
        if place.kind is Kind.LIST:
            yield path
        for i, held in enumerate(value):
            yield from _atomics(place.element, held, f"{path}[{i}]")


# ---- the plugin ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Problem:
    policy: Policy[Mutations]
    binding: Binding | None
    why: str
    reason: str = ""

    @property
    def message(self) -> str:
        if self.binding is None:
            return f'policy "{self.policy.name}" denied request: {self.why}'
        return f"policy '{self.policy.name}' with binding '{self.binding.name}' denied request: {self.why}"


def settled(attributes: Attributes, matched: Matched, tree: Tree) -> Any:
    """The object of a write from JSON in the version that was matched: decoded strictly, converted, defaulted. Internal when it is none."""
    resource, served = matched.served.resource, matched.served
    try:
        if matched.kind != (resource.group, resource.version, resource.kind):
            return codec.from_tree(type(attributes.obj), tree)
        obj, problems = served.request_shape.decode_reporting(codec.encode(tree))
    except codec.DecodeError as error:
        raise errors.internal(str(error)) from None
    if problems:
        raise errors.internal(f"strict decoding error: {', '.join(problems)}")
    return writing.settle(served, obj)


class Mutating:
    """The plugin MutatingAdmissionPolicy."""

    def __init__(self, source: Source[Mutations], authorizer: Authorizer) -> None:
        self._source = source
        self._authorizer = authorizer

    def mutate(self, attributes: Attributes) -> Awaitable[None] | None:
        """None where no policy can concern the write."""
        policies = self._source.concerning(attributes)
        return self._run(attributes, policies) if policies else None

    async def _run(self, attributes: Attributes, policies: tuple[Policy[Mutations], ...]) -> None:
        problems: list[_Problem] = []

        def misconfigured(policy: Policy[Mutations], binding: Binding | None, why: str) -> None:
            problems.append(_Problem(policy, binding, why))

        found = [one async for one in invocations(self._source.catalog, policies, attributes, misconfigured)]
        if found:
            await self._invoke(attributes, found, problems)
        refused = [problem for problem in problems if not problem.policy.ignore]
        if refused:
            raise _refusal(attributes, refused)

    async def _invoke(self, attributes: Attributes, invocations: list[Invocation[Mutations]], problems: list[_Problem]) -> None:
        round = reinvocation.of(attributes, PLUGIN)
        round.begin(attributes)
        request = Request(attributes, self._source.catalog, self._authorizer)
        request.check_namespace()
        for invocation in invocations:
            if round.leaves_out(attributes, invocation.key):
                continue
            await invocation.policy.prepare()
            if not await self._matches(request, invocation, problems):
                continue
            request, changed = await self._mutate(request, invocation, problems)
            if changed:
                round.changed(attributes)
            if invocation.policy.compiled.reinvoked:
                round.called(invocation.key)
        round.end(attributes)

    async def _matches(self, request: Request, invocation: Invocation[Mutations], problems: list[_Problem]) -> bool:
        policy = invocation.policy

        def work(ask: Ask, patience: int | None) -> admission.Match:
            held, inputs = policy.compiled, request.of_conditions(invocation.matched, invocation.params, ask)
            return admission.match(held.conditions, inputs, held.variables, ignore=policy.ignore, patience=patience)

        if not policy.compiled.conditions:
            return True
        found = await request.evaluated(work)
        if found.error:
            problems.append(_Problem(policy, invocation.binding, found.error, "Invalid"))
        return found.matches

    async def _mutate(self, request: Request, invocation: Invocation[Mutations], problems: list[_Problem]) -> tuple[Request, bool]:
        """Makes the mutations of one policy, each on what the one before left."""
        attributes, matched = request.attributes, invocation.matched
        changed = False
        for mutation in invocation.policy.compiled.mutations:
            before = request.tree(matched, old=False)
            if before is None:
                break
            try:
                made = await self._patch(request, invocation, mutation)
                if made is before or made == before:
                    continue
                left = settled(attributes, matched, made)
                if attributes.kind == _own_kind(attributes):
                    patching.keep_decided(attributes, left, attributes.obj)
                attributes.obj, attributes.patched = left, True
            except Refused as error:
                problems.append(_Problem(invocation.policy, invocation.binding, str(error), "Invalid"))
                continue
            request = Request(attributes, self._source.catalog, self._authorizer)
            changed = True
        return request, changed

    async def _patch(self, request: Request, invocation: Invocation[Mutations], mutation: Mutation) -> Tree:
        held, merging = invocation.policy.compiled, schema_of(request.attributes, invocation.matched)

        def work(ask: Ask, patience: int | None) -> Tree:
            inputs = request.inputs(invocation.matched, invocation.params, ask)
            return patch(mutation, held.variables, inputs, merging, patience)

        return await request.evaluated(work)


def _own_kind(attributes: Attributes) -> ObjectKind:
    resource = attributes.served.resource
    return ObjectKind(resource.group, resource.version, resource.kind)


def schema_of(attributes: Attributes, matched: Matched) -> Schema:
    """How the fields of the object are merged: those of the resource, or of what its subresource takes."""
    resource = matched.served.resource
    if matched.kind == (resource.group, resource.version, resource.kind):
        return matched.served.schema()
    return schema.named(resources.type_name(type(attributes.obj)))


def _refusal(attributes: Attributes, problems: list[_Problem]) -> errors.Forbidden:
    """The first problem's words and reason; all of them as causes."""
    refusal = refuse(attributes, "admission request denied by policy")
    status = refusal.status
    status.message = problems[0].message
    if problems[0].reason:
        status.reason = problems[0].reason
    assert status.details is not None
    status.details.causes = [*(status.details.causes or ()), *(meta_v1.StatusCause(message=problem.message) for problem in problems)]
    return refusal
