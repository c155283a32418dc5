"""The API server's life: open the store, fill the caches, bootstrap, serve over TLS, stop cleanly.

Without certificate flags it makes its own authority and certificates below `--data-dir`/pki, so that it can run alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import pathlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

from navarch.apiserver import bootstrap
from navarch.apiserver.admission import settings, table
from navarch.apiserver.authn import tokens
from navarch.apiserver.authn.authenticator import Authenticator
from navarch.apiserver.authn.certificates import Authorities
from navarch.apiserver.authn.living import Living
from navarch.apiserver.authn.static import TokenFile
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.node import NodeAuthorizer
from navarch.apiserver.authz.rbac import Rbac
from navarch.apiserver.chain import Chain, pipeline
from navarch.apiserver.endpoints import Endpoints, OpenApiDocuments
from navarch.apiserver.http import connections
from navarch.apiserver.http.forwarding import Sessions
from navarch.apiserver.http.front import Front
from navarch.apiserver.inflight import InFlight
from navarch.apiserver.kubelets import Kubelets
from navarch.apiserver.metrics import Metrics
from navarch.apiserver.numbers import holders
from navarch.apiserver.served import Catalog
from navarch.apiserver.server import Options, Server
from navarch.apiserver.storage import Storage
from navarch.apiserver.verbs.write import Writer
from navarch.lib import heap, pki, private, tasks, tls
from navarch.machinery import errors
from navarch.store.interface import Complete, Readable, StoreFailed

_log = logging.getLogger(__name__)
_KEEP_SECONDS = 10.0
_ANSWER_SECONDS = 0.5
"""How long a server that cannot go on still answers: those who wait for a write are told."""
__all__ = ["Options", "run", "serving", "with_certificates"]


@dataclass(slots=True)
class _State:
    caches: bool = False
    bootstrap: bool = False


async def run(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Serves until cancelled. Raises OSError when the address is taken, and the store's and token file's errors."""
    options = with_certificates(options)
    store = _store(options)
    await store.start()
    private.mend(pathlib.Path(options.data_dir))
    try:
        async with serving(options, store) as server, tasks.Group() as group:
            group.start("heap", heap.keep_small())
            ready()
            await _keep(server)
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
async def serving(options: Options, store: Readable) -> AsyncIterator[Server]:
    """A server that is ready, over an open store; leaving the block stops it.

    For embedding: `options` name certificates that exist (`with_certificates`); with `secure_port` 0 it takes a free port, which
    the options of the server given out then name.
    """
    state = _State()
    server = make_server(options, store)
    server.storage.listen(server.authorizer.rbac.changed)
    await server.storage.start()
    server.numbers.load(server.catalog.caches[holders.RANGES], server.catalog.caches[holders.ADDRESSES])
    server.storage.listen(server.numbers.changed)
    server.authorizer.rbac.generation += 1
    state.caches = True
    endpoints = Endpoints(
        server,
        lambda: {"ping": True, "store": not server.storage.failed.done(), "caches": state.caches, "bootstrap": state.bootstrap},
        OpenApiDocuments(server.catalog),
    )
    sessions = Sessions()
    front = Front(Chain(pipeline(server, endpoints)), sessions)
    http = connections.Listener(front.handle, **connections.SETTINGS)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        http,
        options.bind_address,
        options.secure_port,
        ssl=_tls(options),
        ssl_handshake_timeout=connections.HANDSHAKE_SECONDS,
        backlog=1024,
        reuse_address=True,
    )
    server.options = replace(options, secure_port=listener.sockets[0].getsockname()[1])
    try:
        await bootstrap.run(server)
        state.bootstrap = True
        yield server
    finally:
        server.watchers.end()
        listener.close()
        await http.shutdown(timeout=2.0)
        await sessions.close()
        await server.storage.stop()


async def _keep(server: Server) -> None:
    """Sees to it that what every cluster has stays there. Raises StoreFailed when the server cannot go on."""
    failed = server.storage.failed
    while True:
        await asyncio.wait([failed], timeout=_KEEP_SECONDS)
        if failed.done():
            await asyncio.sleep(_ANSWER_SECONDS)
            raise StoreFailed(failed.result())
        try:
            await bootstrap.namespaces(server)
            await bootstrap.service_ranges(server)
            await server.repair.run()
        except errors.ApiError as error:
            _log.warning("what every cluster has: %s", error)


def make_server(options: Options, store: Readable) -> Server:
    """The server's parts over a store, not yet started."""
    catalog = Catalog(options.runtime_config)
    storage = Storage(store, catalog)
    audiences = options.api_audiences or options.service_account_issuer
    signing = pathlib.Path(options.service_account_signing_key_file).read_bytes()
    published = tuple(key for file in options.service_account_key_file for key in tokens.public_keys(file))
    issuer = tokens.TokenIssuer(options.service_account_issuer[0], signing, audiences, published)
    verifier = tokens.TokenVerifier(options.service_account_issuer, issuer.published, audiences, Living(catalog))
    authorities = Authorities(options.client_ca_file, options.requestheader_client_ca_file, options.requestheader_allowed_names)
    authenticator = Authenticator(TokenFile(options.token_auth_file), verifier, authorities)
    kubelets = Kubelets(catalog, options.kubelet_client_certificate, options.kubelet_client_key, options.kubelet_certificate_authority)
    authorizer = Authorizer(Rbac(catalog), NodeAuthorizer(catalog), options.authorization_mode)
    _check_pair("--proxy-client-cert-file", options.proxy_client_cert_file, options.proxy_client_key_file)
    _check_token_expiration(options.service_account_max_token_expiration)
    pod_security = settings.read(options.admission_control_config_file)
    inflight = InFlight(options.max_requests_inflight, options.max_mutating_requests_inflight)
    server = Server(catalog, storage, authenticator, authorizer, issuer, kubelets, options, Metrics(catalog), pod_security, inflight)
    server.admission = table.chain(server, options.enable_admission_plugins, options.disable_admission_plugins)
    server.writer = Writer(storage, server.admission, server.numbers, server.kept)
    return server


def _check_token_expiration(seconds: float) -> None:
    if seconds and not 3600 <= seconds <= 2**32:
        raise ValueError("the service-account-max-token-expiration must be between 1 hour and 2^32 seconds")


def _check_pair(flag: str, certificate: str, key: str) -> None:
    """ValueError for a certificate that is missing, cannot be read, or is not the key's."""
    if not certificate and not key:
        return
    if not certificate or not key:
        raise ValueError(f"{flag} and its key file must be given together")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key)
    except OSError as error:
        raise ValueError(f"{flag} {certificate}: {error.strerror or error}") from None


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
    made: dict[str, Any] = {}
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
        made |= {"tls_cert_file": str(certificate), "tls_private_key_file": str(key)}
        if not options.client_ca_file:
            made["client_ca_file"] = str(folder / "ca.crt")
    if not options.service_account_signing_key_file:
        signing = folder / "sa.key"
        if not signing.exists():
            pki.write_private(signing, pki.rsa_key())
        made["service_account_signing_key_file"] = str(signing)
    return replace(options, **made)


def _own_authority(folder: pathlib.Path, now: datetime.datetime) -> pki.Pair:
    certificate, key = folder / "ca.crt", folder / "ca.key"
    if certificate.exists() and key.exists():
        return pki.Pair(certificate.read_bytes(), key.read_bytes())
    ca = pki.authority("kubernetes", now)
    ca.write(certificate, key)
    return ca
