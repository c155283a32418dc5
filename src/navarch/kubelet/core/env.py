"""Environment variables of a container: from values, references, whole ConfigMaps and Secrets, and Services.

Pure: the objects that are referred to come in through `Sources`, already fetched. Upstream's counterparts:
makeEnvironmentVariables, third_party/forked/golang/expansion, pkg/kubelet/envvars.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from navarch.api.core import v1
from navarch.api.scalars import Quantity
from navarch.kubelet.core import downward, env_file

Names = tuple[str, str]
"""A kind ("ConfigMap" or "Secret") and a name within the pod's namespace."""


FileName = tuple[str, str]
"""A volume of the pod and a path within it."""


class ConfigError(Exception):
    """The container cannot be configured; the message is what upstream shows."""


@dataclass(frozen=True)
class Sources:
    """What environment variables are made from."""

    config_maps: Mapping[str, v1.ConfigMap | None] = field(default_factory=dict)
    secrets: Mapping[str, v1.Secret | None] = field(default_factory=dict)
    services: Iterable[v1.Service] = ()
    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    allocatable: Mapping[str, Quantity] = field(default_factory=dict)
    files: Mapping[FileName, bytes | None] = field(default_factory=dict)
    """Contents of files in volumes; None where there is none that can be read."""


def references(container: v1.Container) -> set[Names]:
    """The ConfigMaps and Secrets a container's environment needs."""
    found: set[Names] = set()
    for source in container.envFrom or ():
        if source.configMapRef and source.configMapRef.name:
            found.add(("ConfigMap", source.configMapRef.name))
        if source.secretRef and source.secretRef.name:
            found.add(("Secret", source.secretRef.name))
    for variable in container.env or ():
        origin = variable.valueFrom
        if origin and origin.configMapKeyRef and origin.configMapKeyRef.name:
            found.add(("ConfigMap", origin.configMapKeyRef.name))
        if origin and origin.secretKeyRef and origin.secretKeyRef.name:
            found.add(("Secret", origin.secretKeyRef.name))
    return found


def files(container: v1.Container) -> set[FileName]:
    """The files a container's environment needs."""
    origins = [variable.valueFrom.fileKeyRef for variable in container.env or () if variable.valueFrom and variable.valueFrom.fileKeyRef]
    return {(origin.volumeName or "", origin.path or "") for origin in origins}


def variables(pod: v1.Pod, container: v1.Container, sources: Sources) -> dict[str, str]:
    """All environment variables, in the order they take effect."""
    services = service_variables(pod, sources.services)
    result: dict[str, str] = {}
    for source in container.envFrom or ():
        _from_whole(pod, source, sources, result)
    for variable in container.env or ():
        name = variable.name or ""
        if variable.valueFrom is not None:
            value = _referred(pod, container, variable.valueFrom, sources)
            if value is not None:
                result[name] = value
        else:
            result[name] = expand(variable.value or "", lambda key: result.get(key, services.get(key)))
    for name, value in services.items():
        result.setdefault(name, value)
    return result


def _from_whole(pod: v1.Pod, source: v1.EnvFromSource, sources: Sources, result: dict[str, str]) -> None:
    prefix = source.prefix or ""
    if (ref := source.configMapRef) is not None:
        held = sources.config_maps.get(ref.name or "")
        if held is None:
            if not ref.optional:
                raise ConfigError(f'configmap "{ref.name}" not found')
            return
        values = held.data or {}
    elif (secret_ref := source.secretRef) is not None:
        secret = sources.secrets.get(secret_ref.name or "")
        if secret is None:
            if not secret_ref.optional:
                raise ConfigError(f'secret "{secret_ref.name}" not found')
            return
        values = {key: _text(value) for key, value in (secret.data or {}).items()}
    else:
        return
    for key, value in values.items():
        name = prefix + key
        if name and "=" not in name and all(" " <= char <= "~" for char in name):
            result[name] = value


