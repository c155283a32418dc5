"""When to probe and what a row of results means. Pure.

Upstream's counterpart is pkg/kubelet/prober/worker.go: initial delay, period, thresholds, and the values a probe has before it first ran.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from navarch.api.core import v1

KINDS = ("startup", "liveness", "readiness")


@dataclass(frozen=True, slots=True)
class Count:
    """Results in a row so far, and the verdict told last (None before the first)."""

    last: bool | None = None
    run: int = 0
    verdict: bool | None = None


def spec_of(container: v1.Container, kind: str) -> v1.Probe | None:
    """The probe of this kind, if the container has one."""
    match kind:
        case "startup":
            return container.startupProbe
        case "liveness":
            return container.livenessProbe
        case _:
            return container.readinessProbe


def observe(count: Count, probe: v1.Probe, ok: bool) -> Count:
    """The count after one more result; the verdict changes only when a threshold is reached."""
    run = count.run + 1 if count.last == ok else 1
    needed = (probe.successThreshold or 1) if ok else (probe.failureThreshold or 3)
    verdict = ok if run >= needed else count.verdict
    return replace(count, last=ok, run=run, verdict=verdict)


def final(kind: str, verdict: bool | None) -> bool:
    """Whether this probe has said all it has to say about this container."""
    return (kind == "startup" and verdict is not None) or (kind == "liveness" and verdict is False)
