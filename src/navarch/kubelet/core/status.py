"""A pod's status as the API sees it, computed from all that is known of the pod.

`compute(state, now)` is a function of the state alone; what others put into the status (conditions that are not the kubelet's) is
taken over from the API object. Upstream's counterparts: generateAPIPodStatus, convertToAPIContainerStatuses, getPhase,
status/generate.go. Reasons and messages are upstream's, since users and tests read them.
"""

from __future__ import annotations

from collections.abc import Sequence

from navarch.api.core import v1
from navarch.kubelet.core import containers, resources
from navarch.kubelet.core.model import ContainerView, Life, Probes, Running, State
from navarch.kubelet.core.work import Resizing
from navarch.machinery import timestamps

RESIZING = "PodResizeInProgress"
OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled", RESIZING)
FINAL = ("Succeeded", "Failed")


def compute(state: State, now: float) -> v1.PodStatus:
    """The pod's status at this moment."""
    pod = state.pod
    held = pod.status or v1.PodStatus()
    previous = state.status or held
    inits, mains, ephemeral = containers.of(pod)
    init_statuses = [_container_status(state, c, True) for c in inits]
    main_statuses = [_container_status(state, c, False) for c in mains]
    ephemeral_statuses = [_container_status(state, c, False) for c in ephemeral]
    if state.failure is not None:
        phase, reason, message = "Failed", state.failure.reason, state.failure.message
    else:
        phase = phase_of(state, init_statuses, main_statuses)
        reason, message = None, None
    for earlier in (previous, held):
        if earlier.phase in FINAL:
            phase = earlier.phase
    if state.failure is None and phase == previous.phase:
        reason, message = previous.reason or held.reason, previous.message or held.message
    ips = _ips(state)
    generation = pod.metadata.generation if pod.metadata else None
    return v1.PodStatus(
        observedGeneration=generation,
        phase=phase,
        reason=reason,
        message=message,
        conditions=_conditions(state, phase, init_statuses, main_statuses, now),
        hostIP=state.node.ips[0] if state.node.ips else None,
        hostIPs=[v1.HostIP(ip=ip) for ip in state.node.ips] or None,
        podIP=ips[0] if ips else None,
        podIPs=[v1.PodIP(ip=ip) for ip in ips] or None,
        startTime=state.start_time,
        qosClass=held.qosClass or resources.qos_class(pod),
        initContainerStatuses=init_statuses or None,
        containerStatuses=main_statuses or None,
        ephemeralContainerStatuses=ephemeral_statuses or None,
        nominatedNodeName=held.nominatedNodeName,
        resourceClaimStatuses=held.resourceClaimStatuses,
        extendedResourceClaimStatus=held.extendedResourceClaimStatus,
    )


def _ips(state: State) -> tuple[str, ...]:
    """The pod's addresses: kept while any sandbox that had them is known, as upstream keeps them on ended pods."""
    if state.pod.spec and state.pod.spec.hostNetwork:
        return state.node.ips if state.sandboxes else ()
    newest = max(state.sandboxes, key=lambda s: (s.attempt, s.created_at), default=None)
    if newest is not None and newest.ips:
        return newest.ips
    if state.life is not Life.SYNCING and state.status and state.status.podIPs:
        return tuple(ip.ip or "" for ip in state.status.podIPs)
    return ()


# ---- containers ----------------------------------------------------------------------------------------------------------------


