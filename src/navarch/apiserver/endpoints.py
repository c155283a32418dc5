"""Everything that is no resource: health, version, discovery, OpenAPI, metrics, OpenID keys."""

from __future__ import annotations

import email.utils
import platform
import time
from dataclasses import dataclass

import navarch
from navarch.api import version as version_types
from navarch.apiserver import answers, background, negotiation
from navarch.apiserver.aggregation.discovered import Discovered
from navarch.apiserver.aggregation.specs import Specs
from navarch.apiserver.answers import PLAIN, Answer, Document
from navarch.apiserver.authn.tokens import TokenIssuer
from navarch.apiserver.call import Call
from navarch.apiserver.discovery import Discovery, not_found
from navarch.apiserver.metrics import Metrics
from navarch.apiserver.served import Catalog
from navarch.apiserver.storage import Storage
from navarch.machinery import codec
from navarch.machinery.openapi import documents

_CHECKS = ("ping", "store", "caches", "bootstrap")
_LARGE = 1 << 20
"""Bytes that a document of everything is taken to have, wherever it is made."""


@dataclass(slots=True)
class Health:
    """How far the server has come."""

    caches: bool = False
    bootstrap: bool = False

    def checks(self, *, failed: bool) -> dict[str, bool]:
        """What health is made of; `failed` is the store."""
        return {"ping": True, "store": not failed, "caches": self.caches, "bootstrap": self.bootstrap}


class Endpoints:
    """The plain paths."""

    def __init__(
        self,
        catalog: Catalog,
        storage: Storage,
        issuer: TokenIssuer,
        metrics: Metrics,
        address: str,
        health: Health,
        discovered: Discovered,
        specs: Specs,
    ) -> None:
        self._remotes, self._storage = discovered.registry, storage
        self._issuer, self._metrics = issuer, metrics
        self._address = address
        self._health_of = health
        self._discovery = Discovery(catalog, self._remotes, discovered)
        self._documents = OpenApiDocuments(catalog, specs)

    async def answer(self, call: Call) -> Answer:
        path = call.info.path.rstrip("/") or "/"
        head = path.split("/")[1]
        if head in ("api", "apis"):
            found = self._discovery.answer(call, self._address)
            if found is None:
                raise not_found()
            return found
        match head:
            case "version":
                return answers.of_object(call, version())
            case "healthz" | "livez" | "readyz":
                return self._health(call, head)
            case "openapi":
                return await self._documents.answer(call)
            case ".well-known" if path == "/.well-known/openid-configuration":
                return Document(codec.encode(self._issuer.discovery()))
            case "openid" if path == "/openid/v1/jwks":
                return Document(codec.encode(self._issuer.key_set()), media="application/jwk-set+json")
            case "metrics":
                return self._metrics.answer()
            case "":
                return Document(codec.encode({"paths": self._paths()}))
        return Document(b"404 page not found\n", 404, PLAIN)

    def _health(self, call: Call, which: str) -> Answer:
        """`ok`, or with ?verbose one line per check, in upstream's form."""
        checks = self._health_of.checks(failed=self._storage.failed.done())
        path = call.info.path.strip("/").split("/")
        if len(path) == 2:
            if path[1] not in checks:
                raise not_found()
            checks = {path[1]: checks[path[1]]}
        if which == "livez":
            checks = {name: ok for name, ok in checks.items() if name in ("ping", "store")} or checks
        excluded = call.query.all("exclude")
        good = all(ok for name, ok in checks.items() if name not in excluded)
        if good and "verbose" not in call.query:
            return Document(b"ok", media=PLAIN)
        lines = [f"[{'+' if ok or name in excluded else '-'}]{name} {_word(name, ok, name in excluded)}" for name, ok in checks.items()]
        lines += [f"damaged and set aside: {name}" for name in self._storage.damaged]
        lines.append(f"{which} check {'passed' if good else 'failed'}")
        return Document("\n".join(lines).encode() + b"\n", 200 if good else 500, PLAIN)

    def _paths(self) -> list[str]:
        found = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis"]
        for group, versions in self._remotes.versions().items():
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
    """The OpenAPI documents: made when first asked for, with ETags; made again when what they tell of changed."""

    def __init__(self, catalog: Catalog, specs: Specs) -> None:
        self._catalog = catalog
        self._specs = specs
        self._made: documents.Publisher | None = None
        self._generation = self._foreign = -1

    @property
    def _publisher(self) -> documents.Publisher:
        if self._made is None:
            builtin = {(s.resource.group, s.resource.version) for s in self._catalog if s.published is None}
            self._made = documents.Publisher(navarch.KUBERNETES_VERSION, sorted(builtin | self._catalog.virtual_versions()))
        if self._generation != self._catalog.generation:
            self._made.set_custom([served.published() for served in self._catalog if served.published is not None])
            self._generation = self._catalog.generation
        if self._foreign != self._specs.generation:
            self._made.set_foreign(self._specs.found())
            self._foreign = self._specs.generation
        return self._made

    async def answer(self, call: Call) -> Answer:
        path = call.info.path.strip("/")
        publisher = self._publisher
        if path == "openapi/v3":
            return self._document(call, publisher.index(), negotiation.JSON)
        if path == "openapi/v2":
            accept = call.headers.get("Accept", "")
            if "proto-openapi.spec.v2" in accept:
                return self._document(call, await background.run(_LARGE, publisher.v2_protobuf), documents.V2_PROTOBUF_ANSWERED)
            return self._document(call, await background.run(_LARGE, publisher.v2), negotiation.JSON)
        place = path.removeprefix("openapi/v3/")
        found = await background.run(publisher.weight(place), publisher.v3, place) if path.startswith("openapi/v3/") else None
        if found is None:
            raise not_found()
        return self._document(call, found, negotiation.JSON)

    @staticmethod
    def _document(call: Call, document: documents.Document, media: str) -> Answer:
        tag = f'"{document.etag}"'
        headers = {"ETag": tag, "Vary": "Accept-Encoding, Accept"}
        if "hash" in call.query:
            headers |= {"Cache-Control": "public, immutable", "Expires": _in_a_year()}
        if call.headers.get("If-None-Match") == tag:
            return Document(b"", 304, headers=headers)
        return Document(document.data, media=media, headers=headers)


def _in_a_year() -> str:
    return email.utils.formatdate(time.time() + 365 * 86400, usegmt=True)
