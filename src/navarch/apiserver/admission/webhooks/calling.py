"""One call of one webhook: whether it is due, what it answers, and what is counted and noted of it.

Upstream counterparts: apiserver's pkg/admission/plugin/webhook/generic (ShouldCallHook), callHook of its dispatchers.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from navarch.apiserver import background
from navarch.apiserver.admission import matching
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.admission.expressions import namespace_of
from navarch.apiserver.admission.matching import Matched
from navarch.apiserver.admission.webhooks import metrics, review
from navarch.apiserver.admission.webhooks.hooks import Hook
from navarch.apiserver.admission.webhooks.metrics import WebhookMetrics
from navarch.apiserver.admission.webhooks.registered import Candidate
from navarch.apiserver.admission.webhooks.review import Response
from navarch.apiserver.admission.webhooks.versions import Versions
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.extensions import answers
from navarch.apiserver.extensions.answers import Undecodable
from navarch.apiserver.extensions.clients import Answer, Calls, Failed, Target
from navarch.apiserver.served import Catalog
from navarch.machinery import errors, goform
from navarch.machinery.cel import admission
from navarch.machinery.cel.functions.authorization import Ask
from navarch.machinery.selectors import Selector

_log = logging.getLogger(__name__)
MOST_BYTES = 8 * 1024 * 1024
"""Bytes of an answer: twice what a patch of the largest object needs."""
MOST_WAITING = 100
"""Requests that wait for one webhook: half of those that may change something at a time. Whoever comes later is told to come again, so that a webhook
that hangs leaves room for writes it has no part in."""
REQUEST_SECONDS = 60.0
"""What all webhooks of a request may take together: as long as upstream gives a request."""
_UNAVAILABLE = 503
_END = "webhooks end"


class Busy(errors.TooManyRequests):
    """More wait for a webhook than may: no fault of the webhook's that its failure policy could pass over."""


