"""The scheduler's flags, upstream's names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Files are paths; "" is none."""

    kubeconfig: str
    leader_elect: bool = True
    leader_elect_identity_file: str = ""
    """Where the name is kept under which this process leads, so that the next one goes on at once; without it each has a new name."""
    scheduler_name: str = "default-scheduler"
    config: str = ""
    """A KubeSchedulerConfiguration file."""
