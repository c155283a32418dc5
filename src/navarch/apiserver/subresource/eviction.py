"""pods/eviction: deletes a pod unless a disruption budget forbids it now.

The budget's `disruptionsAllowed` is taken down by one, against the revision it was read at, before the pod is deleted: two
evictions cannot both use the last one.

Upstream counterpart: pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from aiohttp import web

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.policy import v1 as policy_v1
from navarch.apiserver import answers, writing
from navarch.apiserver.context import Context
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.verbs import delete, get, update
from navarch.apiserver.watch_cache import Entry, Scope
from navarch.machinery import codec, errors, selectors, timestamps

_SUCCESS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def handle(context: Context, served: Served, server: Server) -> web.StreamResponse:
    if context.info.verb != "create":
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    data = await writing.body(context)
    try:
        eviction = await writing.decode(context, policy_v1.Eviction, data)
    except codec.DecodeError as error:
        raise errors.BadRequest(f'Eviction in version "v1" cannot be handled as a Eviction: {error}') from None
    info = context.info
    if eviction.metadata is not None and eviction.metadata.name not in (None, "", info.name):
        raise errors.BadRequest("name in URL does not match name in Eviction object")
    options = eviction.deleteOptions or meta_v1.DeleteOptions()
    entry = get.entry_of(served, info.name, info.namespace)
    pod = codec.decode(core_v1.Pod, entry.body)
    if not _free(pod):
        await _use_budget(context, server, pod)
    if not (context.dry_run or options.dryRun):
        await _mark(context, served, server)
    await delete.delete(context, served, server, info.name, info.namespace, options)
    return answers.of_object(context, _SUCCESS, 201)


async def _mark(context: Context, served: Served, server: Server) -> None:
    """Notes on the pod why it goes: the condition DisruptionTarget."""
    info = context.info
    while True:
        entry = get.entry_of(served, info.name, info.namespace)
        pod: core_v1.Pod = update.current(served, entry)
        status = pod.status = pod.status or core_v1.PodStatus()
        if any(c.type == "DisruptionTarget" and c.status == "True" for c in status.conditions or ()):
            return
        condition = core_v1.PodCondition(
            type="DisruptionTarget",
            status="True",
            reason="EvictionByEvictionAPI",
            message="Eviction API: evicting",
            lastTransitionTime=timestamps.seconds(writing.now()),
            observedGeneration=pod.metadata.generation if pod.metadata else None,
        )
        status.conditions = [*(c for c in status.conditions or () if c.type != "DisruptionTarget"), condition]
        if await server.storage.put(served, entry.name, entry.namespace, codec.encode(pod), entry.version) is not None:
            return


def _free(pod: core_v1.Pod) -> bool:
    """Pods that do no work are no disruption."""
    phase = pod.status.phase if pod.status else None
    deleted = pod.metadata is not None and pod.metadata.deletionTimestamp is not None
    return deleted or phase in ("Succeeded", "Failed", "Pending")


def _budgets(server: Server, pod: core_v1.Pod) -> list[Entry]:
    assert pod.metadata is not None
    served = server.catalog.of("policy", "poddisruptionbudgets")
    found = []
    for entry in served.cache.select(Scope(pod.metadata.namespace or "")):
        budget = codec.decode(policy_v1.PodDisruptionBudget, entry.body)
        if budget.spec is not None and selectors.from_object(budget.spec.selector).matches(pod.metadata.labels):
            found.append(entry)
    return found


async def _use_budget(context: Context, server: Server, pod: core_v1.Pod) -> None:
    """Takes one disruption from the pod's budget. TooManyRequests when there is none to take."""
    served = server.catalog.of("policy", "poddisruptionbudgets")
    while True:
        entries = _budgets(server, pod)
        if not entries:
            return
        if len(entries) > 1:
            raise errors.internal("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
        budget: policy_v1.PodDisruptionBudget = update.current(served, entries[0])
        if _ready_exempt(budget, pod):
            return
        _take(budget, pod)
        if context.dry_run:
            return
        e = entries[0]
        if await server.storage.put(served, e.name, e.namespace, codec.encode(budget), e.version) is not None:
            return


def _ready_exempt(budget: policy_v1.PodDisruptionBudget, pod: core_v1.Pod) -> bool:
    """An unhealthy pod may go when the policy says AlwaysAllow, or the budget has all it wants."""
    conditions = (pod.status.conditions or ()) if pod.status else ()
    ready = any(c.type == "Ready" and c.status == "True" for c in conditions)
    if ready or budget.spec is None:
        return False
    if budget.spec.unhealthyPodEvictionPolicy == "AlwaysAllow":
        return True
    status = budget.status
    return status is not None and (status.currentHealthy or 0) >= (status.desiredHealthy or 0) and (status.desiredHealthy or 0) > 0


def _take(budget: policy_v1.PodDisruptionBudget, pod: core_v1.Pod) -> None:
    assert budget.metadata is not None and pod.metadata is not None
    name = budget.metadata.name
    status = budget.status or policy_v1.PodDisruptionBudgetStatus()
    generation = budget.metadata.generation or 0
    allowed = status.disruptionsAllowed or 0
    if (status.observedGeneration or 0) < generation:
        raise _refuse(f"The disruption budget {name} is still being processed by the server.", 10)
    if allowed < 0:
        raise errors.Forbidden("pdb disruptions allowed is negative", kind="poddisruptionbudgets", group="policy", name=name or "")
    if allowed == 0:
        current, desired = status.currentHealthy or 0, status.desiredHealthy or 0
        raise _refuse(f"The disruption budget {name} needs {desired} healthy pods and has {current} currently", 0)
    status.disruptionsAllowed = allowed - 1
    status.disruptedPods = (status.disruptedPods or {}) | {pod.metadata.name or "": timestamps.seconds(writing.now())}
    budget.status = status


def _refuse(detail: str, seconds: int) -> errors.TooManyRequests:
    cause = meta_v1.StatusCause(reason="DisruptionBudget", message=detail)
    return errors.TooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", causes=[cause], retry_after=seconds)
