"""The garbage collector: what has only owners that are gone goes too; what waits for its dependents is told when they are gone.

The graph holds, for every object of every resource that can be deleted, its owners and whether deletion blocks on it. Objects
are watched as metadata only, so the collector works for kinds it has no types for, and costs little memory.

Upstream counterpart: pkg/controller/garbagecollector.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import msgspec

from navarch.api.meta import v1 as meta_v1
from navarch.client import partial, reflector
from navarch.client.rest import Request, Unreachable
from navarch.controllers.core.graph import Graph, Kind, Node, Standing
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.lib import backoff, tasks
from navarch.lib.queue import WorkQueue
from navarch.machinery import codec, errors
from navarch.objects.partial import Metadata, Owner

_log = logging.getLogger(__name__)
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_IGNORED = frozenset({("", "events"), ("events.k8s.io", "events")})
_COLLECTED = frozenset({"delete", "list", "watch"})
_RESYNC_SECONDS = 5.0


class GarbageCollector(Reconciler):
    """Watches everything, deletes what is not owned any more."""

    name = "garbage-collector"
    workers = 0

    def __init__(self, context: Context) -> None:
        self._context = context
        self._graph = Graph()
        self._queue: WorkQueue[str] = WorkQueue(backoff.Policy(first=0.05, most=30.0), context.clock)
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str], Kind] = {}
        self._monitors: dict[Kind, asyncio.Task[None]] = {}
        self._synced: set[Kind] = set()
        self._absent: dict[str, float] = {}

    def watches(self) -> Iterable[Watch]:
        return ()

    async def reconcile(self, key: str) -> float | None:
        return await self._attend(key)

    async def run(self) -> None:
        async with tasks.Group() as group:
            for number in range(10):
                group.start(f"{self.name} worker {number}", self._work())
            while True:
                try:
                    await self._follow(group)
                except (errors.ApiError, codec.DecodeError, Unreachable) as error:
                    _log.debug("discovery: %s", error)
                await self._context.clock.sleep(_RESYNC_SECONDS)

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            try:
                again = await self._attend(uid)
            except (errors.ApiError, Unreachable) as error:
                _log.debug("%s: %s", uid, error)
                self._queue.add_rate_limited(uid)
            except Exception:
                _log.exception("%s", uid)
                self._queue.add_rate_limited(uid)
            else:
                self._queue.forget(uid)
                if again is not None:
                    self._queue.add_after(uid, again)
            finally:
                self._queue.done(uid)

    # ---- seeing ----

    async def _follow(self, group: tasks.Group) -> None:
        """Watches resources that came, stops watching those that went."""
        found = {(k.group, k.plural): k for k in await self._discover()}
        for kind, task in list(self._monitors.items()):
            if found.get((kind.group, kind.plural)) != kind:
                await tasks.stop(task)
                del self._monitors[kind]
                self._synced.discard(kind)
                for node in [n for n in self._graph.nodes.values() if n.kind == kind]:
                    self._graph.remove(node.uid)
        self._kinds = found
        for kind in found.values():
            self._by_kind[kind.api_version, kind.kind] = kind
            if kind not in self._monitors:
                self._monitors[kind] = group.start(f"{self.name} {kind.plural}", self._monitor(kind))

    async def _discover(self) -> list[Kind]:
        """The kinds that can be followed and deleted; of groups that cannot be asked just now, those that were known."""
        found = await self._context.discovery.resources()
        known = [k for k in self._kinds.values() if k.api_version in found.stale]
        return known + [
            Kind(r.group, r.version, r.plural, r.kind, r.namespaced)
            for r in found.resources
            if r.verbs >= _COLLECTED and (r.group, r.plural) not in _IGNORED and r.group_version not in found.stale
        ]

    async def _monitor(self, kind: Kind) -> None:
        def listed(found: list[Metadata]) -> None:
            there = {m.uid for m in found}
            for m in found:
                self._seen(kind, m)
            for node in [n for n in self._graph.nodes.values() if n.kind == kind and n.uid not in there]:
                self._gone(node.uid)
            self._synced.add(kind)

        def changed(event: str, m: Metadata) -> None:
            if event == "DELETED":
                self._gone(m.uid)
            else:
                self._seen(kind, m)

        await reflector.follow(partial.Follower(self._context.client, kind.path(), listed, changed), self._context.clock)

    def _seen(self, kind: Kind, m: Metadata) -> None:
        self._absent.pop(m.uid, None)
        node = Node(kind, m.name, m.namespace, m.uid, tuple(m.ownerReferences), tuple(m.finalizers), m.deletionTimestamp is not None)
        before = self._graph.nodes.get(m.uid)
        self._graph.put(node)
        for owner in {o.uid for o in (*(before.owners if before else ()), *node.owners)}:
            held = self._graph.nodes.get(owner)
            if held is not None and held.deleting and FOREGROUND in held.finalizers:
                self._queue.add(owner)
        if node.owners or (node.deleting and {FOREGROUND, ORPHAN} & set(node.finalizers)):
            self._queue.add(m.uid)
            if node.deleting and FOREGROUND in node.finalizers:
                for dependent in self._graph.of(m.uid):
                    self._queue.add(dependent.uid)

    def _gone(self, uid: str) -> None:
        node = self._graph.remove(uid)
        self._absent[uid] = self._context.now()
        if len(self._absent) > 2000:
            self._absent.pop(next(iter(self._absent)))
        for dependent in self._graph.of(uid):
            self._queue.add(dependent.uid)
        for owner in node.owners if node is not None else ():
            self._queue.add(owner.uid)

    # ---- deciding and doing ----

    async def _attend(self, uid: str) -> float | None:
        node = self._graph.nodes.get(uid)
        if node is None:
            return None
        if node.deleting and ORPHAN in node.finalizers:
            return await self._orphan(node)
        if node.deleting and FOREGROUND in node.finalizers:
            await self._foreground(node)
        if node.deleting or not node.owners:
            return None
        return await self._judge(node)

    async def _judge(self, node: Node) -> float | None:
        """Deletes an object without living owners; takes gone owners off one that has others."""
        standing = await self._standing(node)
        if standing is None:
            return 1.0
        if standing.solid:
            lost = (*standing.dangling, *standing.waiting)
            if lost:
                await self._patch_owners(node, {o.uid for o in lost})
            return None
        if standing.waiting and self._graph.of(node.uid):
            if any(FOREGROUND in d.finalizers and d.deleting for d in self._graph.of(node.uid)):
                await self._unblock(node)
            await self._delete(node, "Foreground")
            return None
        policy = "Orphan" if ORPHAN in node.finalizers else "Foreground" if FOREGROUND in node.finalizers else "Background"
        await self._delete(node, policy)
        return None

    async def _standing(self, node: Node) -> Standing | None:
        """What the owners are; None when that cannot be told yet."""
        solid: list[Owner] = []
        dangling: list[Owner] = []
        waiting: list[Owner] = []
        for owner in node.owners:
            kind = self._by_kind.get((owner.apiVersion, owner.kind)) or self._same_kind(owner)
            if kind is None:
                if not self._synced or self._kinds == {}:
                    return None
                solid.append(owner)
                continue
            held = self._graph.nodes.get(owner.uid)
            if held is None:
                if await self._is_there(kind, owner, node):
                    solid.append(owner)
                else:
                    dangling.append(owner)
            elif kind.namespaced and held.namespace != node.namespace:
                dangling.append(owner)
            elif held.deleting and FOREGROUND in held.finalizers:
                waiting.append(owner)
            else:
                solid.append(owner)
        return Standing(tuple(solid), tuple(dangling), tuple(waiting))

    def _same_kind(self, owner: Owner) -> Kind | None:
        """The watched version of a kind named by another version of its group."""
        group = owner.apiVersion.rpartition("/")[0]
        return next((k for k in self._kinds.values() if k.group == group and k.kind == owner.kind), None)

    async def _is_there(self, kind: Kind, owner: Owner, node: Node) -> bool:
        """Asks the server whether an owner exists that the graph does not hold."""
        if owner.uid in self._absent:
            return False
        if kind.namespaced and not node.namespace:
            return True
        try:
            found = await partial.get(self._context.client, kind.path(owner.name, node.namespace))
        except errors.NotFound:
            self._absent[owner.uid] = self._context.now()
            return False
        return found.uid == owner.uid

    async def _foreground(self, node: Node) -> None:
        """Lets an object go when no dependent blocks it any more; else sees to those."""
        blocking = self._graph.blocking(node.uid)
        if not blocking:
            await self._remove_finalizer(node, FOREGROUND)
            return
        for dependent in blocking:
            if not dependent.deleting:
                self._queue.add(dependent.uid)

    async def _orphan(self, node: Node) -> float | None:
        """Takes the owner off all dependents, then lets it go."""
        if node.kind not in self._synced or len(self._synced) < len(self._kinds):
            return 0.2
        for dependent in self._graph.of(node.uid):
            await self._patch_owners(dependent, {node.uid})
        await self._remove_finalizer(node, ORPHAN)
        return None

    async def _unblock(self, node: Node) -> None:
        """Breaks a circle: an owner of ours waits for us, and we for it."""
        owners = [{**msgspec.to_builtins(o), "blockOwnerDeletion": False} for o in node.owners]
        await self._patch(node, {"metadata": {"ownerReferences": owners, "uid": node.uid}})

    async def _patch_owners(self, node: Node, uids: set[str]) -> None:
        live = await self._live(node)
        if live is None:
            return
        kept = [o for o in live.get("ownerReferences") or () if o.get("uid") not in uids]
        patch = {"metadata": {"ownerReferences": kept or None, "uid": node.uid, "resourceVersion": live.get("resourceVersion")}}
        await self._patch(node, patch)

    async def _remove_finalizer(self, node: Node, finalizer: str) -> None:
        live = await self._live(node)
        if live is None or finalizer not in (live.get("finalizers") or ()):
            return
        kept = [f for f in live["finalizers"] if f != finalizer]
        await self._patch(node, {"metadata": {"finalizers": kept or None, "resourceVersion": live.get("resourceVersion")}})

    async def _live(self, node: Node) -> dict[str, Any] | None:
        """The object's metadata now; None when it is gone or another."""
        try:
            data = await self._context.client.request("GET", node.kind.path(node.name, node.namespace))
        except errors.NotFound:
            return None
        metadata: dict[str, Any] = codec.tree(data)["metadata"]
        return metadata if metadata.get("uid") == node.uid else None

    async def _patch(self, node: Node, patch: dict[str, Any]) -> None:
        path = node.kind.path(node.name, node.namespace)
        body = codec.encode(patch)
        try:
            await self._context.client.send(Request("PATCH", path, body=body, content_type="application/merge-patch+json"))
        except errors.NotFound:
            return

    async def _delete(self, node: Node, policy: str) -> None:
        options = meta_v1.DeleteOptions(
            apiVersion="v1", kind="DeleteOptions", propagationPolicy=policy, preconditions=meta_v1.Preconditions(uid=node.uid)
        )
        try:
            await self._context.client.send(Request("DELETE", node.kind.path(node.name, node.namespace), body=codec.encode(options)))
        except (errors.NotFound, errors.Conflict):
            return
