"""TLS towards what extends the server: whom it trusts, and what it shows, as contexts that are made once.

Upstream counterpart: client-go's transport.TLSConfigFor.
"""

from __future__ import annotations

import functools
import ssl

from navarch.apiserver.extensions.clients import Failed, Trust

_KEPT = 512


@functools.lru_cache(_KEPT)
def context_of(trust: Trust) -> ssl.SSLContext:
    """TLS towards a target. Failed, in Go's words, for authorities and certificates that are none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif trust.authorities:
        try:
            context.load_verify_locations(cadata=trust.authorities.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise Failed("unable to load root certificates: unable to parse bytes as PEM block") from None
    else:
        context.load_default_certs()
    if trust.certificate:
        context.load_cert_chain(trust.certificate, trust.key)
    return context
