"""Which nodes lack a DaemonSet's pod, which pods have to go, and how a new template comes to all nodes. Pure.

In: the set, the nodes, its pods, the hash of its template's revision, nodes whose failed pods have to wait, the time. Out: a `Plan`. Either
the nodes get what they lack and lose what they should not have, or, when nothing of that is to be done, the rolling update goes a step on.

Upstream counterpart: pkg/controller/daemon (daemon_controller.go, update.go, util/daemonset_util.go).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Object
from navarch.controllers.core import revisions, shares, templates
from navarch.lib import integers
from navarch.objects import affinity, meta, pods, tolerations

BURST = 250
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_GENERATION_LABEL = "pod-template-generation"
_BY_NAME = "metadata.name"
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_TOLERATED_ON_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


@dataclass(slots=True)
class Plan:
    """What to do: nodes that get a pod, pods that go; nodes whose failed pods go, of which the next has to wait longer."""

    create: list[str] = field(default_factory=list)
    delete: list[core_v1.Pod] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    """(type, reason, message)"""
    again: float | None = None
    """Seconds until a failed pod need not wait any more."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The current template's: what pods made from it are known by."""

    hash: str
    generation: str | None


def spec_of(owner: apps_v1.DaemonSet) -> apps_v1.DaemonSetSpec:
    assert owner.spec is not None
    return owner.spec


def revision_of(owner: apps_v1.DaemonSet, current: apps_v1.ControllerRevision) -> Revision:
    generation = integers.parse((meta.of(owner).annotations or {}).get(TEMPLATE_GENERATION))
    return Revision(hash_of(current), None if generation is None else str(generation))


def hash_of(obj: Object) -> str:
    """The hash of the template that a pod was made from, or that a revision holds."""
    return (meta.of(obj).labels or {}).get(revisions.HASH_LABEL, "")


def _template_spec(owner: apps_v1.DaemonSet) -> core_v1.PodSpec:
    template = spec_of(owner).template
    return (template.spec if template else None) or core_v1.PodSpec()


# ---- pods and nodes -----------------------------------------------------------------------------------------------


def tolerated(spec: core_v1.PodSpec) -> list[core_v1.Toleration]:
    """A pod's tolerations with those that every daemon has: it is not to be driven off a node in trouble."""
    held = list(spec.tolerations or ())
    wanted = [*_TOLERATED, *([_TOLERATED_ON_HOST_NETWORK] if spec.hostNetwork else [])]
    for key, effect in wanted:
        made = core_v1.Toleration(key=key, operator="Exists", effect=effect)
        same = [t for t in held if (t.key, t.effect, t.operator, t.value or "") == (key, effect, "Exists", "")]
        held = [t for t in held if t not in same] + [made]
    return held


def made(owner: apps_v1.DaemonSet, node: str, revision: Revision) -> core_v1.Pod:
    """The pod for a node; the scheduler places it, by its affinity."""
    template = spec_of(owner).template or core_v1.PodTemplateSpec()
    pod = templates.pod_from(template, owner)
    m = meta.of(pod)
    m.labels = {**(m.labels or {}), revisions.HASH_LABEL: revision.hash}
    if revision.generation is not None:
        m.labels[_GENERATION_LABEL] = revision.generation
    spec = _template_spec(owner)
    pod.spec = msgspec.structs.replace(spec, tolerations=tolerated(spec), affinity=_only(spec.affinity, node))
    return pod


def _only(held: core_v1.Affinity | None, node: str) -> core_v1.Affinity:
    """An affinity whose required terms are replaced by the name of one node."""
    name = core_v1.NodeSelectorRequirement(key=_BY_NAME, operator="In", values=[node])
    required = core_v1.NodeSelector(nodeSelectorTerms=[core_v1.NodeSelectorTerm(matchFields=[name])])
    old = held or core_v1.Affinity()
    nodes = msgspec.structs.replace(old.nodeAffinity or core_v1.NodeAffinity(), requiredDuringSchedulingIgnoredDuringExecution=required)
    return msgspec.structs.replace(old, nodeAffinity=nodes)


def node_of(pod: core_v1.Pod) -> str | None:
    """The node a pod is on, or is to be placed on; None when nothing says so."""
    spec = pod.spec or core_v1.PodSpec()
    if spec.nodeName:
        return spec.nodeName
    nodes = spec.affinity.nodeAffinity if spec.affinity else None
    required = nodes.requiredDuringSchedulingIgnoredDuringExecution if nodes else None
    for term in (required.nodeSelectorTerms if required else None) or ():
        for requirement in term.matchFields or ():
            if requirement.key == _BY_NAME and requirement.operator == "In":
                return requirement.values[0] if len(requirement.values or ()) == 1 and requirement.values else None
    return None


def belongs(owner: apps_v1.DaemonSet, node: core_v1.Node) -> tuple[bool, bool]:
    """(whether a pod should be made on a node, whether one that is there may stay)."""
    spec = _template_spec(owner)
    if spec.nodeName and spec.nodeName != meta.of(node).name:
        return False, False
    if not affinity.allows(spec, node):
        return False, False
    accepted = tolerated(spec)
    against = {
        t.effect
        for t in (node.spec.taints if node.spec else None) or ()
        if not any(tolerations.tolerates(a, t.key or "", t.value or "", t.effect or "") for a in accepted)
    }
    stays = "NoExecute" not in against
    return stays and "NoSchedule" not in against, stays


