"""`navarch up`: from a machine to an app that answers, telling what happens; and a second time, that it is there already.

The order: look at the machine, install what is missing, make certificates, start the supervisor, wait for the API server, add what
every cluster has, start the sample app, ask it. Every wait has an end and a message.
"""

from __future__ import annotations

import asyncio
import datetime
import pathlib
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from navarch.run import host, status
from navarch.run import settings as where
from navarch.run.host import Unfit
from navarch.run.settings import Settings

START_SECONDS = 60.0
ANSWER_SECONDS = 120.0
TELL_SECONDS = 5.0
_PREFIX = re.compile(r"^\S+Z \S+ [A-Z]+ \S+: ")
"""What our log puts before a message."""
SAMPLE_NAMESPACE, SAMPLE = "default", "hello"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for."""

    data_dir: pathlib.Path = where.DEFAULT_DATA
    secure_port: int = 0
    node_address: str = ""
    sample: bool = True


@dataclass(slots=True)
class Progress:
    """Tells what happens, with seconds since the start."""

    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)

    def __call__(self, text: str) -> None:
        self.say(f"[{time.monotonic() - self.began:5.1f} s] {text}")

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began


def up(wish: Wish, say: Callable[[str], None]) -> None:
    """Brings the cluster up. Raises Unfit with a plain message."""
    progress = Progress(say)
    host.need_root()
    host.extend_path()
    known = where.load(wish.data_dir)
    if known is not None and (running := status.read(known)) is not None:
        _already(known, running, say)
        return
    if others := status.other_clusters(where.run_dir(wish.data_dir)):
        raise Unfit(f"another cluster of navarch runs on this machine ({others[0]}). Stop it first: navarch down --data-dir ITS_FOLDER")
    host.install(progress)
    host.need_room(wish.data_dir)
    progress.began = time.monotonic()
    settings = _settings(wish, known)
    _need_ports(settings)
    _start(settings)
    progress(f"starting the cluster in {settings.data_dir}")
    from navarch.client import rest
    from navarch.machinery import errors

    try:
        asyncio.run(_until_answer(settings, wish, progress, say))
    except (errors.ApiError, rest.Unreachable) as error:
        raise Unfit(f"the API server did not do what is needed: {error} (log: {settings.logs / 'apiserver.log'})") from error


def _settings(wish: Wish, known: Settings | None) -> Settings:
    """The cluster's settings: those saved, with the address the machine has now."""
    from navarch.network import links

    address = wish.node_address or links.default_source() or links.own_address()
    made = known or Settings(wish.data_dir, where.run_dir(wish.data_dir), where.node_name(), address)
    made = replace(made, node_address=address, secure_port=wish.secure_port or made.secure_port)
    made.save()
    links.route_services(made.service_cidr)
    return made


def _need_ports(settings: Settings) -> None:
    host.need_ports(
        [
            ("0.0.0.0", settings.secure_port, "the API server"),
            ("0.0.0.0", 10250, "the kubelet"),
            ("0.0.0.0", 10256, "kube-proxy"),
            (settings.node_address, settings.dns_port, "cluster DNS"),
        ]
    )


def _start(settings: Settings) -> None:
    """Certificates, then the supervisor. The heavy imports happen there, not here."""
    from navarch.run import cluster, supervisor

    cluster.prepare(settings, datetime.datetime.now(datetime.UTC))
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    settings.status_file.unlink(missing_ok=True)
    supervisor.daemon(settings)


async def _until_answer(settings: Settings, wish: Wish, progress: Progress, say: Callable[[str], None]) -> None:
    from navarch.client import kubeconfig, rest
    from navarch.run import addons
    from navarch.run import down as stopping

    try:
        await _until_ready(settings, "apiserver")
    except Unfit:
        stopping.stop_supervisor(settings)  # without an API server there is no cluster
        raise
    progress("API server ready")
    async with rest.Client(kubeconfig.load(settings.admin_kubeconfig), user_agent="navarch-up") as client:
        await addons.apply(client, "dns", settings)
        marker = settings.data_dir / ".sample-applied"
        if wish.sample and not marker.exists():
            await addons.apply(client, "sample", settings)
            marker.touch()
        await _until_ready(settings, "kubelet")
        progress("node registered, waiting for its pods" if wish.sample else "node registered")
        address = await _sample_address(client) if wish.sample else None
        if address is not None:
            page = await _until_page(address, client, settings, progress)
            progress(f"the sample app answered: {page}")
    _farewell(settings, address, progress, say)


