"""Everything that is no resource: health, version, discovery, OpenAPI, metrics, OpenID keys."""

from __future__ import annotations

import email.utils
import platform
import time
from collections.abc import Callable

from aiohttp import web

import navarch
from navarch.api import version as version_types
from navarch.apiserver import answers
from navarch.apiserver.context import Context
from navarch.apiserver.discovery import Discovery, not_found
from navarch.apiserver.served import Catalog
from navarch.apiserver.server import Server
from navarch.machinery import codec
from navarch.machinery.openapi import documents

_CHECKS = ("ping", "store", "caches", "bootstrap")


class Endpoints:
    """The plain paths."""

    def __init__(self, server: Server, ready: Callable[[], dict[str, bool]], documents: OpenApiDocuments) -> None:
        self._server = server
        self._discovery = Discovery(server.catalog)
        self._ready = ready
        self._documents = documents

    async def answer(self, context: Context) -> web.StreamResponse:
        path = context.info.path.rstrip("/") or "/"
        head = path.split("/")[1]
        if head in ("api", "apis"):
            found = self._discovery.answer(context, self._address(context))
            if found is None:
                raise not_found()
            return found
        match head:
            case "version":
                return answers.of_object(context, version())
            case "healthz" | "livez" | "readyz":
                return self._health(context, head)
            case "openapi":
                return await self._documents.answer(context)
            case ".well-known" if path == "/.well-known/openid-configuration":
                return answers.raw(codec.encode(self._server.issuer.discovery()))
            case "openid" if path == "/openid/v1/jwks":
                return answers.raw(codec.encode(self._server.issuer.key_set()), media="application/jwk-set+json")
            case "metrics":
                return self._server.metrics.answer()
            case "":
                return answers.raw(codec.encode({"paths": self._paths()}))
        return answers.raw(b"404 page not found\n", 404, "text/plain; charset=utf-8")

    def _address(self, context: Context) -> str:
        options = self._server.options
        return f"{options.advertise_address or options.bind_address}:{options.secure_port}"

    def _health(self, context: Context, which: str) -> web.Response:
        """`ok`, or with ?verbose one line per check, in upstream's form."""
        checks = self._ready()
        path = context.info.path.strip("/").split("/")
        if len(path) == 2:
            if path[1] not in checks:
                raise not_found()
            checks = {path[1]: checks[path[1]]}
        if which == "livez":
            checks = {name: ok for name, ok in checks.items() if name in ("ping", "store")} or checks
        excluded = context.query.getall("exclude", ())
        good = all(ok for name, ok in checks.items() if name not in excluded)
        if good and "verbose" not in context.query:
            return answers.raw(b"ok", media="text/plain; charset=utf-8")
        lines = [f"[{'+' if ok or name in excluded else '-'}]{name} {_word(name, ok, name in excluded)}" for name, ok in checks.items()]
        lines += [f"damaged and set aside: {name}" for name in self._server.storage.damaged]
        lines.append(f"{which} check {'passed' if good else 'failed'}")
        return answers.raw("\n".join(lines).encode() + b"\n", 200 if good else 500, "text/plain; charset=utf-8")

    def _paths(self) -> list[str]:
        found = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis"]
        for group, versions in self._server.catalog.versions().items():
            if group:
                found += [f"/apis/{group}", *(f"/apis/{group}/{v}" for v in versions)]
        return sorted([*found, "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"])


def _word(name: str, ok: bool, excluded: bool) -> str:
    if excluded:
        return "excluded: ok"
    return "ok" if ok else "failed: reason withheld"


def version() -> version_types.Info:
    """What `kubectl version` shows of the server."""
    major, minor, _ = navarch.KUBERNETES_VERSION.removeprefix("v").split(".")
    return version_types.Info(
        major=major,
        minor=minor,
        gitVersion=f"{navarch.KUBERNETES_VERSION}+navarch{navarch.__version__}",
        gitCommit="",
        gitTreeState="clean",
        buildDate="1970-01-01T00:00:00Z",
        goVersion=f"python{platform.python_version()}",
        compiler="cpython",
        platform=f"linux/{'amd64' if platform.machine() == 'x86_64' else platform.machine()}",
    )


class OpenApiDocuments:
    """The OpenAPI documents: made from the type table when first asked for, with ETags."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._made: documents.Publisher | None = None

    @property
    def _publisher(self) -> documents.Publisher:
        if self._made is None:
            versions = [(group, version) for group, found in self._catalog.versions().items() for version in found]
            self._made = documents.Publisher(navarch.KUBERNETES_VERSION, versions)
        return self._made

    async def answer(self, context: Context) -> web.StreamResponse:
        path = context.info.path.strip("/")
        if path == "openapi/v3":
            return self._document(context, self._publisher.index(), answers.JSON)
        if path == "openapi/v2":
            accept = context.request.headers.get("Accept", "")
            if "proto-openapi.spec.v2" in accept:
                return self._document(context, self._publisher.v2_protobuf(), documents.V2_PROTOBUF_ANSWERED)
            return self._document(context, self._publisher.v2(), answers.JSON)
        found = self._publisher.v3(path.removeprefix("openapi/v3/")) if path.startswith("openapi/v3/") else None
        if found is None:
            raise not_found()
        return self._document(context, found, answers.JSON)

    @staticmethod
    def _document(context: Context, document: documents.Document, media: str) -> web.Response:
        tag = f'"{document.etag}"'
        headers = {"ETag": tag, "Vary": "Accept-Encoding, Accept"}
        if "hash" in context.query:
            headers |= {"Cache-Control": "public, immutable", "Expires": _in_a_year()}
        if context.request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return answers.raw(document.data, media=media, headers=headers)


def _in_a_year() -> str:
    return email.utils.formatdate(time.time() + 365 * 86400, usegmt=True)