def by_node(every: Sequence[core_v1.Pod]) -> dict[str, list[core_v1.Pod]]:
    """Pods by their node, on each the placed and the oldest first; those that have ended and are being deleted are nobody's any more."""
    found: dict[str, list[core_v1.Pod]] = {}
    for pod in every:
        node = node_of(pod)
        if node is not None and not (pods.finished(pod) and meta.deleted(pod)):
            found.setdefault(node, []).append(pod)
    for held in found.values():
        held.sort(key=_seniority)
    return found


def _seniority(pod: core_v1.Pod) -> tuple[bool, str, str]:
    return not (pod.spec and pod.spec.nodeName), meta.of(pod).creationTimestamp or "", meta.of(pod).name or ""


def updated(pod: core_v1.Pod, revision: Revision) -> bool:
    """Whether a pod was made from the current template."""
    labels = meta.of(pod).labels or {}
    same = revision.generation is not None and labels.get(_GENERATION_LABEL) == revision.generation
    return same or (bool(revision.hash) and hash_of(pod) == revision.hash)


def _rolling(owner: apps_v1.DaemonSet) -> apps_v1.RollingUpdateDaemonSet | None:
    strategy = spec_of(owner).updateStrategy
    return strategy.rollingUpdate if strategy is not None and strategy.type == "RollingUpdate" else None


