"""Makes a pod's volumes, keeps them up to date, removes them.

In: a pod. Out: for each volume a folder (or file) on the node, under upstream's layout `pods/<uid>/volumes/kubernetes.io~kind/name`;
`VolumeErrors` with one message per volume that could not be made, in upstream's words. Everything here may be repeated: mounting
what is mounted refreshes it. Upstream's counterparts: pkg/kubelet/volumemanager and the in-tree plugins of pkg/volume.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pathlib
import shutil
import stat
from collections.abc import Callable, Mapping

from navarch.api.core import v1
from navarch.api.scalars import Quantity
from navarch.client.rest import Unreachable
from navarch.kubelet.core import containers, payload
from navarch.kubelet.core.payload import File, Payload, PayloadError
from navarch.kubelet.references import References
from navarch.kubelet.volumes import atomic, system
from navarch.kubelet.volumes.tokens import Tokens
from navarch.lib import beneath, mounts
from navarch.machinery import claims, errors, quantity

log = logging.getLogger(__name__)

ROOT_CA_AGE = 60.0
KINDS = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "projected": "projected",
    "downwardAPI": "downward-api",
}


class VolumeErrors(Exception):
    """Volumes that could not be made: message by volume name."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        super().__init__("; ".join(messages.values()))
        self.messages = messages


