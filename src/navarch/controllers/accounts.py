"""ServiceAccounts: every namespace has `default` and the ConfigMap `kube-root-ca.crt`; token Secrets are filled in.

Upstream counterparts: pkg/controller/serviceaccount and pkg/controller/certificates/rootcacertpublisher.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from navarch.api.authentication import v1 as authentication_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.rest import Client
from navarch.controllers import owners
from navarch.controllers.engine import Context, Reconciler, Watch
from navarch.controllers.owners import meta
from navarch.machinery import errors

ROOT_CA = "kube-root-ca.crt"
TOKEN_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
_NOTE = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or "
    "kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


async def _create(client: Client, obj: core_v1.ServiceAccount | core_v1.ConfigMap) -> None:
    """Creates what a namespace must have; a namespace that is gone or going needs nothing."""
    try:
        await client.create(obj)
    except (errors.AlreadyExists, errors.NotFound):
        return
    except errors.Forbidden as error:
        if "being terminated" not in str(error):
            raise


class DefaultAccountController(Reconciler):
    """Makes the ServiceAccount `default` in every namespace."""

    name = "serviceaccount"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._namespaces = context.informer(core_v1.Namespace)
        self._accounts = context.informer(core_v1.ServiceAccount)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Namespace, lambda n: [owners.key_of(n)])
        yield Watch(core_v1.ServiceAccount, lambda a: [meta(a).namespace or ""] if meta(a).name == "default" else [])

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or meta(namespace).deletionTimestamp is not None or self._accounts.get("default", key) is not None:
            return None
        await _create(self._context.client, core_v1.ServiceAccount(metadata=meta_v1.ObjectMeta(name="default", namespace=key)))
        return None


class RootCaController(Reconciler):
    """Publishes the API server's authority in every namespace."""

    name = "root-ca-certificate-publisher"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._namespaces = context.informer(core_v1.Namespace)
        self._maps = context.informer(core_v1.ConfigMap)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Namespace, lambda n: [owners.key_of(n)])
        yield Watch(core_v1.ConfigMap, lambda c: [meta(c).namespace or ""] if meta(c).name == ROOT_CA else [])

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or meta(namespace).deletionTimestamp is not None:
            return None
        data = {"ca.crt": self._context.options["root_ca"]}
        held = self._maps.get(ROOT_CA, key)
        if held is None:
            metadata = meta_v1.ObjectMeta(name=ROOT_CA, namespace=key, annotations={"kubernetes.io/description": _NOTE})
            await _create(self._context.client, core_v1.ConfigMap(metadata=metadata, data=data))
        elif held.data != data:
            await self._context.client.patch(core_v1.ConfigMap, ROOT_CA, [{"op": "add", "path": "/data", "value": data}], key, how="json")
        return None


class TokenController(Reconciler):
    """Fills Secrets of type kubernetes.io/service-account-token, and removes those whose account is gone."""

    name = "serviceaccount-token"

    def __init__(self, context: Context) -> None:
        self._context = context
        context.index(core_v1.Secret, "account", _account_of)
        self._accounts = context.informer(core_v1.ServiceAccount)
        self._secrets = context.informer(core_v1.Secret)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Secret, lambda s: [owners.key_of(s)] if _account_of(s) else [])
        yield Watch(core_v1.ServiceAccount, lambda a: [owners.key_of(s) for s in self._secrets.by_index("account", owners.key_of(a))])

    async def reconcile(self, key: str) -> float | None:
        secret = self._secrets.by_key(key)
        if secret is None or meta(secret).deletionTimestamp is not None:
            return None
        m = meta(secret)
        notes = m.annotations or {}
        account = self._accounts.get(notes.get(ACCOUNT_NAME, ""), m.namespace or "")
        if account is None or notes.get(ACCOUNT_UID, meta(account).uid) != meta(account).uid:
            await self._remove_orphan(secret)
            return None
        if (secret.data or {}).get("token") and (secret.data or {}).get("ca.crt"):
            return None
        patch = {
            "metadata": {"annotations": {ACCOUNT_UID: meta(account).uid}},
            "data": {
                "token": _encoded(await self._token(account, secret)),
                "ca.crt": _encoded(self._context.options["root_ca"]),
                "namespace": _encoded(m.namespace or ""),
            },
        }
        await self._context.client.patch(core_v1.Secret, m.name or "", patch, m.namespace or "")
        return None

    async def _token(self, account: core_v1.ServiceAccount, secret: core_v1.Secret) -> str:
        """A token bound to the secret: it is good for as long as the secret is there."""
        m = meta(account)
        bound = authentication_v1.BoundObjectReference(apiVersion="v1", kind="Secret", name=meta(secret).name, uid=meta(secret).uid)
        spec = authentication_v1.TokenRequestSpec(audiences=[], expirationSeconds=2**32, boundObjectRef=bound)
        request = authentication_v1.TokenRequest(apiVersion="authentication.k8s.io/v1", kind="TokenRequest", spec=spec)
        made = await self._context.client.create_subresource(core_v1.ServiceAccount, m.name or "", "token", request, m.namespace or "")
        return (made.status.token if made.status else None) or ""

    async def _remove_orphan(self, secret: core_v1.Secret) -> None:
        m = meta(secret)
        try:
            live = await self._context.client.get(core_v1.ServiceAccount, (m.annotations or {}).get(ACCOUNT_NAME, ""), m.namespace or "")
            if (m.annotations or {}).get(ACCOUNT_UID, meta(live).uid) == meta(live).uid:
                return
        except errors.NotFound:
            pass
        try:
            await self._context.client.delete(core_v1.Secret, m.name or "", m.namespace or "", uid=m.uid)
        except (errors.NotFound, errors.Conflict):
            return


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _account_of(secret: core_v1.Secret) -> list[str]:
    if secret.type != TOKEN_TYPE:
        return []
    name = (meta(secret).annotations or {}).get(ACCOUNT_NAME)
    return [f"{meta(secret).namespace}/{name}"] if name else []
