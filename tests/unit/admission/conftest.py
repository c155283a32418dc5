"""Caches that stand where the server does, for admission and authorization alone."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.apiserver.admission import podsecurity
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.node import NodeAuthorizer
from navarch.apiserver.authz.rbac import Rbac
from navarch.apiserver.kinds import table
from navarch.apiserver.served import Catalog
from navarch.machinery import codec
from navarch.store.interface import Change

ADMIN = User("admin", ("system:masters",))


class Host:
    """Caches that take what is put in them; stands where the server does."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.promises: dict[str, Any] = {}
        self.pod_security = podsecurity.Configuration()
        self.storage = self
        self.revision = 0
        self.kept: dict[str, tuple[bytes, int, int]] = {}
        self.authorizer = Authorizer(Rbac(self.catalog), NodeAuthorizer(self.catalog))

    async def put(self, served: Any, name: str, namespace: str, value: bytes, expected: int) -> int | None:
        held = served.cache.get(served.key(name, namespace))
        if held is not None and held.version != expected:
            return None
        self.revision += 1
        before = self.kept.get(served.store_key(name, namespace))
        born = before[1] if before else self.revision
        key = served.store_key(name, namespace)
        served.cache.apply(_change(key, value, self.revision, before[0] if before else None, born, before[2] if before else 0))
        self.kept[key] = (value, born, self.revision)
        return self.revision

    async def add(self, group: str, plural: str, tree: dict[str, Any]) -> Any:
        served = self.catalog.of(group, plural)
        made = self.made(group, plural, tree)
        await self.put(served, made.metadata.name, made.metadata.namespace or "", codec.encode(made), 0)
        self.authorizer.rbac.generation += 1
        return made

    def made(self, group: str, plural: str, tree: dict[str, Any]) -> Any:
        served = self.catalog.of(group, plural)
        resource = served.resource
        head = {"apiVersion": resource.group_version, "kind": resource.kind}
        tree = {**head, **tree, "metadata": {"name": "x", **({"namespace": "default"} if resource.namespaced else {}), **tree.get("metadata", {})}}
        made = served.shape.from_tree(tree)
        table.of(group, plural).default(made)
        return made

    def attributes(self, group: str, plural: str, obj: Any, old: Any = None, user: User = ADMIN, subresource: str = "") -> Attributes:
        held = obj if obj is not None else old
        operation = "CREATE" if old is None else "DELETE" if obj is None else "UPDATE"
        m = held.metadata
        return Attributes(user, self.catalog.of(group, plural), operation, m.name or "", m.namespace or "", obj, old, subresource)


@pytest.fixture
def host() -> Any:
    return Host()


def _change(key: str, value: bytes, revision: int, before: bytes | None, born: int, earlier: int) -> Change:
    return Change(key=key, value=value, revision=revision, previous=before, create_revision=born, previous_revision=earlier)
