"""emptyDir: a folder that lives as long as the pod, on the disk or in memory.

Upstream counterpart: pkg/volume/emptydir.
"""

from __future__ import annotations

import os
import pathlib

from navarch.api.core import v1
from navarch.kubelet.core import containers
from navarch.kubelet.core.payload import PayloadError
from navarch.kubelet.volumes import plugin, system
from navarch.kubelet.volumes.plugin import Place
from navarch.machinery import quantity


class EmptyDir:
    name = "empty-dir"
    in_folder = True

    def matches(self, volume: v1.Volume) -> bool:
        return volume.emptyDir is not None

    async def set_up(self, place: Place, refresh: bool) -> pathlib.Path:
        source, folder = place.volume.emptyDir or v1.EmptyDirVolumeSource(), place.folder
        if folder.is_dir() and (source.medium != "Memory" or os.path.ismount(folder)):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        if source.medium == "Memory":
            system.mount_tmpfs(folder, _memory_size(place.pod, source))
        elif source.medium:
            raise PayloadError(f'unknown storage medium "{source.medium}"')
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        if (group := plugin.group_of(place.pod)) is not None:
            system.own(folder, group, read_only=False)
        return folder

    async def path(self, place: Place) -> pathlib.Path:
        return place.folder

    def forget(self, uid: str) -> None:
        return


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
