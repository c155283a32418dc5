"""NodePorts: host ports that another pod of the node has, or that one waiting for room there will have.

Upstream counterpart: plugins/nodeports.
"""

from __future__ import annotations

import numpy as np

from navarch.scheduler.core.view import At, Refusal, View


def free(view: View, at: At) -> list[Refusal]:
    if not view.pod.ports:
        return []
    refused = np.zeros(view.columns.capacity, np.bool_)
    for wanted in view.pod.ports:
        for used, users in view.columns.ports.items():
            if _clash(wanted, used):
                refused[list(users)] = True
        for slot, waiting in view.columns.nominated.items():
            taken = (p for d in waiting.values() if d.terms.priority >= view.pod.priority for p in d.terms.ports)
            refused[slot] |= any(_clash(wanted, used) for used in taken)
    return [Refusal("node(s) didn't have free ports for the requested pod ports", refused[at], False)]


def _clash(wanted: tuple[str, str, int], used: tuple[str, str, int]) -> bool:
    if wanted[2] != used[2] or wanted[0] != used[0]:
        return False
    return wanted[1] == used[1] or "0.0.0.0" in (wanted[1], used[1])
