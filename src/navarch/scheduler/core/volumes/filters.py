"""Filters about volumes: disks that cannot be shared, limits of drivers, zones; whether claims can be bound is `volume_binding`'s.

Same shape as `topology`'s filters: a `View` and the nodes that passed so far. They run only for pods that ask for something
with their volumes, after what a node alone decides and before whole domains. `unknown` and `unplaced` are reasons for which no node
can have such a pod: they are told once instead of per node.

Upstream counterparts: pkg/scheduler/framework/plugins/{volumerestrictions,nodevolumelimits,volumezone}.
"""

from __future__ import annotations

import numpy as np

from navarch.machinery import claims
from navarch.scheduler.core.arrays import Mask
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.view import Refusal, View
from navarch.scheduler.core.volumes import binding as volume_binding
from navarch.scheduler.core.volumes.storage import Storage
from navarch.scheduler.core.volumes.terms import ClaimUse

DISK = "node(s) had no available disk"
IN_USE = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
TOO_MANY = "node(s) exceed max volume count"
ZONE = "node(s) had no available volume zone"
ZONES = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
}
"""The labels that say where a volume or node is, and which one they stand for."""


# ---- VolumeRestrictions -------------------------------------------------------------------------------------------


def unknown(view: View) -> str:
    """A claim that must be looked at and does not exist."""
    volumes, storage = view.pod.volumes, view.columns.storage
    named = (use for use in (volumes.claims if volumes is not None else ()) if not use.made)
    return next((text for use in named if (text := volume_binding.missing(storage, view.pod.namespace, use))), "")


def restrictions(view: View, left: Mask) -> list[Refusal]:
    columns, volumes = view.columns, view.pod.volumes
    if volumes is None:
        return []
    if text := unknown(view):
        return [Refusal(text, left, True)]
    taken = np.zeros(columns.capacity, np.bool_)
    if volumes.disks:
        for node, held in columns.storage.disks():
            if any(disk.clashes(held) for disk in volumes.disks):
                taken[columns.slots[node]] = True
    found = [Refusal(DISK, left & taken, False)]
    if any(_in_use(columns, view.pod.namespace, use) for use in volumes.claims):
        found.append(Refusal(IN_USE, left & ~taken, False))
    return found


def _in_use(columns: Columns, namespace: str, use: ClaimUse) -> bool:
    """Whether a claim is for one pod only and has one."""
    key, storage = f"{namespace}/{use.name}", columns.storage
    claim = None if use.made else storage.claim(key)
    if claim is None or claim.spec is None or "ReadWriteOncePod" not in (claim.spec.accessModes or ()):
        return False
    return any(_uses(columns, storage, uid, use) for uid in storage.users.get(key, ()))


def _uses(columns: Columns, storage: Storage, uid: str, use: ClaimUse) -> bool:
    holder = storage.holders[uid]
    slot = columns.slots.get(holder.node)
    return use in holder.volumes.claims and slot is not None and bool(columns.alive[slot])


# ---- NodeVolumeLimits ---------------------------------------------------------------------------------------------


def limits(view: View, left: Mask) -> list[Refusal]:
    columns, volumes = view.columns, view.pod.volumes
    if volumes is None:
        return []
    storage, namespace = columns.storage, view.pod.namespace
    for use in volumes.claims:
        if storage.claim(f"{namespace}/{use.name}") is None:
            text = f'looking up PVC {namespace}/{use.name}: persistentvolumeclaim "{use.name}" not found'
            return [Refusal(text, left, True)]
    wanted: dict[str, int] = {}
    handles = storage.handles_of(namespace, volumes)
    for driver, _ in handles:
        wanted[driver] = wanted.get(driver, 0) + 1
    full = np.zeros(columns.capacity, np.bool_)
    for driver, number in wanted.items():
        shared = [on for handle in handles if handle[0] == driver and (on := storage.handles.get(handle)) is not None]
        used = storage.numbers.get(driver, {})
        for node, limit in storage.limits.get(driver, {}).items():
            slot = columns.slots.get(node)
            there = sum(1 for on in shared if node in on and on[node].pods)
            if slot is not None and there < number and used.get(node, 0) + number - there > limit:
                full[slot] = True
    return [Refusal(TOO_MANY, left & full, False)]


# ---- VolumeBinding ------------------------------------------------------------------------------------------------


def binding(view: View, left: Mask) -> list[Refusal]:
    if view.pod.volumes is None or not view.pod.volumes.claims:
        return []
    return [Refusal(text, nodes & left, final) for text, nodes, final in volume_binding.plan(view).refusals]


# ---- VolumeZone ---------------------------------------------------------------------------------------------------


def unplaced(view: View) -> str:
    """Why it cannot be told where a pod's volumes are; "" when it can."""
    volumes, storage = view.pod.volumes, view.columns.storage
    for use in volumes.claims if volumes is not None else ():
        if not use.made and (text := _unplaced(storage, view.pod.namespace, use)):
            return text
    return ""


def _unplaced(storage: Storage, namespace: str, use: ClaimUse) -> str:
    claim = storage.claim(f"{namespace}/{use.name}")
    if claim is None:
        return volume_binding.missing(storage, namespace, use)
    if name := claims.volume_of(claim):
        return "" if storage.volume(name) is not None else f'persistentvolume "{name}" not found'
    chosen = claims.class_of(claim)
    if not chosen:
        return "PersistentVolumeClaim had no pv name and storageClass name"
    if chosen not in storage.classes:
        return f'storageclass.storage.k8s.io "{chosen}" not found'
    return "" if storage.delays(claim) else "PersistentVolume had no name"


def zone(view: View, left: Mask) -> list[Refusal]:
    columns, volumes = view.columns, view.pod.volumes
    if volumes is None:
        return []
    if text := unplaced(view):
        return [Refusal(text, left, True)]
    places = [place for use in volumes.claims if not use.made for place in _places(columns.storage, f"{view.pod.namespace}/{use.name}")]
    if not places:
        return []
    away = np.zeros(columns.capacity, np.bool_)
    for key, values in places:
        away |= ~_there(columns, key, values)
    return [Refusal(ZONE, left & away & _somewhere(columns), True)]


def _places(storage: Storage, key: str) -> list[tuple[str, frozenset[str]]]:
    """The labels of a claim's volume that say where it is, with all the values they allow."""
    claim = storage.claim(key)
    volume = storage.volume(claims.volume_of(claim)) if claim is not None else None
    labels = (claims.meta(volume).labels or {}) if volume is not None else {}
    found = [(label, frozenset(v.strip() for v in labels[label].split("__"))) for label in ZONES if label in labels]
    return [(label, values) for label, values in found if "" not in values]


def _there(columns: Columns, key: str, values: frozenset[str]) -> Mask:
    """Nodes whose label, or the one it stands for where they do not have it, has one of the values."""
    own, other = columns.labels.get(key), columns.labels.get(ZONES[key])
    nowhere = np.zeros(columns.capacity, np.bool_)
    has = own.codes >= 0 if own is not None else nowhere
    here = np.isin(own.codes, [own.values[v] for v in values if v in own.values]) if own is not None else nowhere
    there = np.isin(other.codes, [other.values[v] for v in values if v in other.values]) if other is not None else nowhere
    found: Mask = np.where(has, here, there)
    return found


def _somewhere(columns: Columns) -> Mask:
    """Nodes that say where they are at all."""
    found = np.zeros(columns.capacity, np.bool_)
    for label in ZONES:
        column = columns.labels.get(label)
        if column is not None:
            found |= column.codes >= 0
    return found
