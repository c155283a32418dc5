"""One pod's worker: holds the machine's state, performs its actions, feeds back what came of them.

`dispatch` is synchronous: an event goes in, the actions start as tasks, so a pod never waits for another pod. In: events from the
informer, the observer and from its own actions. Upstream's counterpart is pod_workers.go. Decides nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

from navarch.api.core import v1
from navarch.client.events import Recorder
from navarch.cri.client import CriError
from navarch.kubelet import probing
from navarch.kubelet.core import containers, machine, model, probes
from navarch.kubelet.core.env import ConfigError
from navarch.kubelet.core.model import (
    Action,
    ContainerExited,
    ContainerSettled,
    ContainerStarted,
    ContainerView,
    Event,
    Finish,
    Forget,
    KillContainer,
    KillFailed,
    Life,
    MakeSandbox,
    MountVolumes,
    Probed,
    Publish,
    Record,
    RemoveVolumes,
    ResizeContainer,
    Resized,
    Running,
    SandboxFailed,
    SandboxMade,
    SandboxStopFailed,
    SandboxStopped,
    StartContainer,
    StartFailed,
    State,
    StopSandbox,
    Ticked,
    VolumesFailed,
    VolumesMounted,
    VolumesRemoved,
)
from navarch.kubelet.images import StartError, Tell
from navarch.kubelet.runtime import Runtime
from navarch.kubelet.statuses import Statuses
from navarch.kubelet.volumes.mounter import VolumeErrors
from navarch.lib import tasks
from navarch.machinery import errors

log = logging.getLogger(__name__)


@dataclass
class Tools:
    """What all workers share. `slots` bounds how many sandboxes and containers are being made at once."""

    runtime: Runtime
    statuses: Statuses
    recorder: Recorder
    group: tasks.Group
    slots: asyncio.Semaphore
    gone: Callable[[str], None]


class Worker:
    """Drives one pod."""

    def __init__(self, pod: v1.Pod, node: model.NodeFacts, tools: Tools) -> None:
        self.state: State = machine.begin(pod, node)
        self._tools = tools
        self._timer: asyncio.TimerHandle | None = None
        self._probes: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self._starting: asyncio.Task[Any] | None = None
        self._cancellable = False
        self._found: set[str] = set()

    @property
    def pod(self) -> v1.Pod:
        return self.state.pod

    @property
    def uid(self) -> str:
        return (self.pod.metadata and self.pod.metadata.uid) or ""

    def adopt(self, event: model.RuntimeSeen) -> None:
        """Takes over what already ran when the kubelet started."""
        self._found = {c.id for c in event.containers if c.state is Running.RUNNING}
        for container in event.containers:
            self._adopt_probes(container)
        self.dispatch(event)

    def _adopt_probes(self, view: ContainerView) -> None:
        """A container that was ready before the kubelet restarted stays so until a probe says otherwise."""
        held = self.pod.status
        for group in (held.containerStatuses, held.initContainerStatuses) if held else ():
            for known in group or ():
                if known.containerID and known.containerID.endswith(view.id):
                    kept = model.Probes(startup=known.started or None, readiness=known.ready or None)
                    self.state = dataclasses.replace(self.state, probes={**self.state.probes, view.id: kept})

    def dispatch(self, event: Event) -> None:
        """Feeds an event to the machine and starts what it wants done."""
        if self.state.life is Life.GONE:
            return
        now = time.time()
        step = machine.step(self.state, event, now)
        self.state = step.state
        for action in step.actions:
            self._perform(action)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if step.wake_at is not None and self.state.life is not Life.GONE:
            delay = max(0.001, step.wake_at - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self.dispatch, Ticked())
        if self.state.life is not Life.SYNCING and self._starting is not None and self._cancellable:
            self._starting.cancel()
        self._arrange_probes()

    # ---- actions -------------------------------------------------------------------------------------------------------------

    def _perform(self, action: Action) -> None:
        tools = self._tools
        match action:
            case MountVolumes():
                self._start("volumes", self._mount(), lambda e: VolumesFailed({"": str(e)}))
            case RemoveVolumes():
                self._start("remove volumes", self._remove_volumes(), lambda e: VolumesRemoved())
            case MakeSandbox(attempt):
                self._start("sandbox", self._make_sandbox(attempt), lambda e: SandboxFailed(str(e)))
            case StartContainer():
                name = action.name
                failed = partial(_start_failed, name)
                self._starting = self._start(f"start {name}", self._start_container(action), failed)
            case KillContainer():
                self._start(f"kill {action.name}", self._kill(action), partial(_kill_failed, action.id))
            case StopSandbox(id):
                self._start("stop sandbox", self._stop_sandbox(id), partial(_stop_failed, id))
            case ResizeContainer(id, name):
                self._start(f"resize {name}", self._resize(id, name))
            case Publish(status):
                tools.statuses.put(self.pod, status)
            case Record(kind, reason, message, container):
                self._tell(container)(kind, reason, message)
            case Finish():
                tools.statuses.finish(self.pod)
            case Forget():
                self.close()
                tools.gone(self.uid)
            case _:
                assert_never(action)

    def _start(self, what: str, work: Coroutine[Any, Any, None], failed: Callable[[Exception], Event] | None = None) -> asyncio.Task[Any]:
        meta = self.pod.metadata
        name = f"pod {meta.namespace}/{meta.name}: {what}" if meta else what
        return self._tools.group.start(name, self._guard(name, work, failed))

    async def _guard(self, name: str, work: Coroutine[Any, Any, None], failed: Callable[[Exception], Event] | None) -> None:
        """A bug in handling one pod must not end the node's other pods, nor leave this one waiting for ever."""
        try:
            await work
        except Exception as error:
            log.exception("%s failed", name)
            if failed is not None:
                self.dispatch(failed(error))

    def close(self) -> None:
        """Ends timers and probes."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._probes.values():
            task.cancel()
        self._probes.clear()

    def _tell(self, container: str = "") -> Tell:
        """Where events about this pod, or one of its containers, go."""
        field = ""
        inits, mains, ephemeral = containers.of(self.pod)
        for group, path in ((inits, "initContainers"), (mains, "containers"), (ephemeral, "ephemeralContainers")):
            if container and any(c.name == container for c in group):
                field = f"spec.{path}{{{container}}}"
        pod, recorder = self.pod, self._tools.recorder

        def tell(kind: str, reason: str, message: str) -> None:
            recorder.event(pod, kind, reason, message, field)

        return tell

    async def _mount(self) -> None:
        try:
            await self._tools.runtime.mounter.mount(self.pod)
        except VolumeErrors as error:
            self.dispatch(VolumesFailed(error.messages))
        else:
            self.dispatch(VolumesMounted())

    async def _remove_volumes(self) -> None:
        for attempt in range(20):
            try:
                await self._tools.runtime.remove(self.uid)
                break
            except OSError as error:
                log.warning("volumes of pod %s: %s", self.uid, error)
                await asyncio.sleep(0.1 * 2 ** min(attempt, 6))
        self.dispatch(VolumesRemoved())

    async def _make_sandbox(self, attempt: int) -> None:
        try:
            async with self._tools.slots:
                sandbox = await self._tools.runtime.make_sandbox(self.pod, attempt)
        except (CriError, ConfigError, errors.ApiError, OSError) as error:
            self.dispatch(SandboxFailed(str(error)))
        else:
            self.dispatch(SandboxMade(sandbox))

    async def _start_container(self, action: StartContainer) -> None:
        name = action.name
        spec = containers.find(self.pod, name)
        try:
            if spec is None:
                raise StartError("CreateContainerConfigError", f"container {name} is not in the pod's spec")
            await self._run_container(spec, action)
        except StartError as error:
            self.dispatch(StartFailed(name, error.reason, error.message, error.view))
        except (CriError, OSError) as error:
            self.dispatch(StartFailed(name, "CreateContainerError", str(error)))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._cancellable or task is None:
                raise
            task.uncancel()
            self._cancellable = False
            self.dispatch(ContainerSettled(name))
        else:
            self.dispatch(ContainerSettled(name))
        finally:
            self._cancellable = False

    async def _run_container(self, spec: v1.Container, action: StartContainer) -> None:
        runtime, name = self._tools.runtime, action.name
        tell = self._tell(name)
        self._cancellable = True
        image = await runtime.prepare_image(self.pod, spec, action.sandbox, tell)
        self._cancellable = False
        async with self._tools.slots:
            view = await runtime.create(self.pod, spec, action.attempt, action.sandbox, image, self.state.containers, tell)
        self.dispatch(ContainerStarted(view))
        if spec.lifecycle is None or spec.lifecycle.postStart is None:
            return
        self._cancellable = True
        answer = await runtime.run_hook(spec.lifecycle.postStart, spec, view.id, self._pod_ip())
        self._cancellable = False
        if not answer.ok:
            tell("Warning", "FailedPostStartHook", "PostStartHook failed")
            tell("Normal", "Killing", "FailedPostStartHook")
            await runtime.stop(spec, view.id, containers.grace(self.pod, spec), self._pod_ip(), True, tell)
            ended = await runtime.view(view.id, view.sandbox_id) or view
            raise StartError("PostStartHookError", answer.text or "PostStartHook failed", ended)

    async def _kill(self, action: KillContainer) -> None:
        runtime = self._tools.runtime
        tell = self._tell(action.name)
        tell("Normal", "Killing", action.message)
        spec = containers.find(self.pod, action.name)
        sandbox_id = next((c.sandbox_id for c in self.state.containers if c.id == action.id), "")
        try:
            await runtime.stop(spec, action.id, action.grace, self._pod_ip(), action.hook, tell)
            view = await runtime.view(action.id, sandbox_id)
        except CriError as error:
            self.dispatch(KillFailed(action.id, str(error)))
            return
        if view is None:
            view = next((c for c in self.state.containers if c.id == action.id), None)
            if view is None:
                return
            view = dataclasses.replace(view, state=Running.EXITED, exit_code=137, reason="ContainerStatusUnknown", finished_at=time.time())
        if view.state is Running.EXITED:
            self.dispatch(ContainerExited(view))
        else:
            self.dispatch(KillFailed(action.id, "the container is still running"))

    async def _stop_sandbox(self, sandbox_id: str) -> None:
        try:
            await self._tools.runtime.cri.stop_sandbox(sandbox_id)
        except CriError as error:
            if error.code != "NotFound":
                self.dispatch(SandboxStopFailed(sandbox_id, str(error)))
                return
        self.dispatch(SandboxStopped(sandbox_id))

    async def _resize(self, container_id: str, name: str) -> None:
        spec = containers.find(self.pod, name)
        if spec is None:
            return
        try:
            await self._tools.runtime.resize(self.pod, spec, container_id)
        except CriError as error:
            self._tell(name)("Warning", "ResizeError", f"{error}")
        self.dispatch(Resized(container_id, spec.resources or v1.ResourceRequirements()))

    # ---- probes --------------------------------------------------------------------------------------------------------------

    def _pod_ip(self) -> str:
        status = self.state.status
        return (status.podIP if status else None) or ""

    def _arrange_probes(self) -> None:
        """Starts probes of containers that run and ends those of containers that do not."""
        wanted: dict[tuple[str, str], tuple[ContainerView, v1.Container]] = {}
        if self.state.life is not Life.TERMINATED:
            inits, mains, _ = containers.of(self.pod)
            for spec in (*filter(containers.sidecar, inits), *mains):
                view = containers.latest(self.state.containers, spec.name or "")
                if view is None or view.state is not Running.RUNNING:
                    continue
                for kind in probes.KINDS:
                    if probes.spec_of(spec, kind) is not None and (self.state.life is Life.SYNCING or kind == "readiness"):
                        wanted[view.id, kind] = (view, spec)
        for key in [key for key in self._probes if key not in wanted]:
            self._probes.pop(key).cancel()
        for key, (view, spec) in wanted.items():
            if key not in self._probes:
                self._probes[key] = self._start(f"{key[1]} probe {view.name}", self._probe(view, spec, key[1]))

    async def _probe(self, view: ContainerView, spec: v1.Container, kind: str) -> None:
        target = probing.Target(view.id, spec, self._pod_ip(), view.started_at, view.id in self._found)

        def report(what: str, ok: bool) -> None:
            self.dispatch(Probed(view.id, what, ok))

        def started() -> bool:
            return spec.startupProbe is None or self.state.probes.get(view.id, model.Probes()).startup is True

        await probing.run(target, kind, self._tools.runtime.handlers, report, self._tell(view.name), started)


def _start_failed(name: str, error: Exception) -> Event:
    return StartFailed(name, "CreateContainerError", f"{type(error).__name__}: {error}")


def _kill_failed(container_id: str, error: Exception) -> Event:
    return KillFailed(container_id, str(error))


def _stop_failed(sandbox_id: str, error: Exception) -> Event:
    return SandboxStopFailed(sandbox_id, str(error))
