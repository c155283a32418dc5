"""discovery.k8s.io: EndpointSlices.

Upstream counterparts: pkg/apis/discovery/{v1/defaults.go,validation}, pkg/registry/discovery.
"""

from __future__ import annotations

from typing import Any

from navarch.api.discovery import v1 as discovery_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import UNSET, Tree, age_of, first_ones, name_of, sheet
from navarch.apiserver.kinds.strategy import Key, Strategy
from navarch.lib import inet
from navarch.machinery import field, names


def default_endpoint_slice(obj: discovery_v1.EndpointSlice) -> None:
    for endpoint in obj.endpoints or ():
        endpoint.conditions = endpoint.conditions or discovery_v1.EndpointConditions()
    for port in obj.ports or ():
        if port.name is None:
            port.name = ""
        port.protocol = port.protocol or "TCP"


def validate_endpoint_slice(obj: discovery_v1.EndpointSlice) -> Found:
    found: Found = []
    checks.one_of(found, "addressType", obj.addressType, ("FQDN", "IPv4", "IPv6"))
    seen: set[str | None] = set()
    for i, port in enumerate(obj.ports or ()):
        if port.name and (problems := names.dns_label(port.name)):
            found += (field.invalid(f"ports[{i}].name", port.name, p) for p in problems)
        if port.name in seen:
            found.append(field.duplicate(f"ports[{i}].name", port.name))
        seen.add(port.name)
        checks.one_of(found, f"ports[{i}].protocol", port.protocol, checks.PROTOCOLS)
        if port.port is not None and port.port != 0:
            checks.port_number(found, f"ports[{i}].port", port.port)
        if port.appProtocol is not None:
            checks.qualified(found, f"ports[{i}].appProtocol", port.appProtocol)
    if len(obj.endpoints or ()) > 1000:
        found.append(field.too_many("endpoints", len(obj.endpoints or ()), 1000))
    for i, endpoint in enumerate(obj.endpoints or ()):
        _endpoint(found, f"endpoints[{i}]", endpoint, obj.addressType)
    return found


def _endpoint(found: Found, at: str, endpoint: discovery_v1.Endpoint, kind: str | None) -> None:
    addresses = endpoint.addresses or []
    if not addresses:
        found.append(field.required(f"{at}.addresses", "must contain at least 1 address"))
    elif len(addresses) > 100:
        found.append(field.too_many(f"{at}.addresses", len(addresses), 100))
    for i, address in enumerate(addresses):
        path = f"{at}.addresses[{i}]"
        if kind == "FQDN":
            checks.subdomain(found, path, address)
            continue
        before = len(found)
        checks.address(found, path, address)
        if len(found) == before:
            if kind in ("IPv4", "IPv6") and kind != f"IPv{inet.version(address)}":
                found.append(field.invalid(f"{at}.addresses", address, f"must be an {kind} address"))
            checks.endpoint_address(found, path, address)
    if endpoint.nodeName is not None:
        checks.subdomain(found, f"{at}.nodeName", endpoint.nodeName)
    if endpoint.hostname is not None:
        checks.label(found, f"{at}.hostname", endpoint.hostname)


def validate_endpoint_slice_update(new: discovery_v1.EndpointSlice, old: discovery_v1.EndpointSlice) -> Found:
    found: Found = []
    if new.endpoints != old.endpoints or new.ports != old.ports or new.addressType != old.addressType:
        found += validate_endpoint_slice(new)
    checks.same(found, "addressType", new.addressType, old.addressType)
    return found


def endpoint_slice_row(t: Tree, now: float) -> list[Any]:
    ports = [str(p["port"]) if p.get("port") is not None else p.get("name", "*") for p in t.get("ports") or ()]
    addresses = [a for e in t.get("endpoints") or () for a in e.get("addresses") or ()]
    return [name_of(t, now), t.get("addressType", ""), _ports_or_unset(ports), _ports_or_unset(addresses), age_of(t, now)]


def _ports_or_unset(items: list[str]) -> str:
    return first_ones(items) if items else UNSET


KINDS: dict[Key, Strategy] = {
    ("discovery.k8s.io", "endpointslices"): Strategy(
        default=default_endpoint_slice,
        validate=validate_endpoint_slice,
        validate_update=validate_endpoint_slice_update,
        generation=True,
        columns=sheet("Name|AddressType|Ports|Endpoints|Age", endpoint_slice_row),
    )
}
