"""The pod machine, driven by a scripted runtime: every action is answered with what a healthy node would say."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.kubelet.core import containers, machine
from navarch.kubelet.core.model import (
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
    Life,
    MakeSandbox,
    MountVolumes,
    NodeFacts,
    PodChanged,
    PodRemoved,
    Probed,
    Publish,
    Record,
    RemoveVolumes,
    Running,
    RuntimeFound,
    RuntimeSeen,
    SandboxMade,
    SandboxStopFailed,
    SandboxStopped,
    SandboxView,
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
from navarch.kubelet.core.work import Starting

NODE = NodeFacts("node-1", ("10.0.0.1",))
T0 = 1_800_000_000.0


def make_pod(
    mains: Iterable[v1.Container] = (),
    inits: Iterable[v1.Container] = (),
    policy: str = "Always",
    **spec: object,
) -> v1.Pod:
    meta = meta_v1.ObjectMeta(name="web", namespace="default", uid="u1", generation=1)
    chosen = list(mains) or [v1.Container(name="main", image="app:1")]
    body = v1.PodSpec(containers=chosen, initContainers=list(inits) or None, restartPolicy=policy, **spec)  # type: ignore[arg-type]
    return v1.Pod(metadata=meta, spec=body)


def deleted(pod: v1.Pod, grace: int = 5) -> v1.Pod:
    assert pod.metadata is not None
    meta = dataclasses_copy(pod.metadata)
    meta.deletionTimestamp, meta.deletionGracePeriodSeconds = "2027-01-15T08:00:00Z", grace
    return v1.Pod(metadata=meta, spec=pod.spec, status=pod.status)


def dataclasses_copy(meta: meta_v1.ObjectMeta) -> meta_v1.ObjectMeta:
    return meta_v1.ObjectMeta(**{name: getattr(meta, name) for name in meta.__struct_fields__})


class Node:
    """Answers actions the way a healthy node does; keeps all that was done."""

    def __init__(self, pod: v1.Pod, start: Callable[[StartContainer], Event | None] | None = None) -> None:
        self.state: State = machine.begin(pod, NODE)
        self.now = T0
        self.log: list[Action] = []
        self.wake_at: float | None = None
        self._start = start
        self._ids = itertools.count(1)
        self.feed(PodChanged(pod))

    def feed(self, event: Event) -> None:
        queue: list[Event] = [event]
        while queue:
            step = machine.step(self.state, queue.pop(0), self.now)
            self.state, self.wake_at = step.state, step.wake_at
            for action in step.actions:
                self.log.append(action)
                queue.extend(self.answer(action))

    def answer(self, action: Action) -> list[Event]:
        match action:
            case MountVolumes():
                return [VolumesMounted()]
            case MakeSandbox(attempt):
                return [SandboxMade(SandboxView(f"box{attempt}", attempt, True, self.now, ("10.1.0.5",)))]
            case StartContainer(name, attempt, sandbox):
                scripted = self._start(action) if self._start else None
                if scripted is not None:
                    return [scripted]
                spec = containers.find(self.state.pod, name)
                assert spec is not None
                view = ContainerView(
                    id=f"c{next(self._ids)}", name=name, sandbox_id=sandbox.id, attempt=attempt, state=Running.RUNNING,
                    created_at=self.now, started_at=self.now, hash=containers.fingerprint(spec), image=spec.image or "",
                )  # fmt: skip
                return [ContainerStarted(view), ContainerSettled(name)]
            case KillContainer(id):
                return [ContainerExited(self.ended(id, 137))]
            case StopSandbox(id):
                return [SandboxStopped(id)]
            case RemoveVolumes():
                return [VolumesRemoved()]
        return []

    def view(self, name: str) -> ContainerView:
        found = containers.latest(self.state.containers, name)
        assert found is not None
        return found

    def ended(self, container_id: str, code: int) -> ContainerView:
        view = next(c for c in self.state.containers if c.id == container_id)
        return dataclasses.replace(view, state=Running.EXITED, exit_code=code, finished_at=self.now, reason="Completed" if code == 0 else "Error")

    def exit(self, name: str, code: int) -> None:
        self.feed(ContainerExited(self.ended(self.view(name).id, code)))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.feed(Ticked())

    @property
    def status(self) -> v1.PodStatus:
        assert self.state.status is not None
        return self.state.status

    def did(self, kind: type) -> list[Action]:
        return [action for action in self.log if isinstance(action, kind)]

    def reasons(self) -> list[str]:
        return [action.reason for action in self.log if isinstance(action, Record)]

    def container(self, name: str) -> v1.ContainerStatus:
        groups = (self.status.containerStatuses, self.status.initContainerStatuses, self.status.ephemeralContainerStatuses)
        return next(c for group in groups for c in group or () if c.name == name)


def condition(status: v1.PodStatus, kind: str) -> v1.PodCondition:
    return next(c for c in status.conditions or () if c.type == kind)


def test_a_pod_comes_up() -> None:
    node = Node(make_pod())
    kinds = [type(a) for a in node.log if not isinstance(a, Publish | Record)]
    assert kinds == [MountVolumes, MakeSandbox, StartContainer]
    assert node.status.phase == "Running"
    assert node.status.podIP == "10.1.0.5"
    assert node.status.hostIP == "10.0.0.1"
    assert node.status.qosClass == "BestEffort"
    assert node.status.observedGeneration == 1
    for kind in ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled"):
        assert condition(node.status, kind).status == "True", kind
    assert node.container("main").ready is True


def test_first_status_says_that_containers_are_being_created() -> None:
    node = Node(make_pod())
    first = next(a for a in node.log if isinstance(a, Publish)).status
    assert first.phase == "Pending"
    assert first.startTime == "2027-01-15T08:00:00Z"
    states = first.containerStatuses or []
    assert states[0].state and states[0].state.waiting and states[0].state.waiting.reason == "ContainerCreating"
    assert condition(first, "Ready").message == "containers with unready status: [main]"


def test_init_containers_run_one_after_the_other() -> None:
    node = Node(make_pod(inits=[v1.Container(name="a", image="i"), v1.Container(name="b", image="i")]))
    assert [a.name for a in node.did(StartContainer) if isinstance(a, StartContainer)] == ["a"]
    assert node.status.phase == "Pending"
    assert condition(node.status, "Initialized").message == "containers with incomplete status: [a b]"
    waiting = node.container("main").state
    assert waiting and waiting.waiting and waiting.waiting.reason == "PodInitializing"
    node.exit("a", 0)
    node.exit("b", 0)
    assert [a.name for a in node.log if isinstance(a, StartContainer)] == ["a", "b", "main"]
    assert condition(node.status, "Initialized").status == "True"
    assert node.status.phase == "Running"


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    node = Node(make_pod(inits=[v1.Container(name="a", image="i")], policy="Never"))
    node.exit("a", 3)
    assert node.status.phase == "Failed"
    assert node.state.life is Life.TERMINATED
    assert [a.name for a in node.log if isinstance(a, StartContainer)] == ["a"]


def test_a_failed_init_container_is_tried_again_with_back_off() -> None:
    node = Node(make_pod(inits=[v1.Container(name="a", image="i")]))
    node.exit("a", 3)
    node.exit("a", 3)
    waiting = node.container("a").state
    assert waiting and waiting.waiting and waiting.waiting.reason == "CrashLoopBackOff"
    assert node.status.phase == "Pending"
    node.tick(10.1)
    assert node.view("a").attempt == 2


def test_sidecars_start_before_and_end_after_the_main_containers() -> None:
    sidecar = v1.Container(name="side", image="i", restartPolicy="Always")
    node = Node(make_pod(inits=[sidecar], policy="Never"))
    assert [a.name for a in node.log if isinstance(a, StartContainer)] == ["side", "main"]
    assert node.status.phase == "Running"
    node.exit("main", 0)
    assert node.status.phase == "Succeeded"
    kills = [a.name for a in node.log if isinstance(a, KillContainer)]
    assert kills == ["side"]


def test_a_sidecar_with_a_startup_probe_holds_back_the_next() -> None:
    sidecar = v1.Container(name="side", image="i", restartPolicy="Always", startupProbe=v1.Probe(periodSeconds=1))
    node = Node(make_pod(inits=[sidecar]))
    assert [a.name for a in node.log if isinstance(a, StartContainer)] == ["side"]
    node.feed(Probed(node.view("side").id, "startup", True))
    assert [a.name for a in node.log if isinstance(a, StartContainer)] == ["side", "main"]


def test_crash_loop_doubles_and_tells() -> None:
    node = Node(make_pod())
    delays = []
    node.exit("main", 1)
    assert node.view("main").attempt == 1, "the first restart is at once"
    for _ in range(7):
        node.exit("main", 1)
        state = node.container("main").state
        assert state and state.waiting and state.waiting.reason == "CrashLoopBackOff"
        assert node.wake_at is not None
        delays.append(round(node.wake_at - node.now))
        node.tick(node.wake_at - node.now + 0.01)
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    assert node.container("main").restartCount == 8
    assert node.reasons().count("BackOff") == 7
    last = node.container("main").lastState
    assert last and last.terminated and last.terminated.exitCode == 1


def test_crash_loop_message_is_upstreams() -> None:
    node = Node(make_pod())
    for _ in range(3):
        node.exit("main", 1)
        if node.wake_at:
            pass
    state = node.container("main").state
    assert state and state.waiting
    assert state.waiting.message == "back-off 10s restarting failed container=main pod=web_default(u1)"
    records = [a for a in node.log if isinstance(a, Record) and a.reason == "BackOff"]
    assert records[0].message == "Back-off restarting failed container main in pod web_default(u1)"


def test_policies_decide_what_runs_again() -> None:
    for policy, code, again, phase in (
        ("Always", 0, True, "Running"),
        ("OnFailure", 0, False, "Succeeded"),
        ("OnFailure", 1, True, "Running"),
        ("Never", 0, False, "Succeeded"),
        ("Never", 1, False, "Failed"),
    ):
        node = Node(make_pod(policy=policy))
        node.exit("main", code)
        starts = len(node.did(StartContainer))
        assert (starts == 2) is again, (policy, code)
        assert node.status.phase == phase, (policy, code)


def test_rules_of_a_container_override_the_policy() -> None:
    rule = v1.ContainerRestartRule(action="Restart", exitCodes=v1.ContainerRestartRuleOnExitCodes(operator="In", values=[42]))
    spec = v1.Container(name="main", image="i", restartPolicy="Never", restartPolicyRules=[rule])
    node = Node(make_pod([spec], policy="Never"))
    node.exit("main", 42)
    assert node.view("main").attempt == 1
    node.exit("main", 1)
    assert node.status.phase == "Failed"


def test_a_finished_pod_is_ready_no_more() -> None:
    node = Node(make_pod(policy="Never"))
    node.exit("main", 0)
    assert condition(node.status, "Ready").status == "False"
    assert condition(node.status, "Ready").reason == "PodCompleted"
    assert condition(node.status, "Initialized").reason == "PodCompleted"
    ended = node.container("main").state
    assert ended and ended.terminated and ended.terminated.reason == "Completed"


def test_liveness_kills_and_restarts() -> None:
    spec = v1.Container(name="main", image="i", livenessProbe=v1.Probe(terminationGracePeriodSeconds=7))
    node = Node(make_pod([spec]))
    node.feed(Probed(node.view("main").id, "liveness", False))
    kill = next(a for a in node.log if isinstance(a, KillContainer))
    assert kill.message == "Container main failed liveness probe, will be restarted"
    assert kill.grace == 7
    assert node.view("main").attempt == 1
    assert node.view("main").state is Running.RUNNING


def test_readiness_follows_its_probe() -> None:
    spec = v1.Container(name="main", image="i", readinessProbe=v1.Probe())
    node = Node(make_pod([spec]))
    assert node.container("main").ready is False
    assert condition(node.status, "Ready").reason == "ContainersNotReady"
    node.feed(Probed(node.view("main").id, "readiness", True))
    assert condition(node.status, "Ready").status == "True"
    node.feed(Probed(node.view("main").id, "readiness", False))
    assert condition(node.status, "Ready").status == "False"


def test_readiness_gates_hold_the_pod_unready() -> None:
    pod = make_pod(readinessGates=[v1.PodReadinessGate(conditionType="x/y")])
    node = Node(pod)
    ready = condition(node.status, "Ready")
    assert ready.reason == "ReadinessGatesNotReady"
    assert ready.message == 'corresponding condition of pod readiness gate "x/y" does not exist.'
    pod.status = v1.PodStatus(conditions=[v1.PodCondition(type="x/y", status="True")])
    node.feed(PodChanged(pod))
    assert condition(node.status, "Ready").status == "True"
    assert condition(node.status, "x/y").status == "True"


def test_deletion_goes_down_in_order_and_finishes_once() -> None:
    pod = make_pod([v1.Container(name="a", image="i"), v1.Container(name="b", image="i")])
    node = Node(pod)
    node.log.clear()
    node.feed(PodChanged(deleted(pod)))
    kinds = [type(a) for a in node.log if not isinstance(a, Record)]
    assert kinds[:2] == [KillContainer, KillContainer]
    assert kinds.index(StopSandbox) < kinds.index(RemoveVolumes) < kinds.index(Finish)
    assert kinds.index(Finish) == len(kinds) - 1
    assert all(a.grace == 5 for a in node.log if isinstance(a, KillContainer))
    node.feed(Ticked())
    assert len(node.did(Finish)) == 1
    node.feed(PodRemoved())
    assert isinstance(node.log[-1], Forget)
    assert node.state.life is Life.GONE


def test_a_pod_deleted_before_anything_ran() -> None:
    node = Node(deleted(make_pod()))
    assert not node.did(StartContainer)
    assert len(node.did(Finish)) == 1


def test_a_shorter_grace_period_is_told_to_the_runtime() -> None:
    pod = make_pod()

    class Stubborn(Node):
        def answer(self, action: Action) -> list[Event]:
            return [] if isinstance(action, KillContainer) else super().answer(action)

    node = Stubborn(pod)
    node.feed(PodChanged(deleted(pod, 30)))
    node.feed(Ticked())
    node.feed(PodChanged(deleted(pod, 1)))
    assert [a.grace for a in node.log if isinstance(a, KillContainer)] == [30, 1]
    assert [a.hook for a in node.log if isinstance(a, KillContainer)] == [True, False]


def test_active_deadline_fails_the_pod() -> None:
    node = Node(make_pod(activeDeadlineSeconds=30))
    assert node.wake_at == T0 + 30
    node.tick(30)
    assert node.status.phase == "Failed"
    assert node.status.reason == "DeadlineExceeded"
    assert node.status.message == "Pod was active on the node longer than the specified deadline"
    assert node.did(StopSandbox)


def test_a_rejected_pod_starts_nothing() -> None:
    node = object.__new__(Node)
    node.state, node.now, node.log, node._start, node._ids = machine.begin(make_pod(), NODE), T0, [], None, itertools.count()
    node.feed(Failed(Failure("NodePorts", "Pod was rejected: no")))
    assert node.status.phase == "Failed"
    assert node.status.reason == "NodePorts"
    assert not node.did(MakeSandbox)


def test_image_pulls_back_off() -> None:
    failing = StartFailed("main", "ErrImagePull", "no such image")
    node = Node(make_pod(), start=lambda action: failing)
    state = node.container("main").state
    assert state and state.waiting and state.waiting.reason == "ErrImagePull"
    node.tick(2.1)
    state = node.container("main").state
    assert state and state.waiting and state.waiting.reason == "ImagePullBackOff"
    assert state.waiting.message == 'Back-off pulling image "app:1": ErrImagePull: no such image'
    assert node.wake_at is not None
    node.tick(node.wake_at - node.now + 0.01)
    assert len(node.did(StartContainer)) == 2
    assert node.status.phase == "Pending"


def test_config_errors_are_tried_again_soon_and_at_once_after_a_change() -> None:
    broken = [True]
    node = Node(make_pod(), start=lambda a: StartFailed("main", "CreateContainerConfigError", "no") if broken[0] else None)
    state = node.container("main").state
    assert state and state.waiting and state.waiting.reason == "CreateContainerConfigError"
    broken[0] = False
    fixed = make_pod()
    assert fixed.metadata
    fixed.metadata.annotations = {"path": "x"}
    node.feed(PodChanged(fixed))
    assert node.status.phase == "Running"


def test_volumes_that_cannot_be_made_are_told_and_tried_again() -> None:
    class NoVolumes(Node):
        def answer(self, action: Action) -> list[Event]:
            if isinstance(action, MountVolumes) and len(self.did(MountVolumes)) < 3:
                return [VolumesFailed({"conf": 'configmap "x" not found'})]
            return super().answer(action)

    node = NoVolumes(make_pod())
    records = [a for a in node.log if isinstance(a, Record)]
    assert records[0].message == 'MountVolume.SetUp failed for volume "conf" : configmap "x" not found'
    assert condition(node.status, "PodReadyToStartContainers").status == "False"
    for _ in range(3):
        if node.wake_at is not None:
            node.tick(node.wake_at - node.now + 0.01)
    assert node.status.phase == "Running"


def test_a_lost_sandbox_is_replaced_and_everything_restarts() -> None:
    node = Node(make_pod(inits=[v1.Container(name="a", image="i")]))
    node.exit("a", 0)
    main = node.view("main")
    node.now += 60
    gone = tuple(dataclasses.replace(s, ready=False) for s in node.state.sandboxes)
    dead = dataclasses.replace(main, state=Running.EXITED, exit_code=255, finished_at=node.now)
    init = next(c for c in node.state.containers if c.name == "a")
    node.feed(RuntimeSeen(gone, (init, dead), node.now))
    assert "SandboxChanged" in node.reasons()
    assert [a.attempt for a in node.log if isinstance(a, MakeSandbox)] == [0, 1]
    assert [a.name for a in node.log if isinstance(a, StartContainer)] == ["a", "main", "a"]
    node.exit("a", 0)
    assert node.status.phase == "Running"
    assert node.container("main").restartCount == 1


def test_a_sandbox_that_died_is_stopped_before_there_is_another() -> None:
    """It holds the pod's address until then."""
    node = Node(make_pod())
    node.now += 60
    dead = dataclasses.replace(node.state.sandboxes[0], ready=False)
    node.feed(RuntimeSeen((dead,), (node.ended(node.view("main").id, 137),), node.now))
    stopped_then_made = [type(a) for a in node.log if isinstance(a, MakeSandbox | StopSandbox)]
    assert stopped_then_made == [MakeSandbox, StopSandbox, MakeSandbox]
    assert [a.id for a in node.log if isinstance(a, StopSandbox)] == ["box0"]
    node.tick(60)
    node.feed(PodChanged(deleted(make_pod())))
    assert [a.id for a in node.log if isinstance(a, StopSandbox)] == ["box0", "box1"], "each once"


