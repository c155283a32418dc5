"""A server with webhooks to register, for the tests of admission webhooks."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import errors
from navarch.testing import server
from navarch.testing.webhooks import Webhooks, allowed

Handler = Callable[[dict[str, Any]], Any]
NUMBERS = itertools.count()


def rule(
    *resources: str, operations: tuple[str, ...] = ("CREATE",), group: str = "", version: str = "*", **more: Any
) -> admission_v1.RuleWithOperations:
    return admission_v1.RuleWithOperations(
        operations=list(operations), apiGroups=[group], apiVersions=[version], resources=list(resources or ("configmaps",)), **more
    )


class Cluster:
    """A server, its webhooks, and what a test registers of them for its namespace; taken back when the test ends."""

    def __init__(self, api: server.ApiServer, hooks: Webhooks, handlers: dict[str, Handler], ns: str) -> None:
        self.api, self.hooks, self.ns = api, hooks, ns
        self._handlers = handlers
        self._made: list[Any] = []
        self.client = api.client

    def _webhook(self, kind: type[Any], handler: Handler, name: str, fields: dict[str, Any]) -> Any:
        path = f"/{next(NUMBERS)}"
        self._handlers[path] = handler
        selector = meta_v1.LabelSelector(matchLabels={"kubernetes.io/metadata.name": self.ns})
        given = {
            "rules": [rule()],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "namespaceSelector": selector,
            "clientConfig": self.hooks.config(path),
            **fields,
        }
        return kind(name=name, **given)

    async def _register(self, kind: type[Any], webhook: Any, *more: Any) -> Any:
        made = await self.client.create(kind(metadata=meta_v1.ObjectMeta(generateName="test-"), webhooks=[webhook, *more]))
        self._made.append(made)
        return made

    def validating(self, handler: Handler, name: str = "v.example.com", **fields: Any) -> Any:
        return self._webhook(admission_v1.ValidatingWebhook, handler, name, fields)

    def mutating(self, handler: Handler, name: str = "m.example.com", **fields: Any) -> Any:
        return self._webhook(admission_v1.MutatingWebhook, handler, name, fields)

    async def register(self, *hooks: Any) -> Any:
        kind = admission_v1.ValidatingWebhookConfiguration
        if isinstance(hooks[0], admission_v1.MutatingWebhook):
            return await self._register(admission_v1.MutatingWebhookConfiguration, *hooks)
        return await self._register(kind, *hooks)

    async def create(self, name: str = "", **data: str) -> core_v1.ConfigMap:
        metadata = meta_v1.ObjectMeta(name=name or f"c{next(NUMBERS)}", namespace=self.ns)
        return await self.client.create(core_v1.ConfigMap(metadata=metadata, data=data or None))

    async def close(self) -> None:
        for made in self._made:
            with contextlib.suppress(errors.NotFound):
                await self.client.delete(type(made), meta(made).name or "")


HANDLERS: dict[str, Handler] = {}


def noting(asked: list[dict[str, Any]], answer: dict[str, Any] | None = None) -> Handler:
    """A handler that keeps what it was asked."""

    def handler(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return allowed() if answer is None else answer

    return handler


def meta(obj: Any) -> meta_v1.ObjectMeta:
    assert obj.metadata is not None
    return obj.metadata  # type: ignore[no-any-return]
