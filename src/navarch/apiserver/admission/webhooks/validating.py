"""ValidatingAdmissionWebhook: all webhooks at once, each shown the object as it will be stored.

The answer that came first of those that refuse is the client's.

Upstream counterpart: apiserver's pkg/admission/plugin/webhook/validating.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable

from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.admission.webhooks import calling, review
from navarch.apiserver.admission.webhooks.calling import Caller, CallFailed, Denied
from navarch.apiserver.admission.webhooks.registered import Candidate, Candidates, Registered
from navarch.apiserver.admission.webhooks.versions import Versions
from navarch.lib import tasks
from navarch.machinery import errors

PLUGIN = "ValidatingAdmissionWebhook"
_OPEN = "failed-open.validating.webhook.admission.k8s.io/"


class ValidatingWebhooks:
    """The plugin's validating half."""

    def __init__(self, registered: Registered, caller: Caller) -> None:
        self._registered = registered
        self._caller = caller

    def __call__(self, attributes: Attributes) -> Awaitable[None] | None:
        found = self._registered.concerned(attributes)
        return self._run(attributes, found) if found else None

    async def _run(self, attributes: Attributes, candidates: Candidates) -> None:
        versions = Versions(attributes)
        due = [candidate for candidate in candidates if await self._caller.is_due(candidate, versions)]
        if not due:
            return
        refusals: list[errors.ApiError] = []
        if len(due) == 1:
            await self._call(due[0], versions, 0, refusals)
        else:
            ended = await tasks.gather([self._call(candidate, versions, index, refusals) for index, candidate in enumerate(due)])
            for error in ended:
                if isinstance(error, BaseException):
                    raise error
        if refusals:
            raise refusals[0]

    async def _call(self, candidate: Candidate, versions: Versions, index: int, refusals: list[errors.ApiError]) -> None:
        """Calls one webhook; adds what the client is told when it refuses."""
        attributes, hook = versions.attributes, candidate.hook
        began = time.perf_counter()
        failure: CallFailed | Denied | errors.ApiError | None = None
        try:
            response = await self._caller.ask(candidate, versions)
            if not response.allowed:
                failure = Denied(review.denial(hook.name, response.result))
        except (CallFailed, errors.ApiError) as error:
            failure = error
        self._caller.count(hook, attributes.operation, time.perf_counter() - began, failure)
        if failure is None:
            return
        if isinstance(failure, CallFailed) and hook.ignores_failures:
            self._caller.pass_over(hook, failure)
            calling.annotate(attributes, {f"{_OPEN}round_0_index_{index}": hook.name})
            return
        refusals.append(calling.told(failure))
