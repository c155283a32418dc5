"""Which node can give a pod its volumes, and which volumes it would give.

A claim that is bound pins its pod to the nodes that reach the volume. One that waits for its first consumer is matched, node
by node, with the smallest free volume that fits it there; where there is none, the node must be one for which the class's
provisioner can make one. All nodes are answered at once: a volume that one node reaches costs one look, one that all reach
ends the search.

In: a `View`. Out: a `Plan`, and of it a `Reservation` for the node that was chosen; what becomes of that: `reserving`.

Upstream counterpart: pkg/scheduler/framework/plugins/volumebinding (volume_binding.go; binder.go: FindPodVolumes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.storage import v1 as storage_v1
from navarch.machinery import claims, quantity
from navarch.scheduler.core import node_selectors
from navarch.scheduler.core.arrays import Ints, Mask
from navarch.scheduler.core.columns import FIELD, Columns
from navarch.scheduler.core.view import Refusal, View
from navarch.scheduler.core.volumes.storage import Claim, Storage, Volume
from navarch.scheduler.core.volumes.terms import ClaimUse

NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NO_MATCH = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
_KEPT = 64


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a pod's node is to give it: volumes for claims, claims to be provisioned there."""

    node: str
    bindings: tuple[tuple[str, str], ...] = ()
    """(claim, volume)."""
    provisions: tuple[str, ...] = ()
    problem: str = ""
    """Why the node cannot give it any more, when others were faster since it was chosen."""


@dataclass(slots=True)
class Match:
    """A claim, the volumes that were tried for it, and by slot which of them it gets: -1 for none."""

    claim: Claim
    volumes: list[str]
    chosen: Ints


@dataclass(slots=True)
class Plan:
    """What was found for one pod on all nodes."""

    refusals: tuple[Refusal, ...]
    matches: list[Match] = field(default_factory=list)
    selected: list[str] = field(default_factory=list)
    """Claims that are to be provisioned for a node already."""

    def on(self, slot: int, node: str) -> Reservation:
        """What one node gives."""
        if texts := [r.text for r in self.refusals if r.nodes[slot]]:
            return Reservation(node, problem=", ".join(texts))
        found = [(claims.key(m.claim), m.volumes[int(m.chosen[slot])]) for m in self.matches if m.chosen[slot] >= 0]
        made = [*self.selected, *(claims.key(m.claim) for m in self.matches if m.chosen[slot] < 0)]
        return Reservation(node, tuple(found), tuple(made))


# ---- the pod alone ------------------------------------------------------------------------------------------------


def missing(storage: Storage, namespace: str, use: ClaimUse) -> str:
    """What is said of a claim that does not exist; "" when it does."""
    if storage.claim(f"{namespace}/{use.name}") is not None:
        return ""
    if use.made:
        return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{use.name}"'
    return f'persistentvolumeclaim "{use.name}" not found'


def pre_filter(view: View) -> str:
    """Why no node at all can have the pod now; "" when some may."""
    storage, namespace, volumes = view.columns.storage, view.pod.namespace, view.pod.volumes
    if volumes is None:
        return ""
    for use in volumes.claims:
        claim = storage.claim(f"{namespace}/{use.name}")
        if claim is None:
            return missing(storage, namespace, use)
        if claim.status is not None and claim.status.phase == "Lost":
            return f'persistentvolumeclaim "{use.name}" bound to non-existent persistentvolume "{claims.volume_of(claim)}"'
        if claims.meta(claim).deletionTimestamp is not None:
            return f'persistentvolumeclaim "{use.name}" is being deleted'
        if use.made and (text := claims.not_made_for(claim, namespace, volumes.pod, volumes.uid)):
            return text
    if any(not claims.is_bound(c) and not _waits(storage, c) for c in claims_of(view)):
        return UNBOUND
    return ""


def claims_of(view: View) -> list[Claim]:
    assert view.pod.volumes is not None
    found = (view.columns.storage.claim(f"{view.pod.namespace}/{use.name}") for use in view.pod.volumes.claims)
    return [claim for claim in found if claim is not None]


def _waits(storage: Storage, claim: Claim) -> bool:
    """Whether an unbound claim is the scheduler's to bind; one that names its volume is the binder's."""
    return storage.delays(claim) and not claims.volume_of(claim)


# ---- all nodes ----------------------------------------------------------------------------------------------------