@pytest.mark.parametrize(("policy", "phase", "boxes"), [("Always", "Running", 2), ("OnFailure", "Running", 2), ("Never", "Succeeded", 1)])
def test_a_pod_whose_sandbox_died_alone_runs_anew_by_its_policy(policy: str, phase: str, boxes: int) -> None:
    """Its containers still run by then, and end well when they are asked to: that is no success of theirs."""
    node = Node(make_pod(policy=policy))
    node.now += 60
    dead = dataclasses.replace(node.state.sandboxes[0], ready=False)
    answer = node.answer

    def politely(action: Action) -> list[Event]:
        return [ContainerExited(node.ended(action.id, 0))] if isinstance(action, KillContainer) else answer(action)

    node.answer = politely  # type: ignore[method-assign]
    node.feed(RuntimeSeen((dead,), node.state.containers, node.now))
    node.tick(30)
    assert [type(a) for a in node.log if isinstance(a, MakeSandbox)] == [MakeSandbox] * boxes
    assert node.status.phase == phase
    assert "Succeeded" not in [a.status.phase for a in node.log if isinstance(a, Publish)] or policy == "Never"


def test_a_sandbox_that_cannot_be_stopped_is_tried_again_first() -> None:
    node = Node(make_pod())
    node.now += 60
    dead = dataclasses.replace(node.state.sandboxes[0], ready=False)
    step = machine.step(node.state, RuntimeSeen((dead,), (node.ended(node.view("main").id, 137),), node.now), node.now)
    assert [a for a in step.actions if isinstance(a, MakeSandbox | StopSandbox)] == [StopSandbox("box0")]
    failed = machine.step(step.state, SandboxStopFailed("box0", "busy"), node.now)
    assert not [a for a in failed.actions if isinstance(a, MakeSandbox | StopSandbox)]
    assert failed.wake_at is not None
    again = machine.step(failed.state, Ticked(), failed.wake_at)
    assert [a for a in again.actions if isinstance(a, MakeSandbox | StopSandbox)] == [StopSandbox("box0")]


