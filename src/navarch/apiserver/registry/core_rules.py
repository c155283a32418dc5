"""Rules of the rest of the core group: configuration, namespaces, nodes, endpoints, volumes and claims, limits, quotas, events.

Upstream counterpart: pkg/apis/core/validation.
"""

from __future__ import annotations

import base64
import functools
import json

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.apiserver.registry import checks, pod_rules, service_rules
from navarch.apiserver.registry.checks import Found
from navarch.machinery import codec, field, names, quantity

_MOST_DATA = 1024 * 1024
_SEALED = "field is immutable when `immutable` is set"

# ---- ConfigMap, Secret, ServiceAccount ----


def _keys(found: Found, path: str, data: dict[str, str] | None) -> None:
    for key in data or ():
        found += (field.invalid(f"{path}[{key}]", key, p) for p in names.config_map_key(key))


def config_map(obj: core_v1.ConfigMap) -> Found:
    found: Found = []
    _keys(found, "data", obj.data)
    for key in obj.data or ():
        if key in (obj.binaryData or ()):
            found.append(field.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    _keys(found, "binaryData", obj.binaryData)
    size = sum(len(v.encode()) if not v.isascii() else len(v) for v in (obj.data or {}).values())
    size += sum(len(v) * 3 // 4 for v in (obj.binaryData or {}).values())
    if size > _MOST_DATA:
        found.append(field.too_long("[]", _MOST_DATA))
    return found


def config_map_update(new: core_v1.ConfigMap, old: core_v1.ConfigMap) -> Found:
    found: Found = []
    if old.immutable:
        if not new.immutable:
            found.append(field.forbidden("immutable", _SEALED))
        for part in ("data", "binaryData"):
            if (getattr(new, part) or {}) != (getattr(old, part) or {}):
                found.append(field.forbidden(part, _SEALED))
    return found + config_map(new)


_NEEDED = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def secret(obj: core_v1.Secret) -> Found:
    found: Found = []
    data = obj.data or {}
    _keys(found, "data", data)
    if sum(len(v) * 3 // 4 - v[-2:].count("=") for v in data.values()) > _MOST_DATA:
        found.append(field.too_long("data", _MOST_DATA))
    for key in _NEEDED.get(obj.type or "", ()):
        if key not in data:
            found.append(field.required(f"data[{key}]"))
        elif key.startswith(".docker"):
            _docker(found, key, data[key])
    if obj.type == "kubernetes.io/service-account-token":
        note = "kubernetes.io/service-account.name"
        annotations = (obj.metadata.annotations if obj.metadata else None) or {}
        if not annotations.get(note):
            found.append(field.required(f"metadata.annotations[{note}]"))
    elif obj.type == "kubernetes.io/basic-auth" and not ({"username", "password"} & data.keys()):
        found += [field.required("data[username]"), field.required("data[password]")]
    return found


def _docker(found: Found, key: str, value: str) -> None:
    text = base64.b64decode(value)
    why = ""
    try:
        if not isinstance(json.loads(text), dict):
            why = "json: cannot unmarshal into Go value of type map[string]interface {}"
    except ValueError:
        first = text.lstrip()[:1].decode("utf-8", "replace")
        why = f"invalid character '{first}' looking for beginning of value" if first not in '{["' else "unexpected end of JSON input"
    if why:
        found.append(field.invalid(f"data[{key}]", "<secret contents redacted>", why))


def secret_update(new: core_v1.Secret, old: core_v1.Secret) -> Found:
    found: Found = []
    checks.same(found, "type", new.type, old.type)
    if old.immutable:
        if not new.immutable:
            found.append(field.forbidden("immutable", _SEALED))
        if (new.data or {}) != (old.data or {}):
            found.append(field.forbidden("data", _SEALED))
    return found + secret(new)


# ---- namespaces and nodes ----


def namespace_finalize(new: core_v1.Namespace, old: core_v1.Namespace) -> Found:
    del old
    found: Found = []
    for i, name in enumerate((new.spec.finalizers or ()) if new.spec else ()):
        path = f"spec.finalizers[{i}]"
        checks.qualified(found, path, name)
        if "/" not in name and name != "kubernetes":
            found.append(field.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified"))
    return found


_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _taints(found: Found, taints: list[core_v1.Taint] | None) -> None:
    seen: set[tuple[str | None, str | None]] = set()
    for i, taint in enumerate(taints or ()):
        at = f"metadata.taints[{i}]"
        checks.qualified(found, f"{at}.key", taint.key or "")
        if taint.value and (problems := names.label_value(taint.value)):
            found.append(field.invalid(f"{at}.value", taint.value, ";".join(problems)))
        checks.one_of(found, f"{at}.effect", taint.effect, _EFFECTS)
        if (taint.key, taint.effect) in seen:
            shown = codec.to_tree(taint)
            found.append(field.Problem("FieldValueDuplicate", at, shown, "taints must be unique by key and effect pair"))
        seen.add((taint.key, taint.effect))


def _node_amounts(found: Found, node: core_v1.Node) -> None:
    if node.status is None:
        return
    for part in ("capacity", "allocatable"):
        for name, value in (getattr(node.status, part) or {}).items():
            checks.amount(found, f"status.{part}.{name}", value)


def node(obj: core_v1.Node) -> Found:
    found: Found = []
    spec = obj.spec or core_v1.NodeSpec()
    _taints(found, spec.taints)
    _node_amounts(found, obj)
    for i, cidr in enumerate(spec.podCIDRs or ()):
        checks.network(found, f"spec.podCIDRs[{i}]", cidr)
    return found


def node_update(new: core_v1.Node, old: core_v1.Node) -> Found:
    found: Found = []
    spec, before = new.spec or core_v1.NodeSpec(), old.spec or core_v1.NodeSpec()
    _node_amounts(found, new)
    if before.podCIDRs and spec.podCIDRs != before.podCIDRs:
        found.append(field.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if before.providerID and spec.providerID != before.providerID:
        found.append(field.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
    _taints(found, spec.taints)
    return found


def node_status(new: core_v1.Node, old: core_v1.Node) -> Found:
    del old
    found: Found = []
    _node_amounts(found, new)
    seen: set[tuple[str | None, str | None]] = set()
    for i, address in enumerate((new.status.addresses or ()) if new.status else ()):
        if (address.type, address.address) in seen:
            found.append(field.duplicate(f"status.addresses[{i}]", codec.to_tree(address)))
        seen.add((address.type, address.address))
    return found


# ---- endpoints ----


def endpoints(obj: core_v1.Endpoints) -> Found:
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
        service_rules.endpoint_address(found, f"{path}.ip", address.ip or "")


def endpoints_update(new: core_v1.Endpoints, old: core_v1.Endpoints) -> Found:
    return [] if new.subsets == old.subsets else endpoints(new)


# ---- volumes and claims ----

_ACCESS = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_SOURCES = tuple(
    f
    for f in core_v1.PersistentVolumeSpec.__struct_fields__
    if f
    not in (
        "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy", "storageClassName",
        "volumeAttributesClassName", "volumeMode",
    )
)  # fmt: skip


def _access(found: Found, modes: list[str] | None) -> None:
    if not modes:
        return
    for mode in modes:
        checks.one_of(found, "spec.accessModes", mode, _ACCESS)
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        found.append(field.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes"))


def claim(obj: core_v1.PersistentVolumeClaim) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None
    if not spec.accessModes:
        found.append(field.required("spec.accessModes", "at least 1 access mode is required"))
    checks.selector(found, "spec.selector", spec.selector)
    _access(found, spec.accessModes)
    size = (spec.resources.requests or {}).get("storage") if spec.resources else None
    if size is None:
        found.append(field.required("spec.resources[storage]"))
    elif quantity.parse(size).nano <= 0:
        found.append(field.invalid("spec.resources[storage]", str(size), "must be greater than zero"))
    if spec.storageClassName:
        checks.subdomain(found, "spec.storageClassName", spec.storageClassName)
    checks.one_of(found, "spec.volumeMode", spec.volumeMode, ("Block", "Filesystem"), required=False)
    return found


_CLAIM_FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def claim_update(new: core_v1.PersistentVolumeClaim, old: core_v1.PersistentVolumeClaim) -> Found:
    found = claim(new)
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None
    munged = msgspec.structs.replace(spec)
    if not before.volumeName:
        munged.volumeName = before.volumeName
    if before.storageClassName is None:
        munged.storageClassName = None
    if old.status is not None and old.status.phase == "Bound":
        munged.volumeAttributesClassName = before.volumeAttributesClassName
        if munged.resources is not None and munged.resources.requests and before.resources is not None:
            size = (before.resources.requests or {}).get("storage", "0")
            munged.resources = msgspec.structs.replace(munged.resources, requests={**munged.resources.requests, "storage": size})
    if munged != before:
        found.append(field.forbidden("spec", f"{_CLAIM_FIXED}\n{pod_rules.difference(before, munged)}"))
    new_size = (spec.resources.requests or {}).get("storage", "0") if spec.resources else "0"
    old_size = (before.resources.requests or {}).get("storage", "0") if before.resources else "0"
    held = ((old.status.capacity or {}) if old.status else {}).get("storage", "0")
    if quantity.compare(new_size, old_size) < 0 and quantity.compare(new_size, held) <= 0:
        found.append(field.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity"))
    checks.same(found, "volumeMode", spec.volumeMode, before.volumeMode)
    return found


def volume(obj: core_v1.PersistentVolume) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None
    if not spec.accessModes:
        found.append(field.required("spec.accessModes"))
    _access(found, spec.accessModes)
    capacity = spec.capacity or {}
    if not capacity:
        found += [field.required("spec.capacity"), field.not_supported("spec.capacity", None, ("storage",))]
    elif "storage" not in capacity or len(capacity) > 1:
        found.append(field.not_supported("spec.capacity", capacity, ("storage",)))
    for name, value in capacity.items():
        if quantity.parse(value).nano <= 0:
            found.append(field.invalid(f"spec.capacity[{name}]", str(value), "must be greater than zero"))
    checks.one_of(found, "spec.persistentVolumeReclaimPolicy", spec.persistentVolumeReclaimPolicy, ("Delete", "Recycle", "Retain"))
    sources = [s for s in _VOLUME_SOURCES if getattr(spec, s) is not None]
    if not sources:
        found.append(field.required("spec", "must specify a volume type"))
    found += (field.forbidden(f"spec.{s}", "may not specify more than 1 volume type") for s in sources[1:])
    if spec.hostPath is not None and not spec.hostPath.path:
        found.append(field.required("spec.hostPath.path"))
    if spec.local is not None:
        if not spec.local.path:
            found.append(field.required("spec.local.path"))
        if spec.nodeAffinity is None:
            found.append(field.required("metadata.annotations", "Local volume requires node affinity"))
    if spec.csi is not None:
        found += (field.required(f"spec.csi.{p}") for p in ("driver", "volumeHandle") if not getattr(spec.csi, p))
    if spec.nodeAffinity is not None:
        if spec.nodeAffinity.required is None:
            found.append(field.required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            pod_rules.node_selector(found, "spec.nodeAffinity.required", spec.nodeAffinity.required)
    if spec.storageClassName:
        checks.subdomain(found, "spec.storageClassName", spec.storageClassName)
    checks.one_of(found, "spec.volumeMode", spec.volumeMode, ("Block", "Filesystem"), required=False)
    return found


def volume_update(new: core_v1.PersistentVolume, old: core_v1.PersistentVolume) -> Found:
    found = volume(new)
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None
    if any(getattr(spec, s) != getattr(before, s) for s in _VOLUME_SOURCES):
        parts = [{s: codec.to_tree(v) for s in _VOLUME_SOURCES if (v := getattr(p, s)) is not None} for p in (before, spec)]
        why = "spec.persistentvolumesource is immutable after creation\n" + pod_rules.difference(*parts)
        found.append(field.forbidden("spec.persistentvolumesource", why))
    checks.same(found, "volumeMode", spec.volumeMode, before.volumeMode)
    return found


# ---- limits, quotas, events ----

_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")


def limit_range(obj: core_v1.LimitRange) -> Found:
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


_SCOPES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass")
_QUOTA_NAMES = frozenset(
    {
        "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage",
        "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services", "replicationcontrollers",
        "secrets", "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
    }
)  # fmt: skip


def resource_quota(obj: core_v1.ResourceQuota) -> Found:
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


@functools.cache
def _counted() -> frozenset[str]:
    return _QUOTA_NAMES - {n for n in _QUOTA_NAMES if n.rpartition(".")[2] in ("cpu", "memory", "storage", "ephemeral-storage")}


def _whole(name: str) -> bool:
    return name in _counted() or name.startswith("count/")


def resource_quota_update(new: core_v1.ResourceQuota, old: core_v1.ResourceQuota) -> Found:
    found = resource_quota(new)
    fresh, held = (set((q.spec.scopes or ()) if q.spec else ()) for q in (new, old))
    if fresh != held:
        shown = sorted(fresh)
        found.append(field.invalid("spec.scopes", shown, checks.IMMUTABLE))
    return found


def event(obj: core_v1.Event) -> Found:
    found: Found = []
    about, metadata = obj.involvedObject, obj.metadata
    assert about is not None and metadata is not None
    if obj.eventTime is None:
        namespace = about.namespace or ""
        if not namespace:
            if metadata.namespace not in ("default", ""):
                found.append(field.invalid("involvedObject.namespace", namespace, "does not match event.namespace"))
        elif namespace != metadata.namespace:
            found.append(field.invalid("involvedObject.namespace", namespace, "does not match event.namespace"))
        return found
    for name in ("reportingComponent", "reportingInstance", "action", "reason"):
        value = getattr(obj, name)
        shown = "reportingController" if name == "reportingComponent" else name
        if not value:
            found.append(field.required(shown))
        elif len(value) > 128 and name != "reportingComponent":
            found.append(field.invalid(shown, "", "can have at most 128 characters"))
    if obj.type not in ("Normal", "Warning"):
        found.append(field.invalid("type", obj.type or "", "has invalid value: " + (obj.type or "")))
    if len(obj.message or "") > 1024:
        found.append(field.invalid("message", "", "can have at most 1024 characters"))
    return found
