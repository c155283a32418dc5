"""Certificates and tokens at the kubelet's own port, over real TLS, with a real API server behind it that reviews tokens."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import aiohttp
import pytest

from navarch.cri.client import Client as CriClient
from navarch.kubelet.server import Server
from navarch.lib import pki
from navarch.testing import server

NOW = datetime.datetime.now(datetime.UTC)
MASTERS = ("system:masters",)


@dataclass(frozen=True)
class Flags:
    tls_cert_file: str
    tls_private_key_file: str
    client_ca_file: str
    pod_log_dir: str
    port: int
    anonymous_auth: bool = False
    address: str = "127.0.0.1"
    authorization_mode: str = "Webhook"


@dataclass
class Kubelet:
    """A kubelet's server, an authority it trusts, and a token that is good."""

    url: str
    folder: pathlib.Path
    authority: pki.Pair
    token: str

    def certificate(self, kind: str) -> pki.Pair | None:
        match kind:
            case "none":
                return None
            case "good":
                return pki.issue(self.authority, "admin", NOW, organizations=MASTERS, client=True)
            case "foreign":
                return pki.issue(pki.authority("kubernetes", NOW), "admin", NOW, organizations=MASTERS, client=True)
            case "expired":
                return pki.issue(self.authority, "admin", NOW - datetime.timedelta(days=900), organizations=MASTERS, client=True)
            case "for servers":
                return pki.issue(self.authority, "admin", NOW, organizations=MASTERS, names=("x",), server=True)
            case _:
                return pki.issue(self.authority, "nobody", NOW, client=True)

    async def get(self, kind: str, token: str = "", path: str = "/pods") -> tuple[int, str]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if (pair := self.certificate(kind)) is not None:
            pair.write(self.folder / "u.crt", self.folder / "u.key")
            context.load_cert_chain(self.folder / "u.crt", self.folder / "u.key")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def kubelet(folder: pathlib.Path, *, anonymous: bool = False) -> AsyncIterator[Kubelet]:
    (folder / "tokens.csv").write_text('a-good-token,admin,uid,"system:masters"\n')
    async with server.running(token_auth_file=str(folder / "tokens.csv")) as api:
        authority = pki.authority("kubernetes", NOW)
        authority.write(folder / "ca.crt", folder / "ca.key")
        pki.issue(authority, "n", NOW, names=("127.0.0.1",), server=True).write(folder / "k.crt", folder / "k.key")
        flags = Flags(str(folder / "k.crt"), str(folder / "k.key"), str(folder / "ca.crt"), str(folder), 0, anonymous)
        served = Server(flags, "n", ("127.0.0.1",), folder, api.client, cast(CriClient, None), {}, lambda: "")
        await served.start()
        assert served._runner is not None
        port = served._runner.addresses[0][1]
        try:
            yield Kubelet(f"https://127.0.0.1:{port}", folder, authority, "a-good-token")
        finally:
            await served.stop()


BAD = ["foreign", "expired", "for servers"]


async def test_a_good_certificate_is_enough_and_a_bad_one_is_unauthorized(tmp_path: pathlib.Path) -> None:
    async with kubelet(tmp_path) as k:
        assert (await k.get("good"))[0] == 200
        assert await k.get("nobody") == (403, "Forbidden (user=nobody, verb=get, resource=nodes, subresource=proxy)")
        for kind in (*BAD, "none"):
            assert await k.get(kind) == (401, "Unauthorized"), kind


async def test_a_good_token_counts_beside_a_bad_certificate(tmp_path: pathlib.Path) -> None:
    async with kubelet(tmp_path) as k:
        for kind in ("none", *BAD):
            assert (await k.get(kind, k.token))[0] == 200, kind
            assert await k.get(kind, "no token of ours") == (401, "Unauthorized"), kind


@pytest.mark.parametrize("kind", BAD)
async def test_who_shows_a_bad_certificate_is_not_anonymous(tmp_path: pathlib.Path, kind: str) -> None:
    async with kubelet(tmp_path, anonymous=True) as k:
        assert (await k.get("none"))[0] == 403
        assert "system:anonymous" in (await k.get("none"))[1]
        assert await k.get(kind) == (401, "Unauthorized")
