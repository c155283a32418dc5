"""What a pod's volumes ask of its node, read once from the object: claims, disks that cannot be shared, volumes that CSI counts.

Most pods have only volumes that any node can make (files, tokens, empty folders): for them there is nothing to read, and
nothing of what follows costs them anything.

Upstream counterparts: volumerestrictions (isVolumeConflict), k8s.io/csi-translation-lib.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import claims

Handle = tuple[str, str]
"""A CSI driver, and a volume as it calls it."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume of a pod that pods of one node cannot share, unless (`shared`) all of them only read it."""

    kind: str
    names: frozenset[str]
    """Two disks are the same when they have a name in common."""
    shared: bool

    def clashes(self, other: Disk) -> bool:
        return self.kind == other.kind and not self.names.isdisjoint(other.names) and not (self.shared and other.shared)


@dataclass(frozen=True, slots=True)
class ClaimUse:
    """A claim a pod uses; `made`: it is made for the pod's own ephemeral volume."""

    name: str
    made: bool = False


@dataclass(frozen=True, slots=True)
class Volumes:
    """What a pod asks for with its volumes."""

    claims: tuple[ClaimUse, ...]
    disks: tuple[Disk, ...]
    inline: tuple[Handle, ...]
    """Volumes named in the pod itself that a CSI driver attaches."""
    pod: str = ""
    uid: str = ""
    """Who the pod is, where it has ephemeral volumes."""


def sources(spec: core_v1.PodSpec) -> list[core_v1.Volume]:
    """The volumes that matter here."""
    return [v for v in spec.volumes or () if v.projected is None and v.configMap is None and _matters(v)]


def _matters(v: core_v1.Volume) -> bool:
    return (
        v.persistentVolumeClaim is not None
        or v.ephemeral is not None
        or v.gcePersistentDisk is not None
        or v.awsElasticBlockStore is not None
        or v.iscsi is not None
        or v.rbd is not None
        or v.azureDisk is not None
        or v.cinder is not None
        or v.portworxVolume is not None
    )


def identity(m: meta_v1.ObjectMeta, found: Sequence[core_v1.Volume]) -> tuple[str, str]:
    """The pod's name and uid where its volumes depend on them: those of ephemeral volumes carry its name."""
    return (m.name or "", m.uid or "") if any(v.ephemeral is not None for v in found) else ("", "")


def read(m: meta_v1.ObjectMeta, spec: core_v1.PodSpec) -> Volumes | None:
    """What the volumes ask for; None when nothing."""
    found = sources(spec)
    if not found:
        return None
    uses = tuple(use for v in found if (use := _use(m, v)) is not None)
    disks = tuple(disk for v in found if (disk := _disk(v)) is not None)
    inline = tuple(handle for v in found if (handle := migrated(v)) is not None)
    return Volumes(uses, disks, inline, *identity(m, found))


def _use(m: meta_v1.ObjectMeta, v: core_v1.Volume) -> ClaimUse | None:
    if v.persistentVolumeClaim is not None:
        return ClaimUse(v.persistentVolumeClaim.claimName or "")
    if v.ephemeral is not None:
        return ClaimUse(claims.ephemeral_name(m.name or "", v.name or ""), True)
    return None


def _disk(v: core_v1.Volume) -> Disk | None:
    if (gce := v.gcePersistentDisk) is not None:
        return Disk("gce", frozenset({gce.pdName or ""}), bool(gce.readOnly))
    if (ebs := v.awsElasticBlockStore) is not None:
        return Disk("ebs", frozenset({ebs.volumeID or ""}), False)
    if (iscsi := v.iscsi) is not None:
        return Disk("iscsi", frozenset({iscsi.iqn or ""}), bool(iscsi.readOnly))
    if (rbd := v.rbd) is not None:
        return Disk("rbd", frozenset(f"{m} {rbd.pool} {rbd.image}" for m in rbd.monitors or ()), bool(rbd.readOnly))
    return None


# ---- volumes of plugins that CSI drivers took over ----------------------------------------------------------------

_ZONES = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")


def migrated(v: core_v1.Volume | core_v1.PersistentVolumeSpec, zone: str = "UNSPECIFIED") -> Handle | None:
    """The driver that attaches a volume of a former in-tree plugin, and its name for the volume; None for any other volume."""
    if (gce := v.gcePersistentDisk) is not None:
        return claims.MIGRATED["kubernetes.io/gce-pd"], f"projects/UNSPECIFIED/zones/{zone}/disks/{gce.pdName}"
    if (ebs := v.awsElasticBlockStore) is not None:
        return claims.MIGRATED["kubernetes.io/aws-ebs"], (ebs.volumeID or "").rpartition("/")[2]
    if (azure := v.azureDisk) is not None:
        return claims.MIGRATED["kubernetes.io/azure-disk"], azure.diskURI or ""
    if (cinder := v.cinder) is not None:
        return claims.MIGRATED["kubernetes.io/cinder"], cinder.volumeID or ""
    if (portworx := v.portworxVolume) is not None:
        return claims.MIGRATED["kubernetes.io/portworx-volume"], portworx.volumeID or ""
    return None


def handle_of(volume: core_v1.PersistentVolume) -> Handle | None:
    """The driver that attaches a volume, and its name for it; None when no CSI driver does."""
    spec = volume.spec
    if spec is None:
        return None
    if spec.csi is not None:
        return spec.csi.driver or "", spec.csi.volumeHandle or ""
    labels = claims.meta(volume).labels or {}
    return migrated(spec, next((labels[k] for k in _ZONES if k in labels), "UNSPECIFIED"))


COUNTED = frozenset(
    ("kubernetes.io/aws-ebs", "kubernetes.io/gce-pd", "kubernetes.io/azure-disk", "kubernetes.io/cinder", "kubernetes.io/portworx-volume")
)
"""Former in-tree plugins whose volumes count against the limits of the drivers that took them over."""


def driver_of(provisioner: str) -> str:
    """The driver that attaches what a class's provisioner makes; "" when none that counts."""
    if provisioner not in claims.MIGRATED:
        return provisioner
    return claims.MIGRATED[provisioner] if provisioner in COUNTED else ""
