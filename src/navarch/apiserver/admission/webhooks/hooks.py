"""A webhook, compiled once from its configuration.

In: a configuration, defaulted. Out: its webhooks as values that hold all a request needs: rules, selectors, conditions, whom to call and how.

Upstream counterparts: apiserver's pkg/admission/plugin/webhook/accessors.go, pkg/admission/configuration.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.apiserver.admission import matching
from navarch.apiserver.admission.matching import Rule
from navarch.apiserver.extensions import clients
from navarch.apiserver.extensions.clients import Target
from navarch.machinery.cel import admission
from navarch.machinery.cel.admission import Compiled
from navarch.machinery.selectors import Selector

AnyConfiguration = admission_v1.MutatingWebhookConfiguration | admission_v1.ValidatingWebhookConfiguration
AnyWebhook = admission_v1.MutatingWebhook | admission_v1.ValidatingWebhook
REVIEW_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """One webhook. Compared by identity: a changed configuration has others."""

    uid: str
    """The configuration's name, the webhook's, and a number that tells those of one name apart."""
    configuration: str
    name: str
    rules: tuple[Rule, ...]
    namespaces: Selector
    objects: Selector
    conditions: tuple[Compiled, ...]
    equivalent: bool
    ignores_failures: bool
    seconds: float
    supports_dry_run: bool
    reinvoked: bool
    review: str | None
    """The version of AdmissionReview it is asked in; None when it knows none of ours."""
    target: Target | str
    """Whom to call, or why nobody can be called."""


def compiled(configuration: AnyConfiguration) -> tuple[Hook, ...]:
    """The webhooks of a configuration, in its order."""
    name = (configuration.metadata.name if configuration.metadata is not None else None) or ""
    seen: Counter[str] = Counter()
    found = []
    webhooks: Sequence[AnyWebhook] = configuration.webhooks or ()
    for webhook in webhooks:
        of_name = webhook.name or ""
        found.append(_compiled(webhook, name, f"{name}/{of_name}/{seen[of_name]}"))
        seen[of_name] += 1
    return tuple(found)


def _compiled(webhook: AnyWebhook, configuration: str, uid: str) -> Hook:
    return Hook(
        uid=uid,
        configuration=configuration,
        name=webhook.name or "",
        rules=tuple(matching.rule(rule) for rule in webhook.rules or ()),
        namespaces=matching.selector(webhook.namespaceSelector),
        objects=matching.selector(webhook.objectSelector),
        conditions=tuple(admission.condition(c.expression or "", c.name or "") for c in webhook.matchConditions or ()),
        equivalent=webhook.matchPolicy == "Equivalent",
        ignores_failures=webhook.failurePolicy == "Ignore",
        seconds=float(webhook.timeoutSeconds or 10),
        supports_dry_run=webhook.sideEffects in ("None", "NoneOnDryRun"),
        reinvoked=isinstance(webhook, admission_v1.MutatingWebhook) and webhook.reinvocationPolicy == "IfNeeded",
        review=next((v for v in webhook.admissionReviewVersions or () if v in REVIEW_VERSIONS), None),
        target=_target(webhook.clientConfig or admission_v1.WebhookClientConfig()),
    )


def _target(config: admission_v1.WebhookClientConfig) -> Target | str:
    try:
        authorities = base64.b64decode(config.caBundle or "")
        if config.service is not None:
            service = config.service
            return clients.of_service(
                service.namespace or "", service.name or "", port=service.port, path=service.path or "", authorities=authorities
            )
        return clients.of_url(config.url or "", authorities=authorities)
    except binascii.Error:
        return "could not get REST client: unable to load root certificates: unable to parse bytes as PEM block"
    except ValueError as error:
        return f"could not get REST client: {error}"
