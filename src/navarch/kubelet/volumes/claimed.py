"""Volumes of claims: the one a pod names, or the one made for its ephemeral volume.

What a persistent volume is on this node: a path of the host, or a local folder. Others say so until there is a driver for them.

Upstream counterparts: pkg/kubelet/volumemanager/populator, pkg/volume/{local,hostpath}.
"""

from __future__ import annotations

import asyncio
import pathlib

from navarch.api.core import v1
from navarch.kubelet.core.payload import PayloadError
from navarch.kubelet.references import References
from navarch.kubelet.volumes import host_path, plugin, system
from navarch.kubelet.volumes.plugin import Place
from navarch.machinery import claims


class Claimed:
    name = "claimed"
    in_folder = False

    def __init__(self, references: References) -> None:
        self._references = references

    def matches(self, volume: v1.Volume) -> bool:
        return volume.persistentVolumeClaim is not None or volume.ephemeral is not None

    async def set_up(self, place: Place, refresh: bool) -> pathlib.Path:
        return await self._claimed(place.pod, place.volume, starting=True)

    async def path(self, place: Place) -> pathlib.Path:
        return await self._claimed(place.pod, place.volume)

    def forget(self, uid: str) -> None:
        return

    async def _claimed(self, pod: v1.Pod, volume: v1.Volume, *, starting: bool = False) -> pathlib.Path:
        """Where the volume of a claim is: the one a pod names, or the one made for its ephemeral volume."""
        m = claims.meta(pod)
        namespace, own = m.namespace or "", volume.persistentVolumeClaim
        name = (own.claimName or "") if own is not None else claims.ephemeral_name(m.name or "", volume.name or "")
        claim = await self._references.fetch(v1.PersistentVolumeClaim, namespace, name)
        if claim is None:
            raise PayloadError(f'failed to fetch PVC from API server: persistentvolumeclaims "{name}" not found')
        if own is None and (problem := claims.not_made_for(claim, namespace, m.name or "", m.uid or "")):
            raise PayloadError(problem)
        if starting and claims.meta(claim).deletionTimestamp is not None and not _running(pod):
            raise PayloadError("PVC is being deleted")
        bound = claim.status is not None and claim.status.phase == "Bound"
        if not bound or not claims.volume_of(claim):
            raise PayloadError("PVC is not bound")
        found = await self._references.fetch(v1.PersistentVolume, "", claims.volume_of(claim))
        if found is None or found.spec is None:
            raise PayloadError(
                f'failed to fetch PV {claims.volume_of(claim)} from API server: persistentvolumes "{claims.volume_of(claim)}" not found'
            )
        held = claims.reference_of(found)
        if held is None or held.uid != claims.meta(claim).uid:
            name = claims.meta(claim).name or ""
            raise PayloadError(f'PersistentVolume "{claims.volume_of(claim)}" is not bound to claim "{namespace}/{name}"')
        return await self._persistent(pod, found.spec, claims.volume_of(claim))

    async def _persistent(self, pod: v1.Pod, spec: v1.PersistentVolumeSpec, name: str) -> pathlib.Path:
        """Where a persistent volume is on this node."""
        if spec.volumeMode == "Block":
            raise PayloadError(f'persistent volume "{name}" is a block device: this kubelet mounts file systems only')
        if spec.hostPath is not None:
            return host_path.checked(spec.hostPath)
        if spec.local is not None and spec.local.path:
            path = pathlib.Path(spec.local.path)
            if not path.exists():
                raise PayloadError(f'path "{path}" does not exist')
            group = plugin.group_of(pod)
            if group is not None:
                await asyncio.to_thread(system.own, path, group, False)
            return path
        if spec.csi is not None:
            raise PayloadError(f'persistent volume "{name}" is of the CSI driver "{spec.csi.driver}": CSI is not supported by this kubelet')
        raise PayloadError(f'no volume plugin matched the persistent volume "{name}"')


def _running(pod: v1.Pod) -> bool:
    return pod.status is not None and pod.status.phase == "Running"