def plan(view: View) -> Plan:
    """The answer for all nodes; kept until storage or nodes change."""
    columns, storage = view.columns, view.columns.storage
    held = storage.plans.get(view.pod)
    if held is not None and held[:2] == (storage.generation, columns.node_generation):
        known: Plan = held[2]
        return known
    found = _plan(view)
    storage.plans[view.pod] = (storage.generation, columns.node_generation, found)
    if len(storage.plans) > _KEPT:
        storage.plans.popitem(last=False)
    return found


def _plan(view: View) -> Plan:
    columns = view.columns
    if text := pre_filter(view):
        return Plan((Refusal(text, columns.alive, True),))
    every = {claims.key(c): c for c in claims_of(view)}
    bound = [c for c in every.values() if claims.is_bound(c)]
    lost, conflict = _bound(columns, bound)
    unbound = [c for c in every.values() if not claims.is_bound(c)]
    selected = [c for c in unbound if claims.SELECTED_NODE in claims.notes(c)]
    elsewhere = np.zeros(columns.capacity, np.bool_)
    for claim in selected:
        elsewhere |= ~node_selectors.matching(columns, FIELD + "metadata.name", "In", [claims.notes(claim)[claims.SELECTED_NODE]])
    matches = _matches(view, sorted((c for c in unbound if c not in selected), key=claims.requested))
    unmatched, space = _provisions(columns, selected, matches)
    no_match = elsewhere | unmatched
    refusals = (
        Refusal(NODE_CONFLICT, conflict & columns.alive, True),
        Refusal(NO_MATCH, no_match & columns.alive, True),
        Refusal(NO_SPACE, space & ~elsewhere & columns.alive, True),
        Refusal(NO_VOLUME, lost & columns.alive, True),
    )
    return Plan(tuple(r for r in refusals if r.nodes.any()), matches, [claims.key(c) for c in selected])


def _bound(columns: Columns, bound: Sequence[Claim]) -> tuple[Mask, Mask]:
    """Nodes without a volume, and nodes that do not reach one; the first claim that is at fault decides."""
    lost, conflict = np.zeros(columns.capacity, np.bool_), np.zeros(columns.capacity, np.bool_)
    for claim in bound:
        volume = columns.storage.volume(claims.volume_of(claim))
        if volume is None:
            lost |= ~conflict
            break
        conflict |= ~reached(columns, volume)
    return lost, conflict


def _matches(view: View, unbound: Sequence[Claim]) -> list[Match]:
    found: list[Match] = []
    for claim in unbound:
        found.append(_match(view.columns, claim, found))
    return found


def _match(columns: Columns, claim: Claim, before: Sequence[Match]) -> Match:
    """The smallest fitting volume by node; a node does not give one volume to two claims."""
    storage = columns.storage
    match = Match(claim, [], np.full(columns.capacity, -1, np.int64))
    reserved = [v for v in _kept(storage, claim) if claims.usable(v, claim) and claims.class_of(v) == claims.class_of(claim)]
    if reserved:
        match.volumes.append(claims.meta(reserved[0]).name or "")
        match.chosen[reaching(columns, reserved[0])] = 0
        return match
    left = columns.alive_count
    need = claims.requested(claim)
    for size, name in storage.free.get(claims.class_of(claim), ()):
        volume = storage.volume(name)
        if size < need or volume is None or not _fits(volume, claim):
            continue
        slots = reaching(columns, volume)
        open_slots = slots[match.chosen[slots] < 0]
        for other in before:
            if name in other.volumes:
                open_slots = open_slots[other.chosen[open_slots] != other.volumes.index(name)]
        if len(open_slots):
            match.chosen[open_slots] = len(match.volumes)
            match.volumes.append(name)
            left -= len(open_slots)
            if left <= 0:
                break
    return match


def _kept(storage: Storage, claim: Claim) -> list[Volume]:
    """Volumes that are kept for a claim, the smallest first."""
    found = (storage.volume(name) for name in storage.kept_for.get(claims.key(claim), ()))
    return claims.by_size(v for v in found if v is not None and claims.is_for(v, claim))


def _fits(volume: Volume, claim: Claim) -> bool:
    return claims.usable(volume, claim) and claims.matches(volume, claim) and claims.allows(volume, claim)


# ---- what reaches what --------------------------------------------------------------------------------------------


