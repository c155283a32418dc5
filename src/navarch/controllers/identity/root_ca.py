"""The API server's authority, published in every namespace as the ConfigMap `kube-root-ca.crt`.

Upstream counterpart: pkg/controller/certificates/rootcacertpublisher.
"""

from __future__ import annotations

from collections.abc import Iterable

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.controllers.identity import namespaced
from navarch.objects import meta

ROOT_CA = "kube-root-ca.crt"
_NOTE = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or "
    "kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


class RootCaController(Reconciler):
    """Publishes the API server's authority in every namespace."""

    name = "root-ca-certificate-publisher"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._namespaces = context.informer(core_v1.Namespace)
        self._maps = context.informer(core_v1.ConfigMap)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Namespace, lambda n: [meta.key(n)])
        yield Watch(core_v1.ConfigMap, lambda c: [meta.of(c).namespace or ""] if meta.of(c).name == ROOT_CA else [])

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or meta.of(namespace).deletionTimestamp is not None:
            return None
        data = {"ca.crt": self._context.settings.root_ca}
        held = self._maps.get(ROOT_CA, key)
        if held is None:
            metadata = meta_v1.ObjectMeta(name=ROOT_CA, namespace=key, annotations={"kubernetes.io/description": _NOTE})
            await namespaced.create(self._context.client, core_v1.ConfigMap(metadata=metadata, data=data))
        elif held.data != data:
            await self._context.client.patch(core_v1.ConfigMap, ROOT_CA, [{"op": "add", "path": "/data", "value": data}], key, how="json")
        return None
