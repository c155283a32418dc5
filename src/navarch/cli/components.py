"""Single components in the foreground, with upstream's flags: `navarch apiserver --data-dir DIR …`.

Each says in one line when it is ready, and ends on SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Sequence

from navarch.cli import flags
from navarch.lib import log, private

MODULES = {
    "apiserver": "navarch.apiserver.loop",
    "scheduler": "navarch.scheduler.loop",
    "controller-manager": "navarch.controllers.loop",
    "kubelet": "navarch.kubelet.loop",
    "proxy": "navarch.network.proxy.loop",
    "pod-network": "navarch.network.cni.loop",
    "dns": "navarch.network.dns.loop",
}
_COMMON: dict[str, type] = {"v": int}


def _run(name: str, words: Sequence[str]) -> int:
    began = time.monotonic()
    module = importlib.import_module(MODULES[name])
    if {"-h", "--help"} & set(words):
        print(f"navarch {name}: flags\n\n{flags.usage(module.Options)}\n  --v (default 0)")
        return 0
    options, common = flags.parse(module.Options, words, _COMMON)
    log.setup(name, common.get("v", 0))
    if name in ("apiserver", "scheduler", "controller-manager"):
        os.umask(private.UMASK)
    from navarch.run import host, supervisor

    host.extend_path()

    def ready() -> None:
        print(f"navarch {name} is ready ({_where(options)}{time.monotonic() - began:.2f} s)", file=sys.stderr, flush=True)

    supervisor.run_all([(name, module.run, options)], ready)
    return 0


def _where(options: object) -> str:
    """The address a component listens on, where it has one."""
    host = getattr(options, "bind_address", "")
    port = getattr(options, "secure_port", None) or getattr(options, "port", None)
    return f"{host}:{port}, " if host and port else ""


def apiserver(words: Sequence[str]) -> int:
    return _run("apiserver", words)


def scheduler(words: Sequence[str]) -> int:
    return _run("scheduler", words)


def controller_manager(words: Sequence[str]) -> int:
    return _run("controller-manager", words)


def kubelet(words: Sequence[str]) -> int:
    return _run("kubelet", words)


def proxy(words: Sequence[str]) -> int:
    """Also `--cleanup`: removes the rules and ends."""
    if "--cleanup" in words:
        from navarch.network.proxy import loop

        loop.cleanup()
        return 0
    return _run("proxy", words)


def pod_network(words: Sequence[str]) -> int:
    return _run("pod-network", words)


def dns(words: Sequence[str]) -> int:
    return _run("dns", words)
