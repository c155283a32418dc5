"""Keeps the cgroups above pods: /kubepods with what the node lets pods use, and in it one for each class that shares what is left.

Guaranteed pods lie directly in /kubepods. Burstable ones share as much CPU time as they request together, BestEffort ones get what nobody
else wants. Set when the kubelet starts, when pods come and go, and from time to time, should somebody have changed them. Upstream's
counterparts: qos_container_manager_linux.go and node_container_manager_linux.go of pkg/kubelet/cm.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from navarch.api.core import v1
from navarch.kubelet import cgroups
from navarch.kubelet.core import resources

EVERY = 60.0
SETTLE = 0.1
"""Seconds changes of pods are gathered before the classes' shares are set anew."""


class Classes:
    """The cgroups of one kubelet, below `root`. `pods` are those that may use something."""

    def __init__(self, root: str, node: resources.CgroupValues, pods: Callable[[], Iterable[v1.Pod]]) -> None:
        self._root = f"{root.rstrip('/')}/{cgroups.KUBEPODS}"
        self._node = node
        self._pods = pods
        self._poke = asyncio.Event()
        self._shares: int | None = None

    def changed(self) -> None:
        """Pods have come or gone or changed."""
        self._poke.set()

    def make(self) -> None:
        """Makes the cgroups, or sets them as they should be."""
        self._shares = resources.burstable_shares(self._pods())
        cgroups.make(self._root, self._node)
        cgroups.make(f"{self._root}/burstable", resources.CgroupValues(self._shares))
        cgroups.make(f"{self._root}/besteffort", resources.CgroupValues(resources.MIN_SHARES))

    async def run(self) -> None:
        """Keeps them so for ever."""
        while True:
            try:
                await asyncio.wait_for(self._poke.wait(), EVERY)
                await asyncio.sleep(SETTLE)
                self._poke.clear()
                if resources.burstable_shares(self._pods()) == self._shares:
                    continue
            except TimeoutError:
                pass
            with contextlib.suppress(OSError):
                self.make()
