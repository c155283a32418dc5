"""configMap, secret, projected and downwardAPI volumes: files whose content the kubelet writes, and writes anew when it changes.

Upstream counterparts: pkg/volume/{configmap,secret,projected,downwardapi}.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping

from navarch.api.core import v1
from navarch.api.scalars import Quantity
from navarch.kubelet.core import containers, payload
from navarch.kubelet.core.payload import File, Payload, PayloadError
from navarch.kubelet.references import References
from navarch.kubelet.volumes import atomic, plugin, system
from navarch.kubelet.volumes.plugin import Place
from navarch.kubelet.volumes.tokens import Tokens

ROOT_CA_AGE = 60.0
"""Seconds for which the copy of an authority that every pod mounts is good enough."""


class Files:
    """The plugin of one of them; `field` is the volume's."""

    in_folder = True

    def __init__(self, name: str, field: str, contents: Contents) -> None:
        self.name = name
        self._field = field
        self._contents = contents

    def matches(self, volume: v1.Volume) -> bool:
        return getattr(volume, self._field) is not None

    async def set_up(self, place: Place, refresh: bool) -> pathlib.Path:
        _write(place, await self._contents.of(place.pod, place.volume), refresh)
        return place.folder

    async def path(self, place: Place) -> pathlib.Path:
        return place.folder

    def forget(self, uid: str) -> None:
        self._contents.forget(uid)


class Contents:
    """What the files hold: from objects that are fetched, tokens, and the pod itself."""

    def __init__(self, references: References, tokens: Tokens, allocatable: Callable[[], Mapping[str, Quantity]]) -> None:
        self._references = references
        self._tokens = tokens
        self._allocatable = allocatable

    def forget(self, uid: str) -> None:
        """A pod's tokens are needed no more."""
        self._tokens.forget(uid)

    async def of(self, pod: v1.Pod, volume: v1.Volume) -> Payload:
        """The files of a volume. PayloadError, ApiError, Unreachable."""
        if (config := volume.configMap) is not None:
            mode = _mode(config.defaultMode)
            return await self._config_map(pod, config.name or "", config.items, mode, bool(config.optional))
        if (secret := volume.secret) is not None:
            mode = _mode(secret.defaultMode)
            return await self._secret(pod, secret.secretName or "", secret.items, mode, bool(secret.optional))
        if (fields := volume.downwardAPI) is not None:
            return payload.downward_api(pod, fields.items or (), _mode(fields.defaultMode), self._allocatable())
        if (projected := volume.projected) is not None:
            return await self._projected(pod, projected)
        raise PayloadError(f'no volume plugin matched name "{volume.name}"')

    async def _config_map(self, pod: v1.Pod, name: str, items: list[v1.KeyToPath] | None, mode: int, optional: bool) -> Payload:
        namespace = (pod.metadata and pod.metadata.namespace) or ""
        age = ROOT_CA_AGE if name == "kube-root-ca.crt" else 0.0
        held = await self._references.fetch(v1.ConfigMap, namespace, name, age)
        if held is None:
            if optional:
                return {}
            raise PayloadError(f'configmap "{name}" not found')
        return payload.config_map(held, items, mode, optional)

    async def _secret(self, pod: v1.Pod, name: str, items: list[v1.KeyToPath] | None, mode: int, optional: bool) -> Payload:
        namespace = (pod.metadata and pod.metadata.namespace) or ""
        held = await self._references.fetch(v1.Secret, namespace, name)
        if held is None:
            if optional:
                return {}
            raise PayloadError(f'secret "{name}" not found')
        return payload.secret(held, items, mode, optional)

    async def _projected(self, pod: v1.Pod, source: v1.ProjectedVolumeSource) -> Payload:
        mode = _mode(source.defaultMode)
        result: Payload = {}
        for part in source.sources or ():
            if (config := part.configMap) is not None:
                result |= await self._config_map(pod, config.name or "", config.items, mode, bool(config.optional))
            elif (secret := part.secret) is not None:
                result |= await self._secret(pod, secret.name or "", secret.items, mode, bool(secret.optional))
            elif (fields := part.downwardAPI) is not None:
                result |= payload.downward_api(pod, fields.items or (), mode, self._allocatable())
            elif (token := part.serviceAccountToken) is not None:
                text = await self._tokens.get(pod, token.audience or "", token.expirationSeconds or 3600)
                strict = _user(pod) is not None or plugin.group_of(pod) is not None
                result[token.path or "token"] = File(text.encode(), 0o600 if strict else mode)
            else:
                raise PayloadError("clusterTrustBundle and podCertificate sources are not supported by this kubelet")
        return result


def _write(place: Place, made: Payload, refresh: bool) -> None:
    pod, volume, folder = place.pod, place.volume, place.folder
    if volume.configMap is None and not refresh:
        system.mount_tmpfs(folder)
    group = plugin.group_of(pod)
    has_token = volume.projected is not None and any(s.serviceAccountToken for s in volume.projected.sources or ())
    owner = _user(pod) if has_token else None
    if group is not None:
        made = {path: File(file.data, file.mode | system.READ_ONLY) for path, file in made.items()}
    atomic.write(folder, made, owner, group)
    if not refresh:
        folder.chmod(0o777 if group is None else 0o2777)
        if group is not None:
            os.chown(folder, -1, group)


def _mode(mode: int | None) -> int:
    return payload.DEFAULT_MODE if mode is None else mode


def _user(pod: v1.Pod) -> int | None:
    """The user all containers run as; None when they differ or it is left to the images."""
    shared = pod.spec.securityContext if pod.spec else None
    inits, mains, ephemeral = containers.of(pod)
    users = set()
    for container in (*inits, *mains, *ephemeral):
        own = container.securityContext.runAsUser if container.securityContext else None
        users.add(own if own is not None else (shared.runAsUser if shared else None))
    return users.pop() if len(users) == 1 else None
