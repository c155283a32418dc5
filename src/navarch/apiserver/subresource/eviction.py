"""pods/eviction: deletes a pod unless a disruption budget forbids it now.

The budget's `disruptionsAllowed` is taken down by one, against the revision it was read at, before the pod is deleted: two
evictions cannot both use the last one.

Upstream counterpart: pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.policy import v1 as policy_v1
from navarch.apiserver import answers, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.served import Catalog, Served
from navarch.apiserver.verbs import deletion, get
from navarch.apiserver.verbs.write import Author, Writer, author_of, by_server
from navarch.apiserver.watch_cache import Entry, Scope
from navarch.machinery import codec, errors, field, selectors, timestamps

_TRIES = 20
"""How often somebody else's write may come between before an eviction is given up."""
_MOST_DISRUPTED = 2000
_SUCCESS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def handle(writer: Writer, catalog: Catalog, call: Call, served: Served) -> Answer:
    if call.info.verb != "create":
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    data = await writing.body(call)
    try:
        eviction = await writing.decode(call, policy_v1.Eviction, data)
    except codec.DecodeError as error:
        raise errors.BadRequest(f'Eviction in version "v1" cannot be handled as a Eviction: {error}') from None
    info = call.info
    if eviction.metadata is not None and eviction.metadata.name not in (None, "", info.name):
        raise errors.BadRequest("name in URL does not match name in Eviction object")
    metadata = eviction.metadata = eviction.metadata or meta_v1.ObjectMeta()
    metadata.name, metadata.namespace = info.name, info.namespace
    eviction.apiVersion, eviction.kind = "policy/v1", "Eviction"
    _check(info.name, eviction)
    author = author_of(call)
    eviction = await writer.admit(author, served, "CREATE", info.name, info.namespace, eviction, "eviction")
    options = _options(author, eviction)
    tries = 0
    while True:
        tries += 1
        entry = get.entry_of(served, info.name, info.namespace)
        pod = codec.decode(core_v1.Pod, entry.body)
        budget, as_seen = "", _may_become_ready(pod)
        if not _free(pod):
            budget, as_seen = await _use_budget(writer, catalog, pod, bool(options.dryRun))
        try:
            await _evict(author, writer, served, entry, options, as_seen=bool(as_seen))
        except errors.Conflict:
            pinned = options.preconditions is not None and options.preconditions.resourceVersion is not None
            if not as_seen or pinned or (tries >= _TRIES and not budget):
                raise
            if budget:  # the pod may have become ready: its budget has to be asked anew
                raise _refuse(f"The disruption budget {budget} is still being processed by the server.", 10) from None
        else:
            return answers.of_object(call, _SUCCESS, 201)


def _check(name: str, eviction: policy_v1.Eviction) -> None:
    """Invalid for what cannot be asked of an eviction."""
    if eviction.deleteOptions is not None and eviction.deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential:
        why = "can not be set for pod eviction, try after removing the option"
        path = "deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential"
        raise field.invalid_error("policy", "Eviction", name, [field.invalid(path, True, why)])


def _options(author: Author, eviction: policy_v1.Eviction) -> meta_v1.DeleteOptions:
    """How the pod is to be deleted; a dry run is one wherever it is asked for."""
    options = eviction.deleteOptions or meta_v1.DeleteOptions()
    if author.dry_run and not options.dryRun:
        return msgspec.structs.replace(options, dryRun=["All"])
    return options


async def _evict(author: Author, writer: Writer, served: Served, seen: Entry, options: meta_v1.DeleteOptions, *, as_seen: bool) -> None:
    """Notes on the pod why it goes, and deletes it: the request was admitted as the eviction it is. Conflict when the pod is not as the
    caller says, or (`as_seen`) not as it was seen."""
    asked = options.preconditions or meta_v1.Preconditions()
    if as_seen and asked.resourceVersion is None:
        asked = msgspec.structs.replace(asked, resourceVersion=str(seen.version))
    if not options.dryRun:

        def marked(entry: Entry, pod: core_v1.Pod) -> core_v1.Pod | None:
            deletion.check_preconditions(served, entry, pod, meta_v1.DeleteOptions(preconditions=asked))
            return _marked(pod)

        version = await writer.replace(author, served, seen.name, seen.namespace, marked)
        if asked.resourceVersion is not None:
            asked = msgspec.structs.replace(asked, resourceVersion=str(version))
    options = msgspec.structs.replace(options, preconditions=asked)
    await writer.delete(author, served, seen.name, seen.namespace, options, admitted=True)