def reached(columns: Columns, volume: Volume) -> Mask:
    """The nodes that reach a volume."""
    mask = np.zeros(columns.capacity, np.bool_)
    mask[reaching(columns, volume)] = True
    return mask


def reaching(columns: Columns, volume: Volume) -> Ints:
    """The slots of the nodes that reach a volume; kept while nodes stay as they are."""
    name, kept = claims.meta(volume).name or "", columns.storage.reach
    held = kept.get(name)
    if held is None or held[0] != columns.node_generation:
        held = kept[name] = (columns.node_generation, np.flatnonzero(_reach(columns, volume)))
    slots: Ints = held[1]
    return slots


def _reach(columns: Columns, volume: Volume) -> Mask:
    affinity = volume.spec.nodeAffinity if volume.spec is not None else None
    required = affinity.required if affinity is not None else None
    if required is None:
        return columns.alive
    either = np.zeros(columns.capacity, np.bool_)
    for term in required.nodeSelectorTerms or ():
        either |= node_selectors.node_term(columns, term, _without_fields)
    return either & columns.alive


def _without_fields(columns: Columns, requirement: core_v1.NodeSelectorRequirement) -> bool:
    """A volume sees only a node's labels: for it, fields are empty."""
    return ("" in (requirement.values or ())) == (requirement.operator == "In")


# ---- provisioning -------------------------------------------------------------------------------------------------


def _provisions(columns: Columns, selected: Sequence[Claim], matches: Sequence[Match]) -> tuple[Mask, Mask]:
    """Nodes for which some claim cannot be provisioned, and those that have no room for one; the first claim decides."""
    no_match, no_space = np.zeros(columns.capacity, np.bool_), np.zeros(columns.capacity, np.bool_)
    wanted = [(claim, np.ones(columns.capacity, np.bool_)) for claim in selected]
    wanted += [(match.claim, match.chosen < 0) for match in matches]
    for claim, where in wanted:
        open_nodes = where & columns.alive & ~no_match & ~no_space
        if not open_nodes.any():
            continue
        found = columns.storage.classes.get(claims.class_of(claim))
        possible = _provisionable(columns, found)
        no_match |= open_nodes & ~possible
        if found is not None:
            no_space |= open_nodes & possible & ~_roomy(columns, claim, found)
    return no_match, no_space


def _provisionable(columns: Columns, found: storage_v1.StorageClass | None) -> Mask:
    if found is None or found.provisioner in (None, "", claims.NO_PROVISIONER):
        return np.zeros(columns.capacity, np.bool_)
    if not found.allowedTopologies:
        return columns.alive
    either = np.zeros(columns.capacity, np.bool_)
    for term in found.allowedTopologies:
        if term.matchLabelExpressions:
            passed = columns.alive.copy()
            for r in term.matchLabelExpressions:
                passed &= node_selectors.matching(columns, r.key or "", "In", r.values or [])
            either |= passed
    return either


def _roomy(columns: Columns, claim: Claim, found: storage_v1.StorageClass) -> Mask:
    """Nodes with enough room for a new volume, where the driver tells how much there is."""
    driver = columns.storage.drivers.get(found.provisioner or "")
    resources = claim.spec.resources if claim.spec is not None else None
    asked = ((resources.requests if resources is not None else None) or {}).get("storage")
    if asked is None or driver is None or driver.spec is None or not driver.spec.storageCapacity:
        return columns.alive
    size, name = quantity.value(asked), claims.class_of(claim)
    roomy = np.zeros(columns.capacity, np.bool_)
    for capacity in columns.storage.capacities.values():
        limit = most(capacity)
        if capacity.storageClassName == name and limit is not None and limit >= size and capacity.nodeTopology is not None:
            roomy |= _labelled(columns, capacity.nodeTopology)
    return roomy


def most(capacity: storage_v1.CSIStorageCapacity) -> int | None:
    """Bytes of the largest volume that can be made; None when that is not told."""
    told = capacity.maximumVolumeSize if capacity.maximumVolumeSize is not None else capacity.capacity
    return None if told is None else quantity.value(told)


def _labelled(columns: Columns, selector: meta_v1.LabelSelector) -> Mask:
    passed = columns.alive.copy()
    for key, value in (selector.matchLabels or {}).items():
        passed &= node_selectors.matching(columns, key, "In", [value])
    for r in selector.matchExpressions or ():
        passed &= node_selectors.matching(columns, r.key or "", r.operator, r.values or [])
    return passed