def test_old_sandboxes_a_restarted_kubelet_finds_are_stopped_beside_the_living_one() -> None:
    first = Node(make_pod())
    old = SandboxView("old", 0, False, T0 - 60)
    box = dataclasses.replace(first.state.sandboxes[0], attempt=1)
    again = object.__new__(Node)
    again.state, again.now, again.log, again._start, again._ids = machine.begin(make_pod(), NODE), T0 + 99, [], None, itertools.count(50)
    again.feed(RuntimeSeen((old, box), first.state.containers, T0 + 99))
    again.feed(PodChanged(make_pod()))
    assert [a for a in again.log if isinstance(a, MakeSandbox | StartContainer | KillContainer | StopSandbox)] == [StopSandbox("old")]
    assert again.status.podIP == "10.1.0.5"


def test_the_sandbox_of_an_ended_pod_is_stopped_though_it_died() -> None:
    node = Node(make_pod(policy="Never"))
    dead = dataclasses.replace(node.state.sandboxes[0], ready=False)
    node.now += 60
    node.feed(RuntimeSeen((dead,), (node.ended(node.view("main").id, 0),), node.now))
    assert node.status.phase == "Succeeded"
    assert [a.id for a in node.log if isinstance(a, StopSandbox)] == ["box0"]


def test_a_restarted_kubelet_touches_nothing_that_runs() -> None:
    first = Node(make_pod())
    again = object.__new__(Node)
    pod = make_pod()
    pod.status = first.status
    again.state, again.now, again.log, again._start, again._ids = machine.begin(pod, NODE), T0 + 99, [], None, itertools.count(50)
    again.feed(RuntimeSeen(first.state.sandboxes, first.state.containers, T0 + 99))
    again.feed(PodChanged(pod))
    assert not [a for a in again.log if isinstance(a, MakeSandbox | StartContainer | KillContainer | StopSandbox)]
    assert again.status.phase == "Running"
    assert again.status.startTime == first.status.startTime
    assert condition(again.status, "Ready") == condition(first.status, "Ready")


