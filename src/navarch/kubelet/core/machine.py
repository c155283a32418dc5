"""The pod state machine: `step(state, event, now) -> Step(state, actions, wake_at)`.

An event is first absorbed (what is known changes), then it is decided anew, from all that is known, what is to be done: the machine is
driven by level, so a lost or doubled event only costs time. `busy` names what is under way, so nothing is started twice. Upstream's
counterparts: pod_workers, SyncPod's computePodActions, the reason cache, the active-deadline handler. Not here: how anything is done
(`worker`), and what the API server sees (`core.status`).

    SYNCING: volumes -> sandbox -> init containers in order -> main containers in order, each restarted by policy with back-off
    TERMINATING: main containers killed together, then sidecars backwards, then the sandbox
    TERMINATED: volumes removed, status published, API object finished
    GONE: nothing left
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import assert_never

from navarch.api.core import v1
from navarch.kubelet.core import backoff, containers, probes, resources, status
from navarch.kubelet.core.model import (
    ORDER,
    Action,
    CancelStart,
    ContainerExited,
    ContainerSettled,
    ContainerStarted,
    ContainerView,
    Event,
    Failed,
    Failure,
    Finish,
    Forget,
    KillContainer,
    KillFailed,
    Life,
    MakeSandbox,
    MountVolumes,
    NodeFacts,
    PodChanged,
    PodRemoved,
    Probed,
    Probes,
    Publish,
    Record,
    RemoveVolumes,
    ResizeContainer,
    Resized,
    Running,
    RuntimeFound,
    RuntimeSeen,
    SandboxFailed,
    SandboxMade,
    SandboxStopFailed,
    SandboxStopped,
    SandboxView,
    StartContainer,
    StartFailed,
    StartProbe,
    State,
    Step,
    StopProbe,
    StopSandbox,
    Ticked,
    Volumes,
    VolumesFailed,
    VolumesMounted,
    VolumesRemoved,
    VolumesRemoveFailed,
    Waiting,
)
from navarch.kubelet.core.work import Crashing, Finishing, Killing, MakingSandbox, Mounting, Resizing, Starting, StoppingSandbox, Unmounting, Work
from navarch.machinery import timestamps

IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed"})
PULL_SHOWN = 2.0
"""Seconds a failed pull shows as ErrImagePull before it turns to ImagePullBackOff."""
LOST = "The pod's sandbox died while the container was running"
VANISHED_SLACK = 0.5
"""A container younger than this at the beginning of a look may be missing from it."""


def begin(pod: v1.Pod, node: NodeFacts) -> State:
    """The state of a pod of which nothing is known yet besides its object."""
    held = pod.status
    started = held.startTime if held else None
    finished = bool(held and held.phase in ("Succeeded", "Failed"))
    return State(pod=pod, node=node, status=held, start_time=started, done=finished)


def step(state: State, event: Event, now: float) -> Step:
    """Absorbs an event and decides what is to be done."""
    turn = _Turn(state, now)
    turn.absorb(event)
    turn.decide()
    turn.arrange_probes()
    turn.publish()
    return Step(turn.state, tuple(turn.actions), turn.wake_at)


class _Turn:
    """One step under way: the state as it becomes, and the actions collected. Lives only inside `step`."""

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.actions: list[Action] = []
        self.wake_at: float | None = None
        self.ended = False
        """Nothing is left to do here: once that is published, the API object may go."""

    # ---- small tools ---------------------------------------------------------------------------------------------------------

    def change(self, **fields: object) -> None:
        self.state = dataclasses.replace(self.state, **fields)  # type: ignore[arg-type]

    def wake(self, at: float) -> None:
        if self.wake_at is None or at < self.wake_at:
            self.wake_at = at

    def start(self, key: Work, action: Action) -> None:
        self.change(busy=self.state.busy | {key})
        self.actions.append(action)

    def idle(self, *keys: Work) -> None:
        self.change(busy=self.state.busy - set(keys))

    def busy(self, key: Work) -> bool:
        return key in self.state.busy

    def _starting(self) -> bool:
        """Whether a container is being started."""
        return any(isinstance(work, Starting) for work in self.state.busy)

    def record(self, kind: str, reason: str, message: str, container: str = "") -> None:
        self.actions.append(Record(kind, reason, message, container))

    def held_back(self, key: Work) -> bool:
        """Whether a failed try of this is too fresh to be made again."""
        at = self.state.retry_at.get(key, 0.0)
        if at > self.now:
            self.wake(at)
            return True
        return False

    def retry(self, key: Work, first: float, most: float) -> float:
        """Counts a failure of this; the next try may be at the time returned."""
        entry = backoff.advance(self.state.backoff.get(key), self.now, first, most)
        at = self.now + entry.delay
        self.change(backoff={**self.state.backoff, key: entry}, retry_at={**self.state.retry_at, key: at})
        return at

    def succeeded(self, key: Work) -> None:
        self.change(
            backoff={k: v for k, v in self.state.backoff.items() if k != key},
            retry_at={k: v for k, v in self.state.retry_at.items() if k != key},
        )

    def put_container(self, view: ContainerView) -> None:
        known = next((c for c in self.state.containers if c.id == view.id), None)
        if known is not None and ORDER[known.state] > ORDER[view.state]:
            return
        others = tuple(c for c in self.state.containers if c.id != view.id)
        self.change(containers=(*others, view))

    def put_waiting(self, name: str, waiting: Waiting | None) -> None:
        rest = {k: v for k, v in self.state.waiting.items() if k != name}
        self.change(waiting=rest if waiting is None else {**rest, name: waiting})

    # ---- absorbing -----------------------------------------------------------------------------------------------------------

    def absorb(self, event: Event) -> None:
        match event:
            case PodChanged(pod):
                self._pod_changed(pod)
            case PodRemoved():
                self.change(deleted=True)
            case RuntimeSeen():
                self._runtime_seen(event)
            case RuntimeFound(seen):
                self._adopt(seen)
                self._runtime_seen(seen)
            case VolumesMounted():
                self.idle(Mounting())
                self.succeeded(Mounting())
                self.change(volumes=Volumes.MOUNTED)
            case VolumesFailed(messages):
                self._volumes_failed(messages)
            case VolumesRemoved():
                self.idle(Unmounting())
                self.change(volumes=Volumes.REMOVED)
            case VolumesRemoveFailed(message):
                self.idle(Unmounting())
                self.retry(Unmounting(), 0.5, 30.0)
                self.record("Warning", "FailedUnMount", f"UnmountVolume.TearDown failed for the pod's volumes: {message}")
            case SandboxMade(sandbox):
                self.idle(MakingSandbox())
                self.succeeded(MakingSandbox())
                others = tuple(s for s in self.state.sandboxes if s.id != sandbox.id)
                self.change(sandboxes=(*others, sandbox))
            case SandboxFailed(message):
                self.idle(MakingSandbox())
                self.retry(MakingSandbox(), 1.0, 30.0)
                self.record("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {message}")
            case SandboxStopped(id):
                self._sandbox_stopped(id)
            case SandboxStopFailed(id, message):
                self.idle(StoppingSandbox(id))
                self.retry(StoppingSandbox(id), 1.0, 10.0)
                self.record("Warning", "FailedKillPod", f"error killing pod: {message}")
            case ContainerStarted(container):
                self.put_container(container)
                self.put_waiting(container.name, None)
                self.succeeded(Starting(container.name))
            case ContainerSettled(name):
                self.idle(Starting(name))
            case StartFailed():
                self._start_failed(event)
            case ContainerExited(container):
                self.put_container(self._lost(container))
                self.idle(Killing(container.id))
            case KillFailed(id, message):
                self.idle(Killing(id))
                self.change(graces={k: v for k, v in self.state.graces.items() if k != id})
                self.retry(Killing(id), 1.0, 10.0)
                self.record("Warning", "FailedKillPod", f"error killing pod: {message}")
            case Probed(id, kind, ok):
                found = dataclasses.replace(self.state.probes.get(id, Probes()), **{kind: ok})
                self.change(probes={**self.state.probes, id: found})
            case Resized(id, resources):
                self.idle(Resizing(id))
                self.change(containers=tuple(dataclasses.replace(c, resources=resources) if c.id == id else c for c in self.state.containers))
            case Failed(failure, grace):
                if self.state.failure is None and self.state.life is Life.SYNCING:
                    self.change(failure=failure, kill_grace=grace)
            case Ticked():
                pass
            case _:
                assert_never(event)

    def _pod_changed(self, pod: v1.Pod) -> None:
        known = self.state.pod
        spec_changed = known.spec != pod.spec or (known.metadata and known.metadata.annotations) != (pod.metadata and pod.metadata.annotations)
        self.change(pod=pod, deleted=False)
        if pod.status and pod.status.phase in ("Succeeded", "Failed"):
            self.change(done=True)
        if spec_changed:
            # What failed may work with the new spec: try at once.
            kept = {k: v for k, v in self.state.retry_at.items() if isinstance(k, Killing | StoppingSandbox)}
            self.change(retry_at=kept)

    def _adopt(self, seen: RuntimeSeen) -> None:
        """Containers that ran before the kubelet did: one that was ready stays so until a probe says otherwise."""
        found = dict(self.state.probes)
        held = self.state.pod.status
        for group in (held.containerStatuses, held.initContainerStatuses) if held else ():
            for known in group or ():
                view = next((c for c in seen.containers if known.containerID and known.containerID.endswith(c.id)), None)
                if view is not None:
                    found[view.id] = Probes(startup=known.started or None, readiness=known.ready or None)
        running = frozenset(c.id for c in seen.containers if c.state is Running.RUNNING)
        self.change(probes=found, found=running)

    def _runtime_seen(self, event: RuntimeSeen) -> None:
        seen = {c.id: c for c in event.containers}
        merged: list[ContainerView] = []
        for known in self.state.containers:
            other = seen.pop(known.id, None)
            if other is not None:
                merged.append(other if ORDER[other.state] > ORDER[known.state] else known)
            elif known.created_at > event.since - VANISHED_SLACK:
                merged.append(known)
            elif known.state is not Running.EXITED:
                merged.append(_vanished(known, self.now))
        merged.extend(seen.values())
        boxes = {s.id: s for s in event.sandboxes}
        kept: list[SandboxView] = []
        for box in self.state.sandboxes:
            found = boxes.pop(box.id, None)
            if found is not None:
                kept.append(dataclasses.replace(box, ready=box.ready and found.ready, ips=box.ips or found.ips))
            elif box.created_at > event.since - VANISHED_SLACK:
                kept.append(box)
        if not self.busy(MakingSandbox()):
            kept.extend(boxes.values())
        self.change(containers=tuple(merged), sandboxes=tuple(kept))

    def _lost(self, view: ContainerView) -> ContainerView:
        """A container that was killed because its sandbox died did not succeed, however politely it went."""
        killed = self.busy(Killing(view.id)) and self.state.life is Life.SYNCING and not self._ending()
        if not killed or view.exit_code or any(s.id == view.sandbox_id and s.ready for s in self.state.sandboxes):
            return view
        return dataclasses.replace(view, exit_code=137, reason="Error", message=LOST)

    def _volumes_failed(self, messages: Mapping[str, str]) -> None:
        self.idle(Mounting())
        self.retry(Mounting(), 0.5, 15.0)
        for volume, message in messages.items():
            self.record("Warning", "FailedMount", f'MountVolume.SetUp failed for volume "{volume}" : {message}')

    def _sandbox_stopped(self, sandbox_id: str) -> None:
        self.idle(StoppingSandbox(sandbox_id))
        boxes = tuple(dataclasses.replace(s, ready=False, stopped=True) if s.id == sandbox_id else s for s in self.state.sandboxes)
        self.change(sandboxes=boxes)

    def _start_failed(self, event: StartFailed) -> None:
        self.idle(Starting(event.name))
        if event.container is not None:
            self.put_container(event.container)
        self.put_waiting(event.name, Waiting(event.reason, event.message))
        node = self.state.node
        if event.reason in IMAGE_REASONS:
            self.retry(Starting(event.name), node.crash_first, node.crash_most)
        elif event.container is None or event.container.state is not Running.EXITED:
            self.retry(Starting(event.name), 1.0, 10.0)

    # ---- deciding ------------------------------------------------------------------------------------------------------------

    def decide(self) -> None:
        if self.state.start_time is None:
            self.change(start_time=timestamps.seconds(self.now))
        self._deadline()
        if self.state.life is Life.SYNCING and not self._ending():
            self._sync()
        if self.state.life is Life.SYNCING and self._ending():
            self.change(life=Life.TERMINATING, ending_since=self.now)
        if self.state.life is Life.TERMINATING:
            self._terminate()
        if self.state.life is Life.TERMINATED:
            self._clean_up()
        if self.state.life is not Life.SYNCING and self._starting() and not self.state.cancelled:
            self.change(cancelled=True)
            self.actions.append(CancelStart())

    def _ending(self) -> bool:
        state = self.state
        deleting = bool(state.pod.metadata and state.pod.metadata.deletionTimestamp)
        return deleting or state.deleted or state.done or state.failure is not None

    def _deadline(self) -> None:
        spec, state = self.state.pod.spec, self.state
        if spec is None or spec.activeDeadlineSeconds is None or state.life is not Life.SYNCING or self._ending():
            return
        ends = timestamps.parse(state.start_time or "") + spec.activeDeadlineSeconds
        if self.now < ends:
            self.wake(ends)
            return
        message = "Pod was active on the node longer than the specified deadline"
        self.change(failure=Failure("DeadlineExceeded", message))
        self.record("Normal", "DeadlineExceeded", message)

    def _sync(self) -> None:
        if self.state.volumes is not Volumes.MOUNTED:
            if not self.busy(Mounting()) and not self.held_back(Mounting()):
                self.start(Mounting(), MountVolumes())
            return
        sandbox = self._sandbox()
        if sandbox is None:
            return
        self._kill_unwanted()
        self._start_next(sandbox)

    def _sandbox(self) -> SandboxView | None:
        """The sandbox to work in; without one, takes the step that leads to one."""
        state = self.state
        newest = max(state.sandboxes, key=lambda s: (s.attempt, s.created_at), default=None)
        host_network = bool(state.pod.spec and state.pod.spec.hostNetwork)
        held = [s for s in state.sandboxes if not s.stopped]
        if newest is not None and newest.ready and (host_network or newest.ips) and not any(s.ready for s in held if s is not newest):
            for box in held:
                if box is not newest:
                    self._stop(box)
            return newest
        if self.busy(MakingSandbox()) or self._starting():
            return None
        if newest is not None and not self._worth_a_sandbox():
            self.change(done=True)
            return None
        leftover = [c for c in state.containers if c.state is Running.RUNNING]
        for container in leftover:
            self._kill(container, "", "")
        if leftover:
            return None
        for box in held:
            self._stop(box)
        if held or self.held_back(MakingSandbox()):
            return None
        if newest is not None and not state.retry_at.get(MakingSandbox()):
            self.record("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        self.start(MakingSandbox(), MakeSandbox(newest.attempt + 1 if newest else 0))
        return None

    def _worth_a_sandbox(self) -> bool:
        """Whether a pod that lost its sandbox has anything to run in a new one."""
        state = self.state
        _, mains, _ = containers.of(state.pod)
        if (state.pod.spec and state.pod.spec.restartPolicy) == "Never" and state.containers:
            return any(c.restartPolicy in ("Always", "OnFailure") for c in mains)
        views = {c.name: containers.latest(state.containers, c.name or "") for c in mains}
        if not any(views.values()):
            return True
        # What still runs is killed with the sandbox, and has not ended by itself.
        return any((v := views[c.name]) is None or v.state is Running.RUNNING or containers.should_run(state.pod, c, v) for c in mains)

    def _kill_unwanted(self) -> None:
        """Kills running containers that probes found dead or whose spec has changed."""
        state = self.state
        inits, mains, _ = containers.of(state.pod)
        for container in (*filter(containers.sidecar, inits), *mains):
            view = containers.latest(state.containers, container.name or "")
            if view is None or view.state is not Running.RUNNING or self.busy(Killing(view.id)):
                continue
            found = state.probes.get(view.id, Probes())
            kind = "Init container" if container in inits else "Container"
            policy = container.restartPolicy or (state.pod.spec and state.pod.spec.restartPolicy) or "Always"
            again = ", will be restarted" if policy != "Never" and kind == "Container" else ""
            if view.hash != containers.fingerprint(container):
                suffix = ", will be restarted" if kind == "Container" else ""
                self._kill(view, "", f"{kind} {container.name} definition changed{suffix}")
            elif container.livenessProbe is not None and found.liveness is False:
                self._kill(view, "liveness", f"{kind} {container.name} failed liveness probe{again}")
            elif container.startupProbe is not None and found.startup is False:
                self._kill(view, "startup", f"{kind} {container.name} failed startup probe{again}")
            elif resources.wants_resize(state.pod, container, view) and not self.busy(Resizing(view.id)):
                self.start(Resizing(view.id), ResizeContainer(view.id, container.name or ""))

    def _start_next(self, sandbox: SandboxView) -> None:
        """Starts the first container that may start now; one at a time, in the order of the spec."""
        state = self.state
        _, mains, ephemeral = containers.of(state.pod)
        wanted = [c for c in ephemeral if containers.latest(state.containers, c.name or "") is None]
        init = containers.initialization(state)
        if init.failed and not self._starting():
            self.change(done=True)
            return
        wanted += [c for name in init.start if (c := containers.find(state.pod, name)) is not None]
        to_run = [c for c in mains if containers.should_run(state.pod, c, containers.latest(state.containers, c.name or ""))]
        if init.done:
            running = any(c.state is Running.RUNNING and any(c.name == m.name for m in mains) for c in state.containers)
            if not running and not to_run and not self._starting():
                self.change(done=True)
                return
            wanted += to_run
        for container in wanted:
            if self._may_start(container) and not self._starting():
                view = containers.latest(state.containers, container.name or "")
                attempt = self._attempt(container, view)
                self.start(Starting(container.name or ""), StartContainer(container.name or "", attempt, sandbox))

    def _attempt(self, container: v1.Container, view: ContainerView | None) -> int:
        if view is not None:
            return view.attempt + 1
        held = self.state.pod.status
        for group in (held.containerStatuses, held.initContainerStatuses) if held else ():
            for known in group or ():
                if known.name == container.name and known.state and (known.state.running or known.state.terminated):
                    return (known.restartCount or 0) + 1
        return 0

    def _may_start(self, container: v1.Container) -> bool:
        """Whether no back-off holds the container; says in `waiting` why when one does."""
        state, name = self.state, container.name or ""
        waiting = state.waiting.get(name)
        if self.held_back(Starting(name)):
            if waiting is not None and waiting.reason == "ErrImagePull":
                self._show_pull_backoff(container, waiting)
            return False
        view = containers.latest(state.containers, name)
        if view is None or view.state is not Running.EXITED or self._starting():
            return True
        key = Crashing(name, containers.fingerprint(container))
        entry = state.backoff.get(key)
        at = backoff.until(entry, view.finished_at, state.node.crash_most)
        if entry is not None and self.now < at:
            self.wake(at)
            pod = _pod_label(state.pod)
            message = f"back-off {backoff.duration(entry.delay)} restarting failed container={name} pod={pod}"
            if waiting is None or waiting.reason != "CrashLoopBackOff" or waiting.message != message:
                self.put_waiting(name, Waiting("CrashLoopBackOff", message))
                self.record("Warning", "BackOff", f"Back-off restarting failed container {name} in pod {pod}", name)
            return False
        advanced = backoff.advance(entry, view.finished_at, state.node.crash_first, state.node.crash_most)
        self.change(backoff={**state.backoff, key: advanced})
        return True

    def _show_pull_backoff(self, container: v1.Container, waiting: Waiting) -> None:
        key = Starting(container.name or "")
        entry = self.state.backoff.get(key)
        turns = (entry.since if entry else self.now) + PULL_SHOWN
        if self.now < turns:
            self.wake(turns)
            return
        message = f'Back-off pulling image "{container.image}"'
        shown = Waiting("ImagePullBackOff", f"{message}: ErrImagePull: {waiting.message}")
        self.put_waiting(container.name or "", shown)
        self.record("Normal", "BackOff", message, container.name or "")
        self.record("Warning", "Failed", "Error: ImagePullBackOff", container.name or "")

    # ---- ending --------------------------------------------------------------------------------------------------------------

    def _kill(self, view: ContainerView, probe: str, message: str, spent: float = 0.0) -> None:
        container = containers.find(self.state.pod, view.name)
        grace = containers.grace(self.state.pod, container, probe)
        if self.state.kill_grace is not None:
            grace = self.state.kill_grace
        key = Killing(view.id)
        under_way = self.state.graces.get(view.id)
        if self.busy(key) and (under_way is None or under_way <= grace):
            return
        if self.held_back(key):
            return
        self.change(graces={**self.state.graces, view.id: grace})
        text = message or f"Stopping container {view.name}"
        left = max(0, round(grace - spent))
        self.start(key, KillContainer(view.id, view.name, left, text, hook=under_way is None))

    def _stop(self, sandbox: SandboxView) -> None:
        key = StoppingSandbox(sandbox.id)
        if not self.busy(key) and not self.held_back(key):
            self.start(key, StopSandbox(sandbox.id))

    def _terminate(self) -> None:
        state = self.state
        inits, _, _ = containers.of(state.pod)
        order = [c.name for c in inits if containers.sidecar(c)]
        alive = [c for c in state.containers if c.state in (Running.RUNNING, Running.UNKNOWN)]
        first = [c for c in alive if c.name not in order]
        for view in first:
            self._kill(view, "", "")
        if first:
            return
        if alive:
            last = max(alive, key=lambda c: order.index(c.name))
            self._kill(last, "", "", spent=self.now - state.ending_since)
            return
        if self._starting() or self.busy(MakingSandbox()) or self.busy(Mounting()):
            return
        held = [s for s in state.sandboxes if not s.stopped]
        for sandbox in held:
            self._stop(sandbox)
        if not held and not any(isinstance(work, Killing | StoppingSandbox) for work in self.state.busy):
            self.change(life=Life.TERMINATED)

    def _clean_up(self) -> None:
        state = self.state
        if state.volumes is not Volumes.REMOVED:
            if not self.busy(Unmounting()) and not self.held_back(Unmounting()):
                self.start(Unmounting(), RemoveVolumes())
            return
        if state.deleted:
            self.change(life=Life.GONE)
            self.actions.append(Forget())
        elif state.pod.metadata and state.pod.metadata.deletionTimestamp:
            self.ended = True

    # ---- probes --------------------------------------------------------------------------------------------------------------

    def arrange_probes(self) -> None:
        """Starts the probes of containers that run and ends those of containers that do not."""
        wanted = {(view.id, kind): view for view, kind in self._wanted_probes()}
        for id, kind in sorted(self.state.probing - wanted.keys()):
            self.actions.append(StopProbe(id, kind))
        for (id, kind), view in wanted.items():
            if (id, kind) not in self.state.probing:
                self.actions.append(StartProbe(id, view.name, kind, id in self.state.found))
        if self.state.probing != wanted.keys():
            self.change(probing=frozenset(wanted))

    def _wanted_probes(self) -> Iterator[tuple[ContainerView, str]]:
        """A pod that ends is only asked whether it is still ready."""
        life = self.state.life
        if life not in (Life.SYNCING, Life.TERMINATING):
            return
        inits, mains, _ = containers.of(self.state.pod)
        for spec in (*filter(containers.sidecar, inits), *mains):
            view = containers.latest(self.state.containers, spec.name or "")
            if view is None or view.state is not Running.RUNNING:
                continue
            for kind in probes.KINDS:
                if probes.spec_of(spec, kind) is not None and (life is Life.SYNCING or kind == "readiness"):
                    yield view, kind

    # ---- telling -------------------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """The status, when it has changed; and after it the end of the API object, once all is done."""
        state = self.state
        if state.deleted:
            return
        fresh = status.compute(state, self.now)
        if fresh != state.status:
            self.change(status=fresh)
            self.actions.append(Publish(fresh))
        if self.ended and not self.busy(Finishing()):
            self.start(Finishing(), Finish())


def _vanished(view: ContainerView, now: float) -> ContainerView:
    return dataclasses.replace(
        view,
        state=Running.EXITED,
        exit_code=137,
        reason="ContainerStatusUnknown",
        message="The container could not be located when the pod was terminated",
        finished_at=now,
    )


def _pod_label(pod: v1.Pod) -> str:
    meta = pod.metadata
    return f"{meta.name}_{meta.namespace}({meta.uid})" if meta else ""
