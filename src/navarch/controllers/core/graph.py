"""The graph of owners and dependents that the garbage collector walks. Pure.

Upstream counterpart: pkg/controller/garbagecollector/graph.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from navarch.objects.partial import Owner


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource the collector watches."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, name: str = "", namespace: str = "") -> str:
        prefix = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        middle = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{prefix}{middle}/{self.plural}" + (f"/{name}" if name else "")


@dataclass(slots=True)
class Node:
    """An object in the graph."""

    kind: Kind
    name: str
    namespace: str
    uid: str
    owners: tuple[Owner, ...] = ()
    finalizers: tuple[str, ...] = ()
    deleting: bool = False


@dataclass(slots=True)
class Graph:
    """Objects by uid, and by the uid of each owner."""

    nodes: dict[str, Node] = field(default_factory=dict)
    dependents: dict[str, set[str]] = field(default_factory=dict)

    def put(self, node: Node) -> None:
        self._unlink(node.uid)
        self.nodes[node.uid] = node
        for owner in node.owners:
            self.dependents.setdefault(owner.uid, set()).add(node.uid)

    def remove(self, uid: str) -> Node | None:
        self._unlink(uid)
        return self.nodes.pop(uid, None)

    def _unlink(self, uid: str) -> None:
        held = self.nodes.get(uid)
        for owner in held.owners if held is not None else ():
            bucket = self.dependents.get(owner.uid)
            if bucket is not None:
                bucket.discard(uid)
                if not bucket:
                    del self.dependents[owner.uid]

    def of(self, uid: str) -> list[Node]:
        """The objects that name an owner."""
        return [self.nodes[d] for d in self.dependents.get(uid, ()) if d in self.nodes]

    def blocking(self, uid: str) -> list[Node]:
        """The dependents for which a foreground deletion waits."""
        return [n for n in self.of(uid) if any(o.uid == uid and o.blockOwnerDeletion for o in n.owners)]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the owners of an object are: there, gone, or waiting for their dependents to go."""

    solid: tuple[Owner, ...]
    dangling: tuple[Owner, ...]
    waiting: tuple[Owner, ...]
