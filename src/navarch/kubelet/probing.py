"""Runs the probes of running containers, each in its own small task, and reports verdicts that change.

In: the container, its spec, the pod's address. Out: `Probed` events to the pod's machine and Unhealthy events to the user. Upstream's
counterpart is pkg/kubelet/prober.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from navarch.api.core import v1
from navarch.kubelet.core import env, probes
from navarch.kubelet.handlers import Answer, BadHandler, Handlers, port_of

Report = Callable[[str, bool], None]
"""A verdict: probe kind, success."""
Tell = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Target:
    """A running container to be probed. `started_at` in seconds since the epoch; `restarted` when we found it running."""

    id: str
    container: v1.Container
    pod_ip: str
    started_at: float
    found_running: bool = False


async def run(target: Target, kind: str, handlers: Handlers, report: Report, tell: Tell, started: Callable[[], bool]) -> None:
    """Probes until there is nothing more to find out, or for ever. Cancel it when the container is gone.

    `started` tells whether the startup probe has succeeded: the others wait for it.
    """
    probe = probes.spec_of(target.container, kind)
    assert probe is not None
    period = float(probe.periodSeconds or 10)
    if target.found_running:
        await asyncio.sleep(random.random() * period)
    else:
        delay = target.started_at + (probe.initialDelaySeconds or 0) - time.time()
        await asyncio.sleep(max(0.0, delay))
    count = probes.Count()
    while True:
        began = time.monotonic()
        if kind == "startup" or started():
            answer = await attempt(target, probe, handlers)
            if answer.known:
                count = _note(count, probe, kind, answer, report, tell)
            else:
                tell("Warning", "Unhealthy", f"{kind.capitalize()} probe errored and resulted in unknown state: {answer.text}")
            if probes.final(kind, count.verdict):
                return
            await asyncio.sleep(max(0.01, period - (time.monotonic() - began)))
        else:
            await asyncio.sleep(min(period, 0.2))


def _note(count: probes.Count, probe: v1.Probe, kind: str, answer: Answer, report: Report, tell: Tell) -> probes.Count:
    if not answer.ok:
        tell("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {answer.text}")
    elif answer.warning:
        tell("Warning", "ProbeWarning", f"{kind.capitalize()} probe warning: {answer.text}")
    after = probes.observe(count, probe, answer.ok)
    if after.verdict is not None and after.verdict != count.verdict:
        report(kind, after.verdict)
    return after


async def attempt(target: Target, probe: v1.Probe, handlers: Handlers) -> Answer:
    """One probe."""
    timeout = float(probe.timeoutSeconds or 1)
    container = target.container
    try:
        work: Awaitable[Answer]
        if probe.exec is not None:
            known = {variable.name: variable.value or "" for variable in container.env or () if variable.valueFrom is None}
            command = [env.expand(word, known.get) for word in probe.exec.command or ()]
            work = handlers.execute(target.id, command, timeout)
        elif probe.httpGet is not None:
            work = handlers.http(container, probe.httpGet, target.pod_ip, timeout, "probe")
        elif probe.tcpSocket is not None:
            host = probe.tcpSocket.host or target.pod_ip
            work = handlers.tcp(host, port_of(container, probe.tcpSocket.port), timeout)
        elif probe.grpc is not None:
            work = handlers.grpc(target.pod_ip, probe.grpc.port or 0, probe.grpc.service or "", timeout)
        else:
            return Answer(False, f"missing probe handler for {container.name}", known=False)
        return await work
    except BadHandler as error:
        return Answer(False, str(error), known=False)
