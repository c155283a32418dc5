"""Whether the expressions of a ValidatingAdmissionPolicy fit the types of what the policy matches. Pure.

In: a policy, what kinds its rules name, and the schemas of kinds. Out: warnings, one for each expression that does not fit, in the words
of the checker. Only resources that rules name outright are looked at, ten kinds at most; where a schema is not known nothing is said.

Upstream counterpart: apiserver's admission/plugin/policy/validating (typechecking.go).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.machinery.cel import types
from navarch.machinery.cel.admission import Compiler, Typing
from navarch.machinery.cel.declared import declare
from navarch.machinery.cel.types import Type
from navarch.machinery.structural.schema import Structural

MOST_KINDS = 10


class Kind(NamedTuple):
    group: str
    version: str
    kind: str

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Kind={self.kind}"


Kinds = Callable[[str, str, str], Iterable[str]]
"""The kinds of a group, version and resource; none when there is no such resource."""
Schemas = Callable[[Kind], Structural | None]


def check(policy: admission_v1.ValidatingAdmissionPolicy, kinds: Kinds, schemas: Schemas) -> list[admission_v1.ExpressionWarning]:
    spec = policy.spec or admission_v1.ValidatingAdmissionPolicySpec()
    objects = [(kind, held) for kind in matched(spec, kinds) if (held := _type(kind, schemas)) is not None]
    params = _params(spec, schemas)
    found = []
    for i, validation in enumerate(spec.validations or ()):
        for name, text in (("expression", validation.expression), ("messageExpression", validation.messageExpression)):
            if text and (told := _told(text, objects, params, spec)):
                found.append(admission_v1.ExpressionWarning(fieldRef=f"spec.validations[{i}].{name}", warning=told))
    return found


def matched(spec: admission_v1.ValidatingAdmissionPolicySpec, kinds: Kinds) -> list[Kind]:
    """The kinds that rules name outright, in order."""
    named = itertools.islice(_named(spec, kinds), MOST_KINDS)
    return sorted(set(named))


def _named(spec: admission_v1.ValidatingAdmissionPolicySpec, kinds: Kinds) -> Iterator[Kind]:
    for rule in (spec.matchConstraints.resourceRules if spec.matchConstraints else None) or ():
        groups, versions = rule.apiGroups or [], rule.apiVersions or []
        if any("*" in held for held in (*groups, *versions)):
            continue
        plurals = sorted(r for r in rule.resources or () if "*" not in r and "/" not in r)
        for group, version, plural in itertools.product(groups, versions, plurals):
            yield from (Kind(group, version, kind) for kind in kinds(group, version, plural))


def _type(kind: Kind, schemas: Schemas) -> Type | None:
    held = schemas(kind)
    declared = None if held is None else declare(held, root=True, name=kind.kind)
    return None if declared is None else declared.type


def _params(spec: admission_v1.ValidatingAdmissionPolicySpec, schemas: Schemas) -> Type:
    if spec.paramKind is None:
        return types.DYN
    group, _, version = (spec.paramKind.apiVersion or "").rpartition("/")
    return _type(Kind(group, version, spec.paramKind.kind or ""), schemas) or types.DYN


def _told(text: str, objects: Sequence[tuple[Kind, Type]], params: Type, spec: admission_v1.ValidatingAdmissionPolicySpec) -> str:
    """What is wrong with an expression, kind by kind."""
    found = []
    for kind, held in objects:
        compiler = Compiler(params=spec.paramKind is not None, typing=Typing(held, params))
        for variable in spec.variables or ():
            compiler.variable(variable.name or "", variable.expression or "")
        if error := compiler.anything(text).error:
            found.append(f"{kind}: {error.removeprefix('compilation failed: ')}\n")
    return "\n".join(found)
