"""Secrets of type kubernetes.io/service-account-token: filled in, and removed when their account is gone.

Upstream counterpart: pkg/controller/serviceaccount (tokens_controller.go).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from navarch.api.authentication import v1 as authentication_v1
from navarch.api.core import v1 as core_v1
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import errors
from navarch.objects import meta

TOKEN_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"


class TokenController(Reconciler):
    """Fills Secrets of type kubernetes.io/service-account-token, and removes those whose account is gone."""

    name = "serviceaccount-token"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._accounts = context.informer(core_v1.ServiceAccount)
        self._secrets = context.informer(core_v1.Secret)
        self._of_account = context.index(core_v1.Secret, "account", _account_of)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Secret, lambda s: [meta.key(s)] if _account_of(s) else [])
        yield Watch(core_v1.ServiceAccount, lambda a: [meta.key(s) for s in self._of_account.of(meta.key(a))])

    async def reconcile(self, key: str) -> float | None:
        secret = self._secrets.by_key(key)
        if secret is None or meta.of(secret).deletionTimestamp is not None:
            return None
        m = meta.of(secret)
        notes = m.annotations or {}
        account = self._accounts.get(notes.get(ACCOUNT_NAME, ""), m.namespace or "")
        if account is None or notes.get(ACCOUNT_UID, meta.of(account).uid) != meta.of(account).uid:
            await self._remove_orphan(secret)
            return None
        if (secret.data or {}).get("token") and (secret.data or {}).get("ca.crt"):
            return None
        patch = {
            "metadata": {"annotations": {ACCOUNT_UID: meta.of(account).uid}},
            "data": {
                "token": _encoded(await self._token(account, secret)),
                "ca.crt": _encoded(self._context.settings.root_ca),
                "namespace": _encoded(m.namespace or ""),
            },
        }
        await self._context.client.patch(core_v1.Secret, m.name or "", patch, m.namespace or "")
        return None

    async def _token(self, account: core_v1.ServiceAccount, secret: core_v1.Secret) -> str:
        """A token bound to the secret: it is good for as long as the secret is there."""
        m = meta.of(account)
        bound = authentication_v1.BoundObjectReference(apiVersion="v1", kind="Secret", name=meta.of(secret).name, uid=meta.of(secret).uid)
        spec = authentication_v1.TokenRequestSpec(audiences=[], expirationSeconds=2**32, boundObjectRef=bound)
        request = authentication_v1.TokenRequest(apiVersion="authentication.k8s.io/v1", kind="TokenRequest", spec=spec)
        made = await self._context.client.create_subresource(core_v1.ServiceAccount, m.name or "", "token", request, m.namespace or "")
        return (made.status.token if made.status else None) or ""

    async def _remove_orphan(self, secret: core_v1.Secret) -> None:
        m = meta.of(secret)
        try:
            live = await self._context.client.get(core_v1.ServiceAccount, (m.annotations or {}).get(ACCOUNT_NAME, ""), m.namespace or "")
            if (m.annotations or {}).get(ACCOUNT_UID, meta.of(live).uid) == meta.of(live).uid:
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
    name = (meta.of(secret).annotations or {}).get(ACCOUNT_NAME)
    return [f"{meta.of(secret).namespace}/{name}"] if name else []
