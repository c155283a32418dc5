"""The row of a pod: what its containers' states come to in one word, and how often they restarted.

Upstream counterpart: printPod in pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from typing import Any

from navarch.apiserver.kinds.columns import NOTHING, Tree, name_of, since


def row(tree: Tree, now: float) -> list[Any]:
    """Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates."""
    metadata, spec, status = tree["metadata"], tree.get("spec") or {}, tree.get("status") or {}
    ready, total, reason, restarts, last = _summary(metadata, spec, status)
    count = f"{restarts} ({since(last, now)} ago)" if restarts and last else str(restarts)
    ips = status.get("podIPs")
    return [
        name_of(tree, now),
        f"{ready}/{total}",
        reason,
        count,
        since(metadata.get("creationTimestamp"), now),
        (ips[0].get("ip") if ips else "") or NOTHING,
        spec.get("nodeName") or NOTHING,
        status.get("nominatedNodeName") or NOTHING,
        _gates(spec, status),
    ]


def _gates(spec: Tree, status: Tree) -> str:
    gates = spec.get("readinessGates")
    if not gates:
        return NOTHING
    held: dict[str, str] = {}
    for condition in status.get("conditions") or ():
        held.setdefault(condition.get("type"), condition.get("status"))
    return f"{sum(held.get(g.get('conditionType')) == 'True' for g in gates)}/{len(gates)}"


def _summary(metadata: Tree, spec: Tree, status: Tree) -> tuple[int, int, str, int, str]:
    """ready, total, reason, restarts, time of the last restart."""
    phase = status.get("phase", "")
    reason = status.get("reason") or phase
    conditions = status.get("conditions") or ()
    for condition in conditions:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    total = len(spec.get("containers") or ())
    ready = restarts = 0
    last = ""
    waiting = False
    starters = spec.get("initContainers")
    if starters:
        sidecars = {c["name"] for c in starters if c.get("restartPolicy") == "Always"}
        total += len(sidecars)
        found = _starting(status.get("initContainerStatuses") or (), sidecars, len(starters))
        ready, restarts, last, side_restarts, side_last, word = found
        waiting = bool(word)
        reason = word or reason
    if not waiting or any(c.get("type") == "Initialized" and c.get("status") == "True" for c in conditions):
        if starters:
            restarts, last = side_restarts, side_last
        more, again, last, reason = _running(status.get("containerStatuses") or (), conditions, last, reason)
        ready += more
        restarts += again
    if metadata.get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return ready, total, reason, restarts, last


def _running(containers: Any, conditions: Any, last: str, reason: str) -> tuple[int, int, str, str]:
    """The main containers, last to first: ready, restarts, time of the last restart, reason."""
    ready = restarts = 0
    running, error = False, ""
    for container in reversed(containers):
        restarts += container.get("restartCount", 0)
        if "lastState" in container:
            last = _finished(container, last)
        state = container.get("state") or {}
        terminated = state.get("terminated")
        if waiting := (state.get("waiting") or {}).get("reason"):
            reason = waiting
        elif terminated is not None:
            reason = _word(terminated)
            if terminated.get("exitCode"):
                error = reason
        elif container.get("ready") and "running" in state:
            running = True
            ready += 1
    if reason == "Completed":
        if running and any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions):
            reason = "Running"
        elif error:
            reason = error
        elif running:
            reason = "NotReady"
    return ready, restarts, last, reason


def _word(terminated: Tree, prefix: str = "") -> str:
    if terminated.get("reason"):
        return f"{prefix}{terminated['reason']}"
    if terminated.get("signal"):
        return f"{prefix}Signal:{terminated['signal']}"
    return f"{prefix}ExitCode:{terminated.get('exitCode', 0)}"


def _finished(container: Tree, last: str) -> str:
    """The later of `last` and the end of the container's run before this one."""
    ended: str = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
    return max(last, ended)


def _starting(containers: Any, sidecars: set[str], count: int) -> tuple[int, int, str, int, str, str]:
    """Init containers up to the first that has not finished; the last item is its word, "" when all have."""
    ready = restarts = side_restarts = 0
    last = side_last = ""
    for i, container in enumerate(containers):
        restarts += container.get("restartCount", 0)
        last = _finished(container, last)
        sidecar = container.get("name") in sidecars
        if sidecar:
            side_restarts += container.get("restartCount", 0)
            side_last = _finished(container, side_last)
        state = container.get("state") or {}
        terminated = state.get("terminated")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            word = _word(terminated, "Init:")
        elif (why := (state.get("waiting") or {}).get("reason")) and why != "PodInitializing":
            word = f"Init:{why}"
        else:
            word = f"Init:{i}/{count}"
        return ready, restarts, last, side_restarts, side_last, word
    return ready, restarts, last, side_restarts, side_last, ""


def conditions(tree: Tree) -> list[Tree]:
    """Finished pods are marked, so that kubectl can leave them out."""
    phase = (tree.get("status") or {}).get("phase")
    if phase == "Succeeded":
        return [{"type": "Completed", "status": "True", "reason": "Succeeded", "message": "The pod has completed successfully."}]
    if phase == "Failed":
        return [{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}]
    return []
