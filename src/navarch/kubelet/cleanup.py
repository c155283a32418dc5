"""Removes what pods leave behind: dead containers and sandboxes, logs, cgroups, folders, unused images; rotates logs.

In: the observer's look, the pods the kubelet has. Everything here is in the background and may be repeated. Upstream's counterparts:
kuberuntime_gc.go, image_gc_manager.go, pkg/kubelet/logs, HandlePodCleanups.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Protocol

from navarch.cri.client import Client, CriError
from navarch.kubelet import cgroups, logs
from navarch.kubelet.core import work
from navarch.kubelet.core.model import Running, State
from navarch.kubelet.observer import Observer
from navarch.kubelet.options import Options
from navarch.kubelet.runtime import Runtime
from navarch.lib import tasks

log = logging.getLogger(__name__)

ROUND_EVERY = 30.0
ORPHAN_LOOKS = 5.0
IMAGES_EVERY = 300.0
IMAGE_MIN_AGE = 120.0


class HasState(Protocol):
    """What is asked of a worker."""

    @property
    def state(self) -> State: ...


class Cleaner:
    """The node's housekeeping."""

    def __init__(
        self,
        cri: Client,
        observer: Observer,
        workers: Mapping[str, HasState],
        runtime: Runtime,
        options: Options,
        group: tasks.Group,
    ) -> None:
        self._cri = cri
        self._observer = observer
        self._workers = workers
        self._runtime = runtime
        self._options = options
        self._group = group
        self._slots = asyncio.Semaphore(2)
        self._image_seen: dict[str, float] = {}
        self._under_way: set[str] = set()

    def pod_gone(self, uid: str) -> None:
        """Removes everything of a pod that is gone, soon."""
        if uid not in self._under_way:
            self._under_way.add(uid)
            self._group.start(f"clean up {uid}", self._remove_pod(uid))

    async def _remove_pod(self, uid: str) -> None:
        try:
            await self._quiet()
            async with self._slots:
                sandboxes = [box for box in await self._cri.list_sandboxes() if box.uid == uid]
                for box in sandboxes:
                    await self._remove_sandbox(box.id)
                    folder = pathlib.Path(self._options.pod_log_dir) / f"{box.namespace}_{box.name}_{uid}"
                    await asyncio.to_thread(shutil.rmtree, folder, True)
                await self._runtime.remove(uid)
                if self._options.cgroups_per_qos:
                    cgroups.remove_pod(self._options.cgroup_root, uid)
        except (CriError, OSError) as error:
            log.warning("cannot clean up after pod %s yet: %s", uid, error)
        finally:
            self._under_way.discard(uid)

    async def _quiet(self) -> None:
        """Waits a moment for other pods that come or go: they are what users wait for."""
        for _ in range(20):
            await asyncio.sleep(0.5)
            if not any(worker.state.busy - {work.Finishing()} for worker in self._workers.values()):
                return

    async def _remove_sandbox(self, sandbox_id: str) -> None:
        try:
            await self._cri.stop_sandbox(sandbox_id)
            await self._cri.remove_sandbox(sandbox_id)
        except CriError as error:
            if error.code != "NotFound":
                raise

    async def run(self) -> None:
        """Housekeeping for ever."""
        images_at = time.monotonic() + IMAGES_EVERY
        await asyncio.sleep(ORPHAN_LOOKS)
        while True:
            try:
                await self._observer.look()
                self._orphans()
                await self._dead_containers()
                await self._rotate_logs()
                await self._log_folders()
                if time.monotonic() >= images_at:
                    images_at = time.monotonic() + IMAGES_EVERY
                    await self._images()
            except (CriError, OSError) as error:
                log.debug("housekeeping: %s", error)
            await asyncio.sleep(ROUND_EVERY)

    def _orphans(self) -> None:
        """Pods in the runtime, on disk or among the cgroups that nobody knows."""
        found = set(self._observer.identities) | self._runtime.mounter.uids()
        if self._options.cgroups_per_qos:
            found |= cgroups.pod_uids(self._options.cgroup_root)
        for uid in found:
            if uid and uid not in self._workers:
                log.info("cleaning up after unknown pod %s", uid)
                self.pod_gone(uid)

    async def _log_folders(self) -> None:
        """Logs of pods that are gone, and whose sandbox was gone before anybody cleaned up after them."""
        names = await asyncio.to_thread(_entries, self._options.pod_log_dir)
        # Asked after the folders were listed: a pod is known before it has one.
        kept = {*self._workers, *self._observer.identities, *self._under_way}
        for name in names:
            if name.count("_") == 2 and name.rpartition("_")[2] not in kept:
                await asyncio.to_thread(shutil.rmtree, pathlib.Path(self._options.pod_log_dir) / name, True)

    async def _dead_containers(self) -> None:
        """Of each container the newest two are kept; of sandboxes the newest."""
        for worker in list(self._workers.values()):
            state = worker.state
            names = {c.name for c in state.containers}
            for name in names:
                of_name = sorted((c for c in state.containers if c.name == name), key=lambda c: (c.attempt, c.created_at))
                for view in of_name[:-2]:
                    if view.state is not Running.RUNNING:
                        await self._remove_container(view.id)
            boxes = sorted(state.sandboxes, key=lambda s: (s.attempt, s.created_at))
            for box in boxes[:-1]:
                holds = any(c.sandbox_id == box.id for c in state.containers)
                if not box.ready and not holds:
                    await self._remove_sandbox(box.id)

    async def _remove_container(self, container_id: str) -> None:
        path = ""
        with contextlib.suppress(CriError):
            path = (await self._cri.container_status(container_id)).log_path
        await self._cri.remove_container(container_id)
        if path:
            file = pathlib.Path(path)
            for part in (*logs.older(file), file):
                with contextlib.suppress(OSError):
                    part.unlink()

    async def _rotate_logs(self) -> None:
        for worker in list(self._workers.values()):
            for view in worker.state.containers:
                if view.state is not Running.RUNNING:
                    continue
                meta = worker.state.pod.metadata
                if meta is None:
                    continue
                folder = pathlib.Path(self._options.pod_log_dir) / f"{meta.namespace}_{meta.name}_{meta.uid}"
                path = folder / view.name / f"{view.attempt}.log"
                with contextlib.suppress(OSError):
                    if path.stat().st_size <= self._options.container_log_max_size:
                        continue
                    await asyncio.to_thread(logs.rotate, path, time.time(), self._options.container_log_max_files - 1)
                    with contextlib.suppress(CriError):
                        await self._cri.reopen_log(view.id)

    async def _images(self) -> None:
        """When the disk of the images is fuller than the high threshold, removes the longest unused ones down to the low one."""
        used = {c.image_ref for w in self._workers.values() for c in w.state.containers}
        now = time.time()
        images = await self._cri.list_images()
        await self._runtime.puller.prune(images, now)
        for image in images:
            self._image_seen.setdefault(image.id, now)
            if image.id in used or set(image.digests) & used:
                self._image_seen[image.id] = now
        filesystems = await self._cri.image_filesystems()
        if not filesystems:
            return
        disk = os.statvfs(filesystems[0].mountpoint)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        if (total - free) * 100 < total * self._options.image_gc_high_threshold:
            return
        wanted = total * self._options.image_gc_low_threshold // 100
        excess = total - free - wanted
        kept = self._options.pod_infra_container_image
        for image in sorted(images, key=lambda i: self._image_seen[i.id]):
            unused_since = self._image_seen[image.id]
            if excess <= 0:
                return
            if unused_since == now or image.pinned or kept in image.tags or now - unused_since < IMAGE_MIN_AGE:
                continue
            await self._cri.remove_image(image.id)
            excess -= image.size
            log.info("removed unused image %s (%d bytes)", image.tags[0] if image.tags else image.id, image.size)


def _entries(folder: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(folder)
    return []
