"""LimitRanges and ResourceQuotas: what a namespace sets for the objects in it.

Upstream counterparts: pkg/registry/core/{limitrange,resourcequota}, pkg/apis/core/validation.
"""

from __future__ import annotations

import functools
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks, workloads
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import CREATED, Tree, age_of, name_of, sheet, status_of
from navarch.apiserver.kinds.strategy import Key, Strategy, again
from navarch.machinery import amounts, field, quantity


def default_limit_range(obj: core_v1.LimitRange) -> None:
    for item in (obj.spec.limits or ()) if obj.spec else ():
        for part in (item.default, item.defaultRequest, item.max, item.maxLimitRequestRatio, item.min):
            amounts.canonical(part)
        if item.type == "Container":
            default = {**(item.max or {}), **(item.default or {})}
            request = {**(item.min or {}), **default, **(item.defaultRequest or {})}
            item.default, item.defaultRequest = default or None, request or None


def validate_limit_range(obj: core_v1.LimitRange) -> Found:
    found: Found = []
    seen: set[str] = set()
    for i, item in enumerate((obj.spec.limits or ()) if obj.spec else ()):
        at = f"spec.limits[{i}]"
        kind = item.type or ""
        checks.qualified(found, f"{at}.type", kind)
        if kind in seen:
            found.append(field.duplicate(f"{at}.type", kind))
        seen.add(kind)
        if kind == "Pod":
            for part in ("default", "defaultRequest"):
                if getattr(item, part):
                    found.append(field.forbidden(f"{at}.{part}", "may not be specified when `type` is 'Pod'"))
        if kind == "PersistentVolumeClaim" and "storage" not in {**(item.min or {}), **(item.max or {})}:
            found.append(field.required(f"{at}.limits", "either minimum or maximum storage value is required, but neither was provided"))
        _limits(found, at, item)
    return found


def _limits(found: Found, at: str, item: core_v1.LimitRangeItem) -> None:
    low, high, default, request = item.min or {}, item.max or {}, item.default or {}, item.defaultRequest or {}
    for name in dict.fromkeys((*high, *low, *default, *request, *(item.maxLimitRequestRatio or ()))):
        for small, big, path, what in (
            (low, high, f"{at}.min[{name}]", "max value"),
            (low, request, f"{at}.defaultRequest[{name}]", ""),
            (request, high, f"{at}.defaultRequest[{name}]", "max value"),
            (request, default, f"{at}.defaultRequest[{name}]", "default limit value"),
            (low, default, f"{at}.default[{name}]", ""),
            (default, high, f"{at}.default[{name}]", "max value"),
        ):
            if name not in small or name not in big or quantity.compare(small[name], big[name]) <= 0:
                continue
            if what:
                detail = f"{_title(path)} value {small[name]} is greater than {what} {big[name]}"
                shown = big[name] if small is default else small[name]
                found.append(field.invalid(path, str(shown), detail))
            else:
                detail = f"min value {small[name]} is greater than {_title(path)} value {big[name]}"
                found.append(field.invalid(path, str(big[name]), detail))
        ratio = (item.maxLimitRequestRatio or {}).get(name)
        if ratio is not None and quantity.compare(ratio, 1) < 0:
            why = f"ratio {ratio} is less than 1"
            found.append(field.invalid(f"{at}.maxLimitRequestRatio[{name}]", str(ratio), why))


def _title(path: str) -> str:
    part = path.rpartition(".")[2].partition("[")[0]
    return {"min": "min", "default": "default", "defaultRequest": "default request"}[part]


def default_resource_quota(obj: core_v1.ResourceQuota) -> None:
    if obj.spec is not None:
        amounts.canonical(obj.spec.hard)
    if obj.status is not None:
        amounts.canonical(obj.status.hard)
        amounts.canonical(obj.status.used)


_QUOTA_NAMES = frozenset(
    {
        "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage",
        "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services", "replicationcontrollers",
        "secrets", "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
    }
)  # fmt: skip
_SCOPES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass")


def validate_resource_quota(obj: core_v1.ResourceQuota) -> Found:
    found: Found = []
    spec = obj.spec
    if spec is None:
        return found
    for name, value in (spec.hard or {}).items():
        path = f"spec.hard[{name}]"
        checks.qualified(found, path, name)
        if "/" not in name and name not in _QUOTA_NAMES and not name.startswith(("requests.hugepages-", "hugepages-")):
            if name not in ("storage", "hugepages"):
                found.append(field.invalid(path, name, "must be a standard resource type or fully qualified"))
            found.append(field.invalid(path, name, "must be a standard resource for quota"))
        if quantity.parse(value).nano < 0:
            found.append(field.invalid(path, str(value), checks.NOT_NEGATIVE))
        elif _whole(name) and quantity.parse(value).nano % quantity.NANO:
            found.append(field.invalid(path, str(value), "must be an integer"))
    scopes = set(spec.scopes or ())
    for scope in spec.scopes or ():
        if scope not in _SCOPES:
            found.append(field.invalid("spec.scopes", spec.scopes, "unsupported scope"))
    for pair in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")):
        if scopes.issuperset(pair):
            found.append(field.invalid("spec.scopes", spec.scopes, "conflicting scopes"))
    return found


def _whole(name: str) -> bool:
    return name in _counted() or name.startswith("count/")


@functools.cache
def _counted() -> frozenset[str]:
    return _QUOTA_NAMES - {n for n in _QUOTA_NAMES if n.rpartition(".")[2] in ("cpu", "memory", "storage", "ephemeral-storage")}


def validate_resource_quota_update(new: core_v1.ResourceQuota, old: core_v1.ResourceQuota) -> Found:
    found = validate_resource_quota(new)
    fresh, held = (set((q.spec.scopes or ()) if q.spec else ()) for q in (new, old))
    if fresh != held:
        shown = sorted(fresh)
        found.append(field.invalid("spec.scopes", shown, checks.IMMUTABLE))
    return found


def resource_quota_row(t: Tree, now: float) -> list[Any]:
    status = status_of(t)
    hard, used = status.get("hard") or {}, status.get("used") or {}
    parts: tuple[list[str], list[str]] = ([], [])
    for resource in sorted(hard):
        parts[resource.startswith("limits.")].append(f"{resource}: {used.get(resource, '0')}/{hard[resource]}")
    return [name_of(t, now), ", ".join(parts[0]), ", ".join(parts[1]), age_of(t, now)]


KINDS: dict[Key, Strategy] = {
    ("", "limitranges"): Strategy(
        default=default_limit_range,
        validate=validate_limit_range,
        validate_update=again(validate_limit_range),
        create_on_update=True,
        columns=CREATED,
    ),
    ("", "resourcequotas"): Strategy(
        default=default_resource_quota,
        prepare_create=workloads.blank_status(core_v1.ResourceQuotaStatus),
        validate=validate_resource_quota,
        validate_update=validate_resource_quota_update,
        returns_deleted=True,
        columns=sheet("Name|Request|Limit|Age", resource_quota_row),
    ),
}
