"""What the runtime says of a container, as the pod machine takes it; and what an ended container said last.

The termination message is in a file the container wrote, so it may be anything by now. Upstream's counterparts:
toKubeContainerStatus and getTerminationMessage.
"""

from __future__ import annotations

import contextlib
import pathlib

from navarch.cri.client import ContainerStatus
from navarch.kubelet import configs, logs
from navarch.kubelet.core.model import ContainerView, Running
from navarch.lib import beneath

MESSAGE_LIMIT = 4096
MESSAGE_LOG_LINES, MESSAGE_LOG_BYTES = 80, 2048


def view(status: ContainerStatus, sandbox_id: str, message: str) -> ContainerView:
    reason = status.reason
    if status.state == "exited" and not reason:
        reason = "Completed" if status.exit_code == 0 else "Error"
    return ContainerView(
        id=status.id,
        name=status.name,
        sandbox_id=sandbox_id,
        attempt=status.attempt,
        state=Running(status.state),
        created_at=status.created_at / 1e9,
        hash=status.annotations.get(configs.HASH, ""),
        image=status.image,
        image_ref=status.image_ref,
        started_at=status.started_at / 1e9,
        finished_at=status.finished_at / 1e9,
        exit_code=status.exit_code,
        reason=reason,
        message=message,
        user=status.user,
    )


def termination_message(status: ContainerStatus) -> str:
    """What the container left in its message file, or the end of its log where it asked for that."""
    inside = status.annotations.get(configs.MESSAGE_PATH, "")
    policy = status.annotations.get(configs.MESSAGE_POLICY, "")
    text = ""
    host_path = status.mounts.get(inside) if inside else None
    if host_path:
        with contextlib.suppress(OSError), beneath.open_file(pathlib.Path(host_path)) as file:
            text = file.read(MESSAGE_LIMIT).decode("utf-8", "replace")
    if not text and policy == "FallbackToLogsOnError" and status.exit_code != 0:
        with contextlib.suppress(OSError):
            text = logs.last(pathlib.Path(status.log_path), MESSAGE_LOG_LINES, MESSAGE_LOG_BYTES)
    return text
