"""One pod's worker: holds the machine's state, performs its actions, feeds back what came of them.

`dispatch` is synchronous: an event goes in, the actions start as tasks, so a pod never waits for another pod. In: events from the
informer, the observer and from its own actions. Upstream's counterpart is pod_workers.go. Decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

from navarch.api.core import v1
from navarch.client.events import Recorder
from navarch.cri.client import CriError
from navarch.kubelet import probing
from navarch.kubelet.core import containers, machine, model
from navarch.kubelet.core.env import ConfigError
from navarch.kubelet.core.model import (
    Action,
    CancelStart,
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
    StartProbe,
    State,
    StopProbe,
    StopSandbox,
    Ticked,
    VolumesFailed,
    VolumesMounted,
    VolumesRemoved,
    VolumesRemoveFailed,
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
        self._cancelled = False

    @property
    def pod(self) -> v1.Pod:
        return self.state.pod

    @property
    def uid(self) -> str:
        return (self.pod.metadata and self.pod.metadata.uid) or ""

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

    # ---- actions -------------------------------------------------------------------------------------------------------------

    def _perform(self, action: Action) -> None:
        tools = self._tools
        match action:
            case MountVolumes():
                self._start("volumes", self._mount(), lambda e: VolumesFailed({"": str(e)}))
            case RemoveVolumes():
                self._start("remove volumes", self._remove_volumes(), lambda e: VolumesRemoveFailed(str(e)))
            case MakeSandbox(attempt):
                self._start("sandbox", self._make_sandbox(attempt), lambda e: SandboxFailed(str(e)))
            case StartContainer():
                name = action.name
                failed = partial(_start_failed, name)
                self._starting = self._start(f"start {name}", self._start_container(action), failed)
            case CancelStart():
                self._cancel_start()
            case StartProbe():
                self._start_probe(action)
            case StopProbe(id, kind):
                if (probe := self._probes.pop((id, kind), None)) is not None:
                    probe.cancel()
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
        try:
            await self._tools.runtime.remove(self.uid)
        except OSError as error:
            log.warning("volumes of pod %s: %s", self.uid, error)
            self.dispatch(VolumesRemoveFailed(str(error)))
        else:
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
        except _GivenUp:
            self.dispatch(ContainerSettled(name))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._cancellable or task is None:
                raise
            task.uncancel()
            self.dispatch(ContainerSettled(name))
        else:
            self.dispatch(ContainerSettled(name))
        finally:
            self._cancellable = False

    def _cancel_start(self) -> None:
        """Gives up a start where it waits for an image or a hook; elsewhere, when it comes to such a place."""
        self._cancelled = True
        if self._starting is not None and self._cancellable:
            self._starting.cancel()

    @contextlib.contextmanager
    def _cancellable_phase(self) -> Iterator[None]:
        """Work within a start that may be given up. _GivenUp when it was told so before."""
        if self._cancelled:
            raise _GivenUp
        self._cancellable = True
        yield
        self._cancellable = False

    async def _run_container(self, spec: v1.Container, action: StartContainer) -> None:
        runtime, name = self._tools.runtime, action.name
        tell = self._tell(name)
        with self._cancellable_phase():
            image = await runtime.prepare_image(self.pod, spec, action.sandbox, tell)
        async with self._tools.slots:
            view = await runtime.create(self.pod, spec, action.attempt, action.sandbox, image, self.state.containers, tell)
        self.dispatch(ContainerStarted(view))
        if spec.lifecycle is None or spec.lifecycle.postStart is None:
            return
        with self._cancellable_phase():
            answer = await runtime.run_hook(spec.lifecycle.postStart, spec, view.id, self._pod_ip())
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

    def _start_probe(self, action: StartProbe) -> None:
        spec = containers.find(self.pod, action.name)
        view = next((c for c in self.state.containers if c.id == action.id), None)
        if spec is not None and view is not None:
            work = self._probe(view, spec, action)
            self._probes[action.id, action.kind] = self._start(f"{action.kind} probe {action.name}", work)

    async def _probe(self, view: ContainerView, spec: v1.Container, action: StartProbe) -> None:
        target = probing.Target(view.id, spec, self._pod_ip(), view.started_at, action.found)

        def report(what: str, ok: bool) -> None:
            self.dispatch(Probed(view.id, what, ok))

        def started() -> bool:
            return spec.startupProbe is None or self.state.probes.get(view.id, model.Probes()).startup is True

        await probing.run(target, action.kind, self._tools.runtime.handlers, report, self._tell(view.name), started)


class _GivenUp(Exception):
    """The pod ends: what would be waited for is not wanted any more."""


def _start_failed(name: str, error: Exception) -> Event:
    return StartFailed(name, "CreateContainerError", f"{type(error).__name__}: {error}")


def _kill_failed(container_id: str, error: Exception) -> Event:
    return KillFailed(container_id, str(error))


def _stop_failed(sandbox_id: str, error: Exception) -> Event:
    return SandboxStopFailed(sandbox_id, str(error))
