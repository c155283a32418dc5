"""Rules of the volumes of pods.

Upstream counterpart: ValidateVolumes and what it calls in pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.machinery import field, names

_SOURCES = tuple(f for f in core_v1.Volume.__struct_fields__ if f != "name")
_COMMON = ("emptyDir", "hostPath", "secret", "persistentVolumeClaim", "downwardAPI", "configMap", "projected", "csi", "ephemeral", "image")
_RARE = tuple(s for s in _SOURCES if s not in _COMMON)
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
ENV_FIELDS = (
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
    "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_ENV_ALLOWED = ENV_FIELDS[2:]
_FILE_ALLOWED = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_CONVERTIBLE = frozenset({*ENV_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host"})
_RESOURCES = ("limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory")


def check(found: Found, path: str, volumes: Sequence[core_v1.Volume] | None, pod_name: str) -> dict[str, core_v1.Volume]:
    """Checks volumes; returns the good ones by name."""
    good: dict[str, core_v1.Volume] = {}
    made = {f"{pod_name}-{v.name}" for v in volumes or () if v.ephemeral is not None} if pod_name else set()
    for i, volume in enumerate(volumes or ()):
        at = f"{path}[{i}]"
        before = len(found)
        _source(found, at, volume, pod_name)
        name = volume.name or ""
        if not name:
            found.append(field.required(f"{at}.name"))
        else:
            checks.label(found, f"{at}.name", name)
        if name in good:
            found.append(field.duplicate(f"{at}.name", name))
        if len(found) == before:
            good[name] = volume
        claim = volume.persistentVolumeClaim
        if claim is not None and claim.claimName in made:
            why = "must not reference a PVC that gets created for an ephemeral volume"
            found.append(field.invalid(f"{at}.persistentVolumeClaim.claimName", claim.claimName, why))
    return good


def _source(found: Found, at: str, volume: core_v1.Volume, pod_name: str) -> None:
    count = 0
    for name in _COMMON:
        held = getattr(volume, name)
        if held is None:
            continue
        count += 1
        if count > 1:
            found.append(field.forbidden(f"{at}.{name}", "may not specify more than 1 volume type"))
        else:
            _CHECKS[name](found, f"{at}.{name}", held)
    if count == 0:
        for name in _RARE:
            if getattr(volume, name) is not None:
                count += 1
                if count > 1:
                    found.append(field.forbidden(f"{at}.{name}", "may not specify more than 1 volume type"))
    if count == 0:
        found.append(field.required(at, "must specify a volume type"))
    if volume.ephemeral is not None and pod_name and volume.name:
        claim = f"{pod_name}-{volume.name}"
        found += (field.invalid(f"{at}.name", volume.name, f'PVC name "{claim}": {p}') for p in names.dns_subdomain(claim))


def _empty(found: Found, at: str, source: core_v1.EmptyDirVolumeSource) -> None:
    if source.sizeLimit is not None and str(source.sizeLimit).startswith("-"):
        found.append(field.forbidden(f"{at}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def no_backsteps(found: Found, at: str, path: str) -> None:
    if ".." in path.split("/"):
        found.append(field.invalid(at, path, "must not contain '..'"))


def descending(found: Found, at: str, path: str) -> None:
    """A relative path that does not climb."""
    if path.startswith("/"):
        found.append(field.invalid(at, path, "must be a relative path"))
    no_backsteps(found, at, path)


def _local(found: Found, at: str, path: str) -> None:
    """A relative path that does not climb, nor begins with two dots."""
    descending(found, at, path)
    if path.startswith("..") and not path.startswith("../"):
        found.append(field.invalid(at, path, "must not start with '..'"))


def _host_path(found: Found, at: str, source: core_v1.HostPathVolumeSource) -> None:
    if not source.path:
        found.append(field.required(f"{at}.path"))
        return
    no_backsteps(found, f"{at}.path", source.path)
    if source.type is not None and source.type not in _HOST_TYPES:
        found.append(field.not_supported(f"{at}.type", source.type, _HOST_TYPES))


def _mode(found: Found, at: str, mode: int | None) -> None:
    if mode is not None and not 0 <= mode <= 0o777:
        found.append(field.invalid(at, mode, _MODE))


def _items(found: Found, at: str, items: Sequence[core_v1.KeyToPath] | None) -> None:
    for i, item in enumerate(items or ()):
        if not item.key:
            found.append(field.required(f"{at}[{i}].key"))
        if not item.path:
            found.append(field.required(f"{at}[{i}].path"))
        _local(found, f"{at}[{i}].path", item.path or "")
        _mode(found, f"{at}[{i}].mode", item.mode)


def _secret(found: Found, at: str, source: core_v1.SecretVolumeSource) -> None:
    if not source.secretName:
        found.append(field.required(f"{at}.secretName"))
    _mode(found, f"{at}.defaultMode", source.defaultMode)
    _items(found, f"{at}.items", source.items)


def _config_map(found: Found, at: str, source: core_v1.ConfigMapVolumeSource) -> None:
    if not source.name:
        found.append(field.required(f"{at}.name"))
    _mode(found, f"{at}.defaultMode", source.defaultMode)
    _items(found, f"{at}.items", source.items)


def _claim(found: Found, at: str, source: core_v1.PersistentVolumeClaimVolumeSource) -> None:
    if not source.claimName:
        found.append(field.required(f"{at}.claimName"))


def _downward(found: Found, at: str, source: core_v1.DownwardAPIVolumeSource) -> None:
    _mode(found, f"{at}.defaultMode", source.defaultMode)
    for item in source.items or ():
        _file(found, at, item)


def _file(found: Found, at: str, item: core_v1.DownwardAPIVolumeFile) -> None:
    if not item.path:
        found.append(field.required(f"{at}.path"))
    _local(found, f"{at}.path", item.path or "")
    if item.fieldRef is not None:
        field_ref(found, f"{at}.fieldRef", item.fieldRef, _FILE_ALLOWED)
        if item.resourceFieldRef is not None:
            found.append(field.invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
    elif item.resourceFieldRef is not None:
        resource_ref(found, f"{at}.resourceFieldRef", item.resourceFieldRef, named=True)
    else:
        found.append(field.required(at, "one of fieldRef and resourceFieldRef is required"))
    _mode(found, f"{at}.mode", item.mode)


def field_ref(found: Found, at: str, ref: core_v1.ObjectFieldSelector, allowed: Sequence[str] = _ENV_ALLOWED) -> None:
    """A field of the pod, by its path; `metadata.labels['x']` names one of a map."""
    if not ref.apiVersion:
        found.append(field.required(f"{at}.apiVersion"))
        return
    path = ref.fieldPath
    if not path:
        found.append(field.required(f"{at}.fieldPath"))
        return
    head, bracket, rest = path.partition("['")
    if bracket and rest.endswith("']"):
        key = rest[:-2]
        if head == "metadata.annotations":
            checks.qualified(found, at, key.lower())
        elif head == "metadata.labels":
            checks.qualified(found, at, key)
        else:
            why = f"error converting fieldPath: field label does not support subscript: {path}"
            found.append(field.invalid(f"{at}.fieldPath", path, why))
    elif path not in _CONVERTIBLE:
        found.append(field.invalid(f"{at}.fieldPath", path, f"error converting fieldPath: field label not supported: {path}"))
    elif path not in allowed:
        found.append(field.not_supported(f"{at}.fieldPath", path, sorted(allowed)))


def resource_ref(found: Found, at: str, ref: core_v1.ResourceFieldSelector, *, named: bool) -> None:
    """An amount of a container, by its name."""
    if named and not ref.containerName:
        found.append(field.required(f"{at}.containerName"))
    elif not ref.resource:
        found.append(field.required(f"{at}.resource"))
    elif ref.resource not in _RESOURCES and not ref.resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        found.append(field.not_supported(f"{at}.resource", ref.resource, _RESOURCES))


def _projected(found: Found, at: str, source: core_v1.ProjectedVolumeSource) -> None:
    _mode(found, f"{at}.defaultMode", source.defaultMode)
    seen: set[str] = set()

    def once(path: str | None, value: str) -> None:
        if path and path in seen:
            found.append(field.invalid(at, value, "conflicting duplicate paths"))
        elif path:
            seen.add(path)

    for i, part in enumerate(source.sources or ()):
        base = f"{at}.sources[{i}]"
        for kind in ("secret", "configMap"):
            keyed: Any = getattr(part, kind)
            if keyed is not None:
                if not keyed.name:
                    found.append(field.required(f"{base}.{kind}.name"))
                _items(found, f"{base}.{kind}.items", keyed.items)
                for item in keyed.items or ():
                    once(item.path, keyed.name or "")
        if part.downwardAPI is not None:
            for file in part.downwardAPI.items or ():
                _file(found, f"{base}.downwardAPI", file)
                once(file.path, file.path or "")
        if part.serviceAccountToken is not None:
            _token(found, at, f"{base}.serviceAccountToken", part.serviceAccountToken)
        given = sum(getattr(part, s) is not None for s in part.__struct_fields__)
        if given > 1:
            found.append(field.forbidden(base, "may not specify more than 1 volume type per source"))


def _token(found: Found, at: str, base: str, token: core_v1.ServiceAccountTokenProjection) -> None:
    seconds = token.expirationSeconds or 0
    if seconds < 600:
        found.append(field.invalid(f"{base}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    elif seconds > 2**32:
        found.append(field.invalid(f"{base}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"))
    if not token.path:
        found.append(field.required(f"{at}.path"))
    else:
        _local(found, f"{at}.path", token.path)


def _image(found: Found, at: str, source: core_v1.ImageVolumeSource) -> None:
    if not source.reference:
        found.append(field.required(f"{at}.reference"))
    checks.one_of(found, f"{at}.pullPolicy", source.pullPolicy, ("Always", "IfNotPresent", "Never"), required=False)


def _ephemeral(found: Found, at: str, source: core_v1.EphemeralVolumeSource) -> None:
    template = source.volumeClaimTemplate
    if template is None:
        found.append(field.required(f"{at}.volumeClaimTemplate"))
    elif template.spec is None or not template.spec.accessModes:
        found.append(field.required(f"{at}.volumeClaimTemplate.spec.accessModes", "at least 1 access mode is required"))


def _csi(found: Found, at: str, source: core_v1.CSIVolumeSource) -> None:
    if not source.driver:
        found.append(field.required(f"{at}.driver"))


_CHECKS: dict[str, Callable[[Found, str, Any], None]] = {
    "projected": _projected,
    "configMap": _config_map,
    "secret": _secret,
    "emptyDir": _empty,
    "hostPath": _host_path,
    "persistentVolumeClaim": _claim,
    "downwardAPI": _downward,
    "image": _image,
    "ephemeral": _ephemeral,
    "csi": _csi,
}
