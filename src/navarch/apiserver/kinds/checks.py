"""Checks that many kinds share: numbers, amounts, ports, addresses, selectors, labels, immutable fields.

Each appends what it finds to `found`; a path is only made when there is something to say.

Upstream counterparts: pkg/apis/core/validation, apimachinery's meta/v1/validation.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Quantity
from navarch.apiserver.kinds import metadata
from navarch.lib import inet, integers
from navarch.machinery import codec, field, names, quantity
from navarch.machinery.field import Problem

Found = list[Problem]
IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"
MOST_INT32 = 2**31 - 1
PROTOCOLS = ("SCTP", "TCP", "UDP")


def between(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def not_negative(found: Found, path: str, value: int | None) -> None:
    if value is not None and value < 0:
        found.append(field.invalid(path, value, NOT_NEGATIVE))


def one_of(found: Found, path: str, value: str | None, allowed: Sequence[str], *, required: bool = True) -> None:
    """`value` must be one of `allowed`; an absent one is missed only when required."""
    if value in allowed:
        return
    if value:
        found.append(field.not_supported(path, value, allowed))
    elif required:
        found.append(field.required(path))


def label(found: Found, path: str, value: str) -> None:
    """An RFC 1123 label."""
    found += (field.invalid(path, value, p) for p in names.dns_label(value))


def subdomain(found: Found, path: str, value: str) -> None:
    found += (field.invalid(path, value, p) for p in names.dns_subdomain(value))


def qualified(found: Found, path: str, value: str) -> None:
    found += (field.invalid(path, value, p) for p in names.qualified_name(value))


def port_number(found: Found, path: str, value: int) -> None:
    found += (field.invalid(path, value, p) for p in names.port_number(value))


def port(found: Found, path: str, value: int | str | None) -> None:
    """A port by number or name."""
    if isinstance(value, str):
        found += (field.invalid(path, value, p) for p in names.port_name(value))
    else:
        port_number(found, path, value or 0)


def same(found: Found, path: str, new: Any, old: Any, why: str = IMMUTABLE) -> None:
    """The field must be as it was."""
    if new != old:
        shown = codec.to_tree(new) if hasattr(new, "__struct_fields__") else new
        found.append(field.invalid(path, shown, why))


def amount(found: Found, path: str, value: Quantity) -> None:
    """Not negative."""
    if quantity.parse(value).nano < 0:
        found.append(field.invalid(path, str(value), NOT_NEGATIVE))


def address(found: Found, path: str, value: str) -> None:
    if not names.is_ip(value):
        found.append(field.invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))


def network(found: Found, path: str, value: str) -> None:
    try:
        ipaddress.ip_network(value, strict=False)
        if "/" not in value:
            raise ValueError
    except ValueError:
        found.append(field.invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"))


def labels(found: Found, path: str, values: Mapping[str, str] | None) -> None:
    if values:
        found += metadata.labels(values, path)


_SELECTING = ("In", "NotIn", "Exists", "DoesNotExist")


def selector(found: Found, path: str, held: meta_v1.LabelSelector | None) -> None:
    """A LabelSelector."""
    if held is None:
        return
    labels(found, f"{path}.matchLabels", held.matchLabels)
    for i, e in enumerate(held.matchExpressions or ()):
        at = f"{path}.matchExpressions[{i}]"
        if e.operator in ("In", "NotIn"):
            if not e.values:
                found.append(field.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif e.operator in ("Exists", "DoesNotExist"):
            if e.values:
                found.append(field.forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
        else:
            found.append(field.invalid(f"{at}.operator", e.operator or "", "not a valid selector operator"))
        qualified(found, f"{at}.key", e.key or "")
        for j, value in enumerate(e.values or ()):
            found += (field.invalid(f"{at}.values[{j}]", value, p) for p in names.label_value(value))


def empty_selector(held: meta_v1.LabelSelector | None) -> bool:
    return held is None or not (held.matchLabels or held.matchExpressions)


def template_labels(found: Found, path: str, template: core_v1.PodTemplateSpec, matches: bool) -> None:
    """The labels of a template must be what its owner selects."""
    if not matches:
        held = (template.metadata.labels if template.metadata else None) or {}
        found.append(field.invalid(f"{path}.metadata.labels", held, "`selector` does not match template `labels`"))


_LONGEST, _MANY = 9, 10**9
"""Digits of a percentage that are read; more are many."""


def percent_or_count(found: Found, path: str, value: int | str | None) -> None:
    """A count, or a percentage of at most 100."""
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]+%", value):
            what = "a valid percent string must be a numeric string followed by an ending '%'"
            why = names.regex_message(what, "[0-9]+%", "1%", "93%")
            found.append(field.invalid(path, value, why))
    elif value is not None:
        not_negative(found, path, value)


def at_most_hundred(found: Found, path: str, value: int | str | None) -> None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]+%", value) and rounded(value) > 100:
        found.append(field.invalid(path, value, "must not be greater than 100%"))


def rounded(value: int | str | None) -> int:
    """The number in a count or a percentage."""
    if isinstance(value, str):
        digits = value.removesuffix("%")
        return (int(digits) if len(digits) <= _LONGEST else _MANY) if integers.is_digits(digits) else 0
    return value or 0


def endpoint_address(found: Found, path: str, ip: str) -> None:
    """An address that traffic may be sent to."""
    held = inet.parse(ip)
    if held is None:
        found.append(field.invalid(path, ip, "must be a valid IP address"))
        return
    if held.is_unspecified:
        found.append(field.invalid(path, ip, f"may not be unspecified ({ip})"))
    if held.is_loopback:
        found.append(field.invalid(path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if held.is_link_local:
        found.append(field.invalid(path, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if inet.is_link_local_multicast(held):
        found.append(field.invalid(path, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
