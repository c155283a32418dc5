"""The server's parts, each made with what it needs and nothing else: the one place where they are put together.

`make` reads from top to bottom as what depends on what; the tables of verbs and of subresources, bound to their parts, stand here as well.
Nothing below imports this module.
"""

from __future__ import annotations

import pathlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from navarch.apiserver.admission import chain, podsecurity, settings, table
from navarch.apiserver.aggregation.aggregator import Aggregator
from navarch.apiserver.aggregation.availability import Availability
from navarch.apiserver.aggregation.discovered import Discovered
from navarch.apiserver.aggregation.registration import Registration
from navarch.apiserver.aggregation.registry import Registry
from navarch.apiserver.aggregation.specs import Specs
from navarch.apiserver.aggregation.trust import TrustPublisher
from navarch.apiserver.authn import tokens
from navarch.apiserver.authn.authenticator import Authenticator
from navarch.apiserver.authn.certificates import Authorities
from navarch.apiserver.authn.living import Living
from navarch.apiserver.authn.static import TokenFile
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.node import NodeAuthorizer
from navarch.apiserver.authz.rbac import Rbac
from navarch.apiserver.bootstrap import Bootstrap
from navarch.apiserver.chain import Chain, pipeline
from navarch.apiserver.dispatch import Dispatch, Verb
from navarch.apiserver.endpoints import Endpoints, Health
from navarch.apiserver.extensions import definitions
from navarch.apiserver.extensions.clients import Calls, Transport
from navarch.apiserver.extensions.converting import post
from navarch.apiserver.history import Pasts
from navarch.apiserver.inflight import InFlight
from navarch.apiserver.kinds.strategy import Kept
from navarch.apiserver.kubelets import Kubelets
from navarch.apiserver.metrics import Metrics
from navarch.apiserver.numbers import holders
from navarch.apiserver.numbers.repair import Repair
from navarch.apiserver.numbers.services import Allocations
from navarch.apiserver.options import Options
from navarch.apiserver.served import Catalog
from navarch.apiserver.storage import Storage
from navarch.apiserver.streams import Turns
from navarch.apiserver.subresource import binding, eviction, kubelet, proxy, token
from navarch.apiserver.subresources import Handler, Subresources
from navarch.apiserver.verbs import create, delete, get, list, patch, update, watch
from navarch.apiserver.verbs.reviews import Reviews
from navarch.apiserver.verbs.write import Writer
from navarch.apiserver.watchers import Watchers
from navarch.store.interface import Readable


@dataclass(frozen=True, slots=True)
class Parts:
    """What `loop` starts and stops, and tests look into. No part is given this."""

    options: Options
    catalog: Catalog
    storage: Storage
    authenticator: Authenticator
    authorizer: Authorizer
    admission: chain.Chain
    inflight: InFlight
    kubelets: Kubelets
    numbers: Allocations
    watchers: Watchers
    health: Health
    bootstrap: Bootstrap
    aggregator: Aggregator
    outward: Calls
    """Connections to what extends the server."""
    definitions: definitions.Parts
    """Custom resources."""
    calls: Chain
    """What answers calls."""


@dataclass(frozen=True, slots=True)
class AdmissionParts:
    """What admission plugins are made with."""

    catalog: Catalog
    storage: Storage
    authorizer: Authorizer
    pod_security: podsecurity.Configuration
    calls: Calls
    """Of webhooks."""
    metrics: Metrics


