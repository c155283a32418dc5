"""What the chosen node is to give a pod: assumed at once, taken back when it fails, and how far it has come true.

In: a `View` and a node. Out: a `binding.Reservation`, assumed in the storage's columns. `progress` tells, of what was written since,
how far the binding is.

Upstream counterpart: plugins/volumebinding/binder.go (AssumePodVolumes, RevertAssumedPodVolumes, checkBindings).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from navarch.lib import integers
from navarch.machinery import claims
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.view import View
from navarch.scheduler.core.volumes import binding
from navarch.scheduler.core.volumes.binding import Reservation
from navarch.scheduler.core.volumes.storage import Claim, Storage, Volume


def reserve(view: View, node: str) -> Reservation | None:
    """Assumes what the chosen node gives the pod; None when all its claims are bound."""
    columns, storage = view.columns, view.columns.storage
    if view.pod.volumes is None or all(claims.is_bound(c) for c in binding.claims_of(view)):
        return None
    found = binding.plan(view).on(columns.slots[node], node)
    for key, name in found.bindings:
        claim, volume = storage.claim(key), storage.volume(name)
        if claim is not None and volume is not None and (changed := claims.bound_to(volume, claim)) is not None:
            storage.assume_volume(changed)
    for key in found.provisions:
        claim = storage.claim(key)
        if claim is not None and claims.notes(claim).get(claims.SELECTED_NODE) != node:
            storage.assume_claim(claims.annotated(claim, {claims.SELECTED_NODE: node}))
    return found


def release(storage: Storage, reservation: Reservation) -> None:
    """Takes back what was assumed."""
    for _, name in reservation.bindings:
        storage.restore_volume(name)
    for key in reservation.provisions:
        storage.restore_claim(key)


class State(StrEnum):
    """How far a binding is."""

    WAITING = "Waiting"
    DONE = "Done"
    FAILED = "Failed"


class Progress(NamedTuple):
    """How far, and why not further."""

    state: State
    why: str = ""


_WAITING, _DONE = Progress(State.WAITING), Progress(State.DONE)


def progress(columns: Columns, reservation: Reservation, written: Mapping[str, int]) -> Progress:
    """How far the binding is, as the API server tells. `written`: volume or claim → the version we wrote, which must be seen first."""
    if (slot := columns.slots.get(reservation.node)) is None or not columns.alive[slot]:
        return Progress(State.FAILED, f'failed to get node "{reservation.node}": node "{reservation.node}" not found')
    found = [_binding(columns, slot, reservation.node, pair, written) for pair in reservation.bindings]
    found += [_provision(columns, slot, reservation.node, key, written) for key in reservation.provisions]
    return next((p for p in found if p.state is State.FAILED), next((p for p in found if p.state is State.WAITING), _DONE))


def _binding(columns: Columns, slot: int, node: str, pair: tuple[str, str], written: Mapping[str, int]) -> Progress:
    key, name = pair
    volume, claim = columns.storage.volumes.get(name), columns.storage.claims.get(key)
    if volume is None:
        return Progress(State.FAILED, f'failed to check binding: persistentvolume "{name}" not found')
    if claim is None:
        return Progress(State.FAILED, f'failed to check binding: persistentvolumeclaim "{key}" not found')
    if _older(volume, written.get(name, 0)):
        return _WAITING
    if slot not in binding.reaching(columns, volume):
        return _away(name, node)
    held = claims.reference_of(volume)
    if held is None or not held.uid:
        return Progress(State.FAILED, f'ClaimRef got reset for pv "{name}"')
    return _DONE if claims.is_bound(claim) else _WAITING


def _provision(columns: Columns, slot: int, node: str, key: str, written: Mapping[str, int]) -> Progress:
    claim = columns.storage.claims.get(key)
    if claim is None:
        return Progress(State.FAILED, f'failed to check provisioning pvc: persistentvolumeclaim "{key}" not found')
    if _older(claim, written.get(key, 0)):
        return _WAITING
    if claims.notes(claim).get(claims.SELECTED_NODE) != node:
        return Progress(State.FAILED, f'provisioning failed for PVC "{claims.meta(claim).name}"')
    if name := claims.volume_of(claim):
        volume = columns.storage.volumes.get(name)
        if volume is None:
            return _WAITING
        if slot not in binding.reaching(columns, volume):
            return _away(name, node)
    return _DONE if claims.is_bound(claim) else _WAITING


def _away(name: str, node: str) -> Progress:
    return Progress(State.FAILED, f'pv "{name}" node affinity doesn\'t match node "{node}": no matching NodeSelectorTerms')


def _older(obj: Claim | Volume, version: int) -> bool:
    held = integers.parse(claims.meta(obj).resourceVersion)
    return held is not None and held < version
