"""The row of a pod, state by state."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.apiserver.kinds import columns, table
from navarch.machinery import timestamps

NOW = timestamps.parse("2026-01-01T00:10:00Z")
READY = [{"type": "Ready", "status": "True"}]
RUNNING = {"name": "a", "ready": True, "restartCount": 0, "state": {"running": {}}}


def row(status: dict[str, Any], spec: dict[str, Any] | None = None, deleted: str = "") -> list[Any]:
    tree = {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": deleted},
        "spec": {"containers": [{"name": "a"}], **(spec or {})},
        "status": status,
    }
    return columns.cells(table.of("", "pods").columns, tree, NOW)


def waiting(reason: str) -> dict[str, Any]:
    return {"name": "a", "restartCount": 3, "state": {"waiting": {"reason": reason}}}


def ended(code: int, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "a", "restartCount": 0, "state": {"terminated": {"exitCode": code, "reason": reason, **more}}}


INIT = {"initContainers": [{"name": "i"}, {"name": "j"}]}
SIDECAR = {"initContainers": [{"name": "s", "restartPolicy": "Always"}]}
STARTED = {"name": "s", "ready": True, "started": True, "restartCount": 2, "state": {"running": {}}}

CASES: list[tuple[dict[str, Any], dict[str, Any], tuple[str, str, str]]] = [
    ({"phase": "Pending"}, {}, ("0/1", "Pending", "0")),
    ({"phase": "Running", "containerStatuses": [RUNNING], "conditions": READY}, {}, ("1/1", "Running", "0")),
    ({"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff")]}, {}, ("0/1", "CrashLoopBackOff", "3")),
    ({"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}, {}, ("0/1", "Completed", "0")),
    ({"phase": "Failed", "containerStatuses": [ended(137)]}, {}, ("0/1", "ExitCode:137", "0")),
    ({"phase": "Failed", "containerStatuses": [ended(0, "", signal=9)]}, {}, ("0/1", "Signal:9", "0")),
    ({"phase": "Failed", "reason": "Evicted"}, {}, ("0/1", "Evicted", "0")),
    ({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}, {}, ("0/1", "SchedulingGated", "0")),
    ({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}, INIT, ("0/1", "Init:0/2", "0")),
    (
        {"phase": "Pending", "initContainerStatuses": [{**ended(0), "name": "i"}, {**ended(1), "name": "j"}]},
        INIT,
        ("0/1", "Init:ExitCode:1", "0"),
    ),
    ({"phase": "Pending", "initContainerStatuses": [{**ended(1, "Error"), "name": "i"}]}, INIT, ("0/1", "Init:Error", "0")),
    ({"phase": "Pending", "initContainerStatuses": [{**waiting("ErrImagePull"), "name": "i"}]}, INIT, ("0/1", "Init:ErrImagePull", "3")),
    (
        {"phase": "Running", "initContainerStatuses": [STARTED], "containerStatuses": [RUNNING], "conditions": READY},
        SIDECAR,
        ("2/2", "Running", "2"),
    ),
    (
        {"phase": "Running", "containerStatuses": [RUNNING, ended(0, "Completed")], "conditions": READY},
        {"containers": [{"name": "a"}, {"name": "b"}]},
        ("1/2", "Running", "0"),
    ),
    (
        {"phase": "Running", "containerStatuses": [ended(0, "Completed"), ended(2, "Error")]},
        {"containers": [{"name": "a"}, {"name": "b"}]},
        ("0/2", "Error", "0"),
    ),
]


@pytest.mark.parametrize(("status", "spec", "expected"), CASES)
def test_ready_status_restarts(status: dict[str, Any], spec: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert tuple(row(status, spec)[1:4]) == expected


def test_last_restart_is_told() -> None:
    last = {"terminated": {"finishedAt": "2026-01-01T00:09:55Z"}}
    assert row({"phase": "Running", "containerStatuses": [{**RUNNING, "restartCount": 1, "lastState": last}]})[3] == "1 (5s ago)"


def test_deleted_pods_are_terminating_unless_finished_or_lost() -> None:
    gone = "2026-01-01T00:05:00Z"
    assert row({"phase": "Running"}, deleted=gone)[2] == "Terminating"
    assert row({"phase": "Running", "reason": "NodeLost"}, deleted=gone)[2] == "Unknown"
    assert row({"phase": "Succeeded"}, deleted=gone)[2] == "Succeeded"


def test_wide_cells() -> None:
    spec = {"nodeName": "n", "readinessGates": [{"conditionType": "a/b"}, {"conditionType": "c/d"}]}
    status = {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "a/b", "status": "True"}]}
    assert row(status, spec)[4:] == ["10m", "10.0.0.1", "n", "<none>", "1/2"]
    assert row({"phase": "Pending"})[5:] == ["<none>"] * 4