def _referred(pod: v1.Pod, container: v1.Container, origin: v1.EnvVarSource, sources: Sources) -> str | None:
    namespace = pod.metadata.namespace if pod.metadata else ""
    if (fields := origin.fieldRef) is not None:
        return downward.pod_value(pod, fields.fieldPath or "", sources.pod_ips, sources.host_ips)
    if (amounts := origin.resourceFieldRef) is not None:
        return downward.resource_value(pod, amounts, container.name or "", sources.allocatable)
    if (ref := origin.configMapKeyRef) is not None:
        held = sources.config_maps.get(ref.name or "")
        if held is None:
            return _missing(ref.optional, f'configmap "{ref.name}" not found')
        if (value := (held.data or {}).get(ref.key or "")) is None:
            return _missing(ref.optional, f"couldn't find key {ref.key} in ConfigMap {namespace}/{ref.name}")
        return value
    if (secret_ref := origin.secretKeyRef) is not None:
        secret = sources.secrets.get(secret_ref.name or "")
        if secret is None:
            return _missing(secret_ref.optional, f'secret "{secret_ref.name}" not found')
        if (data := (secret.data or {}).get(secret_ref.key or "")) is None:
            return _missing(secret_ref.optional, f"couldn't find key {secret_ref.key} in Secret {namespace}/{secret_ref.name}")
        return _text(data)
    if (file := origin.fileKeyRef) is not None:
        return _from_file(file, sources)
    return ""


def _from_file(file: v1.FileKeySelector, sources: Sources) -> str | None:
    content = sources.files.get((file.volumeName or "", file.path or ""))
    if content is None:
        return _missing(file.optional, "couldn't parse env file")
    try:
        found = env_file.value(content.decode("utf-8", "surrogateescape"), file.key or "")
    except env_file.BadFile:
        raise ConfigError("couldn't parse env file") from None
    return found or _missing(file.optional, f'environment variable key "{file.key}" not found in file "{file.path}"')


def _missing(optional: bool | None, message: str) -> str | None:
    if not optional:
        raise ConfigError(message)
    return None


def _text(data: str | bytes) -> str:
    """Secret data is base64 in JSON."""
    return base64.b64decode(data).decode("utf-8", "surrogateescape")


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    """Replaces $(NAME) where NAME is known; $$ stands for a dollar sign, everything else for itself."""
    result: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        result.append(text[position:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            result.append("$")
            position = dollar + 2
            continue
        end = text.find(")", dollar) if following == "(" else -1
        if end < 0:
            result.append("$" + following)
            position = dollar + 1 + len(following)
            continue
        name = text[dollar + 2 : end]
        value = lookup(name)
        result.append(f"$({name})" if value is None else value)
        position = end + 1
    result.append(text[position:])
    return "".join(result)


def service_variables(pod: v1.Pod, services: Iterable[v1.Service]) -> dict[str, str]:
    """Docker-style variables for the Services of the pod's namespace, and always for the API server's own."""
    namespace = pod.metadata.namespace if pod.metadata else ""
    links = not (pod.spec and pod.spec.enableServiceLinks is False)
    chosen: dict[str, v1.Service] = {}
    for service in services:
        meta = service.metadata
        if meta is None or service.spec is None or service.spec.clusterIP in (None, "", "None"):
            continue
        if meta.namespace == "default" and meta.name == "kubernetes":
            chosen.setdefault(meta.name, service)
        elif links and meta.namespace == namespace:
            chosen[meta.name or ""] = service
    result: dict[str, str] = {}
    for name in sorted(chosen):
        _add_service(result, name, chosen[name])
    return result


def _add_service(result: dict[str, str], name: str, service: v1.Service) -> None:
    spec = service.spec or v1.ServiceSpec()
    ports = spec.ports or []
    if not ports:
        return
    prefix = name.upper().replace("-", "_")
    host = spec.clusterIP or ""
    bracketed = f"[{host}]" if ":" in host else host
    result[f"{prefix}_SERVICE_HOST"] = host
    result[f"{prefix}_SERVICE_PORT"] = str(ports[0].port)
    for port in ports:
        if port.name:
            result[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    for index, port in enumerate(ports):
        protocol = port.protocol or "TCP"
        url = f"{protocol.lower()}://{bracketed}:{port.port}"
        if index == 0:
            result[f"{prefix}_PORT"] = url
        single = f"{prefix}_PORT_{port.port}_{protocol}"
        result[single] = url
        result[f"{single}_PROTO"] = protocol.lower()
        result[f"{single}_PORT"] = str(port.port)
        result[f"{single}_ADDR"] = host
