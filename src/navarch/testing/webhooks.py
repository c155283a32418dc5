"""A webhook server inside a test: over TLS on a free loopback port, with an authority of its own.

    async with webhooks.running({"/deny": lambda request: webhooks.denied("no")}) as hooks:
        configuration.webhooks[0].clientConfig = hooks.config("/deny")

A handler takes the `request` of an AdmissionReview and returns the rest of its `response` (the uid is filled in), or a whole answer (`bytes`, or a
`web.StreamResponse`); it may be a coroutine. What was asked is kept in `hooks.requests`, and how long handlers took in `hooks.seconds`.

Upstream counterpart: agnhost's webhook.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import inspect
import json
import pathlib
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.lib import pki

Handler = Callable[[dict[str, Any]], Any]


@dataclass(slots=True)
class Webhooks:
    """A running server. `authorities` is the PEM of who signed its certificate."""

    port: int
    authorities: bytes
    tls: ssl.SSLContext
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The path and the request of each call, in the order they came."""
    queries: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def bundle(self) -> str:
        """What a `caBundle` says."""
        return base64.b64encode(self.authorities).decode()

    def config(self, path: str) -> admission_v1.WebhookClientConfig:
        return admission_v1.WebhookClientConfig(url=f"{self.url}{path}", caBundle=self.bundle)

    def asked(self, path: str) -> list[dict[str, Any]]:
        """The requests that came to a path."""
        return [request for p, request in self.requests if p == path]


def allowed(**more: Any) -> dict[str, Any]:
    return {"allowed": True, **more}


def denied(message: str = "", **status: Any) -> dict[str, Any]:
    result = {**({"message": message} if message else {}), **status}
    return {"allowed": False, **({"status": result} if result else {})}


def patched(*operations: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Allowed, with a JSON patch."""
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode(), **more}


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


@contextlib.asynccontextmanager
async def running(handlers: Mapping[str, Handler], *names: str, port: int = 0) -> AsyncIterator[Webhooks]:
    """A server for the length of the block. `names`: what its certificate is for besides 127.0.0.1."""
    now = datetime.datetime.now(datetime.UTC)
    authority = pki.authority("webhooks", now)
    context = _context(pki.issue(authority, "webhook", now, names=["127.0.0.1", "localhost", *names], server=True))
    hooks = Webhooks(port, authority.certificate, context)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        review = json.loads(await request.read())
        asked = review.get("request") or {}
        hooks.requests.append((request.path, asked))
        hooks.queries.append(request.query_string)
        began = time.perf_counter()
        found = handlers[request.path](asked)
        if inspect.isawaitable(found):
            found = await found
        hooks.seconds += time.perf_counter() - began
        if isinstance(found, web.StreamResponse):
            return found
        if not isinstance(found, bytes):
            said = {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": {"uid": asked.get("uid"), **found}}
            found = json.dumps(said).encode()
        return web.Response(body=found, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context)
    await site.start()
    hooks.port = runner.addresses[0][1]
    try:
        yield hooks
    finally:
        await runner.cleanup()


def _context(pair: pki.Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = pathlib.Path(folder, "tls.crt"), pathlib.Path(folder, "tls.key")
        pair.write(certificate, key)
        context.load_cert_chain(certificate, key)
    return context
