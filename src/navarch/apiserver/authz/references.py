"""What a pod, and a volume behind it, refer to: what the node they are on may read.

Upstream counterparts: pkg/api/v1/pod (VisitPodSecretNames, VisitPodConfigmapNames), pkg/api/v1/persistentvolume, and the edges of
plugin/pkg/auth/authorizer/node/graph.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from navarch.api.core import v1 as core_v1

MIRROR = "kubernetes.io/config.mirror"
Reference = tuple[str, str]
"""(resource, name), in the namespace of the pod."""


def of_pod(pod: core_v1.Pod) -> Iterator[Reference]:
    """Everything a pod refers to. A mirror pod, which a node makes itself, refers to nothing."""
    if pod.spec is None or (pod.metadata is not None and MIRROR in (pod.metadata.annotations or {})):
        return
    if pod.spec.serviceAccountName:
        yield "serviceaccounts", pod.spec.serviceAccountName
    for kind, name in (*_of_secrets(pod.spec), *_of_config_maps(pod.spec), *_of_claims(pod)):
        if name:
            yield kind, name


def _containers(spec: core_v1.PodSpec) -> Iterator[core_v1.Container | core_v1.EphemeralContainer]:
    yield from spec.initContainers or ()
    yield from spec.containers or ()
    yield from spec.ephemeralContainers or ()


def _of_secrets(spec: core_v1.PodSpec) -> Iterator[tuple[str, str | None]]:
    for pull in spec.imagePullSecrets or ():
        yield "secrets", pull.name
    for container in _containers(spec):
        for source in container.envFrom or ():
            if source.secretRef is not None:
                yield "secrets", source.secretRef.name
        for variable in container.env or ():
            if variable.valueFrom is not None and variable.valueFrom.secretKeyRef is not None:
                yield "secrets", variable.valueFrom.secretKeyRef.name
    for volume in spec.volumes or ():
        for name in _of_source(volume):
            yield "secrets", name


def _of_source(volume: core_v1.Volume) -> Iterator[str | None]:
    """The secrets of one volume."""
    if volume.secret is not None:
        yield volume.secret.secretName
    if volume.azureFile is not None:
        yield volume.azureFile.secretName
    if volume.csi is not None and volume.csi.nodePublishSecretRef is not None:
        yield volume.csi.nodePublishSecretRef.name
    for projected in (volume.projected.sources or ()) if volume.projected is not None else ():
        if projected.secret is not None:
            yield projected.secret.name
    for source in (volume.cephfs, volume.cinder, volume.flexVolume, volume.rbd, volume.scaleIO, volume.iscsi, volume.storageos):
        if source is not None and source.secretRef is not None:
            yield source.secretRef.name


def _of_config_maps(spec: core_v1.PodSpec) -> Iterator[tuple[str, str | None]]:
    for container in _containers(spec):
        for source in container.envFrom or ():
            if source.configMapRef is not None:
                yield "configmaps", source.configMapRef.name
        for variable in container.env or ():
            if variable.valueFrom is not None and variable.valueFrom.configMapKeyRef is not None:
                yield "configmaps", variable.valueFrom.configMapKeyRef.name
    for volume in spec.volumes or ():
        if volume.configMap is not None:
            yield "configmaps", volume.configMap.name
        for projected in (volume.projected.sources or ()) if volume.projected is not None else ():
            if projected.configMap is not None:
                yield "configmaps", projected.configMap.name


def _of_claims(pod: core_v1.Pod) -> Iterator[tuple[str, str | None]]:
    assert pod.spec is not None
    for volume in pod.spec.volumes or ():
        if volume.persistentVolumeClaim is not None:
            yield "persistentvolumeclaims", volume.persistentVolumeClaim.claimName
        elif volume.ephemeral is not None and pod.metadata is not None:
            yield "persistentvolumeclaims", f"{pod.metadata.name}-{volume.name}"
    status = pod.status or core_v1.PodStatus()
    made = {s.name: s.resourceClaimName for s in status.resourceClaimStatuses or ()}
    for claim in pod.spec.resourceClaims or ():
        if claim.resourceClaimName:
            yield "resourceclaims", claim.resourceClaimName
        elif claim.resourceClaimTemplateName:
            yield "resourceclaims", made.get(claim.name)
    if status.extendedResourceClaimStatus is not None:
        yield "resourceclaims", status.extendedResourceClaimStatus.resourceClaimName


def of_volume(spec: core_v1.PersistentVolumeSpec) -> Iterator[tuple[str, str]]:
    """(namespace, name) of the secrets a volume refers to that a node needs; its controllers' are not among them."""
    claim = (spec.claimRef.namespace if spec.claimRef is not None else None) or ""
    found: list[tuple[str | None, str | None]] = []
    if spec.azureFile is not None:
        found.append((spec.azureFile.secretNamespace or claim, spec.azureFile.secretName))
    for source in (spec.cephfs, spec.flexVolume, spec.rbd, spec.scaleIO, spec.iscsi):
        if source is not None and source.secretRef is not None:
            found.append((source.secretRef.namespace or claim, source.secretRef.name))
    for exact in (spec.cinder, spec.storageos):
        if exact is not None and exact.secretRef is not None:
            found.append((exact.secretRef.namespace, exact.secretRef.name))
    if spec.csi is not None:
        for reference in (spec.csi.nodePublishSecretRef, spec.csi.nodeStageSecretRef, spec.csi.nodeExpandSecretRef):
            if reference is not None:
                found.append((reference.namespace, reference.name))
    return ((namespace or "", name) for namespace, name in found if name)


_HARMLESS = frozenset(
    {
        "awsElasticBlockStore", "azureDisk", "cephfs", "cinder", "downwardAPI", "emptyDir", "fc", "flexVolume", "flocker", "gcePersistentDisk",
        "gitRepo", "hostPath", "image", "iscsi", "nfs", "photonPersistentDisk", "portworxVolume", "quobyte", "rbd", "scaleIO", "storageos",
        "vsphereVolume",
    }
)  # fmt: skip
_NEEDS = {
    "configMap": "configmaps (via configmap volumes)",
    "secret": "secrets (via secret volumes)",
    "csi": "csidrivers (via CSI volumes)",
    "glusterfs": "endpoints (via glusterFS volumes)",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
    "azureFile": "secrets (via azureFile volumes)",
}
_PROJECTED = {
    "configMap": "configmaps (via projected volumes)",
    "secret": "secrets (via projected volumes)",
    "serviceAccountToken": "serviceaccounts (via projected volumes)",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
}


def first_in_spec(spec: core_v1.PodSpec) -> str | None:
    """A kind of API object that a pod's spec refers to, in upstream's words, None when there is none: mirror pods may have none."""
    if spec.serviceAccountName:
        return "serviceaccounts"
    if any(name for _, name in _of_secrets(spec)):
        return "secrets"
    if any(name for _, name in _of_config_maps(spec)):
        return "configmaps"
    if spec.resourceClaims:
        return "resourceclaims"
    for volume in spec.volumes or ():
        if (found := _needs(volume)) is not None:
            return found
    return None


def _needs(volume: core_v1.Volume) -> str | None:
    if any(getattr(volume, s, None) is not None for s in _HARMLESS):
        return None
    for source, what in _NEEDS.items():
        if getattr(volume, source) is not None:
            return what
    if volume.projected is not None:
        for part in volume.projected.sources or ():
            for source, what in _PROJECTED.items():
                if getattr(part, source) is not None:
                    return what
        return None
    return f"an unknown type of volume ({volume.name})"
