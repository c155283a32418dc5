"""PodDisruptionBudgets: their status is kept up, from which the API server decides whether an eviction may be. What it says is decided in
`core.budgets`; this finds out how many pods there should be, by their controllers or, of kinds it does not know, by their scale.

Upstream counterpart: pkg/controller/disruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.autoscaling import v1 as autoscaling_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.policy import v1 as policy_v1
from navarch.controllers.core import budgets
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.controllers.engine.written import Written
from navarch.machinery import codec, errors, selectors
from navarch.objects import meta, ownership

_POD = "pod:"
_AFTER_FAILURE = 60.0
_DISCOVERED_FOR = 30.0
_MOST_DISCOVERED = 64
Scale = tuple[str, int]
"""The uid of a controller and how many pods it wants."""


class _Failed(Exception):
    """The pods that should be there cannot be counted."""


class DisruptionController(Reconciler):
    """Reconciles PodDisruptionBudgets, and pods whose eviction did not come (keys that begin with `pod:`)."""

    name = "disruption"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("controllermanager")
        self._budgets = context.informer(policy_v1.PodDisruptionBudget)
        self._by_namespace = context.index(policy_v1.PodDisruptionBudget, "namespace", meta.namespace)
        self._pods = context.informer(core_v1.Pod)
        self._pods_of = context.index(core_v1.Pod, "namespace", meta.namespace)
        self._controllers = context.informer(core_v1.ReplicationController)
        self._replica_sets = context.informer(apps_v1.ReplicaSet)
        self._deployments = context.informer(apps_v1.Deployment)
        self._stateful_sets = context.informer(apps_v1.StatefulSet)
        self._discovered: dict[str, tuple[float, meta_v1.APIResourceList]] = {}
        self._written = Written()

    def watches(self) -> Iterable[Watch]:
        yield Watch(policy_v1.PodDisruptionBudget, lambda b: [meta.key(b)])
        yield Watch(core_v1.Pod, self._keys_of)

    def _keys_of(self, pod: core_v1.Pod) -> list[str]:
        """The budgets that select a pod, and the pod itself while it may wait in vain for its disruption."""
        m = meta.of(pod)
        found = [b for b in self._by_namespace.of(m.namespace or "") if _selector(b).matches(m.labels)]
        if len(found) > 1:
            message = f'Pod "{m.namespace}"/"{m.name}" matches multiple PodDisruptionBudgets.  Chose "{meta.of(found[0]).name}" arbitrarily.'
            self._recorder.event(pod, "Warning", "MultiplePodDisruptionBudgets", message)
        keys = [meta.key(b) for b in found]
        return [*keys, _POD + meta.key(pod)] if budgets.stale_after(pod, 0.0) is not None else keys

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_POD):
            return await self._unmark(key.removeprefix(_POD))
        budget = self._budgets.by_key(key)
        if budget is None:
            self._written.forget(key)
            return None
        if self._written.behind(budget):
            return None
        now = self._context.now()
        selector = _selector(budget)
        selected = [p for p in self._pods_of.of(meta.of(budget).namespace or "") if selector.matches(meta.of(p).labels)]
        if not selected:
            self._recorder.event(budget, "Normal", "NoPods", "No matching pods found")
        try:
            total = await self._total(budget, selected)
            outcome = budgets.decide(budget, selected, total, now)
        except (_Failed, ValueError) as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            self._recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            await self._write(budget, budgets.failed(budget, str(error), now))
            return _AFTER_FAILURE
        for pod in outcome.undeleted:
            namespace = meta.of(budget).namespace
            message = f"Pod was expected by PDB {namespace}/{meta.of(budget).name} to be deleted but it wasn't"
            self._recorder.event(pod, "Warning", "NotDeleted", message)
        await self._write(budget, outcome.status)
        return outcome.again

    async def _write(self, budget: policy_v1.PodDisruptionBudget, status: policy_v1.PodDisruptionBudgetStatus) -> None:
        if codec.encode(status) != codec.encode(budget.status):
            self._written.note(await self._context.client.update_status(msgspec.structs.replace(budget, status=status)))

    async def _unmark(self, key: str) -> float | None:
        """Says of a pod whose disruption did not come that it is no target any more; until then, how long to wait."""
        pod = self._pods.by_key(key)
        now = self._context.now()
        left = None if pod is None else budgets.stale_after(pod, now)
        if pod is None or left is None or left > 0:
            return left
        status = msgspec.structs.replace(pod.status or core_v1.PodStatus(), conditions=budgets.not_a_target(pod, now))
        await self._context.client.update_status(msgspec.structs.replace(pod, status=status))
        return None

    # ---- how many pods there should be ----

    async def _total(self, budget: policy_v1.PodDisruptionBudget, selected: Sequence[core_v1.Pod]) -> int:
        if not budgets.counts_scales(budget):
            return len(selected)
        scales: dict[str, int] = {}
        known: set[str] = set()
        unmanaged = False
        for pod in selected:
            owner = ownership.controller_of(pod)
            if owner is None:
                unmanaged = True
            elif (owner.uid or "") not in known:
                known.add(owner.uid or "")
                uid, count = await self._scale_of(owner, pod)
                scales[uid] = count
        if unmanaged:
            shown = _shown(budgets.spec_of(budget).selector or meta_v1.LabelSelector())
            message = f"Pods selected by this PodDisruptionBudget (selector: {shown}) were found to be unmanaged. As a result, the status of the PDB "
            message += "cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set "
            self._recorder.event(budget, "Warning", "UnmanagedPods", message + '".spec.minAvailable" field of the PDB to an integer value.')
        return sum(scales.values())

    async def _scale_of(self, owner: meta_v1.OwnerReference, pod: core_v1.Pod) -> Scale:
        """How many pods a pod's controller wants; a Deployment speaks for its ReplicaSets. _Failed when nobody says."""
        namespace, name = meta.of(pod).namespace or "", owner.name or ""
        group = (owner.apiVersion or "").rpartition("/")[0]
        found: Scale | None = None
        match owner.kind:
            case "ReplicationController" if group == "":
                found = _wanted(self._controllers.get(name, namespace), owner)
            case "StatefulSet" if group == "apps":
                found = _wanted(self._stateful_sets.get(name, namespace), owner)
            case "ReplicaSet" if group in ("apps", "extensions"):
                found = self._replica_set(self._replica_sets.get(name, namespace), owner)
        if found is None:
            found = await self._asked(owner, namespace)
        if found is None:
            raise _Failed(f'found no controllers for pod "{meta.of(pod).name}"')
        return found

    def _replica_set(self, rs: apps_v1.ReplicaSet | None, owner: meta_v1.OwnerReference) -> Scale | None:
        if rs is None or meta.of(rs).uid != owner.uid:
            return None
        above = ownership.controller_of(rs)
        if above is None or above.kind != "Deployment":
            return _wanted(rs, owner)
        return _wanted(self._deployments.get(above.name or "", meta.of(rs).namespace or ""), above)

    async def _asked(self, owner: meta_v1.OwnerReference, namespace: str) -> Scale | None:
        """What the scale subresource of a controller says; None when there is no such object."""
        version = owner.apiVersion or ""
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        try:
            listed = (await self._resources(path)).resources or ()
            plural = next((r.name for r in listed if r.kind == owner.kind and "/" not in (r.name or "")), None)
            if plural is None:
                raise _Failed(f'no matches for kind "{owner.kind}" in version "{version}"')
            if not any(r.name == f"{plural}/scale" for r in listed):
                group = version.rpartition("/")[0]
                raise _Failed(
                    f"{plural}.{group} does not implement the scale subresource" if group else f"{plural} does not implement the scale subresource"
                )
            data = await self._context.client.request("GET", f"{path}/namespaces/{namespace}/{plural}/{owner.name}/scale")
        except errors.NotFound:
            return None
        except errors.ApiError as error:
            raise _Failed(str(error)) from None
        scale = codec.decode(autoscaling_v1.Scale, data)
        if meta.of(scale).uid != owner.uid:
            return None
        return meta.of(scale).uid or "", (scale.spec.replicas if scale.spec else 0) or 0

    async def _resources(self, path: str) -> meta_v1.APIResourceList:
        """The resources of a group's version, asked for at most every half a minute."""
        now = self._context.monotonic()
        held = self._discovered.get(path)
        if held is not None and now - held[0] < _DISCOVERED_FOR:
            return held[1]
        listed = codec.decode(meta_v1.APIResourceList, await self._context.client.request("GET", path))
        if len(self._discovered) >= _MOST_DISCOVERED:
            self._discovered.clear()
        self._discovered[path] = (now, listed)
        return listed


def _wanted(
    found: core_v1.ReplicationController | apps_v1.ReplicaSet | apps_v1.Deployment | apps_v1.StatefulSet | None, owner: meta_v1.OwnerReference
) -> Scale | None:
    if found is None or meta.of(found).uid != owner.uid:
        return None
    replicas = found.spec.replicas if found.spec else None
    return meta.of(found).uid or "", 1 if replicas is None else replicas


def _selector(budget: policy_v1.PodDisruptionBudget) -> selectors.Selector:
    return selectors.from_object(budgets.spec_of(budget).selector)


def _shown(selector: meta_v1.LabelSelector) -> str:
    """A selector as upstream prints it in events."""
    labels = "".join(f"{k}: {v}," for k, v in sorted((selector.matchLabels or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{e.key},Operator:{e.operator},Values:[{' '.join(e.values or ())}],}},"
        for e in selector.matchExpressions or ()
    )
    return f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
