"""What the cluster knows of storage: claims, volumes, classes, drivers, and who uses which volume where.

Decisions run ahead of the API server here too: a volume that a pod was just given is *assumed* to be its claim's, a claim that
is to be provisioned for a node is assumed to be marked so, until the API server says it or the assumption is taken back.
Per node and CSI driver the volumes in use are counted as pods come and go and as claims get their volumes.

Who keeps something computed from this asks for `generation`: it grows with every change.

Upstream counterparts: pkg/scheduler/util/assumecache, the counting in plugins/nodevolumelimits.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.storage import v1 as storage_v1
from navarch.lib import integers
from navarch.machinery import claims
from navarch.objects import meta
from navarch.scheduler.core.volumes import terms as volume_terms
from navarch.scheduler.core.volumes.terms import Disk, Handle, Volumes

Claim = core_v1.PersistentVolumeClaim
Volume = core_v1.PersistentVolume
StorageObject = (
    storage_v1.StorageClass | storage_v1.CSIDriver | storage_v1.CSINode | storage_v1.CSIStorageCapacity | storage_v1.VolumeAttachment | Volume | Claim
)
KINDS: tuple[type[Any], ...] = StorageObject.__args__
"""All kinds that have to do with storage."""


@dataclass(slots=True)
class Holder:
    """A pod with volumes on a node."""

    node: str
    namespace: str
    volumes: Volumes
    handles: frozenset[Handle] = frozenset()


@dataclass(slots=True)
class VolumeUse:
    """How many pods of a node use a volume, and how many attachments of it the node has."""

    pods: int = 0
    attachments: int = 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """A VolumeAttachment."""

    node: str
    driver: str
    volume: str


@dataclass(slots=True)
class Storage:
    """Everything about storage but the nodes."""

    claims: dict[str, Claim] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    classes: dict[str, storage_v1.StorageClass] = field(default_factory=dict)
    drivers: dict[str, storage_v1.CSIDriver] = field(default_factory=dict)
    capacities: dict[str, storage_v1.CSIStorageCapacity] = field(default_factory=dict)
    limits: dict[str, dict[str, int]] = field(default_factory=dict)
    """Driver → node → how many volumes it can attach there."""
    holders: dict[str, Holder] = field(default_factory=dict)
    """The pods on nodes that have volumes, by uid."""
    users: dict[str, set[str]] = field(default_factory=dict)
    """Claim → uids of pods on nodes that use it."""
    handles: dict[Handle, dict[str, VolumeUse]] = field(default_factory=dict)
    numbers: dict[str, dict[str, int]] = field(default_factory=dict)
    """Driver → node → how many different volumes of it are in use or attached there."""
    free: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """Class → volumes that are nobody's, the smallest first."""
    kept_for: dict[str, set[str]] = field(default_factory=dict)
    """Claim → volumes that are kept for it."""
    generation: int = 0
    reach: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Volume → the nodes that reach it, and of which generation of the nodes that is (kept by `volume_binding`)."""
    plans: OrderedDict[Any, tuple[int, int, Any]] = field(default_factory=OrderedDict)
    """PodTerms → what was found for it, and of which generations that is (kept by `volume_binding`)."""
    _assumed_claims: dict[str, Claim] = field(default_factory=dict)
    _assumed_volumes: dict[str, Volume] = field(default_factory=dict)
    _claims_of: dict[str, set[str]] = field(default_factory=dict)
    _attachments: dict[str, Attachment] = field(default_factory=dict)
    _attachments_of: dict[str, set[str]] = field(default_factory=dict)
    _counted: dict[str, Handle] = field(default_factory=dict)
    _places: dict[str, tuple[str, tuple[int, str]]] = field(default_factory=dict)

    # ---- reading ----

    def claim(self, key: str) -> Claim | None:
        """A claim as it is, or as it is assumed to become."""
        return self._assumed_claims.get(key) or self.claims.get(key)

    def volume(self, name: str) -> Volume | None:
        """A volume as it is, or as it is assumed to become."""
        return self._assumed_volumes.get(name) or self.volumes.get(name)

    def delays(self, claim: Claim) -> bool:
        """Whether a claim is bound only once a pod that uses it has a node."""
        found = self.classes.get(claims.class_of(claim))
        return found is not None and found.volumeBindingMode == "WaitForFirstConsumer"

    def disks(self) -> Iterable[tuple[str, Disk]]:
        """Disks in use that cannot be shared, with their nodes."""
        return ((holder.node, disk) for holder in self.holders.values() for disk in holder.volumes.disks)

    # ---- what the API server says ----

    def put(self, obj: StorageObject) -> None:
        """Takes an object of any of these kinds."""
        match obj:
            case core_v1.PersistentVolumeClaim():
                self.put_claim(obj)
            case core_v1.PersistentVolume():
                self.put_volume(obj)
            case storage_v1.StorageClass():
                self.put_class(obj)
            case storage_v1.CSIDriver():
                self.put_driver(obj)
            case storage_v1.CSINode():
                self.put_node(obj)
            case storage_v1.CSIStorageCapacity():
                self.put_capacity(obj)
            case storage_v1.VolumeAttachment():
                self.put_attachment(obj)

    def remove(self, obj: StorageObject) -> None:
        """Forgets an object of any of these kinds."""
        m = meta.of(obj)
        name = m.name or ""
        match obj:
            case core_v1.PersistentVolumeClaim():
                self.remove_claim(f"{m.namespace}/{name}")
            case core_v1.PersistentVolume():
                self.remove_volume(name)
            case storage_v1.StorageClass():
                self.remove_class(name)
            case storage_v1.CSIDriver():
                self.remove_driver(name)
            case storage_v1.CSINode():
                self.remove_node(name)
            case storage_v1.CSIStorageCapacity():
                self.remove_capacity(f"{m.namespace}/{name}")
            case storage_v1.VolumeAttachment():
                self.remove_attachment(name)

    def put_claim(self, claim: Claim) -> None:
        key, held = claims.key(claim), self.claims.get(claims.key(claim))
        assumed = self._assumed_claims.get(key)
        if assumed is not None and _version(claim) > _version(assumed):
            del self._assumed_claims[key]
        if held is not None:
            self._claims_of.get(claims.volume_of(held), set()).discard(key)
        self.claims[key] = claim
        self._claims_of.setdefault(claims.volume_of(claim), set()).add(key)
        self._claim_changed(key)

    def remove_claim(self, key: str) -> None:
        held = self.claims.pop(key, None)
        self._assumed_claims.pop(key, None)
        if held is not None:
            self._claims_of.get(claims.volume_of(held), set()).discard(key)
        self._claim_changed(key)

    def put_volume(self, volume: Volume) -> None:
        name = claims.meta(volume).name or ""
        assumed = self._assumed_volumes.get(name)
        if assumed is not None and _version(volume) > _version(assumed):
            del self._assumed_volumes[name]
        self.volumes[name] = volume
        self._volume_changed(name)

    def remove_volume(self, name: str) -> None:
        self.volumes.pop(name, None)
        self._assumed_volumes.pop(name, None)
        self._volume_changed(name)

    def put_class(self, found: storage_v1.StorageClass) -> None:
        self.classes[meta.of(found).name or ""] = found
        self._classes_changed()

    def remove_class(self, name: str) -> None:
        self.classes.pop(name, None)
        self._classes_changed()

    def put_driver(self, driver: storage_v1.CSIDriver) -> None:
        self.drivers[meta.of(driver).name or ""] = driver
        self.generation += 1

    def remove_driver(self, name: str) -> None:
        self.drivers.pop(name, None)
        self.generation += 1

    def put_capacity(self, capacity: storage_v1.CSIStorageCapacity) -> None:
        self.capacities[meta.key(capacity)] = capacity
        self.generation += 1

    def remove_capacity(self, key: str) -> None:
        self.capacities.pop(key, None)
        self.generation += 1

    def put_node(self, node: storage_v1.CSINode) -> None:
        """Takes a CSINode's limits."""
        name = meta.of(node).name or ""
        self.remove_node(name)
        for driver, limit in limits_of(node).items():
            self.limits.setdefault(driver, {})[name] = limit

    def remove_node(self, name: str) -> None:
        """The CSINode is gone, and with it the node's limits."""
        for driver in list(self.limits):
            self.limits[driver].pop(name, None)
            if not self.limits[driver]:
                del self.limits[driver]
        self.generation += 1

    def put_attachment(self, attachment: storage_v1.VolumeAttachment) -> None:
        m, spec = meta.of(attachment), attachment.spec
        assert spec is not None
        self.remove_attachment(m.name or "")
        source = spec.source.persistentVolumeName if spec.source is not None else None
        if source and spec.attacher:
            self._attachments[m.name or ""] = Attachment(spec.nodeName or "", spec.attacher, source)
            self._attachments_of.setdefault(source, set()).add(m.name or "")
            self._count_attachment(m.name or "")

    def remove_attachment(self, name: str) -> None:
        held = self._attachments.pop(name, None)
        if held is not None:
            self._attachments_of[held.volume].discard(name)
            self._uncount_attachment(name, held.node)
        self.generation += 1

    # ---- what is assumed ----

    def assume_volume(self, volume: Volume) -> None:
        """The volume as it is about to be written."""
        name = claims.meta(volume).name or ""
        self._assumed_volumes[name] = volume
        self._volume_changed(name)

    def assume_claim(self, claim: Claim) -> None:
        """The claim as it is about to be written."""
        self._assumed_claims[claims.key(claim)] = claim
        self.generation += 1

    def restore_volume(self, name: str) -> None:
        """Takes an assumption back."""
        if self._assumed_volumes.pop(name, None) is not None:
            self._volume_changed(name)

    def restore_claim(self, key: str) -> None:
        """Takes an assumption back."""
        if self._assumed_claims.pop(key, None) is not None:
            self.generation += 1

    # ---- pods ----

    def place(self, uid: str, namespace: str, volumes: Volumes, node: str) -> None:
        """A pod with volumes is on a node now; "": on none."""
        held = self.holders.pop(uid, None)
        if held is not None:
            self._count(held, -1)
            for use in held.volumes.claims:
                self._forget_use(f"{held.namespace}/{use.name}", uid)
        if node:
            holder = self.holders[uid] = Holder(node, namespace, volumes)
            for use in volumes.claims:
                self.users.setdefault(f"{namespace}/{use.name}", set()).add(uid)
            holder.handles = self.handles_of(namespace, volumes)
            self._count(holder, 1)

    def _forget_use(self, key: str, uid: str) -> None:
        users = self.users.get(key)
        if users is not None:
            users.discard(uid)
            if not users:
                del self.users[key]

    def handles_of(self, namespace: str, volumes: Volumes) -> frozenset[Handle]:
        """The volumes that CSI drivers attach for a pod, as far as they are known."""
        found = set(volumes.inline)
        for use in volumes.claims:
            claim = self.claims.get(f"{namespace}/{use.name}")
            if claim is None or (use.made and claims.not_made_for(claim, namespace, volumes.pod, volumes.uid)):
                continue
            handle = self._handle(claim)
            if handle is not None and all(handle):
                found.add(handle)
        return frozenset(found)

    def _handle(self, claim: Claim) -> Handle | None:
        """The volume behind a claim; one that is still to be made is named after the claim."""
        volume = self.volumes.get(claims.volume_of(claim))
        if volume is not None:
            return volume_terms.handle_of(volume)
        found = self.classes.get(claims.class_of(claim))
        if found is None:
            return None
        return volume_terms.driver_of(found.provisioner or ""), f"\0{claims.key(claim)}"

    # ---- counting ----

    def _count(self, holder: Holder, sign: int) -> None:
        for handle in holder.handles:
            self._add(handle, holder.node, pods=sign)

    def _recount(self, key: str) -> None:
        """The volume behind a claim may have changed."""
        for uid in self.users.get(key, ()):
            holder = self.holders[uid]
            now = self.handles_of(holder.namespace, holder.volumes)
            if now != holder.handles:
                self._count(holder, -1)
                holder.handles = now
                self._count(holder, 1)

    def _count_attachment(self, name: str) -> None:
        held = self._attachments[name]
        volume = self.volumes.get(held.volume)
        csi = volume.spec.csi if volume is not None and volume.spec is not None else None
        if csi is not None:
            handle = self._counted[name] = (held.driver, csi.volumeHandle or "")
            self._add(handle, held.node, attachments=1)

    def _uncount_attachment(self, name: str, node: str) -> None:
        handle = self._counted.pop(name, None)
        if handle is not None:
            self._add(handle, node, attachments=-1)

    def _add(self, handle: Handle, node: str, pods: int = 0, attachments: int = 0) -> None:
        on = self.handles.setdefault(handle, {})
        held = on.get(node)
        numbers = self.numbers.setdefault(handle[0], {})
        if held is None:
            held = on[node] = VolumeUse()
            numbers[node] = numbers.get(node, 0) + 1
        held.pods += pods
        held.attachments += attachments
        if not held.pods and not held.attachments:
            del on[node]
            numbers[node] -= 1
            if not numbers[node]:
                del numbers[node]
        if not on:
            del self.handles[handle]

    # ---- what follows from a change ----

    def _claim_changed(self, key: str) -> None:
        self.generation += 1
        if key in self.users:
            self._recount(key)

    def _volume_changed(self, name: str) -> None:
        self.generation += 1
        self._index(name)
        self.reach.pop(name, None)
        for key in self._claims_of.get(name, ()):
            self._recount(key)
        for attachment in self._attachments_of.get(name, ()):
            self._uncount_attachment(attachment, self._attachments[attachment].node)
            self._count_attachment(attachment)

    def _classes_changed(self) -> None:
        self.generation += 1
        for key in self.users:
            self._recount(key)

    def _index(self, name: str) -> None:
        """Where a volume is looked for: among the free ones of its class, or with the claim it is kept for."""
        where, place = self._places.pop(name, ("", (0, "")))
        if where.startswith("free "):
            among = self.free[where[5:]]
            del among[bisect.bisect_left(among, place)]
        elif where:
            self.kept_for[where].discard(name)
        volume = self.volume(name)
        if volume is None:
            return
        held, place = claims.reference_of(volume), (claims.capacity(volume), name)
        if held is None:
            bisect.insort(self.free.setdefault(claims.class_of(volume), []), place)
            self._places[name] = f"free {claims.class_of(volume)}", place
        else:
            key = f"{held.namespace}/{held.name}"
            self.kept_for.setdefault(key, set()).add(name)
            self._places[name] = key, place


def limits_of(node: storage_v1.CSINode) -> Mapping[str, int]:
    """Driver → how many of its volumes a node can have; drivers without a limit are not in it."""
    drivers = (node.spec.drivers if node.spec is not None else None) or ()
    return {d.name or "": d.allocatable.count for d in drivers if d.allocatable is not None and d.allocatable.count is not None}


def _version(obj: Claim | Volume) -> int:
    return integers.parse(claims.meta(obj).resourceVersion) or 0
