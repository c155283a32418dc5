"""What a StatefulSet's pods should be: made and removed in the order of their ordinals, replaced by the update strategy. Pure.

In: the set, its pods, the claims there are, its current and its update revision, the time. Out: a `Plan`, groups of steps of which the next
begins when the one before is done, and the status. An ordered set has at most one group with one step that makes or removes a pod; a
parallel one does the steps of a group side by side.

Upstream counterpart: pkg/controller/statefulset/stateful_set_control.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.controllers.core import replicas, retention, revisions, shares, templates
from navarch.lib import integers
from navarch.objects import meta, pods

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
_NAME = re.compile(r"(.*)-([0-9]+)\Z", re.DOTALL)
Claims = Callable[[str], core_v1.PersistentVolumeClaim | None]
"""The claim of a name in the set's namespace, if there is one."""


@dataclass(frozen=True, slots=True)
class CreatePod:
    """`claims`: those that are missing, to be made first."""

    pod: core_v1.Pod
    claims: tuple[core_v1.PersistentVolumeClaim, ...]


@dataclass(frozen=True, slots=True)
class UpdatePod:
    """`pod` as it should be."""

    pod: core_v1.Pod
    claims: tuple[core_v1.PersistentVolumeClaim, ...]


@dataclass(frozen=True, slots=True)
class DeletePod:
    pod: core_v1.Pod


@dataclass(frozen=True, slots=True)
class CreateClaims:
    """A pod waits for claims that somebody took away."""

    pod: core_v1.Pod
    claims: tuple[core_v1.PersistentVolumeClaim, ...]


@dataclass(frozen=True, slots=True)
class UpdateClaim:
    """`claim` with the owners that the retention policy asks for; `conflict` when somebody else controls it."""

    claim: core_v1.PersistentVolumeClaim
    pod: core_v1.Pod
    conflict: bool


@dataclass(frozen=True, slots=True)
class Fail:
    """A pod cannot be made or brought in line now, as an event tells; `verb` is "" when nothing is told."""

    verb: str
    pod: core_v1.Pod
    message: str


Step = CreatePod | UpdatePod | DeletePod | CreateClaims | UpdateClaim | Fail


@dataclass(frozen=True, slots=True)
class Plan:
    groups: tuple[tuple[Step, ...], ...]
    status: apps_v1.StatefulSetStatus
    again: float | None
    """Seconds until a pod becomes available by the passing of time."""

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for group in self.groups for step in group)


@dataclass(frozen=True, slots=True)
class Revisions:
    """The revision that pods below the partition have, and the one that others get."""

    current: apps_v1.ControllerRevision
    update: apps_v1.ControllerRevision
    collisions: int = 0

    @property
    def current_name(self) -> str:
        return meta.of(self.current).name or ""

    @property
    def update_name(self) -> str:
        return meta.of(self.update).name or ""


def spec_of(owner: apps_v1.StatefulSet) -> apps_v1.StatefulSetSpec:
    assert owner.spec is not None
    return owner.spec


def ordinal_of(owner: apps_v1.StatefulSet, pod: core_v1.Pod) -> int | None:
    """A pod's ordinal; None when its name is not that of one of the set's pods."""
    found = _NAME.match(meta.of(pod).name or "")
    if found is None or found[1] != meta.of(owner).name:
        return None
    return integers.parse(found[2], least=0, most=2**31 - 1)


def revision_of(pod: core_v1.Pod) -> str:
    return (meta.of(pod).labels or {}).get(revisions.HASH_LABEL, "")


def current_of(
    owner: apps_v1.StatefulSet, held: Sequence[apps_v1.ControllerRevision], update: apps_v1.ControllerRevision
) -> apps_v1.ControllerRevision:
    """The current revision: the one the status names, else the update revision."""
    name = owner.status.currentRevision if owner.status else None
    return next((r for r in held if meta.of(r).name == name), update)


