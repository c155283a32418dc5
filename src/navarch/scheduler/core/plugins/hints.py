"""What would have to be different on a node that a plugin refused: one function per plugin whose refusal does not say it all.

In: a `View` and the node's slot. Out: words for people; "" when there is nothing to add.

Upstream has no counterpart.
"""

from __future__ import annotations

from navarch.machinery import claims, quantity
from navarch.objects import tolerations
from navarch.scheduler.core import requests
from navarch.scheduler.core.requests import PODS
from navarch.scheduler.core.view import View
from navarch.scheduler.core.volumes import binding


def cordon(view: View, slot: int) -> str:
    return "would fit if it were uncordoned"


def taints(view: View, slot: int) -> str:
    found = []
    for (key, value, effect), mask in view.columns.taints.items():
        one = (key, value, effect)
        if mask[slot] and effect != "PreferNoSchedule" and not any(tolerations.tolerates(t, *one) for t in view.pod.tolerations):
            found.append(f"the taint {key}{'=' if value else ''}{value}:{effect}")
    return f"would fit if {' and '.join(found)} were tolerated"


def labels(view: View, slot: int) -> str:
    for key, value in view.pod.node_selector:
        column = view.columns.labels.get(key)
        code = int(column.codes[slot]) if column is not None else -1
        if column is None or code < 0:
            return f"has no label {key} (wanted {value})"
        held = next(v for v, c in column.values.items() if c == code)
        if held != value:
            return f"its label {key} is {held} (wanted {value})"
    return ""


def deficits(view: View, slot: int) -> str:
    columns, found = view.columns, []
    for name, wanted in {**view.pod.requests, PODS: 1}.items():
        row = columns.row(name)
        missing = int(wanted - (columns.allocatable[row, slot] - columns.requested[row, slot]))
        if missing > 0 and wanted > 0:
            found.append(f"{requests.as_text(name, missing)} more {name}")
    return f"needs {' and '.join(found or ['the room that another pod waits for'])}"


def limits(view: View, slot: int) -> str:
    """The drivers that can attach no more there."""
    storage, node, volumes = view.columns.storage, view.columns.names[slot], view.pod.volumes
    drivers = sorted({driver for driver, _ in storage.handles_of(view.pod.namespace, volumes)}) if volumes is not None else []
    limits = {d: storage.limits[d][node] for d in drivers if node in storage.limits.get(d, {})}
    return ", ".join(f"{d} has {storage.numbers.get(d, {}).get(node, 0)} of {limit} volumes" for d, limit in limits.items())


def unmatched(view: View, slot: int) -> str:
    """The claims for which no volume reaches the node."""
    found = []
    for match in binding.plan(view).matches:
        if match.chosen[slot] < 0:
            size = requests.as_text("ephemeral-storage", claims.requested(match.claim) // quantity.NANO)
            found.append(f"claim {claims.meta(match.claim).name} ({size}, class {claims.class_of(match.claim)})")
    return f"no volume reaches it for {' and '.join(found)}" if found else ""