def test_old_news_does_not_undo_what_is_known() -> None:
    node = Node(make_pod(policy="Never"))
    before = node.view("main")
    node.exit("main", 0)
    node.feed(RuntimeSeen(node.state.sandboxes, (before,), node.now + 10))
    assert node.view("main").state is Running.EXITED


def test_a_container_that_vanished_counts_as_ended() -> None:
    node = Node(make_pod(policy="Never"))
    node.feed(RuntimeSeen(node.state.sandboxes, (), node.now + 10))
    ended = node.container("main").state
    assert ended and ended.terminated and ended.terminated.reason == "ContainerStatusUnknown"
    assert ended.terminated.exitCode == 137
    assert node.status.phase == "Failed"


def test_ephemeral_containers_start_and_never_restart() -> None:
    pod = make_pod()
    node = Node(pod)
    assert pod.spec
    spec = v1.PodSpec(**{n: getattr(pod.spec, n) for n in pod.spec.__struct_fields__})
    spec.ephemeralContainers = [v1.EphemeralContainer(name="debug", image="i")]
    node.feed(PodChanged(v1.Pod(metadata=pod.metadata, spec=spec)))
    node.exit("debug", 1)
    assert [a.name for a in node.log if isinstance(a, StartContainer)] == ["main", "debug"]
    assert node.status.phase == "Running"
    ended = node.container("debug").state
    assert ended and ended.terminated and ended.terminated.exitCode == 1


