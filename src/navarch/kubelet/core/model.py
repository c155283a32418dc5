"""The values the pod machine works on: what is observed, what happened (events) and what is to be done (actions).

Times are seconds since the epoch (float). Containers are told apart by their runtime id; a container's name is that of the pod
spec. Upstream's counterparts: kubecontainer.PodStatus, podActions, pod_workers' podSyncStatus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from navarch.api.core import v1
from navarch.kubelet.core.backoff import Entry
from navarch.kubelet.core.work import Work


class Running(StrEnum):
    """The state of a container as the runtime tells it."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


ORDER = {Running.CREATED: 0, Running.RUNNING: 1, Running.UNKNOWN: 1, Running.EXITED: 2}
"""Containers only go forward; a lower state seen after a higher one is old news."""


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container of the runtime. `hash` is that of the spec it was made from; `started_at` 0 when it never ran."""

    id: str
    name: str
    sandbox_id: str
    attempt: int
    state: Running
    created_at: float
    hash: str
    image: str = ""
    image_ref: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    user: tuple[int, int, tuple[int, ...]] | None = None
    resources: v1.ResourceRequirements | None = None
    """What the cgroup really has, once it was read or changed; None means: as the spec says."""


@dataclass(frozen=True, slots=True)
class SandboxView:
    """One sandbox of the runtime."""

    id: str
    attempt: int
    ready: bool
    created_at: float
    ips: tuple[str, ...] = ()
    stopped: bool = False
    """Whether it was stopped by us. One that died by itself holds its addresses until it is."""


@dataclass(frozen=True, slots=True)
class Probes:
    """What probes found about one container; None is "not known yet"."""

    startup: bool | None = None
    liveness: bool | None = None
    readiness: bool | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run."""

    reason: str
    message: str = ""


class Life(StrEnum):
    """Where a pod is on its way. Transitions only go down this list."""

    SYNCING = "syncing"
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    GONE = "gone"


class Volumes(StrEnum):
    """Where a pod's volumes are."""

    NONE = "none"
    MOUNTED = "mounted"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the whole pod fails, when something other than its containers decides so."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What of the node shows in a pod's status."""

    name: str
    ips: tuple[str, ...]
    runtime: str = "containerd"
    crash_first: float = 10.0
    crash_most: float = 300.0


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of one pod. Only `machine.step` makes new ones."""

    pod: v1.Pod
    node: NodeFacts
    life: Life = Life.SYNCING
    volumes: Volumes = Volumes.NONE
    sandboxes: tuple[SandboxView, ...] = ()
    containers: tuple[ContainerView, ...] = ()
    busy: frozenset[Work] = frozenset()
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    backoff: Mapping[Work, Entry] = field(default_factory=dict)
    probes: Mapping[str, Probes] = field(default_factory=dict)
    probing: frozenset[tuple[str, str]] = frozenset()
    """Which probes run: container id and kind."""
    found: frozenset[str] = frozenset()
    """Containers that ran already when the kubelet started: their probes need not wait, nor all come at once."""
    cancelled: bool = False
    """A start under way was told to give up."""
    graces: Mapping[str, int] = field(default_factory=dict)
    """Grace periods of the kills under way, by container id."""
    failure: Failure | None = None
    kill_grace: int | None = None
    """Overrides every container's grace period (eviction, a pod removed by force)."""
    deleted: bool = False
    """The API server no longer has the pod: nothing is published any more."""
    done: bool = False
    """All main containers have ended for good."""
    status: v1.PodStatus | None = None
    start_time: str | None = None
    ending_since: float = 0.0
    """When the pod began to terminate."""
    retry_at: Mapping[Work, float] = field(default_factory=dict)


# ---- events: what happened -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PodChanged:
    """The pod object is new or has changed."""

    pod: v1.Pod


@dataclass(frozen=True, slots=True)
class PodRemoved:
    """The pod object is gone from its source."""


@dataclass(frozen=True, slots=True)
class RuntimeSeen:
    """A complete look at the pod's sandboxes and containers that began at `since`."""

    sandboxes: tuple[SandboxView, ...]
    containers: tuple[ContainerView, ...]
    since: float


@dataclass(frozen=True, slots=True)
class RuntimeFound:
    """What ran already when the kubelet started: the first look at a pod it knows from its source."""

    seen: RuntimeSeen


@dataclass(frozen=True, slots=True)
class VolumesMounted:
    """Everything the pod mounts is there."""


@dataclass(frozen=True, slots=True)
class VolumesFailed:
    """Some volume could not be made; `messages` by volume name, each for one event."""

    messages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class VolumesRemoved:
    """Nothing of the pod's volumes is left."""


