"""A number of pods that a manifest gives as a count or as a percentage of a total. Pure.

Upstream counterpart: k8s.io/apimachinery/pkg/util/intstr (GetScaledValueFromIntOrPercent).
"""

from __future__ import annotations


def of(value: int | str | None, total: int, *, up: bool) -> int:
    """The number: a count as it is, a percentage of the total rounded up or down, 0 for None. ValueError for text that is neither."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    if value.endswith("%"):
        scaled = int(value[:-1]) * total
        return -(-scaled // 100) if up else scaled // 100
    return int(value)
