"""The API server's life: open the store, fill the caches, bootstrap, serve over TLS, stop cleanly.

Without certificate flags it makes its own authority and certificates below `--data-dir`/pki, so that it can run alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import pathlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from navarch.apiserver import bootstrap
from navarch.apiserver.extensions import definitions
from navarch.apiserver.http import connections
from navarch.apiserver.http.forwarding import Sessions
from navarch.apiserver.http.front import Front
from navarch.apiserver.http.outbound import Outbound
from navarch.apiserver.numbers import holders
from navarch.apiserver.options import Options
from navarch.apiserver.parts import Parts, make
from navarch.lib import heap, pki, private, tasks, tls
from navarch.machinery import errors
from navarch.store.interface import Complete, Readable, StoreFailed

_log = logging.getLogger(__name__)
_KEEP_SECONDS = 10.0
_ANSWER_SECONDS = 0.5
"""How long a server that cannot go on still answers: those who wait for a write are told."""
__all__ = ["Options", "run", "serving", "with_certificates"]


async def run(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Serves until cancelled. Raises OSError when the address is taken, and the store's and token file's errors."""
    options = with_certificates(options)
    store = _store(options)
    await store.start()
    private.mend(pathlib.Path(options.data_dir))
    try:
        async with serving(options, store) as parts, tasks.Group() as group:
            group.start("heap", heap.keep_small())
            ready()
            await _keep(parts)
    finally:
        await store.close()


def _store(options: Options) -> Complete:
    if options.storage_backend == "memory":
        from navarch.store.memory import Memory

        return Memory()
    if options.storage_backend != "sqlite":
        raise ValueError(f'--storage-backend: "{options.storage_backend}" is not supported: it is sqlite or memory')
    from navarch.store import sqlite

    folder = pathlib.Path(options.data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return sqlite.Sqlite(folder / "store.db", sqlite.Options(keep_seconds=options.history_hours * 3600.0))


@contextlib.asynccontextmanager
async def serving(options: Options, store: Readable) -> AsyncIterator[Parts]:
    """A server that is ready, over an open store; leaving the block stops it.

    For embedding: `options` name certificates that exist (`with_certificates`); with `secure_port` 0 it takes a free port, which
    the options of the parts given out then name.
    """
    listening = await _bound(options)
    try:
        parts = make(replace(options, secure_port=listening.getsockname()[1]), store, Outbound())
        await _load(parts)
        sessions = Sessions()
        http = connections.Listener(Front(parts.calls, sessions).handle, **connections.SETTINGS)
        listener = await asyncio.get_running_loop().create_server(
            http, sock=listening, ssl=_tls(options), ssl_handshake_timeout=connections.HANDSHAKE_SECONDS, backlog=1024
        )
    except BaseException:
        listening.close()
        raise
    try:
        await bootstrap.run(parts.bootstrap)
        async with definitions.serving(parts.definitions), tasks.Group() as group:
            await parts.aggregator.start(group)
            parts.health.bootstrap = True
            try:
                yield parts
            finally:
                group.cancel()
    finally:
        parts.watchers.end()
        listener.close()
        await http.shutdown(timeout=2.0)
        await sessions.close()
        await parts.outward.close()
        await parts.storage.stop()


async def _bound(options: Options) -> socket.socket:
    """The socket to listen on: its port is known before anything is made. OSError when the address cannot be had."""
    found = await asyncio.get_running_loop().getaddrinfo(options.bind_address, options.secure_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"error while attempting to bind on address {address[:2]}: {(error.strerror or '').lower()}") from None
    return sock


async def _load(parts: Parts) -> None:
    """Fills the caches, and what is derived from them, and follows the store from there."""
    parts.storage.listen(parts.authorizer.rbac.changed)
    await parts.storage.start()
    parts.numbers.load(parts.catalog.caches[holders.RANGES], parts.catalog.caches[holders.ADDRESSES])
    parts.storage.listen(parts.numbers.changed)
    parts.aggregator.load(parts.storage)
    parts.authorizer.rbac.generation += 1
    parts.health.caches = True


async def _keep(parts: Parts) -> None:
    """Sees to it that what every cluster has stays there. Raises StoreFailed when the server cannot go on."""
    failed = parts.storage.failed
    while True:
        await asyncio.wait([failed], timeout=_KEEP_SECONDS)
        if failed.done():
            await asyncio.sleep(_ANSWER_SECONDS)
            raise StoreFailed(failed.result())
        try:
            await bootstrap.namespaces(parts.bootstrap)
            await bootstrap.service_ranges(parts.bootstrap)
            await parts.bootstrap.repair.run()
        except errors.ApiError as error:
            _log.warning("what every cluster has: %s", error)


def _tls(options: Options) -> ssl.SSLContext:
    context = tls.server_context(options.tls_cert_file, options.tls_private_key_file, connections.TlsContext)
    authorities = [f for f in (options.client_ca_file, options.requestheader_client_ca_file) if f]
    if authorities:
        context.ask_for_certificates(authorities)
    context.set_alpn_protocols(["http/1.1"])
    return context


def with_certificates(options: Options) -> Options:
    """Options whose certificate files exist: those given, and made ones for the rest."""
    folder = pathlib.Path(options.data_dir) / "pki"
    now = datetime.datetime.now(datetime.UTC)
    files: dict[str, Any] = {}
    if not options.tls_cert_file:
        ca = _own_authority(folder, now)
        certificate, key = folder / "apiserver.crt", folder / "apiserver.key"
        if not certificate.exists():
            names = [
                "localhost", "127.0.0.1", options.bind_address, options.advertise_address or options.bind_address, "kubernetes",
                "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
                bootstrap.service_address(options.service_cluster_ip_range),
            ]  # fmt: skip
            pki.issue(ca, "kube-apiserver", now, names=list(dict.fromkeys(names)), server=True).write(certificate, key)
        files |= {"tls_cert_file": str(certificate), "tls_private_key_file": str(key)}
        if not options.client_ca_file:
            files["client_ca_file"] = str(folder / "ca.crt")
    if not (options.requestheader_client_ca_file or options.proxy_client_cert_file):
        files |= _own_front_proxy(folder, now)
    if not options.service_account_signing_key_file:
        signing = folder / "sa.key"
        if not signing.exists():
            pki.write_private(signing, pki.rsa_key())
        files["service_account_signing_key_file"] = str(signing)
    return replace(options, **files)


def _own_front_proxy(folder: pathlib.Path, now: datetime.datetime) -> dict[str, str]:
    """The flags by which extension servers know this one: an authority of its own, which signs nothing but front proxies."""
    certificate, key = folder / "front-proxy-client.crt", folder / "front-proxy-client.key"
    ca = _own_authority(folder, now, "front-proxy-ca")
    if not certificate.exists():
        pki.issue(ca, "front-proxy-client", now, client=True).write(certificate, key)
    return {
        "requestheader_client_ca_file": str(folder / "front-proxy-ca.crt"),
        "proxy_client_cert_file": str(certificate),
        "proxy_client_key_file": str(key),
    }


def _own_authority(folder: pathlib.Path, now: datetime.datetime, name: str = "ca") -> pki.Pair:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if certificate.exists() and key.exists():
        return pki.Pair(certificate.read_bytes(), key.read_bytes())
    ca = pki.authority("kubernetes" if name == "ca" else name, now)
    ca.write(certificate, key)
    return ca
