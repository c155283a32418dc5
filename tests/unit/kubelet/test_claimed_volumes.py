"""Where the volumes of claims are on a node, and what is said of those that cannot be mounted."""

from __future__ import annotations

import pathlib
from typing import Any, cast

import pytest

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.kubelet.references import References
from navarch.kubelet.volumes import table
from navarch.kubelet.volumes.mounter import Mounter, VolumeErrors
from navarch.kubelet.volumes.tokens import Tokens


class Known:
    """References without an API server."""

    def __init__(self, *objects: v1.PersistentVolume | v1.PersistentVolumeClaim) -> None:
        self._objects = objects

    async def fetch(self, kind: type[Any], namespace: str, name: str, max_age: float = 0.0) -> Any:
        del max_age
        found = (o for o in self._objects if isinstance(o, kind) and o.metadata is not None and o.metadata.name == name)
        return next((o for o in found if (o.metadata.namespace or "") == namespace), None)


def claim(name: str = "c", phase: str = "Bound", gone: str | None = None, owner: str = "") -> v1.PersistentVolumeClaim:
    owners = [meta_v1.OwnerReference(uid=owner, controller=True)] if owner else None
    metadata = meta_v1.ObjectMeta(name=name, namespace="d", uid="uid-c", deletionTimestamp=gone, ownerReferences=owners)
    spec, status = v1.PersistentVolumeClaimSpec(volumeName="v"), v1.PersistentVolumeClaimStatus(phase=phase)
    return v1.PersistentVolumeClaim(metadata=metadata, spec=spec, status=status)


def volume(uid: str = "uid-c", **source: Any) -> v1.PersistentVolume:
    spec = v1.PersistentVolumeSpec(claimRef=v1.ObjectReference(namespace="d", name="c", uid=uid), **source)
    return v1.PersistentVolume(metadata=meta_v1.ObjectMeta(name="v"), spec=spec)


def pod(phase: str = "Pending", *, ephemeral: bool = False) -> v1.Pod:
    named = v1.Volume(name="data", persistentVolumeClaim=v1.PersistentVolumeClaimVolumeSource(claimName="c"))
    own = v1.Volume(name="data", ephemeral=v1.EphemeralVolumeSource())
    metadata = meta_v1.ObjectMeta(name="p", namespace="d", uid="uid-p")
    return v1.Pod(metadata=metadata, spec=v1.PodSpec(volumes=[own if ephemeral else named]), status=v1.PodStatus(phase=phase))


def mounter(folder: pathlib.Path, *objects: v1.PersistentVolume | v1.PersistentVolumeClaim) -> Mounter:
    return Mounter(folder, table.plugins(cast(References, Known(*objects)), Tokens(cast(Any, None)), dict))


async def test_folders_of_the_node(tmp_path: pathlib.Path) -> None:
    (tmp_path / "disk").mkdir()
    local = volume(local=v1.LocalVolumeSource(path=str(tmp_path / "disk")))
    assert await mounter(tmp_path, claim(), local).mount(pod()) == {"data": tmp_path / "disk"}
    made = volume(hostPath=v1.HostPathVolumeSource(path=str(tmp_path / "made"), type="DirectoryOrCreate"))
    assert await mounter(tmp_path, claim(), made).mount(pod()) == {"data": tmp_path / "made"}
    assert (tmp_path / "made").is_dir()


async def test_the_claim_of_an_ephemeral_volume(tmp_path: pathlib.Path) -> None:
    host = volume(hostPath=v1.HostPathVolumeSource(path=str(tmp_path)))
    assert await mounter(tmp_path, claim("p-data", owner="uid-p"), host).mount(pod(ephemeral=True)) == {"data": tmp_path}
    with pytest.raises(VolumeErrors, match=r"PVC d/p-data was not created for pod d/p \(pod is not owner\)"):
        await mounter(tmp_path, claim("p-data"), host).mount(pod(ephemeral=True))


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ((), 'failed to fetch PVC from API server: persistentvolumeclaims "c" not found'),
        ((claim(phase="Pending"),), "PVC is not bound"),
        ((claim(gone="2026-01-01T00:00:00Z"),), "PVC is being deleted"),
        ((claim(),), 'failed to fetch PV v from API server: persistentvolumes "v" not found'),
        ((claim(), volume("other")), 'PersistentVolume "v" is not bound to claim "d/c"'),
        ((claim(), volume(local=v1.LocalVolumeSource(path="/does/not/exist"))), 'path "/does/not/exist" does not exist'),
        ((claim(), volume(volumeMode="Block")), 'persistent volume "v" is a block device: this kubelet mounts file systems only'),
        (
            (claim(), volume(csi=v1.CSIPersistentVolumeSource(driver="csi.example.com"))),
            'persistent volume "v" is of the CSI driver "csi.example.com": CSI is not supported by this kubelet',
        ),
        ((claim(), volume(nfs=v1.NFSVolumeSource())), 'no volume plugin matched the persistent volume "v"'),
    ],
)
async def test_what_cannot_be_mounted_is_told(tmp_path: pathlib.Path, objects: tuple[Any, ...], said: str) -> None:
    with pytest.raises(VolumeErrors) as caught:
        await mounter(tmp_path, *objects).mount(pod())
    assert caught.value.messages == {"data": said}


async def test_a_running_pod_keeps_its_claim_that_is_going(tmp_path: pathlib.Path) -> None:
    host = volume(hostPath=v1.HostPathVolumeSource(path=str(tmp_path)))
    assert await mounter(tmp_path, claim(gone="2026-01-01T00:00:00Z"), host).mount(pod("Running"))
