"""The arrays that the cluster is made of: amounts and masks with one entry per node, and labels as codes.

Upstream has no counterpart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class LabelColumn:
    """One label key over all nodes: codes, -1 where a node has no such label, and what they mean."""

    __slots__ = ("codes", "values")

    def __init__(self, capacity: int) -> None:
        self.codes: Ints = np.full(capacity, -1, np.int64)
        self.values: dict[str, int] = {}

    def code(self, value: str) -> int:
        return self.values.setdefault(value, len(self.values))


def wider(array: Any, by: int) -> Any:
    """An array with `by` more slots, zero or False."""
    shape = (*array.shape[:-1], by)
    return np.concatenate([array, np.zeros(shape, array.dtype)], axis=-1)