def _container_status(state: State, container: v1.Container, init: bool) -> v1.ContainerStatus:
    name = container.name or ""
    views = sorted((c for c in state.containers if c.name == name), key=lambda v: (v.attempt, v.created_at), reverse=True)
    known = _known(state, name)
    result = v1.ContainerStatus(
        name=name,
        image=container.image,
        imageID="",
        restartCount=0,
        ready=False,
        started=False,
        volumeMounts=_mounts(container),
        allocatedResources=(container.resources.requests or None) if container.resources else None,
        resources=container.resources,
        state=v1.ContainerState(waiting=v1.ContainerStateWaiting(reason=_default_reason(state))),
        lastState=v1.ContainerState(),
    )
    if known is not None:
        result.restartCount = known.restartCount
        result.lastState = known.lastState or v1.ContainerState()
    if views:
        _fill(result, state, views, known)
    elif known is not None and known.state is not None:
        _fill_from_memory(result, known, state, container, init)
    waiting = state.waiting.get(name)
    if waiting is not None and not (views and views[0].state is Running.RUNNING) and _awaits(state, container, views, init):
        if result.state and result.state.terminated:
            result.lastState = v1.ContainerState(terminated=result.state.terminated)
        result.state = v1.ContainerState(waiting=v1.ContainerStateWaiting(reason=waiting.reason, message=waiting.message or None))
    _readiness(result, state, container, views[0] if views else None, init)
    return result


def _known(state: State, name: str) -> v1.ContainerStatus | None:
    """What the status said of this container before."""
    for status in (state.status, state.pod.status):
        if status is None:
            continue
        groups = (status.containerStatuses, status.initContainerStatuses, status.ephemeralContainerStatuses)
        for group in groups:
            for known in group or ():
                if known.name == name:
                    return known
    return None


def _default_reason(state: State) -> str:
    return "PodInitializing" if state.pod.spec and state.pod.spec.initContainers else "ContainerCreating"


def _awaits(state: State, container: v1.Container, views: Sequence[ContainerView], init: bool) -> bool:
    if init and views and views[0].state is Running.EXITED and views[0].exit_code == 0 and not containers.sidecar(container):
        return False
    return containers.should_run(state.pod, container, views[0] if views else None)


def _fill(result: v1.ContainerStatus, state: State, views: Sequence[ContainerView], known: v1.ContainerStatus | None) -> None:
    view = views[0]
    prefix = f"{state.node.runtime}://"
    result.restartCount = max(view.attempt, (known.restartCount or 0) if known else 0)
    result.image = view.image or result.image
    result.imageID = view.image_ref
    result.containerID = prefix + view.id
    result.state = _state(view, prefix)
    if len(views) > 1:
        result.lastState = _state(views[1], prefix)
    elif known is not None and known.containerID != result.containerID and known.state and known.state.terminated:
        result.lastState = known.state
    if view.resources is not None and view.state is Running.RUNNING:
        result.resources = view.resources
    if view.user is not None:
        uid, gid, groups = view.user
        result.user = v1.ContainerUser(linux=v1.LinuxContainerUser(uid=uid, gid=gid, supplementalGroups=list(groups) or None))


def _state(view: ContainerView, prefix: str) -> v1.ContainerState:
    match view.state:
        case Running.RUNNING:
            return v1.ContainerState(running=v1.ContainerStateRunning(startedAt=timestamps.seconds(view.started_at)))
        case Running.EXITED:
            return v1.ContainerState(
                terminated=v1.ContainerStateTerminated(
                    exitCode=view.exit_code,
                    reason=view.reason or ("Completed" if view.exit_code == 0 else "Error"),
                    message=view.message or None,
                    startedAt=_time(view.started_at),
                    finishedAt=_time(view.finished_at),
                    containerID=prefix + view.id,
                )
            )
        case _:
            return v1.ContainerState(waiting=v1.ContainerStateWaiting())


def _time(seconds: float) -> str | None:
    return timestamps.seconds(seconds) if seconds > 0 else None


