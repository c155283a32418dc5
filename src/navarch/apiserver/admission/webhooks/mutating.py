"""MutatingAdmissionWebhook: one webhook after the other, each shown what the ones before it made.

When something changes the object after a webhook was called, and the webhook's policy is IfNeeded, it is called once more: the chain runs
its mutating half a second time (`Attributes.reinvocation`), in which nobody is called for the first time.

Upstream counterpart: apiserver's pkg/admission/plugin/webhook/mutating.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable

from navarch.apiserver import background
from navarch.apiserver.admission import reinvocation
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.admission.webhooks import calling, patching, review
from navarch.apiserver.admission.webhooks.calling import Caller, CallFailed, Denied
from navarch.apiserver.admission.webhooks.registered import Candidate, Candidates, Registered
from navarch.apiserver.admission.webhooks.versions import Versions
from navarch.machinery import errors

PLUGIN = "MutatingAdmissionWebhook"
_MUTATION = "mutation.webhook.admission.k8s.io/"
_OPEN = f"failed-open.{_MUTATION}"


class MutatingWebhooks:
    """The plugin's mutating half."""

    def __init__(self, registered: Registered, caller: Caller) -> None:
        self._registered = registered
        self._caller = caller

    def __call__(self, attributes: Attributes) -> Awaitable[None] | None:
        found = self._registered.concerned(attributes)
        return self._run(attributes, found) if found else None

    async def _run(self, attributes: Attributes, candidates: Candidates) -> None:
        round = reinvocation.of(attributes, PLUGIN)
        round.begin(attributes)
        versions = Versions(attributes)
        for candidate in candidates:
            uid = candidate.hook.uid
            if round.leaves_out(attributes, uid) or not await self._caller.is_due(candidate, versions):
                continue
            if await self._call(candidate, versions):
                round.changed(attributes)
            if candidate.hook.reinvoked:
                round.called(uid)
        round.end(attributes)

    async def _call(self, candidate: Candidate, versions: Versions) -> bool:
        """Calls one webhook; whether it changed the object. Raises what the client is told."""
        attributes, hook = versions.attributes, candidate.hook
        place = f"round_{int(attributes.reinvocation.running)}_index_{candidate.place}"
        began = time.perf_counter()
        changed = False
        failure: CallFailed | Denied | errors.ApiError | None = None
        try:
            changed = await self._mutate(candidate, versions)
        except (CallFailed, Denied, errors.ApiError) as error:
            failure = error
        self._caller.count(hook, attributes.operation, time.perf_counter() - began, failure)
        noted = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
        calling.annotate(attributes, {_MUTATION + place: json.dumps(noted, separators=(",", ":"))})
        if failure is None:
            return changed
        if isinstance(failure, CallFailed) and hook.ignores_failures:
            self._caller.pass_over(hook, failure)
            calling.annotate(attributes, {_OPEN + place: hook.name})
            return False
        raise calling.told(failure)

    async def _mutate(self, candidate: Candidate, versions: Versions) -> bool:
        attributes, hook, served = versions.attributes, candidate.hook, candidate.served
        response = await self._caller.ask(candidate, versions)
        if not response.allowed:
            raise Denied(review.denial(hook.name, response.result))
        if not response.patch:
            return False
        try:
            operations = await background.run(len(response.patch), patching.operations, response.patch)
        except patching.Undecodable as error:
            raise CallFailed(hook.name, f"received undecodable patch in webhook response: {error}") from None
        if not operations:
            return False
        before = attributes.obj
        if before is None:
            why = f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for this operation'
            raise errors.internal(why)
        body = versions.new(served)
        kind = None if versions.whole else type(before)
        patched = await background.run(len(body) + len(response.patch), patching.apply, body, operations, kind, served)
        if versions.whole:
            patching.keep_decided(attributes, patched.obj, before)
        attributes.obj, attributes.patched = patched.obj, True
        versions.changed()
        return patched.changed
