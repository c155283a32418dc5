"""What a configuration says about HTTP extenders: read, checked, with certificates at hand.

In: `extenders` of a KubeSchedulerConfiguration. Out: one `ExtenderSettings` each, in the order in which they are asked: those that
may be ignored come last.

Upstream counterparts: apis/config/validation (validateExtenders), pkg/scheduler (buildExtenders, makeTransport).
"""

from __future__ import annotations

import base64
import binascii
import pathlib
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from navarch.machinery import durations, field, names
from navarch.scheduler.config import types

_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Tls:
    """How an HTTPS extender is known, and who we are to it. Certificates and keys are PEM."""

    insecure: bool = False
    server_name: str = ""
    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class ExtenderSettings:
    """One extender. An empty verb is one that it does not have; `timeout` in seconds."""

    url: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    preempt_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    timeout: float = _TIMEOUT
    tls: Tls | None = None
    by_name: bool = False
    """It knows the nodes and pods itself and wants only their names (nodeCacheCapable)."""
    managed: frozenset[str] = frozenset()
    """Resources: only pods that ask for one of them concern it; none: all pods do."""
    ignored: tuple[str, ...] = ()
    """Those of them that the scheduler's own fit check leaves to it."""
    ignorable: bool = False


def problems(listed: Sequence[types.Extender]) -> list[field.Problem]:
    """What is wrong with them."""
    found: list[field.Problem] = []
    seen: set[str] = set()
    binders = 0
    for i, extender in enumerate(listed):
        path = f"extenders[{i}]"
        if extender.prioritizeVerb and (extender.weight or 0) <= 0:
            found.append(field.invalid(f"{path}.weight", extender.weight or 0, "must have a positive weight applied to it"))
        binders += bool(extender.bindVerb)
        for j, resource in enumerate(extender.managedResources or ()):
            at = f"{path}.managedResources[{j}].name"
            found += _resource_problems(at, resource.name)
            if resource.name in seen:
                found.append(field.invalid(at, resource.name, "duplicate extender managed resource name"))
            seen.add(resource.name)
        if extender.httpTimeout is not None:
            found += _duration_problems(f"{path}.httpTimeout", extender.httpTimeout)
    if binders > 1:
        found.append(field.invalid("extenders", f"found {binders} extenders implementing bind", "only one extender can implement bind"))
    return found


def _resource_problems(path: str, name: str) -> list[field.Problem]:
    if wrong := names.qualified_name(name):
        return [field.invalid(path, name, problem) for problem in wrong]
    native = "/" not in name or "kubernetes.io/" in name
    if native or name.startswith("requests.") or names.qualified_name(f"requests.{name}"):
        return [field.invalid(path, name, "is an invalid extended resource name")]
    return []


def _duration_problems(path: str, text: str) -> list[field.Problem]:
    try:
        durations.seconds(text)
    except ValueError as error:
        return [field.invalid(path, text, str(error))]
    return []


def read(listed: Sequence[types.Extender]) -> tuple[ExtenderSettings, ...]:
    """Their settings. ValueError when a certificate cannot be read."""
    found = [_read(extender) for extender in listed]
    return (*(e for e in found if not e.ignorable), *(e for e in found if e.ignorable))


def _read(extender: types.Extender) -> ExtenderSettings:
    managed = extender.managedResources or []
    return ExtenderSettings(
        url=extender.urlPrefix,
        filter_verb=extender.filterVerb or "",
        prioritize_verb=extender.prioritizeVerb or "",
        preempt_verb=extender.preemptVerb or "",
        bind_verb=extender.bindVerb or "",
        weight=extender.weight or 0,
        timeout=(durations.seconds(extender.httpTimeout) if extender.httpTimeout else 0.0) or _TIMEOUT,
        tls=_tls(extender),
        by_name=bool(extender.nodeCacheCapable),
        managed=frozenset(r.name for r in managed),
        ignored=tuple(r.name for r in managed if r.ignoredByScheduler),
        ignorable=bool(extender.ignorable),
    )


def _tls(extender: types.Extender) -> Tls | None:
    """None where the defaults do. HTTPS without an authority to check with is not checked."""
    given = extender.tlsConfig
    if given is None:
        return Tls(insecure=True) if extender.enableHTTPS else None
    ca = _data(given.caData, given.caFile)
    insecure = bool(given.insecure) or (bool(extender.enableHTTPS) and not ca)
    if insecure and ca:
        raise ValueError("specifying a root certificates file with the insecure flag is not allowed")
    certificate, key = _data(given.certData, given.certFile), _data(given.keyData, given.keyFile)
    made = Tls(insecure, given.serverName or "", ca, *((certificate, key) if certificate and key else (b"", b"")))
    try:
        context(made)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise ValueError(f"unable to load TLS configuration: {error}") from None
    return made


def context(tls: Tls) -> ssl.SSLContext:
    """The settings of a connection."""
    made = ssl.create_default_context(cadata=tls.ca.decode() if tls.ca else None)
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        with tempfile.NamedTemporaryFile(prefix="navarch-") as file:  # Python's ssl reads key pairs from files only
            file.write(tls.certificate + b"\n" + tls.key)
            file.flush()
            made.load_cert_chain(file.name)
    return made


def _data(inline: str | None, file: str | None) -> bytes:
    if inline:
        try:
            return base64.b64decode(inline, validate=True)
        except binascii.Error as error:
            raise ValueError(f"illegal base64 data: {error}") from None
    if not file:
        return b""
    try:
        return pathlib.Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"open {file}: {(error.strerror or str(error)).lower()}") from None