def _fill_from_memory(result: v1.ContainerStatus, known: v1.ContainerStatus, state: State, container: v1.Container, init: bool) -> None:
    """A container the runtime knows nothing of, although it once ran: its end is remembered, or made up as upstream does."""
    before = known.state or v1.ContainerState()
    if before.terminated is not None:
        result.state, result.imageID, result.containerID = before, known.imageID or "", known.containerID
        result.lastState = known.lastState or v1.ContainerState()
    elif before.running is not None and not (result.lastState and result.lastState.terminated):
        lost = v1.ContainerStateTerminated(
            exitCode=137,
            reason="ContainerStatusUnknown",
            message="The container could not be located when the pod was deleted.  The container used to be Running",
        )
        result.lastState = v1.ContainerState(terminated=lost)
        if not (state.pod.metadata and state.pod.metadata.deletionTimestamp):
            result.restartCount = (known.restartCount or 0) + 1
    passed = any(v.name in {c.name for c in containers.of(state.pod)[1]} for v in state.containers)
    if init and passed and not containers.sidecar(container) and result.state and result.state.waiting:
        result.state = v1.ContainerState(
            terminated=v1.ContainerStateTerminated(
                exitCode=0,
                reason="Completed",
                message="Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally",
            )
        )


def _mounts(container: v1.Container) -> list[v1.VolumeMountStatus] | None:
    return [
        v1.VolumeMountStatus(
            name=mount.name,
            mountPath=mount.mountPath,
            readOnly=mount.readOnly,
            recursiveReadOnly="Disabled" if mount.readOnly else None,
        )
        for mount in container.volumeMounts or ()
    ] or None


def _readiness(result: v1.ContainerStatus, state: State, container: v1.Container, view: ContainerView | None, init: bool) -> None:
    """Fills `started` and `ready`, from probes where there are any."""
    running = view is not None and view.state is Running.RUNNING and result.state is not None and result.state.running is not None
    if init and not containers.sidecar(container):
        ended = result.state.terminated if result.state else None
        result.ready = ended is not None and ended.exitCode == 0
        result.started = running
        return
    if not running or view is None:
        return
    probes = state.probes.get(view.id, Probes())
    result.started = container.startupProbe is None or probes.startup is True
    result.ready = bool(result.started) and (container.readinessProbe is None or probes.readiness is True)


# ---- phase ---------------------------------------------------------------------------------------------------------------------


def phase_of(state: State, inits: Sequence[v1.ContainerStatus], mains: Sequence[v1.ContainerStatus]) -> str:
    """Pending, Running, Succeeded or Failed."""
    pod = state.pod
    init_specs, main_specs, _ = containers.of(pod)
    pending = False
    running = waiting = stopped = final = succeeded = 0
    started_mains = any(s.state and (s.state.running or s.state.terminated or _ended(s)) for s in mains)
    for spec, status in zip(init_specs, inits, strict=True):
        now, last = status.state or v1.ContainerState(), _ended(status)
        if containers.sidecar(spec):
            running += now.running is not None
            fresh = now.waiting is not None and last is None
            waiting += fresh and not started_mains
            pending = pending or (not started_mains and (fresh or (now.running is not None and not status.started)))
            continue
        ended = now.terminated or (last if now.waiting else None)
        if ended is None:
            pending = True
        elif ended.exitCode and not containers.restarts(pod, spec, ended.exitCode):
            return "Failed"
        elif ended.exitCode:
            pending = True
    for spec, status in zip(main_specs, mains, strict=True):
        now, last = status.state or v1.ContainerState(), _ended(status)
        if now.running is not None:
            running += 1
        elif (ended := now.terminated or last) is not None:
            stopped += 1
            final += not containers.restarts(pod, spec, ended.exitCode or 0)
            succeeded += now.terminated is not None and not now.terminated.exitCode
        else:
            waiting += 1
    if pending or waiting:
        return "Pending"
    if running:
        return "Running"
    if not stopped:
        return "Pending"
    if state.life is Life.TERMINATED or stopped == final:
        return "Succeeded" if stopped == succeeded else "Failed"
    return "Running"


def _ended(status: v1.ContainerStatus) -> v1.ContainerStateTerminated | None:
    return status.lastState.terminated if status.lastState else None


