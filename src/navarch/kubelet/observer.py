"""Looks at the runtime: what sandboxes and containers there are, and which have changed since the last look.

A look lists everything (two calls); only containers that are new or in a new state are asked about in detail. Between looks the runtime's own
events, where it has them, say when to look at once: CRI's event stream, or containerd's older one. In: CRI. Out: one `RuntimeSeen` per
pod with changes. Upstream's counterpart is pkg/kubelet/pleg.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from navarch.cri import containerd_events
from navarch.cri.client import Client, Container, CriError, Sandbox
from navarch.kubelet import configs
from navarch.kubelet.core.model import ContainerView, RuntimeSeen, SandboxView
from navarch.kubelet.runtime import Runtime

log = logging.getLogger(__name__)

RELIST_WITHOUT_EVENTS = 1.0
RELIST_WITH_EVENTS = 5.0
SETTLE = 0.005
"""Seconds events are gathered before a look."""
LAG, PATIENCE = 0.03, 3.0
"""A runtime tells of an end before it lists it: it is looked at again after this, for so long."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which pod something in the runtime belongs to, by its labels."""

    uid: str
    name: str
    namespace: str


class Observer:
    """Keeps the newest look; tells of pods that changed."""

    def __init__(self, cri: Client, runtime: Runtime, tell: Callable[[Identity, RuntimeSeen], None]) -> None:
        self._cri = cri
        self._runtime = runtime
        self._tell = tell
        self._poke = asyncio.Event()
        self._interval = RELIST_WITHOUT_EVENTS
        self._views: dict[str, ContainerView] = {}
        self._boxes: dict[str, SandboxView] = {}
        self._ending: dict[str, float] = {}
        self._told: dict[str, tuple[tuple[str, str], ...]] = {}
        self.sandboxes: dict[str, list[Sandbox]] = {}
        self.identities: dict[str, Identity] = {}
        self.last_look = 0.0
        self.error: str = "the runtime was not asked yet"

    def poke(self) -> None:
        """Asks for a look soon."""
        self._poke.set()

    async def run(self) -> None:
        """Looks for ever, at intervals and whenever poked."""
        while True:
            try:
                await asyncio.wait_for(self._poke.wait(), self._interval)
                await asyncio.sleep(SETTLE)
            except TimeoutError:
                pass
            self._poke.clear()
            try:
                await self.look()
                if self._ending:
                    asyncio.get_running_loop().call_later(LAG, self.poke)
            except CriError as error:
                if not self.error:
                    log.warning("cannot list containers: %s", error)
                self.error = str(error)
                await asyncio.sleep(0.2)

    async def look(self) -> None:
        """One look; tells of every pod that is not as it was told before. CriError when the runtime does not answer."""
        since = time.time()
        boxes, found = await asyncio.gather(self._cri.list_sandboxes(), self._cri.list_containers())
        self.error, self.last_look = "", since
        by_uid: dict[str, list[Sandbox]] = defaultdict(list)
        of_pod: dict[str, list[Container]] = defaultdict(list)
        identities: dict[str, Identity] = {}
        for box in boxes:
            by_uid[box.uid].append(box)
            identities[box.uid] = Identity(box.uid, box.name, box.namespace)
        for container in found:
            labels = container.labels
            uid = labels.get(configs.POD_UID, "")
            of_pod[uid].append(container)
            identities.setdefault(uid, Identity(uid, labels.get(configs.POD_NAME, ""), labels.get(configs.POD_NAMESPACE, "")))
        self.sandboxes, gone = dict(by_uid), set(self.identities) - set(identities)
        self.identities = identities
        alive = {c.id for c in found}
        unseen = {c.id for c in found if c.state == "running"} | {b.id for b in boxes if b.ready}
        now = time.monotonic()
        self._ending = {key: until for key, until in self._ending.items() if key in unseen and until > now}
        self._views = {key: view for key, view in self._views.items() if key in alive}
        box_ids = {b.id for b in boxes}
        self._boxes = {key: box for key, box in self._boxes.items() if key in box_ids}
        for uid in identities:
            await self._consider(identities[uid], by_uid.get(uid, []), of_pod.get(uid, []), since)
        for uid in gone:
            if self._told.pop(uid, None):
                self._tell(Identity(uid, "", ""), RuntimeSeen((), (), since))

    async def _consider(self, identity: Identity, boxes: list[Sandbox], found: list[Container], since: float) -> None:
        shape = tuple(sorted([(b.id, str(b.ready)) for b in boxes] + [(c.id, c.state) for c in found]))
        if self._told.get(identity.uid) == shape:
            return
        views = []
        for container in found:
            view = await self._view(container)
            if view is not None:
                views.append(view)
        sandboxes = tuple([await self._box(box) for box in boxes])
        self._told[identity.uid] = shape
        self._tell(identity, RuntimeSeen(sandboxes, tuple(views), since))

    async def _view(self, container: Container) -> ContainerView | None:
        known = self._views.get(container.id)
        if known is not None and known.state.value == container.state:
            return known
        view = await self._runtime.view(container.id, container.sandbox_id)
        if view is not None:
            self._views[container.id] = view
        return view

    async def _box(self, box: Sandbox) -> SandboxView:
        known = self._boxes.get(box.id)
        if known is not None and known.ready == box.ready:
            return known
        ips: tuple[str, ...] = known.ips if known is not None else ()
        if box.ready:
            try:
                ips = (await self._cri.sandbox_status(box.id)).ips
            except CriError as error:
                if error.code != "NotFound":
                    raise
        view = SandboxView(box.id, box.attempt, box.ready, box.created_at / 1e9, ips)
        self._boxes[box.id] = view
        return view

    async def listen(self) -> None:
        """Follows the runtime's events for ever; without any, looks are made more often."""
        while True:
            for name, stream in (("CRI", self._cri.container_events), ("containerd", lambda: containerd_events.exits(self._cri))):
                try:
                    async for container_id in stream():
                        self._interval = RELIST_WITH_EVENTS
                        self._ending[container_id] = time.monotonic() + PATIENCE
                        self._poke.set()
                except CriError as error:
                    log.debug("no events from %s: %s", name, error)
            self._interval = RELIST_WITHOUT_EVENTS
            await asyncio.sleep(1.0)