def test_a_changed_image_restarts_the_container() -> None:
    node = Node(make_pod(policy="Never"))
    node.feed(PodChanged(make_pod([v1.Container(name="main", image="app:2")], policy="Never")))
    kill = next(a for a in node.log if isinstance(a, KillContainer))
    assert kill.message == "Container main definition changed, will be restarted"
    assert node.view("main").state is Running.RUNNING
    assert node.view("main").image == "app:2"


@settings(max_examples=150, deadline=None)
@given(
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    script=st.lists(st.tuples(st.sampled_from(["exit", "tick", "probe", "look", "change"]), st.integers(0, 2), st.integers(0, 40)), max_size=25),
)
def test_whatever_happens_a_deleted_pod_ends_and_phases_never_go_back(policy: str, script: list[tuple[str, int, int]]) -> None:
    inits = [v1.Container(name="i0", image="i"), v1.Container(name="s0", image="i", restartPolicy="Always")]
    pod = make_pod([v1.Container(name="m0", image="i"), v1.Container(name="m1", image="i")], inits, policy)
    node = Node(pod)
    for what, which, amount in script:
        running = [c for c in node.state.containers if c.state is Running.RUNNING]
        if what == "exit" and running:
            chosen = running[which % len(running)]
            node.feed(ContainerExited(node.ended(chosen.id, which)))
        elif what == "probe" and running:
            node.feed(Probed(running[which % len(running)].id, "readiness", amount % 2 == 0))
        elif what == "look":
            node.feed(RuntimeSeen(node.state.sandboxes, node.state.containers, node.now))
        elif what == "change":
            node.feed(PodChanged(pod))
        else:
            node.tick(float(amount))
        by_name = [c.name for c in node.state.containers if c.state is Running.RUNNING]
        assert len(by_name) == len(set(by_name)), "never two of one container at once"
    phases = [a.status.phase for a in node.log if isinstance(a, Publish)]
    ends = [index for index, phase in enumerate(phases) if phase in ("Succeeded", "Failed")]
    assert not ends or set(phases[ends[0] :]) == {phases[ends[0]]}
    node.feed(PodChanged(deleted(pod)))
    assert len(node.did(Finish)) == 1
    assert not [c for c in node.state.containers if c.state is Running.RUNNING]
    node.feed(PodRemoved())
    assert node.state.life is Life.GONE