# ---- conditions ----------------------------------------------------------------------------------------------------------------


def _conditions(
    state: State, phase: str, inits: Sequence[v1.ContainerStatus], mains: Sequence[v1.ContainerStatus], now: float
) -> list[v1.PodCondition]:
    pod = state.pod
    foreign = [c for c in (pod.status.conditions if pod.status else None) or () if c.type not in OWN_CONDITIONS]
    own_disruption = [c for c in (state.status.conditions if state.status else None) or () if c.type == "DisruptionTarget"]
    names = {c.type for c in foreign}
    result = [*foreign, *(c for c in own_disruption if c.type not in names)]
    spec = pod.spec or v1.PodSpec()
    sandbox_ready = any(s.ready and (s.ips or spec.hostNetwork) for s in state.sandboxes)
    ready = _containers_ready(pod, phase, inits, mains)
    fresh = [
        ("PodReadyToStartContainers", sandbox_ready, "", ""),
        ("Initialized", *_initialized(pod, phase, inits, mains)),
        ("Ready", *_pod_ready(pod, result, ready)),
        ("ContainersReady", *ready),
        ("PodScheduled", True, "", ""),
    ]
    if any(isinstance(work, Resizing) for work in state.busy):
        fresh.append((RESIZING, True, "", ""))
    held = {c.type: c for c in (*((pod.status.conditions if pod.status else None) or ()), *(_previous(state)))}
    generation = pod.metadata.generation if pod.metadata else None
    for kind, status, reason, message in fresh:
        value = "True" if status else "False"
        before = held.get(kind)
        moment = before.lastTransitionTime if before is not None and before.status == value else timestamps.seconds(now)
        result.append(
            v1.PodCondition(
                type=kind,
                status=value,
                reason=reason or None,
                message=message or None,
                lastTransitionTime=moment,
                observedGeneration=generation,
            )
        )
    return result


def _previous(state: State) -> Sequence[v1.PodCondition]:
    return (state.status.conditions if state.status else None) or ()


Verdict = tuple[bool, str, str]


def _containers_ready(pod: v1.Pod, phase: str, inits: Sequence[v1.ContainerStatus], mains: Sequence[v1.ContainerStatus]) -> Verdict:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    init_specs, _, _ = containers.of(pod)
    watched = [s for c, s in zip(init_specs, inits, strict=True) if containers.sidecar(c)] + list(mains)
    unready = [s.name or "" for s in watched if not s.ready]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def _pod_ready(pod: v1.Pod, conditions: Sequence[v1.PodCondition], ready: Verdict) -> Verdict:
    if not ready[0]:
        return ready
    held = {c.type: c.status for c in conditions}
    problems = []
    for gate in (pod.spec.readinessGates if pod.spec else None) or ():
        value = held.get(gate.conditionType)
        if value is None:
            problems.append(f'corresponding condition of pod readiness gate "{gate.conditionType}" does not exist.')
        elif value != "True":
            problems.append(f'the status of pod readiness gate "{gate.conditionType}" is not "True", but {value}')
    if problems:
        return False, "ReadinessGatesNotReady", ", ".join(problems)
    return True, "", ""


def _initialized(pod: v1.Pod, phase: str, inits: Sequence[v1.ContainerStatus], mains: Sequence[v1.ContainerStatus]) -> Verdict:
    if phase == "Succeeded":
        return True, "PodCompleted", ""
    if any(_was_started(s) for s in mains):
        return True, "", ""
    specs, _, _ = containers.of(pod)
    incomplete = [
        status.name or "" for spec, status in zip(specs, inits, strict=True) if not (status.started if containers.sidecar(spec) else status.ready)
    ]
    if incomplete:
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"
    return True, "", ""


def _was_started(status: v1.ContainerStatus) -> bool:
    if status.started:
        return True
    now = status.state or v1.ContainerState()
    return now.terminated is not None or _ended(status) is not None
