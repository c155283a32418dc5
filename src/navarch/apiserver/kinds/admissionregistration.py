"""admissionregistration.k8s.io: webhooks and admission policies, with their bindings.

Upstream counterparts: pkg/apis/admissionregistration/{v1/defaults.go,validation}.
"""

from __future__ import annotations

from typing import Any

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.kinds import admissionpolicies as policies
from navarch.apiserver.kinds import webhooks
from navarch.apiserver.kinds.columns import UNSET, Tree, age_of, name_of, selector_text, sheet, spec_of
from navarch.apiserver.kinds.strategy import Key, Strategy, again


def webhooks_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), len(t.get("webhooks") or ()), age_of(t, now)]


def default_validating_policy(obj: admission_v1.ValidatingAdmissionPolicy) -> None:
    spec = obj.spec = obj.spec or admission_v1.ValidatingAdmissionPolicySpec()
    spec.failurePolicy = spec.failurePolicy or "Fail"
    _match_resources(spec.matchConstraints)


def _match_resources(match: admission_v1.MatchResources | None) -> None:
    if match is None:
        return
    match.matchPolicy = match.matchPolicy or "Equivalent"
    match.namespaceSelector = match.namespaceSelector or meta_v1.LabelSelector()
    match.objectSelector = match.objectSelector or meta_v1.LabelSelector()
    for rule in (*(match.resourceRules or ()), *(match.excludeResourceRules or ())):
        rule.scope = rule.scope or "*"


def prepare_validating_policy(obj: admission_v1.ValidatingAdmissionPolicy, now: float) -> None:
    obj.status = admission_v1.ValidatingAdmissionPolicyStatus()


def validating_policy_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), len(spec_of(t).get("validations") or ()), _param_kind(t), age_of(t, now)]


def _param_kind(t: Tree) -> str:
    kind = spec_of(t).get("paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET


def default_mutating_policy(obj: admission_v1.MutatingAdmissionPolicy) -> None:
    spec = obj.spec = obj.spec or admission_v1.MutatingAdmissionPolicySpec()
    spec.failurePolicy = spec.failurePolicy or "Fail"
    _match_resources(spec.matchConstraints)


def mutating_policy_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), len(spec_of(t).get("mutations") or ()), _param_kind(t), age_of(t, now)]


def default_policy_binding(obj: admission_v1.ValidatingAdmissionPolicyBinding | admission_v1.MutatingAdmissionPolicyBinding) -> None:
    if obj.spec is not None:
        _match_resources(obj.spec.matchResources)


def policy_binding_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    ref = spec.get("paramRef")
    shown = UNSET
    if ref and ref.get("name"):
        shown = f"{ref.get('namespace') or '*'}/{ref['name']}"
    elif ref and ref.get("selector"):
        shown = selector_text(ref["selector"])
    return [name_of(t, now), spec.get("policyName", ""), shown, age_of(t, now)]


GROUP = "admissionregistration.k8s.io"
_BINDING_COLUMNS = sheet("Name|PolicyName|ParamRef|Age", policy_binding_row)

KINDS: dict[Key, Strategy] = {
    (GROUP, "validatingwebhookconfigurations"): Strategy(
        default=webhooks.default_validating,
        validate=webhooks.validate,
        weight=policies.WEIGHT,
        validate_update=webhooks.validate_update,
        generation=True,
        conditional_update=True,
        columns=sheet("Name|Webhooks#|Age", webhooks_row),
    ),
    (GROUP, "mutatingwebhookconfigurations"): Strategy(
        default=webhooks.default_mutating,
        validate=webhooks.validate,
        weight=policies.WEIGHT,
        validate_update=webhooks.validate_update,
        generation=True,
        conditional_update=True,
        columns=sheet("Name|Webhooks#|Age", webhooks_row),
    ),
    (GROUP, "validatingadmissionpolicies"): Strategy(
        default=default_validating_policy,
        prepare_create=prepare_validating_policy,
        validate=policies.validate_validating,
        weight=policies.WEIGHT,
        validate_update=policies.validate_validating_update,
        validate_status=policies.validate_status,
        generation=True,
        conditional_update=True,
        columns=sheet("Name|Validations#|ParamKind|Age", validating_policy_row),
    ),
    (GROUP, "mutatingadmissionpolicies"): Strategy(
        default=default_mutating_policy,
        validate=policies.validate_mutating,
        weight=policies.WEIGHT,
        validate_update=policies.validate_mutating_update,
        generation=True,
        conditional_update=True,
        columns=sheet("Name|Mutations#|ParamKind|Age", mutating_policy_row),
    ),
    (GROUP, "validatingadmissionpolicybindings"): Strategy(
        default=default_policy_binding,
        validate=policies.validate_validating_binding,
        validate_update=again(policies.validate_validating_binding),
        generation=True,
        conditional_update=True,
        columns=_BINDING_COLUMNS,
    ),
    (GROUP, "mutatingadmissionpolicybindings"): Strategy(
        default=default_policy_binding,
        validate=policies.validate_mutating_binding,
        validate_update=again(policies.validate_mutating_binding),
        generation=True,
        conditional_update=True,
        columns=_BINDING_COLUMNS,
    ),
}
