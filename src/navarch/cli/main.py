"""`navarch`: picks the command and runs it. Failures that have a plain cause end with one line and code 1, without a traceback."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Command(NamedTuple):
    """Where a command lives (`module:function`, taking the words after it, returning the exit code) and what it is for."""

    target: str
    help: str


COMMANDS = {
    "up": Command("navarch.cli.cluster:up", "Start a cluster on this machine, with a sample app"),
    "down": Command("navarch.cli.cluster:down", "Stop the cluster; --wipe also removes its data"),
    "status": Command("navarch.cli.cluster:status", "Show the cluster's components, nodes and pods"),
    "prepare": Command("navarch.cli.cluster:prepare", "Install what this machine lacks"),
    "kubeconfig": Command("navarch.cli.cluster:kubeconfig", "Print the administrator's kubeconfig"),
    "image": Command("navarch.cli.images:image", "import FILE... or list: images of this node"),
    "check": Command("navarch.cli.store:check", "Check a store's invariants"),
    "backup": Command("navarch.cli.store:backup", "Back the store up into a file, while it runs"),
    "restore": Command("navarch.cli.store:restore", "Put a backup in place of a stopped cluster's store"),
    "explain": Command("navarch.cli.decisions:explain", "pod NAME: why it is pending, node by node, or what spoke for its node"),
    "decisions": Command("navarch.cli.decisions:decisions", "what the scheduler decided in the last day, and whether it would again"),
    "simulate": Command("navarch.cli.scheduling:simulate", "Try a manifest, more nodes or fewer, on a copy of the cluster"),
    "capacity": Command("navarch.cli.scheduling:capacity", "Say how many more pods like one fit"),
    "version": Command("navarch.cli.cluster:version", "Print versions"),
    "apiserver": Command("navarch.cli.components:apiserver", "Run the API server alone"),
    "scheduler": Command("navarch.cli.components:scheduler", "Run the scheduler alone"),
    "controller-manager": Command("navarch.cli.components:controller_manager", "Run the controllers alone"),
    "kubelet": Command("navarch.cli.components:kubelet", "Run the kubelet alone"),
    "proxy": Command("navarch.cli.components:proxy", "Run kube-proxy alone"),
    "pod-network": Command("navarch.cli.components:pod_network", "Run the pod network's agent alone"),
    "dns": Command("navarch.cli.components:dns", "Run cluster DNS alone"),
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "navarch: Kubernetes, written in Python",
            "",
            "Usage: navarch COMMAND [FLAGS]",
            "",
            *lines,
            "",
            "navarch COMMAND --help says more.",
        ]
    )


def main(words: Sequence[str] | None = None) -> int:
    """The entry point; the exit code."""
    given = list(sys.argv[1:] if words is None else words)
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name = "version" if given[0] == "--version" else given[0]
    command = COMMANDS.get(name)
    if command is None:
        print(f'navarch: unknown command "{name}". Try: navarch --help', file=sys.stderr)
        return 1
    module, _, function = command.target.partition(":")
    try:
        return int(getattr(importlib.import_module(module), function)(given[1:]))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        from navarch.run import plain

        if not plain.is_plain(error):
            raise
        print(f"navarch {name}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
