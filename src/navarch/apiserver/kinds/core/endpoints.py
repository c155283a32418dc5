"""Endpoints: the addresses behind a Service, as they were kept before EndpointSlices.

Upstream counterparts: pkg/registry/core/endpoint, ValidateEndpoints in pkg/apis/core/validation.
"""

from __future__ import annotations

from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import NOTHING, Tree, age_of, first_ones, name_of, sheet
from navarch.apiserver.kinds.strategy import Key, Strategy
from navarch.machinery import field


def default_endpoints(obj: core_v1.Endpoints) -> None:
    for subset in obj.subsets or ():
        for port in subset.ports or ():
            port.protocol = port.protocol or "TCP"


def validate_endpoints(obj: core_v1.Endpoints) -> Found:
    found: Found = []
    for i, subset in enumerate(obj.subsets or ()):
        at = f"subsets[{i}]"
        if not subset.addresses and not subset.notReadyAddresses:
            found.append(field.required(at, "must specify `addresses` or `notReadyAddresses`"))
        for part in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(getattr(subset, part) or ()):
                _endpoint_address(found, f"{at}.{part}[{j}]", address)
        for j, port in enumerate(subset.ports or ()):
            path = f"{at}.ports[{j}]"
            if port.name:
                checks.label(found, f"{path}.name", port.name)
            elif len(subset.ports or ()) > 1:
                found.append(field.required(f"{path}.name"))
            checks.port_number(found, f"{path}.port", port.port or 0)
            checks.one_of(found, f"{path}.protocol", port.protocol, ("SCTP", "TCP", "UDP"))
    return found


def _endpoint_address(found: Found, path: str, address: core_v1.EndpointAddress) -> None:
    before = len(found)
    checks.address(found, f"{path}.ip", address.ip or "")
    good = len(found) == before
    if address.hostname:
        checks.label(found, f"{path}.hostname", address.hostname)
    if address.nodeName is not None:
        checks.subdomain(found, f"{path}.nodeName", address.nodeName)
    if good:
        checks.endpoint_address(found, f"{path}.ip", address.ip or "")


def validate_endpoints_update(new: core_v1.Endpoints, old: core_v1.Endpoints) -> Found:
    return [] if new.subsets == old.subsets else validate_endpoints(new)


def endpoints_row(t: Tree, now: float) -> list[Any]:
    found: list[str] = []
    for subset in t.get("subsets") or ():
        addresses = [a.get("ip", "") for a in subset.get("addresses") or ()]
        ports = subset.get("ports")
        if not ports:
            found += addresses
        for port in ports or ():
            found += [_joined(a, port.get("port", 0)) for a in addresses]
    shown = first_ones(found) if t.get("subsets") else NOTHING
    return [name_of(t, now), "" if t.get("subsets") and not found else shown, age_of(t, now)]


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


KINDS: dict[Key, Strategy] = {
    ("", "endpoints"): Strategy(
        default=default_endpoints,
        validate=validate_endpoints,
        validate_update=validate_endpoints_update,
        create_on_update=True,
        columns=sheet("Name|Endpoints|Age", endpoints_row),
    )
}
