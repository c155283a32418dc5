"""TLS for servers that ask for client certificates: which cipher suites, and what becomes of a certificate that does not verify.

Python's ssl ends the handshake when a client's certificate does not verify. Kubernetes' servers go on: the client is told 401 in
words it can read, and a bearer token it sent with the certificate still counts. OpenSSL leaves that decision to a callback which
ssl does not offer, so it is set on the SSL_CTX below the context. Verification itself stays OpenSSL's; the callback only notes that
it failed. Where the interpreter's OpenSSL cannot be reached (linked in statically, its names hidden), such a certificate goes on
ending the handshake.

In: a certificate, its key and the authorities of clients. Out: a context whose connections know their client's verified chain.

Upstream counterpart: crypto/tls with ClientAuth RequestClientCert, as apiserver's server/secure_serving.go sets it.
"""

from __future__ import annotations

import _ssl
import ctypes
import functools
import ssl
from collections.abc import Callable, Iterable
from typing import Any

CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    )
)  # fmt: skip
"""What TLS 1.2 may use: forward secret and authenticated. TLS 1.3 has no weak ones."""

_SET_SESSION_CACHE_MODE = 44
_VERIFY_PEER = 1
_VerifyCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


class Connection(ssl.SSLObject):
    """One connection of a `ServerContext`."""

    client: Any = None
    """What the server made of the client's certificate: whoever reads it first puts it here."""

    _verified = True

    def do_handshake(self) -> None:
        context = self.context
        assert isinstance(context, ServerContext)
        context.failed = False
        try:
            super().do_handshake()
        finally:
            if context.failed:
                self._verified = False

    @property
    def presented(self) -> bool:
        """Whether the client sent a certificate, verified or not."""
        return self.getpeercert(binary_form=True) is not None

    def verified_chain(self) -> tuple[bytes, ...]:
        """The client's certificate, what signed it, and so on up to an authority of ours, each DER; () when it does not verify."""
        if not self._verified:
            return ()
        raw: Any = self
        return tuple(c if isinstance(c, bytes) else c.public_bytes(_ssl.ENCODING_DER) for c in raw._sslobj.get_verified_chain() or ())


class ServerContext(ssl.SSLContext):
    """A server's side. `failed`: a client's certificate did not verify in the handshake step that is running."""

    sslobject_class = Connection
    failed = False
    _callback: Any = None

    def ask_for_certificates(self, authorities: Iterable[str]) -> None:
        """Asks clients for a certificate of these authorities (PEM files); none, or another, is no reason to end the handshake.

        Sessions are not resumed: a resumed one would bring a certificate that nobody verified.
        """
        for file in authorities:
            self.load_verify_locations(file)
        self.verify_mode = ssl.CERT_OPTIONAL
        self.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate authority can be trusted without its root, as in Go
        self.options |= ssl.OP_NO_TICKET
        self.num_tickets = 0
        library = _openssl()
        if library is None:
            return
        handle = _handle(self, library)
        if handle is None:
            return

        def note(verified: int, store: int | None) -> int:
            del store
            if not verified:
                self.failed = True
                library.ERR_clear_error()  # a bad signature leaves errors behind that would end the handshake all the same
            return 1

        self._callback = _VerifyCallback(note)  # OpenSSL holds no reference
        library.SSL_CTX_set_verify(handle, _VERIFY_PEER, self._callback)
        library.SSL_CTX_ctrl(handle, _SET_SESSION_CACHE_MODE, 0, None)


def server_context(certificate: str, key: str, make: Callable[[int], ServerContext] = ServerContext) -> ServerContext:
    """A server's context with its certificate (PEM files), TLS 1.2 or later."""
    context = make(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.load_cert_chain(certificate, key)
    return context


@functools.cache
def _openssl() -> Any:
    """The OpenSSL that the ssl module uses; None when its functions cannot be named."""
    try:
        library = ctypes.CDLL(_ssl.__file__)
        library.SSL_CTX_set_verify.argtypes = [ctypes.c_void_p, ctypes.c_int, _VerifyCallback]
        library.SSL_CTX_set_verify.restype = None
        library.ERR_clear_error.argtypes = []
        library.ERR_clear_error.restype = None
        library.SSL_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
        library.SSL_CTX_ctrl.restype = ctypes.c_long
        library.SSL_CTX_get_options.argtypes = [ctypes.c_void_p]
        library.SSL_CTX_get_options.restype = ctypes.c_uint64
    except (AttributeError, OSError):
        return None
    return library


def _handle(context: ssl.SSLContext, library: Any) -> int | None:
    """The SSL_CTX of a context: the first field after the object's head since Python 3.2. None when it does not answer like it."""
    handle = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    if handle is None or library.SSL_CTX_get_options(handle) != context.options & 0xFFFFFFFFFFFFFFFF:
        return None
    return handle