@dataclass(frozen=True, slots=True)
class VolumesRemoveFailed:
    """Something of the pod's volumes could not be taken away."""

    message: str


@dataclass(frozen=True, slots=True)
class SandboxMade:
    """A sandbox is ready."""

    sandbox: SandboxView


@dataclass(frozen=True, slots=True)
class SandboxFailed:
    """No sandbox could be made."""

    message: str


@dataclass(frozen=True, slots=True)
class SandboxStopped:
    """A sandbox has no process and no network any more."""

    id: str


@dataclass(frozen=True, slots=True)
class ContainerStarted:
    """A container was created and started (its postStart hook may still run: `ContainerSettled` follows)."""

    container: ContainerView


@dataclass(frozen=True, slots=True)
class ContainerSettled:
    """Starting a container is over, its postStart hook included; the next one may start."""

    name: str


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A container could not be started. `reason` is upstream's (ErrImagePull, CreateContainerConfigError...).

    `container` is what the attempt left behind in the runtime, if anything; `event` is what to record for people to read.
    """

    name: str
    reason: str
    message: str
    container: ContainerView | None = None


@dataclass(frozen=True, slots=True)
class ContainerExited:
    """A container has ended; `container` holds how."""

    container: ContainerView


@dataclass(frozen=True, slots=True)
class KillFailed:
    """A container could not be stopped."""

    id: str
    message: str


@dataclass(frozen=True, slots=True)
class SandboxStopFailed:
    """A sandbox could not be stopped."""

    id: str
    message: str


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe's verdict on a container has changed. `kind` is startup, liveness or readiness."""

    id: str
    kind: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Resized:
    """A running container's cgroup has these values now."""

    id: str
    resources: v1.ResourceRequirements


@dataclass(frozen=True, slots=True)
class Failed:
    """The pod must end: rejected, evicted. `grace` overrides the containers' own."""

    failure: Failure
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


Event = (
    PodChanged
    | PodRemoved
    | RuntimeSeen
    | RuntimeFound
    | VolumesMounted
    | VolumesFailed
    | VolumesRemoved
    | VolumesRemoveFailed
    | SandboxMade
    | SandboxFailed
    | SandboxStopped
    | ContainerStarted
    | ContainerSettled
    | StartFailed
    | ContainerExited
    | KillFailed
    | SandboxStopFailed
    | Probed
    | Resized
    | Failed
    | Ticked
)


# ---- actions: what to do -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MountVolumes:
    """Make every volume the pod needs."""


@dataclass(frozen=True, slots=True)
class RemoveVolumes:
    """Take the pod's volumes away."""


@dataclass(frozen=True, slots=True)
class MakeSandbox:
    attempt: int


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Image, create, start, postStart hook: of one container of the spec, in this sandbox."""

    name: str
    attempt: int
    sandbox: SandboxView


@dataclass(frozen=True, slots=True)
class CancelStart:
    """Give up pulling an image or waiting for a postStart hook: the pod ends. Never half of a creation."""


@dataclass(frozen=True, slots=True)
class StartProbe:
    """Probe a running container until `StopProbe`. `found`: it ran before the kubelet did."""

    id: str
    name: str
    kind: str
    found: bool


@dataclass(frozen=True, slots=True)
class StopProbe:
    id: str
    kind: str


@dataclass(frozen=True, slots=True)
class KillContainer:
    """preStop hook, stop signal, after `grace` seconds KILL. `message` is the Killing event."""

    id: str
    name: str
    grace: int
    message: str
    hook: bool = True


@dataclass(frozen=True, slots=True)
class StopSandbox:
    id: str


@dataclass(frozen=True, slots=True)
class ResizeContainer:
    """Give a running container's cgroup the values of the spec."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell the API server the pod's status."""

    status: v1.PodStatus


@dataclass(frozen=True, slots=True)
class Record:
    """Write an event about the pod, or about one of its containers (`container` is its name)."""

    type: str
    reason: str
    message: str
    container: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """Everything has ended and been published: the API object may go."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing is left to do for this pod, here or in the API."""


Action = (
    MountVolumes
    | RemoveVolumes
    | MakeSandbox
    | StartContainer
    | CancelStart
    | StartProbe
    | StopProbe
    | KillContainer
    | StopSandbox
    | ResizeContainer
    | Publish
    | Record
    | Finish
    | Forget
)


@dataclass(frozen=True, slots=True)
class Step:
    """The answer of the machine. `wake_at` is when to send `Ticked` at the latest, None for never."""

    state: State
    actions: tuple[Action, ...]
    wake_at: float | None