def probed(name: str = "main") -> v1.Container:
    probe = v1.Probe(tcpSocket=v1.TCPSocketAction(port=80))
    return v1.Container(name=name, image="app:1", readinessProbe=probe, livenessProbe=probe)


def test_probes_run_while_their_container_does_and_a_pod_that_ends_is_only_asked_whether_it_is_ready() -> None:
    pod = make_pod([probed()])
    node = Node(pod)
    first = node.view("main").id
    assert node.did(StartProbe) == [StartProbe(first, "main", "liveness", False), StartProbe(first, "main", "readiness", False)]
    node.exit("main", 1)
    assert node.did(StopProbe) == [StopProbe(first, "liveness"), StopProbe(first, "readiness")]
    second = node.view("main").id
    assert second != first
    assert [a.id for a in node.did(StartProbe) if isinstance(a, StartProbe)] == [first, first, second, second]
    node.log.clear()
    slow = dataclasses.replace(node.state)
    step = machine.step(slow, PodChanged(deleted(pod)), node.now)
    assert [a for a in step.actions if isinstance(a, StopProbe)] == [StopProbe(second, "liveness")]
    node.feed(PodChanged(deleted(pod)))
    assert node.state.probing == frozenset()


def test_what_ran_before_the_kubelet_stays_ready_until_a_probe_says_otherwise() -> None:
    pod = make_pod([probed()])
    before = Node(pod)
    before.feed(Probed(before.view("main").id, "readiness", True))
    held = v1.Pod(metadata=pod.metadata, spec=pod.spec, status=before.status)
    state = machine.begin(held, NODE)
    step = machine.step(state, RuntimeFound(RuntimeSeen(before.state.sandboxes, before.state.containers, T0 + 60)), T0 + 60)
    main = before.view("main").id
    assert step.state.probes[main].readiness is True
    assert all(a.found for a in step.actions if isinstance(a, StartProbe)) and any(isinstance(a, StartProbe) for a in step.actions)
    assert step.state.status is not None
    assert condition(step.state.status, "Ready").status == "True"


