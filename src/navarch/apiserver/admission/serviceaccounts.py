"""ServiceAccount: every pod runs as an account that exists, and has that account's token mounted.

The token, the cluster's root certificate and the namespace come as one projected volume, which the kubelet keeps fresh.

Upstream counterpart: plugin/pkg/admission/serviceaccount.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator

from navarch.api.core import v1 as core_v1
from navarch.apiserver.admission.attributes import Attributes, refuse
from navarch.apiserver.authz import references
from navarch.apiserver.served import Catalog
from navarch.machinery import codec, names

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607
"""An hour and a little: the odd number shows that the server chose it."""
_ENFORCE = "kubernetes.io/enforce-mountable-secrets"


async def mutate(attributes: Attributes, catalog: Catalog) -> None:
    """Fills in the account of a new pod, its pull secrets and its token volume."""
    if attributes.key != ("", "pods") or attributes.operation != "CREATE" or attributes.subresource:
        return
    pod: core_v1.Pod = attributes.obj
    assert pod.spec is not None and pod.metadata is not None
    if references.MIRROR in (pod.metadata.annotations or {}):
        _check_mirror(attributes, pod.spec)
        return
    spec = pod.spec
    spec.serviceAccountName = spec.serviceAccountName or "default"
    spec.serviceAccount = spec.serviceAccountName
    account = _account(attributes, catalog, spec.serviceAccountName)
    if _mounts(spec, account):
        _mount(spec)
    if not spec.imagePullSecrets and account.imagePullSecrets:
        spec.imagePullSecrets = [core_v1.LocalObjectReference(name=s.name) for s in account.imagePullSecrets]
    if _enforces(account):
        _check_secrets(attributes, spec, account)


async def validate(attributes: Attributes, catalog: Catalog) -> None:
    """Containers that are added to a running pod refer to no secrets its account may not mount."""
    if attributes.key != ("", "pods") or attributes.operation != "UPDATE" or attributes.subresource != "ephemeralcontainers":
        return
    spec: core_v1.PodSpec = attributes.obj.spec
    if not spec.serviceAccountName:
        raise refuse(attributes, f"no service account specified for pod {attributes.namespace}/{attributes.name}")
    account = _account(attributes, catalog, spec.serviceAccountName)
    if _enforces(account):
        _check_references(attributes, _secrets("ephemeral container", spec.ephemeralContainers or ()), account)


def _enforces(account: core_v1.ServiceAccount) -> bool:
    annotations = (account.metadata.annotations if account.metadata is not None else None) or {}
    return annotations.get(_ENFORCE, "") in ("1", "t", "T", "true", "TRUE", "True")


def _account(attributes: Attributes, catalog: Catalog, name: str) -> core_v1.ServiceAccount:
    entry = catalog.of("", "serviceaccounts").cache.get(f"{attributes.namespace}/{name}")
    if entry is None:
        why = f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found'
        raise refuse(attributes, why)
    return codec.decode(core_v1.ServiceAccount, entry.body)


def _check_mirror(attributes: Attributes, spec: core_v1.PodSpec) -> None:
    if spec.serviceAccountName:
        raise refuse(attributes, "a mirror pod may not reference service accounts")
    if references.first_in_spec(spec) in ("secrets", "secrets (via azureFile volumes)"):
        raise refuse(attributes, "a mirror pod may not reference secrets")
    for volume in spec.volumes or ():
        if volume.projected is not None and any(s.serviceAccountToken for s in volume.projected.sources or ()):
            raise refuse(attributes, "a mirror pod may not use ServiceAccountToken volume projections")


def _mounts(spec: core_v1.PodSpec, account: core_v1.ServiceAccount) -> bool:
    if spec.automountServiceAccountToken is not None:
        return spec.automountServiceAccountToken
    return account.automountServiceAccountToken is not False


def _mount(spec: core_v1.PodSpec) -> None:
    """Mounts the token in each container that has nothing at its path."""
    wanting = [c for c in (*(spec.initContainers or ()), *(spec.containers or ())) if all(m.mountPath != TOKEN_PATH for m in c.volumeMounts or ())]
    if not wanting:
        return
    taken = {v.name for v in spec.volumes or ()}
    name = names.generate("kube-api-access-", secrets.randbits(64))
    while name in taken:
        name = names.generate("kube-api-access-", secrets.randbits(64))
    for container in wanting:
        mount = core_v1.VolumeMount(name=name, readOnly=True, mountPath=TOKEN_PATH)
        container.volumeMounts = [*(container.volumeMounts or ()), mount]
    spec.volumes = [*(spec.volumes or ()), core_v1.Volume(name=name, projected=_token_volume())]


def _token_volume() -> core_v1.ProjectedVolumeSource:
    token = core_v1.ServiceAccountTokenProjection(expirationSeconds=TOKEN_SECONDS, path="token")
    root = core_v1.ConfigMapProjection(name="kube-root-ca.crt", items=[core_v1.KeyToPath(key="ca.crt", path="ca.crt")])
    field = core_v1.ObjectFieldSelector(apiVersion="v1", fieldPath="metadata.namespace")
    namespace = core_v1.DownwardAPIProjection(items=[core_v1.DownwardAPIVolumeFile(path="namespace", fieldRef=field)])
    sources = [
        core_v1.VolumeProjection(serviceAccountToken=token),
        core_v1.VolumeProjection(configMap=root),
        core_v1.VolumeProjection(downwardAPI=namespace),
    ]
    return core_v1.ProjectedVolumeSource(defaultMode=420, sources=sources)


def _secrets(role: str, containers: Iterable[core_v1.Container | core_v1.EphemeralContainer]) -> Iterator[tuple[str, str]]:
    """(who, secret) for each secret that containers' environments refer to."""
    for container in containers:
        for variable in container.env or ():
            ref = variable.valueFrom.secretKeyRef if variable.valueFrom else None
            if ref is not None:
                yield f"{role} {container.name} with envVar {variable.name} referencing", ref.name or ""
        for source in container.envFrom or ():
            if source.secretRef is not None:
                yield f"{role} {container.name} with envFrom referencing", source.secretRef.name or ""


def _check_references(attributes: Attributes, found: Iterable[tuple[str, str]], account: core_v1.ServiceAccount) -> None:
    assert account.metadata is not None
    allowed = {s.name for s in account.secrets or ()}
    for who, secret in found:
        if secret not in allowed:
            tail = f"is not allowed because service account {account.metadata.name} does not reference that secret"
            raise refuse(attributes, f'{who} secret.secretName="{secret}" {tail}')


def _check_secrets(attributes: Attributes, spec: core_v1.PodSpec, account: core_v1.ServiceAccount) -> None:
    """An account that names its secrets allows no others."""
    assert account.metadata is not None
    volumes = [("volume with", v.secret.secretName or "") for v in spec.volumes or () if v.secret is not None]
    _check_references(attributes, volumes, account)
    _check_references(attributes, _secrets("init container", spec.initContainers or ()), account)
    _check_references(attributes, _secrets("container", spec.containers or ()), account)
    pulls = {s.name for s in account.imagePullSecrets or ()}
    for i, pull in enumerate(spec.imagePullSecrets or ()):
        if pull.name not in pulls:
            name = account.metadata.name
            why = f'imagePullSecrets[{i}].name="{pull.name}" is not allowed because service account {name} does not reference that imagePullSecret'
            raise refuse(attributes, why)
