"""Commands for the cluster as a whole: up, down, status, kubeconfig, version."""

from __future__ import annotations

import os
import pathlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from navarch.cli import flags
from navarch.run import settings as where

T = TypeVar("T")
DATA = str(where.DEFAULT_DATA)


@dataclass(frozen=True, slots=True)
class UpFlags:
    """A port of 0: the one the cluster had, or 6443."""

    data_dir: str = DATA
    secure_port: int = 0
    node_ip: str = ""
    sample: bool = True


@dataclass(frozen=True, slots=True)
class DownFlags:
    data_dir: str = DATA
    wipe: bool = False


@dataclass(frozen=True, slots=True)
class DataFlags:
    data_dir: str = DATA


def _parse(kind: type[T], words: Sequence[str], about: str) -> T | None:
    """Flags, or None when help was asked for and given."""
    if {"-h", "--help"} & set(words):
        print(f"{about}\n\n{flags.usage(kind)}")
        return None
    return flags.parse(kind, words)[0]


def say(text: str) -> None:
    print(text, flush=True)


def up(words: Sequence[str]) -> int:
    given = _parse(UpFlags, words, "navarch up: starts a cluster on this machine, or notices that it runs")
    if given is None:
        return 0
    from navarch.run import up as starting

    data_dir = pathlib.Path(given.data_dir).absolute()
    starting.up(starting.Wish(data_dir, given.secure_port, given.node_ip, given.sample), say)
    return 0


def down(words: Sequence[str]) -> int:
    given = _parse(DownFlags, words, "navarch down: stops the cluster; --wipe also removes its data")
    if given is None:
        return 0
    import logging

    from navarch.run import down as stopping

    logging.disable(logging.WARNING)
    stopping.down(pathlib.Path(given.data_dir).absolute(), say, wipe=given.wipe)
    return 0


def prepare(words: Sequence[str]) -> int:
    if words:
        print("navarch prepare: installs the programs a cluster needs. Takes no flags")
        return 0
    from navarch.run import host

    host.extend_path()
    if host.missing():
        host.need_root()
    host.install(say)
    return 0


def kubeconfig(words: Sequence[str]) -> int:
    given = _parse(DataFlags, words, "navarch kubeconfig: prints the administrator's kubeconfig")
    if given is None:
        return 0
    path = pathlib.Path(given.data_dir) / "admin.kubeconfig"
    try:
        sys.stdout.write(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"there is no cluster in {given.data_dir}; start one with: navarch up") from None
    except PermissionError:
        raise ValueError(f"{path} is root's. Try: sudo navarch kubeconfig") from None
    return 0


def version(words: Sequence[str]) -> int:
    from navarch.api import version as api

    print(f"navarch {_own_version()}, Kubernetes {getattr(api, 'KUBERNETES', 'v1.36')}, Python {sys.version.split()[0]}")
    return 0


def _own_version() -> str:
    from importlib import metadata

    try:
        return metadata.version("navarch")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def status(words: Sequence[str]) -> int:
    given = _parse(DataFlags, words, "navarch status: components, nodes, pods. Code 0 when everything is ready, 1 when not")
    if given is None:
        return 0
    from navarch.run import status as found

    settings = where.load(pathlib.Path(given.data_dir).absolute())
    running = found.read(settings) if settings is not None else None
    if settings is None or running is None:
        say(f"No cluster runs from {given.data_dir}. Start one with: navarch up")
        return 1
    good = _components(running, found.memory)
    from navarch.store import library

    if weakness := library.weakness(library.version()):
        say(f"\nSTORE: {weakness}")
    return 0 if _objects(settings) and good else 1


def _components(running: dict[str, Any], memory: Any) -> bool:
    rows = [("COMPONENT", "STATE", "PID", "RESTARTS", "AGE", "MEMORY")]
    total = 0
    above = {"ready": True, "restarts": 0, "started": running["started"]}
    first = {name: {**above, "last_exit": "", "pid": running[key]} for name, key in (("guard", "guard"), ("supervisor", "pid"))}
    for name, values in {**first, **running["components"]}.items():
        size = memory(values["pid"]) if values["pid"] and os.geteuid() == 0 else 0
        total += size
        state = "ready" if values["ready"] else "starting" if values["pid"] else values["last_exit"] or "waiting"
        age = _age(time.time() - values["started"]) if values["pid"] else "-"
        rows.append((name, state, str(values["pid"] or "-"), str(values["restarts"]), age, f"{size / 2**20:.0f} MiB" if size else "-"))
    if total:
        rows.append(("all", "", "", "", "", f"{total / 2**20:.0f} MiB"))
    table(rows)
    return all(values["ready"] for values in running["components"].values())


def _objects(settings: where.Settings) -> bool:
    """Nodes and pods, asked from the API server."""
    import asyncio

    from navarch.api.core import v1 as core_v1
    from navarch.client import kubeconfig as config
    from navarch.client import rest
    from navarch.machinery import errors

    async def ask() -> tuple[list[core_v1.Node], list[core_v1.Pod]]:
        async with rest.Client(config.load(settings.admin_kubeconfig), user_agent="navarch-status") as client:
            nodes, _ = await client.list(core_v1.Node)
            pods, _ = await client.list(core_v1.Pod)
            return nodes, pods

    try:
        nodes, pods = asyncio.run(ask())
    except (rest.Unreachable, errors.ApiError) as error:
        say(f"\nThe API server does not answer: {error}")
        return False
    say("")
    table([("NODE", "STATUS", "ADDRESS"), *(_node_row(n) for n in nodes)])
    say("")
    table([("POD", "STATUS", "READY"), *(_pod_row(p) for p in pods)] if pods else [("no pods",)])
    return bool(nodes) and all(_node_row(n)[1] == "Ready" for n in nodes)


def _node_row(node: Any) -> tuple[str, str, str]:
    conditions = (node.status.conditions if node.status else None) or ()
    ready = any(c.type == "Ready" and c.status == "True" for c in conditions)
    addresses = [a.address for a in (node.status.addresses if node.status else None) or () if a.type == "InternalIP"]
    return node.metadata.name, "Ready" if ready else "NotReady", addresses[0] if addresses else "-"


def _pod_row(pod: Any) -> tuple[str, str, str]:
    statuses = (pod.status.containerStatuses if pod.status else None) or ()
    phase = (pod.status.phase if pod.status else None) or "Pending"
    ready = f"{sum(bool(s.ready) for s in statuses)}/{len(pod.spec.containers)}"
    return f"{pod.metadata.namespace}/{pod.metadata.name}", "Terminating" if pod.metadata.deletionTimestamp else phase, ready


def table(rows: Sequence[Sequence[str]]) -> None:
    """Prints columns as wide as they need to be."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    for row in rows:
        say("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip())


def _age(seconds: float) -> str:
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    return f"{int(seconds)}s" if seconds < 120 else f"{minutes}m" if minutes < 180 else f"{hours}h"
