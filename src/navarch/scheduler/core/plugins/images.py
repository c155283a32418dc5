"""ImageLocality: nodes that have a pod's images already.

Upstream counterpart: plugins/imagelocality.
"""

from __future__ import annotations

import numpy as np

from navarch.scheduler.core.arrays import Ints
from navarch.scheduler.core.plugin import MOST
from navarch.scheduler.core.view import At, View

_MIB = 1024 * 1024


def locality(view: View, at: At) -> Ints | None:
    """Nodes that have the pod's large images already are better; an image that few nodes have counts less."""
    columns, pod = view.columns, view.pod
    sums: Ints | None = None
    for image in pod.images:
        known = columns.images.get(image)
        if known is None:
            continue
        size, mask = known
        share = float(np.count_nonzero(mask)) / float(max(columns.alive_count, 1))
        part = mask[at] * int(size * share)
        sums = part if sums is None else sums + part
    if sums is None:
        return None
    low, high = 23 * _MIB, 1000 * _MIB * pod.containers
    return (np.clip(sums, low, high) - low) * MOST // (high - low)
