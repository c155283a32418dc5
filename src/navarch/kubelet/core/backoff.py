"""Crash-loop and image-pull back-off, as upstream counts it: 10 s, doubling to 5 minutes, forgotten after twice that in peace.

Upstream's counterpart is client-go's flowcontrol.Backoff as doBackOff and the image manager use it. Values only: an `Entry` per
key, kept by the pod machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """The present delay in seconds, and the moment it was counted from."""

    delay: float
    since: float


def until(entry: Entry | None, moment: float, most: float) -> float:
    """When the next try after a failure at `moment` may be; 0 when right away."""
    if entry is None or moment - entry.since > 2 * most:
        return 0.0
    return moment + entry.delay


def advance(entry: Entry | None, moment: float, first: float, most: float) -> Entry:
    """The entry after one more try, made for a failure at `moment`."""
    if entry is None or moment - entry.since > 2 * most:
        return Entry(first, moment)
    return Entry(min(entry.delay * 2, most), moment)


def duration(seconds: float) -> str:
    """A duration as Go prints it: 10s, 1m20s, 5m0s."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