def decide(
    owner: apps_v1.StatefulSet, every: Sequence[core_v1.Pod], claims: Claims, history: Revisions, now: float, *, caught_up: bool = True
) -> Plan:
    """One pass. `caught_up`: the pods show all that was created and deleted before; when they do not, only the status is counted."""
    facts = _Pass(owner, every, claims, history, now)
    groups = facts.groups() if caught_up and not meta.deleted(owner) else ()
    return Plan(groups, facts.status(groups), replicas.next_available(owner, [p for p in every if pods.is_ready(p)], now))


class _Pass:
    """What one pass looks at."""

    def __init__(self, owner: apps_v1.StatefulSet, every: Sequence[core_v1.Pod], claims: Claims, history: Revisions, now: float) -> None:
        self.owner, self.spec, self.history, self.now = owner, spec_of(owner), history, now
        self.claims = claims
        self.start = (self.spec.ordinals.start if self.spec.ordinals else 0) or 0
        self.count = 1 if self.spec.replicas is None else self.spec.replicas
        self.ordered = self.spec.podManagementPolicy != "Parallel"
        numbered = {n: p for p in every if (n := ordinal_of(owner, p)) is not None}
        self.every = list(numbered.values())
        self.held = {n: p for n, p in numbered.items() if self.start <= n < self.start + self.count}
        self.condemned = [(n, p) for n, p in sorted(numbered.items(), reverse=True) if n not in self.held]

    # ---- pods ----

    def _available(self, pod: core_v1.Pod) -> bool:
        return pods.is_available(pod, self.spec.minReadySeconds or 0, self.now)

    def _unavailable(self, pod: core_v1.Pod | None) -> bool:
        """Not available, being deleted, or not there."""
        return pod is None or meta.deleted(pod) or not self._available(pod)

    def _settled(self, pod: core_v1.Pod) -> bool:
        return running(pod) and pods.is_ready(pod) and self._available(pod)

    # ---- groups of steps ----

    def groups(self) -> tuple[tuple[Step, ...], ...]:
        """In upstream's order: replicas, then the claims of those that go, then those that go, then the update."""
        found: list[tuple[Step, ...]] = []
        for part in (self._replicas, self._condemned_claims, self._condemned):
            steps, blocked = part()
            if steps:
                found.append(tuple(steps))
            if blocked:
                return tuple(found)
        if update := self._update():
            found.append(tuple(update))
        return tuple(found)

    def _replicas(self) -> tuple[list[Step], bool]:
        """What the replicas that should be there need, and whether anything after it has to wait."""
        steps: list[Step] = []
        blocked = False
        for ordinal in range(self.start, self.start + self.count):
            made, waits = self._replica(ordinal)
            steps += made
            blocked |= waits and self.ordered
            if blocked:
                return steps, True
        return steps, any(isinstance(s, Fail) for s in steps)

    def _replica(self, ordinal: int) -> tuple[list[Step], bool]:
        """The steps of one replica, and whether its successors wait for it."""
        pod = self.held.get(ordinal)
        if pod is None:
            return self._missing(ordinal)
        if pods.finished(pod):
            return ([] if meta.deleted(pod) else [DeletePod(pod)]), True
        steps: list[Step] = []
        if phase(pod) == "Pending":
            missing, problem = self._missing_claims(ordinal)
            if problem:
                return [Fail("", pod, problem)], True
            if missing:
                steps.append(CreateClaims(pod, missing))
        if self.ordered and (meta.deleted(pod) or not self._settled(pod)):
            return steps, True
        return steps + self._in_line(ordinal, pod), False

    def _missing(self, ordinal: int) -> tuple[list[Step], bool]:
        pod = self.made(ordinal)
        if retention.policy(self.owner)[0] == "Delete" and any(
            retention.stale(found, pod) for c in retention.wanted(self.owner, ordinal) if (found := self.claims(meta.of(c).name or "")) is not None
        ):
            return [], True
        missing, problem = self._missing_claims(ordinal)
        if problem:
            return [Fail("Create", pod, problem)], True
        return [CreatePod(pod, missing)], True

    def _missing_claims(self, ordinal: int) -> tuple[tuple[core_v1.PersistentVolumeClaim, ...], str]:
        """Claims to make, and what stands against it."""
        missing = []
        for claim in retention.wanted(self.owner, ordinal):
            name = meta.of(claim).name or ""
            found = self.claims(name)
            if found is None:
                missing.append(claim)
            elif meta.deleted(found):
                return (), f"pvc {name} is being deleted"
        return tuple(missing), ""

    def _in_line(self, ordinal: int, pod: core_v1.Pod) -> list[Step]:
        """Identity, storage and owners of claims as they should be."""
        steps: list[Step] = []
        named = (meta.of(pod).labels or {}).get(POD_NAME_LABEL) == meta.of(pod).name
        if not named or not retention.used(self.owner, ordinal, pod):
            missing, problem = self._missing_claims(ordinal)
            steps.append(Fail("Update", pod, problem) if problem else UpdatePod(self._corrected(ordinal, pod), missing))
        return steps + self._claims_in_line(ordinal, pod, scaled_away=False)

    def _claims_in_line(self, ordinal: int, pod: core_v1.Pod, *, scaled_away: bool) -> list[Step]:
        steps: list[Step] = []
        for template in self.spec.volumeClaimTemplates or ():
            claim = self.claims(retention.name_of(template, self.owner, ordinal))
            if claim is None:
                continue
            changed = retention.brought_in_line(claim, self.owner, pod, scaled_away=scaled_away)
            if changed is not None:
                steps.append(UpdateClaim(changed, pod, retention.conflicting(claim, self.owner, pod)))
        return steps

    def _condemned_claims(self) -> tuple[list[Step], bool]:
        return [s for n, p in self.condemned for s in self._claims_in_line(n, p, scaled_away=True)], False

    def _condemned(self) -> tuple[list[Step], bool]:
        """Pods beyond the wanted number go, the highest ordinal first."""
        if not self.ordered:
            return [DeletePod(p) for _, p in self.condemned if not meta.deleted(p)], False
        if not self.condemned:
            return [], False
        _, pod = self.condemned[0]
        if meta.deleted(pod) or (not self._settled(pod) and pod is not self._first_unavailable()):
            return [], True
        return [DeletePod(pod)], True

    def _first_unavailable(self) -> core_v1.Pod | None:
        """Of replicas, then of those that go, the lowest ordinal that is not available."""
        candidates = [*(self.held[n] for n in sorted(self.held)), *(p for _, p in reversed(self.condemned))]
        return next((p for p in candidates if self._unavailable(p)), None)

    def _update(self) -> list[Step]:
        """Pods of other revisions go, the highest ordinal first, as many as may be unavailable; they come back with the update revision.

        Without `maxUnavailable` the next goes when all above it are available again, whatever those below are: a broken revision can be
        replaced by a good one. With it, the replicas that are unavailable anywhere are taken off the number.
        """
        strategy = self.spec.updateStrategy or apps_v1.StatefulSetUpdateStrategy()
        if strategy.type == "OnDelete":
            return []
        rolling = strategy.rollingUpdate or apps_v1.RollingUpdateStatefulSetStrategy()
        targets = range(self.start + self.count - 1, self.start + (rolling.partition or 0) - 1, -1)
        if rolling.maxUnavailable is None:
            return self._update_one(targets)
        most = max(1, shares.of(rolling.maxUnavailable, self.count, up=False))
        room = most - sum(self._unavailable(self.held.get(n)) for n in range(self.start, self.start + self.count))
        outdated = [p for n in targets if (p := self.held.get(n)) is not None and self._outdated(p)]
        return [DeletePod(p) for p in outdated[: max(0, room)]]

    def _update_one(self, targets: range) -> list[Step]:
        for ordinal in targets:
            pod = self.held.get(ordinal)
            if pod is not None and self._outdated(pod):
                return [DeletePod(pod)]
            if self._unavailable(pod):
                return []
        return []

    def _outdated(self, pod: core_v1.Pod) -> bool:
        return revision_of(pod) != self.history.update_name and not meta.deleted(pod)

    # ---- making pods ----

    def made(self, ordinal: int) -> core_v1.Pod:
        """A new pod for an ordinal, of the revision it should have."""
        strategy = self.spec.updateStrategy or apps_v1.StatefulSetUpdateStrategy()
        rolling = strategy.rollingUpdate
        if rolling is not None:
            below = rolling.partition or 0
        else:
            below = ((self.owner.status.currentReplicas if self.owner.status else 0) or 0) if strategy.type == "RollingUpdate" else 0
        old = ordinal < self.start + below
        revision = self.history.current if old else self.history.update
        template = revisions.template_of(revision)
        pod = templates.pod_from(template, self.owner, name=f"{meta.of(self.owner).name}-{ordinal}")
        spec = msgspec.structs.replace(pod.spec or core_v1.PodSpec(), hostname=meta.of(pod).name, subdomain=self.spec.serviceName)
        spec.volumes = retention.volumes(self.owner, ordinal, spec) or None
        pod.spec = spec
        m = meta.of(pod)
        m.labels = {**(m.labels or {}), **_identity(m.name or "", ordinal), revisions.HASH_LABEL: meta.of(revision).name or ""}
        return pod

    def _corrected(self, ordinal: int, pod: core_v1.Pod) -> core_v1.Pod:
        m = meta.of(pod)
        metadata = msgspec.structs.replace(m, labels={**(m.labels or {}), **_identity(m.name or "", ordinal)})
        spec = msgspec.structs.replace(pod.spec or core_v1.PodSpec())
        if not retention.used(self.owner, ordinal, pod):
            spec.volumes = retention.volumes(self.owner, ordinal, spec) or None
        return msgspec.structs.replace(pod, metadata=metadata, spec=spec)

    # ---- status ----

    def status(self, groups: Sequence[Sequence[Step]]) -> apps_v1.StatefulSetStatus:
        """The counts, as they are when the groups' removals for an update have been done."""
        leaving = {meta.of(s.pod).uid for g in groups for s in g if isinstance(s, DeletePod) and not pods.finished(s.pod)}
        leaving -= {meta.of(p).uid for _, p in self.condemned}
        created = [p for p in self.every if phase(p)]
        there = [p for p in created if not meta.deleted(p)]
        ready = [p for p in self.every if running(p) and pods.is_ready(p)]
        old = self.owner.status or apps_v1.StatefulSetStatus()
        made = apps_v1.StatefulSetStatus(
            observedGeneration=meta.of(self.owner).generation,
            replicas=len(created),
            readyReplicas=len(ready) or None,
            availableReplicas=sum(self._available(p) for p in ready),
            currentReplicas=sum(revision_of(p) == self.history.current_name for p in there) - len(leaving),
            updatedReplicas=sum(revision_of(p) == self.history.update_name for p in there) or None,
            currentRevision=self.history.current_name,
            updateRevision=self.history.update_name,
            collisionCount=self.history.collisions,
            conditions=old.conditions,
        )
        made.currentReplicas = max(0, made.currentReplicas or 0) or None
        strategy = self.spec.updateStrategy
        updated = (made.updatedReplicas or 0, len(ready), len(created)) == (self.count, self.count, self.count)
        if updated and (strategy is None or strategy.type == "RollingUpdate"):
            made.currentReplicas, made.currentRevision = made.updatedReplicas, made.updateRevision
        return made


def phase(pod: core_v1.Pod) -> str:
    return (pod.status.phase if pod.status else None) or ""


def running(pod: core_v1.Pod) -> bool:
    return phase(pod) == "Running"


def _identity(name: str, ordinal: int) -> dict[str, str]:
    return {POD_NAME_LABEL: name, INDEX_LABEL: str(ordinal)}