class Mounter:
    """The volumes of all pods of this node, under `root/pods`."""

    def __init__(self, root: pathlib.Path, references: References, tokens: Tokens, allocatable: Callable[[], Mapping[str, Quantity]]) -> None:
        self.root = root
        self._references = references
        self._tokens = tokens
        self._allocatable = allocatable

    def pod_dir(self, uid: str) -> pathlib.Path:
        """Everything the node keeps of one pod."""
        return self.root / "pods" / uid

    def folder(self, uid: str, volume: v1.Volume) -> pathlib.Path:
        """Where a volume that lives under the pod's folder is."""
        kind = next((plugin for field, plugin in KINDS.items() if getattr(volume, field) is not None), "empty-dir")
        return self.pod_dir(uid) / "volumes" / f"kubernetes.io~{kind}" / (volume.name or "")

    async def mount(self, pod: v1.Pod, refresh: bool = False) -> dict[str, pathlib.Path]:
        """Makes all volumes of a pod, or brings them up to date; host paths by volume name. Raises `VolumeErrors`."""
        uid = (pod.metadata and pod.metadata.uid) or ""
        self.pod_dir(uid).mkdir(parents=True, exist_ok=True, mode=0o750)
        problems: dict[str, str] = {}
        paths: dict[str, pathlib.Path] = {}
        for volume in (pod.spec and pod.spec.volumes) or ():
            name = volume.name or ""
            try:
                paths[name] = await self._mount_one(pod, uid, volume, refresh)
            except PayloadError as error:
                problems[name] = str(error)
            except (errors.ApiError, Unreachable, OSError) as error:
                problems[name] = str(error)
        if problems:
            raise VolumeErrors(problems)
        return paths

    async def _mount_one(self, pod: v1.Pod, uid: str, volume: v1.Volume, refresh: bool) -> pathlib.Path:
        folder = self.folder(uid, volume)
        if volume.emptyDir is not None:
            return self._empty_dir(pod, volume.emptyDir, folder)
        if volume.hostPath is not None:
            return _host_path(volume.hostPath)
        if volume.persistentVolumeClaim is not None or volume.ephemeral is not None:
            return await self._claimed(pod, volume, starting=True)
        made = await self._payload(pod, volume)
        if made is None:
            raise PayloadError(f'no volume plugin matched name "{volume.name}"')
        await self._write(pod, volume, folder, made, refresh)
        return folder

    async def where(self, pod: v1.Pod, uid: str, volume: v1.Volume) -> pathlib.Path:
        """The host path of a volume that was mounted before."""
        if volume.hostPath is not None:
            return pathlib.Path(volume.hostPath.path or "/")
        if volume.persistentVolumeClaim is not None or volume.ephemeral is not None:
            return await self._claimed(pod, volume)
        return self.folder(uid, volume)

    # ---- folders and paths ---------------------------------------------------------------------------------------------------

    def _empty_dir(self, pod: v1.Pod, source: v1.EmptyDirVolumeSource, folder: pathlib.Path) -> pathlib.Path:
        if folder.is_dir() and (source.medium != "Memory" or os.path.ismount(folder)):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        if source.medium == "Memory":
            system.mount_tmpfs(folder, self._memory_size(pod, source))
        elif source.medium:
            raise PayloadError(f'unknown storage medium "{source.medium}"')
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        group = _group(pod)
        if group is not None:
            system.own(folder, group, read_only=False)
        return folder

    @staticmethod
    def _memory_size(pod: v1.Pod, source: v1.EmptyDirVolumeSource) -> int:
        """As much as asked for, never more than the containers may use of memory."""
        limits: list[int] = []
        for container in containers.of(pod)[1]:
            limit = quantity.value(((container.resources and container.resources.limits) or {}).get("memory"))
            if not limit:
                limits = []
                break
            limits.append(limit)
        asked = quantity.value(source.sizeLimit)
        return min(value for value in (asked, sum(limits)) if value) if asked or limits else 0

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
            return _host_path(spec.hostPath)
        if spec.local is not None and spec.local.path:
            path = pathlib.Path(spec.local.path)
            if not path.exists():
                raise PayloadError(f'path "{path}" does not exist')
            group = _group(pod)
            if group is not None:
                await asyncio.to_thread(system.own, path, group, False)
            return path
        if spec.csi is not None:
            raise PayloadError(f'persistent volume "{name}" is of the CSI driver "{spec.csi.driver}": CSI is not supported by this kubelet')
        raise PayloadError(f'no volume plugin matched the persistent volume "{name}"')

    # ---- files ---------------------------------------------------------------------------------------------------------------

    async def _payload(self, pod: v1.Pod, volume: v1.Volume) -> Payload | None:
        if (config := volume.configMap) is not None:
            mode = _mode(config.defaultMode)
            return await self._config_map(pod, config.name or "", config.items, mode, bool(config.optional))
        if (secret := volume.secret) is not None:
            mode = _mode(secret.defaultMode)
            return await self._secret(pod, secret.secretName or "", secret.items, mode, bool(secret.optional))
        if (fields := volume.downwardAPI) is not None:
            return payload.downward_api(pod, fields.items or (), _mode(fields.defaultMode), self._allocatable())
        if (projected := volume.projected) is not None:
            return await self._projected(pod, projected)
        return None

    async def _config_map(self, pod: v1.Pod, name: str, items: list[v1.KeyToPath] | None, mode: int, optional: bool) -> Payload:
        namespace = (pod.metadata and pod.metadata.namespace) or ""
        age = ROOT_CA_AGE if name == "kube-root-ca.crt" else 0.0
        held = await self._references.fetch(v1.ConfigMap, namespace, name, age)
        if held is None:
            if optional:
                return {}
            raise PayloadError(f'configmap "{name}" not found')
        return payload.config_map(held, items, mode, optional)

    async def _secret(self, pod: v1.Pod, name: str, items: list[v1.KeyToPath] | None, mode: int, optional: bool) -> Payload:
        namespace = (pod.metadata and pod.metadata.namespace) or ""
        held = await self._references.fetch(v1.Secret, namespace, name)
        if held is None:
            if optional:
                return {}
            raise PayloadError(f'secret "{name}" not found')
        return payload.secret(held, items, mode, optional)

    async def _projected(self, pod: v1.Pod, source: v1.ProjectedVolumeSource) -> Payload:
        mode = _mode(source.defaultMode)
        result: Payload = {}
        for part in source.sources or ():
            if (config := part.configMap) is not None:
                result |= await self._config_map(pod, config.name or "", config.items, mode, bool(config.optional))
            elif (secret := part.secret) is not None:
                result |= await self._secret(pod, secret.name or "", secret.items, mode, bool(secret.optional))
            elif (fields := part.downwardAPI) is not None:
                result |= payload.downward_api(pod, fields.items or (), mode, self._allocatable())
            elif (token := part.serviceAccountToken) is not None:
                text = await self._tokens.get(pod, token.audience or "", token.expirationSeconds or 3600)
                strict = _user(pod) is not None or _group(pod) is not None
                result[token.path or "token"] = File(text.encode(), 0o600 if strict else mode)
            else:
                raise PayloadError("clusterTrustBundle and podCertificate sources are not supported by this kubelet")
        return result

    async def _write(self, pod: v1.Pod, volume: v1.Volume, folder: pathlib.Path, made: Payload, refresh: bool) -> None:
        if volume.configMap is None and not refresh:
            system.mount_tmpfs(folder)
        group = _group(pod)
        has_token = volume.projected is not None and any(s.serviceAccountToken for s in volume.projected.sources or ())
        owner = _user(pod) if has_token else None
        if group is not None:
            made = {path: File(file.data, file.mode | system.READ_ONLY) for path, file in made.items()}
        atomic.write(folder, made, owner, group)
        if not refresh:
            folder.chmod(0o777 if group is None else 0o2777)
            if group is not None:
                os.chown(folder, -1, group)

    # ---- what containers see -------------------------------------------------------------------------------------------------

    async def sub_path(self, pod: v1.Pod, container: str, index: int, volume: str, base: pathlib.Path, path: str) -> pathlib.Path:
        """A part of a volume, bound to a place of its own; made when it does not exist. PayloadError, with the reason only in our log."""
        if path.startswith("/"):
            raise PayloadError(f"error SubPath `{path}` must not be an absolute path")
        if ".." in path.split("/"):
            raise PayloadError(f"unable to provision SubPath `{path}`: must not contain '..'")
        uid = (pod.metadata and pod.metadata.uid) or ""
        target = self.pod_dir(uid) / "volume-subpaths" / volume / container / str(index)
        try:
            await asyncio.to_thread(_bind_sub_path, base, path, target)
        except OSError as error:
            # Why it failed would tell the user about the node's file system.
            log.warning("subPath %r of volume %s of pod %s: %s", path, volume, uid, error)
            raise PayloadError(f'failed to prepare subPath for volumeMount "{volume}" of container "{container}"') from None
        return target

    # ---- removal -------------------------------------------------------------------------------------------------------------

    async def remove(self, uid: str) -> None:
        """Takes away all mounts and files of a pod; the data of hostPath and claimed volumes stays."""
        self._tokens.forget(uid)
        folder = self.pod_dir(uid)
        if not folder.exists():
            return
        for point in mounts.below(folder):
            mounts.unmount(point)
        left = mounts.below(folder)
        if left:
            raise OSError(f"still mounted: {left[0]}")
        await asyncio.to_thread(shutil.rmtree, folder, True)

    def uids(self) -> set[str]:
        """Pods that have a folder here."""
        with contextlib.suppress(FileNotFoundError):
            return {entry.name for entry in os.scandir(self.root / "pods") if entry.is_dir()}
        return set()

    def unmounted(self, pod: v1.Pod) -> bool:
        """Whether some volume of a running pod is not in place (after a reboot, say)."""
        uid = (pod.metadata and pod.metadata.uid) or ""
        volumes = (pod.spec and pod.spec.volumes) or ()
        return any(not self.folder(uid, v).exists() for v in volumes if not (v.hostPath or v.persistentVolumeClaim or v.ephemeral))