async def _until_ready(settings: Settings, name: str) -> None:
    """Waits for a process to be ready, and gives up when it keeps dying."""
    until = time.monotonic() + START_SECONDS
    while True:
        state = status.read(settings)
        component = (state or {}).get("components", {}).get(name, {})
        if component.get("ready"):
            return
        if component.get("restarts", 0) >= 4 or (state is None and time.monotonic() > until - START_SECONDS + 10):
            raise Unfit(f"{name} does not start: {last_words(settings, name)}")
        if time.monotonic() > until:
            raise Unfit(f"{name} was not ready within {START_SECONDS:.0f} s; its log is {settings.logs / (name + '.log')}")
        await asyncio.sleep(0.02)


def last_words(settings: Settings, name: str) -> str:
    """The last line of a process's log."""
    for log in (settings.logs / f"{name}.log", settings.logs / "supervisor.log"):
        try:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            continue
        if lines:
            return f"{_PREFIX.sub('', lines[-1])} (log: {log})"
    return "it left no word"


async def _sample_address(client: Any) -> tuple[str, int] | None:
    """The sample's cluster IP and node port; None when the user removed it."""
    from navarch.api.core import v1 as core_v1
    from navarch.machinery import errors

    try:
        service = await client.get(core_v1.Service, SAMPLE, SAMPLE_NAMESPACE)
    except errors.NotFound:
        return None
    return service.spec.clusterIP, service.spec.ports[0].nodePort or 0


async def _until_page(address: tuple[str, int], client: Any, settings: Settings, progress: Progress) -> str:
    """Asks the app through its Service until it answers; says now and then what it waits for."""
    until, tell, told = time.monotonic() + ANSWER_SECONDS, time.monotonic() + TELL_SECONDS, ""
    while True:
        page = await asyncio.to_thread(_get, f"http://{address[0]}/")
        if page:
            return page
        now = time.monotonic()
        if now > until:
            raise Unfit(f"the sample app did not answer within {ANSWER_SECONDS:.0f} s: {await _why(client, settings)}")
        if now > tell:
            tell, why = now + TELL_SECONDS, await _why(client, settings)
            if why != told:
                progress(f"still waiting: {why}")
                told = why
        await asyncio.sleep(0.05)


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            text = str(answer.read(4096), "utf-8", "replace")
    except (OSError, urllib.error.URLError):
        return ""
    lines = [line for line in text.replace("<", "\n<").splitlines() if "pod " in line or "works" in line]
    return "It works." if any("works" in line for line in lines) else "HTTP 200"


async def _why(client: Any, settings: Settings) -> str:
    """What the sample's pods wait for."""
    from navarch.api.core import v1 as core_v1

    found, _ = await client.list(core_v1.Pod, SAMPLE_NAMESPACE, labels=f"app={SAMPLE}")
    told = []
    for pod in found:
        conditions = (pod.status.conditions if pod.status else None) or ()
        reasons = [c.message or c.reason or "" for c in conditions if c.status == "False"]
        phase = (pod.status.phase if pod.status else None) or "unknown"
        why = "; ".join(dict.fromkeys(r for r in reasons if r)) or "nobody has looked at it yet"
        told.append(f"pod {pod.metadata.name} is {phase}: {why}")
    waiting = [name for name, c in (status.read(settings) or {}).get("components", {}).items() if not c["ready"]]
    told += [f"{', '.join(waiting)} not ready (see {settings.logs})"] if waiting else []
    return " | ".join(told) or "it has no pods"


def _farewell(settings: Settings, address: tuple[str, int] | None, progress: Progress, say: Callable[[str], None]) -> None:
    components = (status.read(settings) or {}).get("components", {})
    api = components.get("apiserver", {}).get("ready_after", 0.0)
    say("")
    say(f"The cluster is up: API server ready in {api:.1f} s, everything in {progress.elapsed:.1f} s.")
    if address is not None:
        say(f"The sample app answers at http://{address[0]}/ and at http://{settings.node_address}:{address[1]}/")
    _hints(settings, say)


def _hints(settings: Settings, say: Callable[[str], None]) -> None:
    say(f"Kubeconfig: {settings.admin_kubeconfig}")
    say("")
    say("Try:")
    say(f"  export KUBECONFIG={settings.admin_kubeconfig}")
    say("  kubectl get nodes,pods,services -A")
    say("  kubectl scale deployment hello --replicas 5")
    say("  kubectl logs deployment/hello")
    say("  kubectl exec deployment/hello -- hostname")
    if shutil.which("kubectl") is None:
        say("(There is no kubectl on this machine. Any recent one works with this kubeconfig.)")


def _already(settings: Settings, running: dict[str, Any], say: Callable[[str], None]) -> None:
    components = running["components"]
    waiting = [name for name, values in components.items() if not values["ready"]]
    minutes = int(time.time() - running["started"]) // 60
    say(f"The cluster is running already (for {minutes} min, supervisor is process {running['pid']}).")
    if waiting:
        say(f"Not ready at the moment: {', '.join(waiting)}. See: navarch status")
    _hints(settings, say)
