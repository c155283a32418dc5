"""The ServiceAccount `default` of every namespace.

Upstream counterpart: pkg/controller/serviceaccount (serviceaccounts_controller.go).
"""

from __future__ import annotations

from collections.abc import Iterable

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.controllers.identity import namespaced
from navarch.objects import meta


class DefaultAccountController(Reconciler):
    """Makes the ServiceAccount `default` in every namespace."""

    name = "serviceaccount"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._namespaces = context.informer(core_v1.Namespace)
        self._accounts = context.informer(core_v1.ServiceAccount)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Namespace, lambda n: [meta.key(n)])
        yield Watch(core_v1.ServiceAccount, lambda a: [meta.of(a).namespace or ""] if meta.of(a).name == "default" else [])

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or meta.of(namespace).deletionTimestamp is not None or self._accounts.get("default", key) is not None:
            return None
        await namespaced.create(self._context.client, core_v1.ServiceAccount(metadata=meta_v1.ObjectMeta(name="default", namespace=key)))
        return None