def test_a_start_is_given_up_once_when_the_pod_ends() -> None:
    pod = make_pod()
    node = Node(pod, start=lambda action: Ticked())  # pulling: no answer yet
    assert any(isinstance(w, Starting) for w in node.state.busy)
    node.feed(PodChanged(deleted(pod)))
    node.tick(1.0)
    assert len(node.did(CancelStart)) == 1
    assert not node.did(Finish), "the start is still under way"
    node.feed(ContainerSettled("main"))
    assert len(node.did(Finish)) == 1


def test_volumes_that_cannot_be_removed_are_tried_again_and_hold_the_pod() -> None:
    pod = make_pod()
    node = Node(pod)
    refusals = 3
    answer = node.answer

    def refusing(action: Action) -> list[Event]:
        nonlocal refusals
        if isinstance(action, RemoveVolumes) and refusals:
            refusals -= 1
            return [VolumesRemoveFailed("device or resource busy")]
        return answer(action)

    node.answer = refusing  # type: ignore[method-assign]
    node.feed(PodChanged(deleted(pod)))
    assert not node.did(Finish)
    assert node.wake_at is not None and node.wake_at > node.now
    for _ in range(3):
        node.tick(30.0)
    assert len(node.did(RemoveVolumes)) == 4
    assert node.reasons().count("FailedUnMount") == 3
    assert len(node.did(Finish)) == 1