def make(options: Options, store: Readable, transport: Transport) -> Parts:
    """The parts over a store, not yet started. `transport`: how webhooks are reached. ValueError and OSError for options that cannot be meant."""
    _check_pair("--proxy-client-cert-file", options.proxy_client_cert_file, options.proxy_client_key_file)
    _check_token_expiration(options.service_account_max_token_expiration)
    catalog = Catalog(options.runtime_config)
    storage = Storage(store, catalog)
    metrics, health, turns, watchers = Metrics(catalog), Health(), Turns(), Watchers()
    numbers = Allocations(options.service_cluster_ip_range, options.service_node_port_range)
    catalog.caches[numbers.held_ports.prefix] = numbers.held_ports
    storage.alongside[holders.SERVICES] = numbers.alongside
    repair = Repair(storage, numbers)
    kept = Kept(options.event_ttl, options.history_hours * 3600.0)

    issuer, authenticator = _authentication(options, catalog)
    authorizer = Authorizer(Rbac(catalog), NodeAuthorizer(catalog), options.authorization_mode)
    remotes = Registry(catalog, options.proxy_client_cert_file, options.proxy_client_key_file)
    discovered, specs = Discovered(remotes, transport), Specs(remotes, transport)
    outward = Calls(catalog, transport)
    deciding = AdmissionParts(catalog, storage, authorizer, settings.read(options.admission_control_config_file), outward, metrics)
    admission = table.chain(deciding, options.enable_admission_plugins, options.disable_admission_plugins)
    inflight = InFlight(options.max_requests_inflight, options.max_mutating_requests_inflight)
    kubelets = Kubelets(catalog, options.kubelet_client_certificate, options.kubelet_client_key, options.kubelet_certificate_authority)

    writer = Writer(storage, admission, numbers, kept)
    lists = list.Lists(storage, turns)
    watches = watch.Watches(storage, turns, Pasts(storage.store, turns), watchers)
    proxies = proxy.Proxies(catalog, kubelets, writer)
    issuing = token.Tokens(catalog, writer, issuer, options.service_account_max_token_expiration)
    reviews = Reviews(authenticator, authorizer, catalog, storage, writer)
    address = f"{options.advertise_address or options.bind_address}:{options.secure_port}"
    endpoints = Endpoints(catalog, storage, issuer, metrics, address, health, discovered, specs)

    verbs: Mapping[str, Verb] = {
        "get": partial(get.handle, storage),
        "list": partial(list.handle, lists),
        "watch": partial(watch.handle, watches),
        "create": partial(create.handle, writer),
        "update": partial(update.handle, writer),
        "patch": partial(patch.handle, writer),
        "delete": partial(delete.handle, writer, authorizer),
        "deletecollection": partial(delete.collection, writer, storage, turns),
    }
    stream = partial(kubelet.stream, writer, authorizer, kubelets)
    special: Mapping[tuple[str, str, str], Handler] = {
        ("", "pods", "binding"): partial(binding.handle, writer),
        ("", "pods", "eviction"): partial(eviction.handle, writer, catalog),
        ("", "pods", "log"): partial(kubelet.log, kubelets),
        ("", "pods", "exec"): stream,
        ("", "pods", "attach"): stream,
        ("", "pods", "portforward"): stream,
        ("", "pods", "proxy"): partial(proxy.pod, proxies),
        ("", "services", "proxy"): partial(proxy.service, proxies),
        ("", "nodes", "proxy"): partial(proxy.node, proxies),
        ("", "serviceaccounts", "token"): partial(token.handle, issuing),
    }
    dispatch = Dispatch(verbs, Subresources(writer, special), reviews, endpoints)
    calls = Chain(pipeline(metrics, authenticator, authorizer, inflight, catalog, remotes, dispatch))
    bootstrap = Bootstrap(catalog, writer, options, repair)
    custom = definitions.Parts(catalog, storage, turns, watchers, writer, partial(post, outward))
    aggregator = _aggregator(options, discovered, specs, writer, metrics)
    return Parts(
        options, catalog, storage, authenticator, authorizer, admission, inflight, kubelets, numbers, watchers, health, bootstrap, aggregator,
        outward, custom, calls,
    )  # fmt: skip


def _authentication(options: Options, catalog: Catalog) -> tuple[tokens.TokenIssuer, Authenticator]:
    """Who issues tokens, and who tells whose they are."""
    audiences = options.api_audiences or options.service_account_issuer
    signing = pathlib.Path(options.service_account_signing_key_file).read_bytes()
    published = tuple(key for file in options.service_account_key_file for key in tokens.public_keys(file))
    issuer = tokens.TokenIssuer(options.service_account_issuer[0], signing, audiences, published)
    verifier = tokens.TokenVerifier(options.service_account_issuer, issuer.published, audiences, Living(catalog))
    authorities = Authorities(options.client_ca_file, options.requestheader_client_ca_file, options.requestheader_allowed_names)
    return issuer, Authenticator(TokenFile(options.token_auth_file), verifier, authorities)


def _aggregator(options: Options, discovered: Discovered, specs: Specs, writer: Writer, metrics: Metrics) -> Aggregator:
    """What keeps APIServices, and what extension servers are to know."""
    remotes, transport = discovered.registry, discovered.transport
    authorities = (options.client_ca_file, options.requestheader_client_ca_file)
    return Aggregator(
        remotes,
        Registration(remotes, writer),
        Availability(remotes, writer, transport, metrics.availabilities),
        discovered,
        specs,
        TrustPublisher(remotes.catalog, writer, *authorities, options.requestheader_allowed_names),
    )


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