def _mode(mode: int | None) -> int:
    return payload.DEFAULT_MODE if mode is None else mode


def _running(pod: v1.Pod) -> bool:
    return pod.status is not None and pod.status.phase == "Running"


def _group(pod: v1.Pod) -> int | None:
    context = pod.spec.securityContext if pod.spec else None
    return context.fsGroup if context else None


def _user(pod: v1.Pod) -> int | None:
    """The user all containers run as; None when they differ or it is left to the images."""
    shared = pod.spec.securityContext if pod.spec else None
    inits, mains, ephemeral = containers.of(pod)
    users = set()
    for container in (*inits, *mains, *ephemeral):
        own = container.securityContext.runAsUser if container.securityContext else None
        users.add(own if own is not None else (shared.runAsUser if shared else None))
    return users.pop() if len(users) == 1 else None


_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def _host_path(source: v1.HostPathVolumeSource) -> pathlib.Path:
    path = pathlib.Path(source.path or "/")
    kind = source.type or ""
    if kind not in _CHECKS:
        return path
    if not path.exists() and kind == "DirectoryOrCreate":
        path.mkdir(parents=True, mode=0o755)
    if not path.exists() and kind == "FileOrCreate":
        path.touch(mode=0o644)
    check, words = _CHECKS[kind]
    if not path.exists() or not check(path.stat().st_mode):
        raise PayloadError(f"hostPath type check failed: {path} is not {words}")
    return path


def _bind_sub_path(base: pathlib.Path, path: str, target: pathlib.Path) -> None:
    """Binds `path` of the volume at `base` onto `target`, from the one descriptor by which it was found. OSError when it leads out."""
    volume = base.stat()
    missing = beneath.Missing(stat.S_IMODE(volume.st_mode), volume.st_uid, volume.st_gid)
    with beneath.opened(base, path, missing) as found:
        system.bind(found, target)