def bounds(owner: apps_v1.DaemonSet, desired: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers of nodes; both zero would stand still, so then one may be unavailable."""
    rolling = _rolling(owner) or apps_v1.RollingUpdateDaemonSet()
    surge, unavailable = shares.of(rolling.maxSurge, desired, up=True), shares.of(rolling.maxUnavailable, desired, up=True)
    return surge, 1 if desired and not surge and not unavailable else unavailable


# ---- deciding -----------------------------------------------------------------------------------------------------


def decide(
    owner: apps_v1.DaemonSet,
    nodes: Sequence[core_v1.Node],
    every: Sequence[core_v1.Pod],
    revision: Revision,
    now: float,
    waits: Callable[[str], float] = lambda node: 0.0,
) -> Plan:
    """One pass. `waits`: for how many seconds yet a failed pod of a node is left alone."""
    facts = _Pass(owner, nodes, by_node(every), revision, now, waits)
    plan = facts.manage()
    if not plan.create and not plan.delete and _rolling(owner) is not None:
        facts.roll(plan)
    plan.create, plan.delete = plan.create[:BURST], plan.delete[:BURST]
    return plan


class _Pass:
    """What one pass looks at."""

    def __init__(
        self,
        owner: apps_v1.DaemonSet,
        nodes: Sequence[core_v1.Node],
        held: Mapping[str, list[core_v1.Pod]],
        revision: Revision,
        now: float,
        waits: Callable[[str], float],
    ) -> None:
        self.owner, self.revision, self.now, self.waits = owner, revision, now, waits
        self.held = held
        self.belongs = {meta.of(n).name or "": belongs(owner, n) for n in nodes}
        self.desired = sum(runs for runs, _ in self.belongs.values())
        self.surge, self.unavailable = bounds(owner, self.desired)
        self.surges = _rolling(owner) is not None and shares.of((_rolling(owner) or apps_v1.RollingUpdateDaemonSet()).maxSurge, 1, up=True) > 0

    def _available(self, pod: core_v1.Pod) -> bool:
        return pods.is_available(pod, spec_of(self.owner).minReadySeconds or 0, self.now)

    # ---- one pod a node ----

    def manage(self) -> Plan:
        plan = Plan()
        for node, (runs, stays) in self.belongs.items():
            here = self.held.get(node, [])
            if runs and not here:
                plan.create.append(node)
            elif stays:
                self._keep(plan, node, here, runs)
            else:
                plan.delete += [p for p in here if not meta.deleted(p)]
        for node, here in self.held.items():  # pods for nodes that are gone: unplaced, they are nobody else's to remove
            if node not in self.belongs:
                plan.delete += [p for p in here if not (p.spec and p.spec.nodeName) and not meta.deleted(p)]
        return plan

    def _keep(self, plan: Plan, node: str, here: Sequence[core_v1.Pod], runs: bool) -> None:
        """A node that may have a pod loses those that have ended, and those beyond one (or beyond an old and a new one, while surging)."""
        left = []
        for pod in here:
            if meta.deleted(pod):
                continue
            if pods.finished(pod):
                self._ended(plan, node, pod)
            else:
                left.append(pod)
        if not self.surges:
            plan.delete += left[1:]
        elif len(left) > 1:
            self._two(plan, left)
        elif not left and runs and not any(pods.finished(p) and not meta.deleted(p) for p in here):
            plan.create.append(node)

    def _ended(self, plan: Plan, node: str, pod: core_v1.Pod) -> None:
        m = meta.of(pod)
        assert pod.status is not None
        if pod.status.phase == "Succeeded":
            message = f"Found succeeded daemon pod {m.namespace}/{m.name} on node {node}, will try to delete it"
            plan.events.append(("Normal", "SucceededDaemonPod", message))
        else:
            wait = self.waits(node)
            if wait > 0:
                plan.again = wait if plan.again is None else min(plan.again, wait)
                return
            plan.failed.append(node)
            message = f"Found failed daemon pod {m.namespace}/{m.name} on node {node}, will try to kill it"
            plan.events.append(("Warning", "FailedDaemonPod", message))
        plan.delete.append(pod)

    def _two(self, plan: Plan, left: Sequence[core_v1.Pod]) -> None:
        """While surging: the oldest new and the oldest old pod, until the new one is available or the old one not ready."""
        new = next((p for p in left if self._is_new(p)), None)
        old = next((p for p in left if not self._is_new(p)), None)
        plan.delete += [p for p in left if p is not new and p is not old]
        if new is not None and old is not None and (not pods.is_ready(old) or self._available(new)):
            plan.delete.append(old)

    def _is_new(self, pod: core_v1.Pod) -> bool:
        return hash_of(pod) == self.revision.hash

    # ---- the rolling update ----

    def roll(self, plan: Plan) -> None:
        places = [*self.held, *(n for n, (runs, _) in self.belongs.items() if runs and n not in self.held)]
        pairs = [(node, self._pair(node)) for node in places]
        if self.surge == 0:
            self._replace(plan, [pair for _, pair in pairs])
        else:
            self._surge(plan, pairs)

    def _pair(self, node: str) -> tuple[core_v1.Pod | None, core_v1.Pod | None] | None:
        """(the new pod, the old pod) of a node; None when there is more than one of either."""
        left = [p for p in self.held.get(node, ()) if not meta.deleted(p)]
        new = [p for p in left if updated(p, self.revision)]
        old = [p for p in left if not updated(p, self.revision)]
        if len(new) > 1 or len(old) > 1:
            return None
        return (new[0] if new else None), (old[0] if old else None)

    def _replace(self, plan: Plan, pairs: Sequence[tuple[core_v1.Pod | None, core_v1.Pod | None] | None]) -> None:
        """Old pods go: those that are not available at once, others while no more than `maxUnavailable` nodes are without."""
        without = 0
        broken, candidates = [], []
        for pair in pairs:
            new, old = pair if pair is not None else (None, None)
            if new is None and old is not None:
                if self._available(old):
                    candidates.append(old)
                    continue
                broken.append(old)
            elif new is not None and old is None and self._available(new):
                continue
            without += 1
        plan.delete += broken + candidates[: max(0, self.unavailable - without)]

    def _surge(self, plan: Plan, pairs: Sequence[tuple[str, tuple[core_v1.Pod | None, core_v1.Pod | None] | None]]) -> None:
        """New pods come beside old ones: at once where the old one is not available, elsewhere up to `maxSurge`; then the old one goes."""
        surging = available = 0
        candidates: list[str] = []
        leaving: list[core_v1.Pod] = []
        for node, pair in pairs:
            if pair is None:
                surging += 1
                continue
            new, old = pair
            first = old if old is not None else new
            available += first is not None and self._available(first)
            if old is None:
                continue
            if new is not None:
                if self._available(new):
                    plan.delete.append(old)
                else:
                    surging += 1
                continue
            runs = self.belongs.get(node, (False, False))[0]
            if not self._available(old):
                if runs:
                    plan.create.append(node)
                else:
                    plan.delete.append(old)
            elif runs:
                candidates.append(node)
            else:
                leaving.append(old)
        plan.delete += leaving[: max(0, available - self.desired)]
        plan.create += candidates[: max(0, self.surge - surging)]


# ---- status -------------------------------------------------------------------------------------------------------


def status_of(
    owner: apps_v1.DaemonSet, nodes: Sequence[core_v1.Node], every: Sequence[core_v1.Pod], revision: Revision, now: float, *, observed: bool
) -> apps_v1.DaemonSetStatus:
    """The counts over nodes. `observed`: the pass did what this generation asks for."""
    held = by_node(every)
    minimum = spec_of(owner).minReadySeconds or 0
    old = owner.status or apps_v1.DaemonSetStatus()
    runs = [n for n in nodes if belongs(owner, n)[0]]
    names = {meta.of(n).name or "" for n in runs}
    first = [held[n][0] for n in names if n in held]
    ready = sum(pods.is_ready(p) for p in first)
    available = sum(pods.is_available(p, minimum, now) for p in first)
    return apps_v1.DaemonSetStatus(
        currentNumberScheduled=len(first),
        numberMisscheduled=sum(name in held for n in nodes if (name := meta.of(n).name or "") not in names),
        desiredNumberScheduled=len(runs),
        numberReady=ready,
        observedGeneration=meta.of(owner).generation if observed else old.observedGeneration,
        updatedNumberScheduled=sum(updated(p, revision) for p in first) or None,
        numberAvailable=available or None,
        numberUnavailable=(len(runs) - available) or None,
        collisionCount=old.collisionCount,
        conditions=old.conditions,
    )
