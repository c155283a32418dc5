"""Namespaces: empties a namespace that is being deleted, then lets it go.

Everything of every resource in it is deleted, pods first (KEP-5080); what stays is told in the namespace's conditions.

Upstream counterpart: pkg/controller/namespace.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.discovery import Resource
from navarch.client.rest import Request
from navarch.controllers.core import namespaces
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import codec, errors
from navarch.objects import meta

_FINALIZER = "kubernetes"
_PODS = ("", "pods")
_DELETABLE = frozenset({"list", "delete"})


class _Item(msgspec.Struct):
    metadata: meta_v1.ObjectMeta


class _List(msgspec.Struct):
    items: list[_Item] | None = None


class NamespaceController(Reconciler):
    """Empties terminating namespaces."""

    name = "namespace"
    workers = 10

    def __init__(self, context: Context) -> None:
        self._context = context
        self._namespaces = context.informer(core_v1.Namespace)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Namespace, lambda n: [meta.key(n)] if meta.of(n).deletionTimestamp is not None else [])

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or meta.of(namespace).deletionTimestamp is None:
            return None
        if _FINALIZER not in ((namespace.spec.finalizers if namespace.spec else None) or ()):
            return None
        remains = await self._empty(key)
        if not remains.empty:
            await self._tell(namespace, remains)
            return 0.5 if not remains.finalizers else 2.0
        await self._finalize(key)
        return None

    async def _empty(self, namespace: str) -> namespaces.Remains:
        remains = namespaces.Remains()
        resources = await self._resources(remains)
        for resource in resources:
            if (resource.group, resource.plural) == _PODS:
                await self._delete_all(namespace, resource, remains)
        if remains.resources:
            return remains
        for resource in resources:
            if (resource.group, resource.plural) != _PODS:
                await self._delete_all(namespace, resource, remains)
        return remains

    async def _resources(self, remains: namespaces.Remains) -> list[Resource]:
        """Every namespaced resource that can be listed and deleted."""
        found = await self._context.discovery.resources()
        remains.discovery += (f"unable to retrieve the complete list of server APIs: {stale}: stale GroupVersion discovery" for stale in found.stale)
        return [r for r in found.resources if r.namespaced and r.verbs >= _DELETABLE]

    async def _delete_all(self, namespace: str, resource: Resource, remains: namespaces.Remains) -> None:
        group, plural = resource.group, resource.plural
        path = f"{resource.prefix}/namespaces/{namespace}/{plural}"
        client = self._context.client
        try:
            items = self._items(await client.send(Request("GET", path)))
            if not items:
                return
            if "deletecollection" in resource.verbs:
                body = b'{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}'
                await client.send(Request("DELETE", path, body=body))
            else:
                for item in items:
                    await client.send(Request("DELETE", f"{path}/{item.name}"))
            items = self._items(await client.send(Request("GET", path)))
        except errors.NotFound:
            return
        except errors.ApiError as error:
            remains.content.append(f"{plural}: {error}")
            return
        if items:
            full = errors.qualified(group, plural) if group else f"{plural}."
            remains.resources[full] = len(items)
            for item in items:
                for finalizer in item.finalizers or ():
                    remains.finalizers[finalizer] = remains.finalizers.get(finalizer, 0) + 1

    @staticmethod
    def _items(data: bytes) -> list[meta_v1.ObjectMeta]:
        return [i.metadata for i in msgspec.json.decode(data, type=_List).items or ()]

    async def _tell(self, namespace: core_v1.Namespace, remains: namespaces.Remains) -> None:
        status = namespace.status or core_v1.NamespaceStatus(phase="Terminating")
        made = namespaces.conditions(remains, list(status.conditions or ()), self._context.now())
        if codec.encode(made) != codec.encode(status.conditions):
            changed = msgspec.structs.replace(namespace, status=msgspec.structs.replace(status, conditions=made))
            await self._context.client.update_status(changed)

    async def _finalize(self, name: str) -> None:
        """Takes our finalizer off; with the last one the namespace is gone."""
        client = self._context.client
        try:
            live = await client.get(core_v1.Namespace, name)
            spec = live.spec or core_v1.NamespaceSpec()
            spec.finalizers = [f for f in spec.finalizers or () if f != _FINALIZER] or None
            live.spec = spec
            await client.update(live, "finalize")
        except errors.NotFound:
            return
