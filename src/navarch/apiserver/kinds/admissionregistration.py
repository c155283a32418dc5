"""admissionregistration.k8s.io: webhooks and admission policies, with their bindings.

Upstream counterparts: pkg/apis/admissionregistration/{v1/defaults.go,validation}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.kinds import admissionpolicies as policies
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import UNSET, Tree, age_of, name_of, selector_text, sheet, spec_of
from navarch.apiserver.kinds.strategy import Key, Strategy, again
from navarch.machinery import field


def default_validating_webhooks(obj: admission_v1.ValidatingWebhookConfiguration) -> None:
    for hook in obj.webhooks or ():
        _default_webhook(hook)


def default_mutating_webhooks(obj: admission_v1.MutatingWebhookConfiguration) -> None:
    for hook in obj.webhooks or ():
        _default_webhook(hook)
        hook.reinvocationPolicy = hook.reinvocationPolicy or "Never"


AnyHook = admission_v1.ValidatingWebhook | admission_v1.MutatingWebhook


def validate_webhooks(obj: admission_v1.ValidatingWebhookConfiguration | admission_v1.MutatingWebhookConfiguration) -> Found:
    found: Found = []
    seen: set[str] = set()
    hooks: Sequence[AnyHook] = obj.webhooks or ()
    for i, hook in enumerate(hooks):
        at = f"webhooks[{i}]"
        name = hook.name or ""
        if name in seen:
            found.append(field.duplicate(f"{at}.name", name))
        seen.add(name)
        _hook(found, at, hook)
    return found


def _hook(found: Found, at: str, hook: AnyHook) -> None:
    name = hook.name or ""
    if not name:
        found.append(field.required(f"{at}.name"))
    else:
        checks.subdomain(found, f"{at}.name", name)
        if len(name.split(".")) < 3:
            why = "should be a domain with at least three segments separated by dots"
            found.append(field.invalid(f"{at}.name", name, why))
    for i, rule in enumerate(hook.rules or ()):
        policies.rule_with_operations(found, f"{at}.rules[{i}]", rule)
    checks.one_of(found, f"{at}.failurePolicy", hook.failurePolicy, ("Fail", "Ignore"), required=False)
    checks.one_of(found, f"{at}.matchPolicy", hook.matchPolicy, ("Equivalent", "Exact"), required=False)
    if not hook.sideEffects:
        found.append(field.required(f"{at}.sideEffects", "must specify one of None, NoneOnDryRun"))
    else:
        checks.one_of(found, f"{at}.sideEffects", hook.sideEffects, ("None", "NoneOnDryRun"))
    if hook.timeoutSeconds is not None and not 1 <= hook.timeoutSeconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        found.append(field.invalid(f"{at}.timeoutSeconds", hook.timeoutSeconds, why))
    checks.selector(found, f"{at}.namespaceSelector", hook.namespaceSelector)
    checks.selector(found, f"{at}.objectSelector", hook.objectSelector)
    client = hook.clientConfig
    url, service = (client.url, client.service) if client else (None, None)
    if (url is None) == (service is None):
        found.append(field.required(f"{at}.clientConfig", "exactly one of url or service is required"))
    elif url is not None:
        if not url.startswith("https://"):
            why = "'https' is the only allowed URL scheme; desired format: https://host[/path]"
            found.append(field.invalid(f"{at}.clientConfig.url", url.split(":")[0], why))
    elif service is not None:
        for part in ("name", "namespace"):
            if not getattr(service, part):
                found.append(field.required(f"{at}.clientConfig.service.{part}", f"service {part} is required"))
        if not 1 <= (service.port or 0) <= 65535:
            why = "port is not valid: must be between 1 and 65535, inclusive"
            found.append(field.invalid(f"{at}.clientConfig.service.port", service.port, why))
    versions = hook.admissionReviewVersions or []
    if not versions:
        found.append(field.required(f"{at}.admissionReviewVersions", "must specify one of v1, v1beta1"))
    elif not {"v1", "v1beta1"} & set(versions):
        found.append(field.invalid(f"{at}.admissionReviewVersions", versions, "must include at least one of v1, v1beta1"))


def webhooks_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), len(t.get("webhooks") or ()), age_of(t, now)]


def _default_webhook(hook: admission_v1.ValidatingWebhook | admission_v1.MutatingWebhook) -> None:
    hook.failurePolicy = hook.failurePolicy or "Fail"
    hook.matchPolicy = hook.matchPolicy or "Equivalent"
    hook.namespaceSelector = hook.namespaceSelector or meta_v1.LabelSelector()
    hook.objectSelector = hook.objectSelector or meta_v1.LabelSelector()
    if hook.timeoutSeconds is None:
        hook.timeoutSeconds = 10
    for rule in hook.rules or ():
        rule.scope = rule.scope or "*"
    service = hook.clientConfig.service if hook.clientConfig else None
    if service is not None and service.port is None:
        service.port = 443


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
        default=default_validating_webhooks,
        validate=validate_webhooks,
        validate_update=again(validate_webhooks),
        generation=True,
        conditional_update=True,
        columns=sheet("Name|Webhooks#|Age", webhooks_row),
    ),
    (GROUP, "mutatingwebhookconfigurations"): Strategy(
        default=default_mutating_webhooks,
        validate=validate_webhooks,
        validate_update=again(validate_webhooks),
        generation=True,
        conditional_update=True,
        columns=sheet("Name|Webhooks#|Age", webhooks_row),
    ),
    (GROUP, "validatingadmissionpolicies"): Strategy(
        default=default_validating_policy,
        prepare_create=prepare_validating_policy,
        validate=policies.validate_validating,
        validate_update=policies.validate_validating_update,
        validate_status=policies.validate_status,
        generation=True,
        conditional_update=True,
        columns=sheet("Name|Validations#|ParamKind|Age", validating_policy_row),
    ),
    (GROUP, "mutatingadmissionpolicies"): Strategy(
        default=default_mutating_policy,
        validate=policies.validate_mutating,
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
