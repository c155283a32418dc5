"""Makes a pod's volumes, keeps them up to date, removes them.

In: a pod. Out: for each volume a path on the node, under upstream's layout `pods/<uid>/volumes/kubernetes.io~kind/name` where it is the
kubelet's own; `VolumeErrors` with one message per volume that could not be made, in upstream's words. Everything here may be repeated:
mounting what is mounted refreshes it. How each kind is made say the plugins of `table`.

Upstream counterpart: pkg/kubelet/volumemanager.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pathlib
import shutil
import stat
from collections.abc import Iterable, Mapping

from navarch.api.core import v1
from navarch.client.rest import Unreachable
from navarch.kubelet.core.payload import PayloadError
from navarch.kubelet.volumes import system
from navarch.kubelet.volumes.plugin import Place, Plugin
from navarch.lib import beneath, mounts
from navarch.machinery import errors

log = logging.getLogger(__name__)


class VolumeErrors(Exception):
    """Volumes that could not be made: message by volume name."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        super().__init__("; ".join(messages.values()))
        self.messages = messages


class Mounter:
    """The volumes of all pods of this node, under `root/pods`."""

    def __init__(self, root: pathlib.Path, plugins: Iterable[Plugin]) -> None:
        self.root = root
        self._plugins = tuple(plugins)

    def pod_dir(self, uid: str) -> pathlib.Path:
        """Everything the node keeps of one pod."""
        return self.root / "pods" / uid

    def _find(self, pod: v1.Pod, volume: v1.Volume) -> tuple[Plugin, Place]:
        """Who makes a volume, and where. PayloadError when nobody does."""
        uid = (pod.metadata and pod.metadata.uid) or ""
        for plugin in self._plugins:
            if plugin.matches(volume):
                return plugin, Place(pod, volume, self.pod_dir(uid) / "volumes" / f"kubernetes.io~{plugin.name}" / (volume.name or ""))
        raise PayloadError(f'no volume plugin matched name "{volume.name}"')

    async def mount(self, pod: v1.Pod, refresh: bool = False) -> dict[str, pathlib.Path]:
        """Makes all volumes of a pod, or brings them up to date; host paths by volume name. Raises `VolumeErrors`."""
        uid = (pod.metadata and pod.metadata.uid) or ""
        self.pod_dir(uid).mkdir(parents=True, exist_ok=True, mode=0o750)
        problems: dict[str, str] = {}
        paths: dict[str, pathlib.Path] = {}
        for volume in (pod.spec and pod.spec.volumes) or ():
            name = volume.name or ""
            try:
                plugin, place = self._find(pod, volume)
                paths[name] = await plugin.set_up(place, refresh)
            except (PayloadError, errors.ApiError, Unreachable, OSError) as error:
                problems[name] = str(error)
        if problems:
            raise VolumeErrors(problems)
        return paths

    async def path(self, pod: v1.Pod, volume: v1.Volume) -> pathlib.Path:
        """The host path of a volume that was mounted before."""
        plugin, place = self._find(pod, volume)
        return await plugin.path(place)

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
        for plugin in self._plugins:
            plugin.forget(uid)
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


def _bind_sub_path(base: pathlib.Path, path: str, target: pathlib.Path) -> None:
    """Binds `path` of the volume at `base` onto `target`, from the one descriptor by which it was found. OSError when it leads out."""
    volume = base.stat()
    missing = beneath.Missing(stat.S_IMODE(volume.st_mode), volume.st_uid, volume.st_gid)
    with beneath.opened(base, path, missing) as found:
        system.bind(found, target)
