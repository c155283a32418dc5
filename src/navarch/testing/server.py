"""The real API server inside a test: on the memory store, over TLS on a free loopback port, ready in a fraction of a second.

In: nothing, or a folder to keep the store in (then a server started again on it goes on where it was). Out: an `ApiServer` with an
administrator's client, clients for other users by certificate or token, and a kubeconfig for programs. It is no imitation:
what answers is `navarch.apiserver.loop.serving`, with authentication, RBAC, admission and all.

Upstream counterpart: controller-runtime's envtest (which starts etcd and kube-apiserver as processes).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import pathlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import loop
from navarch.apiserver.options import Options
from navarch.apiserver.parts import Parts
from navarch.client import kubeconfig
from navarch.client.rest import Client
from navarch.lib import pki
from navarch.lib.clock import SYSTEM, Clock
from navarch.store.interface import Complete
from navarch.store.memory import Memory
from navarch.store.sqlite import Sqlite

ADMIN_GROUP = "system:masters"


@functools.cache
def _signing_key() -> bytes:
    """One key for all servers of a process: making it takes longer than everything else."""
    return pki.rsa_key()


@functools.cache
def _authority() -> pki.Pair:
    return pki.authority("kubernetes", datetime.datetime.now(datetime.UTC))


@functools.cache
def _certificate(name: str, groups: tuple[str, ...]) -> pki.Pair:
    return pki.issue(_authority(), name, datetime.datetime.now(datetime.UTC), organizations=groups, client=True)


@dataclass(slots=True)
class ApiServer:
    """A running server. `parts` are its insides, and `store` is what it is over, for tests of the server itself."""

    parts: Parts
    store: Complete
    client: Client = field(init=False)
    _clients: list[Client] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = self.connect()

    @property
    def url(self) -> str:
        return f"https://{self.parts.options.bind_address}:{self.parts.options.secure_port}"

    @property
    def port(self) -> int:
        return self.parts.options.secure_port

    def config(self, name: str = "admin", *groups: str, token: str = "") -> kubeconfig.Config:
        """How a user reaches the server: by a certificate for `name` and `groups`, or with a token. "" is nobody."""
        known = kubeconfig.Config(self.url, ca=_authority().certificate)
        if token:
            return replace(known, token=token)
        if not name:
            return known
        pair = _certificate(name, groups or ((ADMIN_GROUP,) if name == "admin" else ()))
        return replace(known, certificate=pair.certificate, key=pair.key)

    def connect(self, name: str = "admin", *groups: str, token: str = "", user_agent: str = "test", clock: Clock = SYSTEM) -> Client:
        """Another client, closed with the server. Names and groups as `config` takes them."""
        made = Client(self.config(name, *groups, token=token), user_agent=user_agent, clock=clock)
        self._clients.append(made)
        return made

    def write_kubeconfig(self, path: pathlib.Path, name: str = "admin", *groups: str) -> pathlib.Path:
        """A kubeconfig for programs: kubectl, operators, Navarch's own components."""
        path.write_text(kubeconfig.render(self.config(name, *groups)))
        return path

    async def namespace(self, name: str = "") -> str:
        """Makes a namespace, with the service account every one of them has, and returns its name."""
        metadata = meta_v1.ObjectMeta(name=name or None, generateName=None if name else "test-")
        made = await self.client.create(core_v1.Namespace(metadata=metadata))
        assert made.metadata is not None and made.metadata.name
        account = meta_v1.ObjectMeta(name="default", namespace=made.metadata.name)
        await self.client.create(core_v1.ServiceAccount(metadata=account))
        return made.metadata.name


@contextlib.asynccontextmanager
async def running(folder: pathlib.Path | None = None, *, port: int = 0, **options: Any) -> AsyncIterator[ApiServer]:
    """A server for the length of the block.

    With a folder its objects are in a SQLite file there, else in memory. `options` are the API server's (upstream's names).
    """
    with contextlib.ExitStack() as stack:
        where = folder if folder is not None else pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="navarch-test-")))
        store: Complete = Memory() if folder is None else Sqlite(where / "store.db")
        await store.start()
        try:
            async with loop.serving(_options(where, port, options), store) as parts:
                api = ApiServer(parts, store)
                try:
                    yield api
                finally:
                    await asyncio.gather(*(c.close() for c in api._clients))
        finally:
            await store.close()


def _options(folder: pathlib.Path, port: int, more: dict[str, Any]) -> Options:
    files = folder / "pki"
    if not (files / "ca.crt").exists() or (files / "ca.crt").read_bytes() != _authority().certificate:
        _authority().write(files / "ca.crt", files / "ca.key")
        (files / "apiserver.crt").unlink(missing_ok=True)
    if not (files / "sa.key").exists():
        pki.write_private(files / "sa.key", _signing_key())
    return loop.with_certificates(Options(str(folder), secure_port=port, **more))