class CallFailed(Exception):
    """A webhook that gave no answer, or none that counts: its failure policy decides. `code` is what is counted."""

    def __init__(self, webhook: str, why: str, code: int = _UNAVAILABLE) -> None:
        super().__init__(f"failed calling webhook {goform.quoted(webhook)}: {why}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Caller:
    """What calls need. `step`: "admit" for mutating webhooks, "validating" for the others."""

    step: str
    calls: Calls
    catalog: Catalog
    authorizer: Authorizer
    metrics: WebhookMetrics
    waiting: Counter[str] = field(default_factory=Counter)
    """How many requests wait for each webhook."""

    # ---- whether -------------------------------------------------------------------------------------------------------

    async def is_due(self, candidate: Candidate, versions: Versions) -> bool:
        """Whether selectors and conditions want a webhook called. NotFound for a namespace there is not, Forbidden for a condition that fails."""
        hook, attributes = candidate.hook, versions.attributes
        if not hook.objects.empty and not self._selects(hook.objects, attributes):
            return False
        if not hook.namespaces.empty and not self._selects_namespace(hook.namespaces, attributes):
            return False
        return not hook.conditions or await self._conditions_hold(candidate, versions)

    @staticmethod
    def _selects(selector: Selector, attributes: Attributes) -> bool:
        """The object as it was or as it shall be; what has no metadata is never selected."""
        held = (getattr(obj, "metadata", None) for obj in (attributes.obj, attributes.old))
        return any(selector.matches(metadata.labels) for metadata in held if metadata is not None)

    def _selects_namespace(self, selector: Selector, attributes: Attributes) -> bool:
        if not namespace_of(attributes) and attributes.key != ("", "namespaces"):
            return True
        return selector.matches(matching.namespace_labels(attributes, self.catalog))

    async def _conditions_hold(self, candidate: Candidate, versions: Versions) -> bool:
        hook, attributes = candidate.hook, versions.attributes
        request, matched = versions.seen(self.catalog, self.authorizer), Matched(candidate.served, candidate.kind)

        def work(ask: Ask, patience: int | None) -> admission.Match:
            inputs = request.of_conditions(matched, None, ask)
            return admission.match(hook.conditions, inputs, {}, ignore=hook.ignores_failures, patience=patience)

        began = time.perf_counter()
        outcome = await request.evaluated(work)
        seconds, excluded = time.perf_counter() - began, bool(outcome.failed)
        self.metrics.conditions(hook.name, self.step, attributes.operation, seconds, excluded=excluded, failed=bool(outcome.errors and not excluded))
        if not outcome.error:
            return outcome.matches
        _log.warning("match conditions of webhook %s failed, failing closed: %s", hook.name, outcome.error)
        resource = attributes.served.resource
        raise errors.forbidden(resource.group, resource.plural, attributes.name, outcome.error)

    # ---- what it answers -----------------------------------------------------------------------------------------------

    async def ask(self, candidate: Candidate, versions: Versions) -> Response:
        """What a webhook says, whether it allows the request or not. CallFailed; BadRequest for a dry run that it does not support."""
        hook, attributes = candidate.hook, versions.attributes
        if attributes.dry_run and not hook.supports_dry_run:
            raise review.no_dry_run(hook.name)
        if hook.review is None:
            why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
            raise CallFailed(hook.name, why, 400)
        if isinstance(hook.target, str):
            raise CallFailed(hook.name, hook.target, 500)
        uid = str(uuid.uuid4())
        body = versions.review(candidate.served, candidate.kind, hook.review).with_uid(uid)
        left = _seconds_left(attributes)
        try:
            answer = await self._post(hook, hook.target, body, left)
            tree = await background.run(len(answer.body), answers.tree_of, answer)
            found = review.decoded(tree, hook.review)
        except Busy:
            raise
        except errors.ApiError as error:
            raise CallFailed(hook.name, f"failed to call webhook: {error.status.message}", error.status.code or _UNAVAILABLE) from None
        except (Failed, Undecodable, review.Invalid) as error:
            raise CallFailed(hook.name, f"failed to call webhook: {error}") from None
        try:
            response = review.checked(found, hook.review, uid, mutating=self.step == "admit")
        except review.Invalid as error:
            raise CallFailed(hook.name, f"received invalid webhook response: {error}") from None
        _note(attributes, hook, response)
        return response

    async def _post(self, hook: Hook, target: Target, body: bytes, left: float) -> Answer:
        if self.waiting[hook.uid] >= MOST_WAITING:
            raise Busy(f"too many requests wait for webhook {goform.quoted(hook.name)}, please try again later", retry_after=1)
        self.waiting[hook.uid] += 1
        try:
            return await self.calls.post(target, body, min(hook.seconds, left), most_bytes=MOST_BYTES)
        finally:
            self.waiting[hook.uid] -= 1
            if not self.waiting[hook.uid]:
                del self.waiting[hook.uid]

    # ---- what is counted -----------------------------------------------------------------------------------------------

    def count(self, hook: Hook, operation: str, seconds: float, failure: Exception | None) -> None:
        """Counts a call by how it ended: `failure` is None, CallFailed, or the error that the client is told."""
        if failure is None:
            self.metrics.called(hook.name, self.step, operation, seconds, 200, rejected=False)
            return
        code, kind = 0, metrics.INTERNAL_ERROR
        if isinstance(failure, CallFailed):
            code, kind = failure.code, metrics.CALLING_ERROR
        elif isinstance(failure, Denied):
            code, kind = failure.error.status.code or 0, metrics.NO_ERROR
        rejected = not (isinstance(failure, CallFailed) and hook.ignores_failures)
        if rejected:
            self.metrics.rejected(hook.name, self.step, operation, kind, code)
        self.metrics.called(hook.name, self.step, operation, seconds, code, rejected=rejected)

    def pass_over(self, hook: Hook, failure: CallFailed) -> None:
        """A webhook that failed and whose policy is to go on."""
        _log.warning("failing open: %s", failure)
        self.metrics.passed_over(hook.name, self.step)


class Denied(Exception):
    """A webhook that does not allow the request, with what the client is told."""

    def __init__(self, error: errors.ApiError) -> None:
        super().__init__(error.message)
        self.error = error


def told(failure: CallFailed | Denied | errors.ApiError) -> errors.ApiError:
    """What the client is told of a failure."""
    match failure:
        case Denied():
            return failure.error
        case CallFailed():
            return errors.internal(str(failure))
        case _:
            return failure


def _seconds_left(attributes: Attributes) -> float:
    """What is left of a request's time. Timeout when nothing is."""
    now = time.monotonic()
    end: float = attributes.scratch.setdefault(_END, now + REQUEST_SECONDS)
    if end <= now:
        raise errors.Timeout("Timeout: request did not complete within requested timeout")
    return end - now


def _note(attributes: Attributes, hook: Hook, response: Response) -> None:
    """Hands on what a webhook says to the client and to the audit log."""
    annotate(attributes, {f"{hook.name}/{key}": value for key, value in response.annotations.items()})
    attributes.warnings += ("".join(c if c.isprintable() else " " for c in warning) for warning in response.warnings if warning)


def annotate(attributes: Attributes, annotations: Mapping[str, str]) -> None:
    """Notes for the audit log; what is noted once stays."""
    for key, value in annotations.items():
        attributes.annotations.setdefault(key, value)
