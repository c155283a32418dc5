"""A pod's containers by spec: which there are, of what kind, and whether an ended one is to run again.

Upstream's counterparts: ContainerShouldRestart, computeInitContainerActions, HashContainer. Pure functions over the pod and the
views of its containers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from navarch.api.core import v1
from navarch.kubelet.core.model import ContainerView, Probes, Running, State


def of(pod: v1.Pod) -> tuple[list[v1.Container], list[v1.Container], list[v1.Container]]:
    """Init, main and ephemeral containers (the last in the form of containers)."""
    spec = pod.spec or v1.PodSpec()
    return list(spec.initContainers or ()), list(spec.containers or ()), [as_container(c) for c in spec.ephemeralContainers or ()]


def as_container(ephemeral: v1.EphemeralContainer) -> v1.Container:
    """An ephemeral container as any other."""
    values = {name: getattr(ephemeral, name) for name in ephemeral.__struct_fields__ if name != "targetContainerName"}
    return v1.Container(**values)


def find(pod: v1.Pod, name: str) -> v1.Container | None:
    """The container of this name, of any kind."""
    return next((c for group in of(pod) for c in group if c.name == name), None)


def fingerprint(container: v1.Container) -> str:
    """Changes when a running container no longer is what the spec says (upstream looks at name and image, too)."""
    data = msgspec.json.encode([container.name, container.image])
    return hashlib.blake2s(data, digest_size=4).hexdigest()


def sidecar(container: v1.Container) -> bool:
    """A restartable init container: started in the order of init containers, then kept running beside the main ones."""
    return container.restartPolicy == "Always"


def latest(views: Iterable[ContainerView], name: str) -> ContainerView | None:
    """The newest container of this name."""
    return max((v for v in views if v.name == name), key=lambda v: (v.attempt, v.created_at), default=None)


def restarts(pod: v1.Pod, container: v1.Container, exit_code: int) -> bool:
    """Whether policy wants a container that ended with this code to run again."""
    if container.restartPolicy is not None:
        for rule in container.restartPolicyRules or ():
            if _rule_matches(rule, exit_code):
                return True
        return _policy(container.restartPolicy, exit_code)
    return _policy((pod.spec and pod.spec.restartPolicy) or "Always", exit_code)


def _rule_matches(rule: v1.ContainerRestartRule, exit_code: int) -> bool:
    codes = rule.exitCodes
    if codes is None or rule.action not in ("Restart", "RestartAllContainers"):
        return False
    listed = exit_code in (codes.values or ())
    return listed if codes.operator == "In" else not listed


def _policy(policy: str, exit_code: int) -> bool:
    if policy == "Never":
        return False
    return policy == "Always" or exit_code != 0


def should_run(pod: v1.Pod, container: v1.Container, view: ContainerView | None) -> bool:
    """Whether a container that is in this state should be started (again). Not for a running one."""
    if pod.metadata and pod.metadata.deletionTimestamp:
        return False
    if view is None:
        return True
    match view.state:
        case Running.RUNNING:
            return False
        case Running.EXITED:
            return view.hash != fingerprint(container) or restarts(pod, container, view.exit_code)
        case _:
            return True


def in_current_sandbox(state: State) -> list[ContainerView]:
    """Containers of the newest sandbox: what ran in earlier ones says nothing about how far initialisation is."""
    if not state.sandboxes:
        return []
    newest = max(state.sandboxes, key=lambda s: (s.attempt, s.created_at))
    return [c for c in state.containers if c.sandbox_id == newest.id]


class Initialization:
    """How far a pod's init containers are: `start` names those to start now, in order; `done` lets main containers start;
    `failed` means that one ended badly and may not run again."""

    def __init__(self, start: Sequence[str], done: bool, failed: bool = False) -> None:
        self.start, self.done, self.failed = start, done, failed


def initialization(state: State) -> Initialization:
    """Looks from the last init container back: the newest that was ever started tells that all before it are done."""
    pod = state.pod
    inits, mains, _ = of(pod)
    if not inits:
        return Initialization((), True)
    current = in_current_sandbox(state)
    names = {c.name for c in mains}
    passed = any(v.name in names and v.state in (Running.CREATED, Running.RUNNING) for v in current)
    done = passed
    start: list[str] = []
    for index in reversed(range(len(inits))):
        container = inits[index]
        view = latest(current, container.name or "")
        if view is None:
            if passed and sidecar(container):
                start.append(container.name or "")
            continue
        if passed and not sidecar(container):
            continue
        finished, again = _init_progress(pod, container, view, state.probes.get(view.id, Probes()))
        if again is None:
            return Initialization((), False, failed=True)
        if again:
            start.append(container.name or "")
        if finished and index == len(inits) - 1:
            done = True
        elif finished and not passed:
            start.append(inits[index + 1].name or "")
        passed = True
    if not passed:
        start.append(inits[0].name or "")
    start.reverse()
    return Initialization(start, done)


def _init_progress(pod: v1.Pod, container: v1.Container, view: ContainerView, probes: Probes) -> tuple[bool, bool | None]:
    """(the next one may start, this one is to be started: None when it failed for good)."""
    if view.state is Running.RUNNING:
        if not sidecar(container):
            return False, False
        return container.startupProbe is None or probes.startup is True, False
    if view.state is Running.CREATED:
        return False, True
    if sidecar(container):
        return False, True
    if view.state is Running.EXITED and view.exit_code == 0 and view.reason != "ContainerStatusUnknown":
        return True, False
    return False, True if should_run(pod, container, view) else None


def grace(pod: v1.Pod, container: v1.Container | None, kind: str = "") -> int:
    """Seconds a container gets to end by itself; `kind` is the probe that wants it killed, if any."""
    meta, spec = pod.metadata, pod.spec
    seconds = 30
    if spec and spec.terminationGracePeriodSeconds is not None:
        seconds = spec.terminationGracePeriodSeconds
    if meta and meta.deletionTimestamp and meta.deletionGracePeriodSeconds is not None:
        return meta.deletionGracePeriodSeconds
    probe = None
    if container is not None and kind:
        probe = container.startupProbe if kind == "startup" else container.livenessProbe
    if probe is not None and probe.terminationGracePeriodSeconds is not None:
        return probe.terminationGracePeriodSeconds
    return seconds