def _marked(pod: core_v1.Pod) -> core_v1.Pod | None:
    """A pod with the condition DisruptionTarget, which says why it goes; None when it has it."""
    status = pod.status = pod.status or core_v1.PodStatus()
    if any(c.type == "DisruptionTarget" and c.status == "True" for c in status.conditions or ()):
        return None
    condition = core_v1.PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="EvictionByEvictionAPI",
        message="Eviction API: evicting",
        lastTransitionTime=timestamps.seconds(writing.now()),
        observedGeneration=pod.metadata.generation if pod.metadata else None,
    )
    status.conditions = [*(c for c in status.conditions or () if c.type != "DisruptionTarget"), condition]
    return pod


def _free(pod: core_v1.Pod) -> bool:
    """Pods that do no work are no disruption."""
    phase = pod.status.phase if pod.status else None
    deleted = pod.metadata is not None and pod.metadata.deletionTimestamp is not None
    return deleted or phase in ("Succeeded", "Failed", "Pending")


def _budgets(catalog: Catalog, pod: core_v1.Pod) -> list[Entry]:
    assert pod.metadata is not None
    served = catalog.of("policy", "poddisruptionbudgets")
    found = []
    for entry in served.cache.select(Scope(pod.metadata.namespace or "")):
        budget = codec.decode(policy_v1.PodDisruptionBudget, entry.body)
        if budget.spec is not None and selectors.from_object(budget.spec.selector).matches(pod.metadata.labels):
            found.append(entry)
    return found


def _may_become_ready(pod: core_v1.Pod) -> bool:
    """Whether a pod that is no disruption now may be one when it is deleted: it is deleted only as it was seen."""
    phase = pod.status.phase if pod.status else None
    return phase not in ("Succeeded", "Failed") and not (pod.metadata is not None and pod.metadata.deletionTimestamp is not None)


async def _use_budget(writer: Writer, catalog: Catalog, pod: core_v1.Pod, dry: bool) -> tuple[str, bool]:
    """Takes one disruption from the pod's budget. Its name, and whether the pod goes without, as it was seen; TooManyRequests when none is left."""
    served = catalog.of("policy", "poddisruptionbudgets")
    entries = _budgets(catalog, pod)
    if not entries:
        return "", False
    if len(entries) > 1:
        raise errors.internal("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
    entry = entries[0]
    if _ready_exempt(codec.decode(policy_v1.PodDisruptionBudget, entry.body), pod):
        return entry.name, True

    async def taken(old: policy_v1.PodDisruptionBudget) -> policy_v1.PodDisruptionBudget:
        new: policy_v1.PodDisruptionBudget = served.decode(codec.encode(old))
        _take(new, pod)
        return new

    try:
        await writer.change(by_server(dry_run=dry), served, entry.name, entry.namespace, taken, subresource="status", patch=True)
    except errors.Timeout:
        raise errors.Timeout(f'couldn\'t update PodDisruptionBudget "{entry.name}" due to conflicts', retry_after=10) from None
    return entry.name, False


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
    if len(status.disruptedPods or ()) > _MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise errors.forbidden("policy", "poddisruptionbudgets", name or "", why)
    if allowed == 0:
        raise _refuse(_why_not(name or "", status), 0)
    status.disruptionsAllowed = allowed - 1
    if allowed == 1:
        status.conditions = _exhausted(status)
    status.disruptedPods = (status.disruptedPods or {}) | {pod.metadata.name or "": timestamps.seconds(writing.now())}
    budget.status = status


def _why_not(name: str, status: policy_v1.PodDisruptionBudgetStatus) -> str:
    """Why a budget has no disruption left."""
    held = next((c for c in status.conditions or () if c.type == "DisruptionAllowed" and c.status == "False" and c.message), None)
    if held is not None and held.reason == "SyncFailed":
        return f"The disruption budget {name} does not allow evicting pods currently because it failed sync: {held.message}"
    current, desired = status.currentHealthy or 0, status.desiredHealthy or 0
    if current <= desired:
        return f"The disruption budget {name} needs {desired} healthy pods and has {current} currently"
    shown = f" ({held.reason}): {held.message}" if held is not None else ""
    return f"The disruption budget {name} does not allow evicting pods currently{shown}"


def _exhausted(status: policy_v1.PodDisruptionBudgetStatus) -> list[meta_v1.Condition]:
    """The conditions when the last disruption was taken."""
    made = meta_v1.Condition(
        type="DisruptionAllowed",
        status="False",
        reason="InsufficientPods",
        message="",
        lastTransitionTime=timestamps.seconds(writing.now()),
        observedGeneration=status.observedGeneration,
    )
    return [*(c for c in status.conditions or () if c.type != "DisruptionAllowed"), made]


def _refuse(detail: str, seconds: int) -> errors.TooManyRequests:
    cause = meta_v1.StatusCause(reason="DisruptionBudget", message=detail)
    return errors.TooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", causes=[cause], retry_after=seconds)
