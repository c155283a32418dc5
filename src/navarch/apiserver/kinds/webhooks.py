"""Webhook configurations: their defaults and rules, and what the URL or Service of any webhook must be.

Upstream counterparts: pkg/apis/admissionregistration/{v1/defaults.go,validation}, apiserver's util/webhook/validation.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.kinds import admissionpolicies as policies
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.machinery import field, names

AnyHook = admission_v1.ValidatingWebhook | admission_v1.MutatingWebhook
AnyConfiguration = admission_v1.ValidatingWebhookConfiguration | admission_v1.MutatingWebhookConfiguration
_EVERY_SIDE_EFFECT, _NO_SIDE_EFFECTS = ("None", "NoneOnDryRun", "Some", "Unknown"), ("None", "NoneOnDryRun")
_REVIEW_VERSIONS = ("v1", "v1beta1")
_URL_FORM = "; desired format: https://host[/path]"


def default_validating(obj: admission_v1.ValidatingWebhookConfiguration) -> None:
    for hook in obj.webhooks or ():
        _default_webhook(hook)


def default_mutating(obj: admission_v1.MutatingWebhookConfiguration) -> None:
    for hook in obj.webhooks or ():
        _default_webhook(hook)
        hook.reinvocationPolicy = hook.reinvocationPolicy or "Never"


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


@dataclass(frozen=True, slots=True)
class _Held:
    """What the rules are held to. An update may leave as it was what was stored before there was a rule against it."""

    side_effects: Sequence[str] = _NO_SIDE_EFFECTS
    known_review: bool = True
    unique_names: bool = True
    conditions: bool = True


_ALL_RULES = _Held()


def validate(obj: AnyConfiguration) -> Found:
    return _webhooks(obj, _ALL_RULES)


def validate_update(new: AnyConfiguration, old: AnyConfiguration) -> Found:
    before: Sequence[AnyHook] = old.webhooks or ()
    after: Sequence[AnyHook] = new.webhooks or ()
    harmless = all(hook.sideEffects in _NO_SIDE_EFFECTS for hook in before)
    held = _Held(
        side_effects=_NO_SIDE_EFFECTS if harmless else _EVERY_SIDE_EFFECT,
        known_review=all(not h.admissionReviewVersions or set(_REVIEW_VERSIONS) & set(h.admissionReviewVersions) for h in before),
        unique_names=len({hook.name for hook in before}) == len(before),
        conditions=[h.matchConditions or [] for h in after] != [h.matchConditions or [] for h in before],
    )
    return _webhooks(new, held)


def _webhooks(obj: AnyConfiguration, held: _Held) -> Found:
    found: Found = []
    seen: set[str] = set()
    hooks: Sequence[AnyHook] = obj.webhooks or ()
    for i, hook in enumerate(hooks):
        at = f"webhooks[{i}]"
        _hook(found, at, hook, held)
        _review_versions(found, f"{at}.admissionReviewVersions", hook.admissionReviewVersions or (), held)
        if held.unique_names and hook.name:
            if hook.name in seen:
                found.append(field.duplicate(f"{at}.name", hook.name))
            seen.add(hook.name)
    return found


def _hook(found: Found, at: str, hook: AnyHook, held: _Held) -> None:
    _qualified_name(found, f"{at}.name", hook.name or "")
    for i, rule in enumerate(hook.rules or ()):
        policies.rule_with_operations(found, f"{at}.rules[{i}]", rule)
    checks.one_of(found, f"{at}.failurePolicy", hook.failurePolicy, ("Fail", "Ignore"), required=False)
    checks.one_of(found, f"{at}.matchPolicy", hook.matchPolicy, ("Equivalent", "Exact"), required=False)
    if hook.sideEffects is None:
        found.append(field.required(f"{at}.sideEffects", f"must specify one of {', '.join(held.side_effects)}"))
    elif hook.sideEffects not in held.side_effects:
        found.append(field.not_supported(f"{at}.sideEffects", hook.sideEffects, held.side_effects))
    if hook.timeoutSeconds is not None and not 1 <= hook.timeoutSeconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        found.append(field.invalid(f"{at}.timeoutSeconds", hook.timeoutSeconds, why))
    checks.selector(found, f"{at}.namespaceSelector", hook.namespaceSelector)
    checks.selector(found, f"{at}.objectSelector", hook.objectSelector)
    if isinstance(hook, admission_v1.MutatingWebhook):
        checks.one_of(found, f"{at}.reinvocationPolicy", hook.reinvocationPolicy, ("IfNeeded", "Never"), required=False)
    _client(found, f"{at}.clientConfig", hook.clientConfig)
    if held.conditions:
        policies.match_conditions(found, f"{at}.matchConditions", hook.matchConditions)


def _qualified_name(found: Found, at: str, name: str) -> None:
    if not name:
        found.append(field.required(at))
    elif problems := names.dns_subdomain(name):
        found.append(field.invalid(at, name, ",".join(problems)))
    elif len(name.split(".")) < 3:
        found.append(field.invalid(at, name, "should be a domain with at least three segments separated by dots"))


def _client(found: Found, at: str, client: admission_v1.WebhookClientConfig | None) -> None:
    url, service = (client.url, client.service) if client else (None, None)
    if (url is None) == (service is None):
        found.append(field.required(at, "exactly one of url or service is required"))
    elif url is not None:
        webhook_url(found, f"{at}.url", url)
    elif service is not None:
        webhook_service(found, f"{at}.service", service)


def webhook_url(found: Found, at: str, url: str) -> None:
    """A URL by which the server calls a webhook."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        _ = parts.port
    except ValueError as error:
        found.append(field.required(at, f"url must be a valid URL: {error}{_URL_FORM}"))
        return
    if parts.scheme != "https":
        found.append(field.invalid(at, parts.scheme, f"'https' is the only allowed URL scheme{_URL_FORM}"))
    if not host:
        found.append(field.invalid(at, "", f"host must be specified{_URL_FORM}"))
    if "@" in parts.netloc:
        found.append(field.invalid(at, parts.netloc.rpartition("@")[0], "user information is not permitted in the URL"))
    if parts.fragment:
        found.append(field.invalid(at, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        found.append(field.invalid(at, parts.query, "query parameters are not permitted in the URL"))


class ServiceFields(Protocol):
    """A Service by which the server calls a webhook, of whichever group."""

    name: str | None
    namespace: str | None
    path: str | None
    port: int | None


def webhook_service(found: Found, at: str, service: ServiceFields) -> None:
    """A Service by which the server calls a webhook."""
    if not service.name:
        found.append(field.required(f"{at}.name"))
    if not service.namespace:
        found.append(field.required(f"{at}.namespace"))
    if problems := names.port_number(service.port or 0):
        found.append(field.invalid(f"{at}.port", service.port or 0, f"port is not valid: {', '.join(problems)}"))
    if service.path and service.path != "/":
        _path(found, f"{at}.path", service.path)


def _path(found: Found, at: str, path: str) -> None:
    if path == "//":
        found.append(field.invalid(at, path, "segment[0] may not be empty"))
        return
    if not path.startswith("/"):
        found.append(field.invalid(at, path, "must start with a '/'"))
    for i, step in enumerate(path[1:].removesuffix("/").split("/")):
        problems = names.dns_subdomain(step) if step else ()
        if not step:
            found.append(field.invalid(at, path, f"segment[{i}] may not be empty"))
        found += (field.invalid(at, path, f"segment[{i}]: {problem}") for problem in problems)


def _review_versions(found: Found, at: str, versions: Sequence[str], held: _Held) -> None:
    if not versions:
        found.append(field.required(at, f"must specify one of {', '.join(_REVIEW_VERSIONS)}"))
        return
    seen: set[str] = set()
    for i, version in enumerate(versions):
        if version in seen:
            found.append(field.invalid(f"{at}[{i}]", version, "duplicate version"))
            continue
        seen.add(version)
        found += (field.invalid(f"{at}[{i}]", version, problem) for problem in names.dns_label_1035(version))
    if held.known_review and not seen & set(_REVIEW_VERSIONS):
        found.append(field.invalid(at, list(versions), f"must include at least one of {', '.join(_REVIEW_VERSIONS)}"))
