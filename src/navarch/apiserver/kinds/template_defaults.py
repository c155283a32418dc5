"""Defaults of pod templates, and of what they share with other kinds (volume sources, the spec of claims).

A template gets what `template` gives; a pod also gets what only makes sense once it really is one (`pods.kind`).

Upstream counterpart: pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.lib import texts
from navarch.machinery import amounts


def template(obj: core_v1.PodTemplateSpec | None) -> core_v1.PodTemplateSpec:
    """Fills in a pod template, making one where there is none."""
    if obj is None:
        obj = core_v1.PodTemplateSpec()
    if obj.metadata is None:
        obj.metadata = meta_v1.ObjectMeta()
    obj.metadata.creationTimestamp = None
    if obj.spec is None:
        obj.spec = core_v1.PodSpec()
    pod_spec(obj.spec)
    return obj


def pod_spec(spec: core_v1.PodSpec) -> None:
    for volume in spec.volumes or ():
        _volume(volume)
    for container in spec.containers or ():
        _container(container)
    if spec.initContainers:
        for container in spec.initContainers:
            _container(container)
    if spec.ephemeralContainers:
        for ephemeral in spec.ephemeralContainers:
            _container(ephemeral)
    spec.dnsPolicy = spec.dnsPolicy or "ClusterFirst"
    spec.restartPolicy = spec.restartPolicy or "Always"
    if spec.securityContext is None:
        spec.securityContext = core_v1.PodSecurityContext()
    if spec.terminationGracePeriodSeconds is None:
        spec.terminationGracePeriodSeconds = 30
    spec.schedulerName = spec.schedulerName or "default-scheduler"
    _accounts(spec)
    if spec.overhead:
        amounts.canonical(spec.overhead)
    if spec.resources is not None:
        amounts.canonical(spec.resources.limits)
        amounts.canonical(spec.resources.requests)


def _accounts(spec: core_v1.PodSpec) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; both are served. Empty strings are absent ones."""
    if spec.serviceAccountName:
        spec.serviceAccount = spec.serviceAccountName
    elif spec.serviceAccount:
        spec.serviceAccountName = spec.serviceAccount
    else:
        spec.serviceAccountName = spec.serviceAccount = None
    spec.nodeName, spec.hostname, spec.subdomain = spec.nodeName or None, spec.hostname or None, spec.subdomain or None
    spec.volumes, spec.initContainers, spec.tolerations = spec.volumes or None, spec.initContainers or None, spec.tolerations or None
    spec.imagePullSecrets, spec.nodeSelector = spec.imagePullSecrets or None, spec.nodeSelector or None
    spec.priorityClassName = spec.priorityClassName or None
    if spec.hostNetwork is False:
        spec.hostNetwork = None
    if spec.hostPID is False:
        spec.hostPID = None
    if spec.hostIPC is False:
        spec.hostIPC = None


def _container(c: core_v1.Container | core_v1.EphemeralContainer) -> None:
    if not c.imagePullPolicy:
        c.imagePullPolicy = pull_policy(c.image or "")
    c.terminationMessagePath = c.terminationMessagePath or "/dev/termination-log"
    c.terminationMessagePolicy = c.terminationMessagePolicy or "File"
    if c.resources is None:
        c.resources = core_v1.ResourceRequirements()
    else:
        amounts.canonical(c.resources.limits)
        amounts.canonical(c.resources.requests)
    c.ports, c.env, c.volumeMounts = c.ports or None, c.env or None, c.volumeMounts or None
    for port in c.ports or ():
        port.protocol = port.protocol or "TCP"
    for variable in c.env or ():
        source = variable.valueFrom
        if source is not None:
            if source.fieldRef is not None:
                source.fieldRef.apiVersion = source.fieldRef.apiVersion or "v1"
            elif source.resourceFieldRef is not None:
                _divisor(source.resourceFieldRef)
            elif source.fileKeyRef is not None and source.fileKeyRef.optional is None:
                source.fileKeyRef.optional = False
    if c.livenessProbe is not None:
        _probe(c.livenessProbe)
    if c.readinessProbe is not None:
        _probe(c.readinessProbe)
    if c.startupProbe is not None:
        _probe(c.startupProbe)
    if c.lifecycle is not None:
        for handler in (c.lifecycle.postStart, c.lifecycle.preStop):
            if handler is not None and handler.httpGet is not None:
                _http(handler.httpGet)


def _http(action: core_v1.HTTPGetAction) -> None:
    action.path = action.path or "/"
    action.scheme = action.scheme or "HTTP"


def _probe(p: core_v1.Probe) -> None:
    p.timeoutSeconds = p.timeoutSeconds or 1
    p.periodSeconds = p.periodSeconds or 10
    p.successThreshold = p.successThreshold or 1
    p.failureThreshold = p.failureThreshold or 3
    if p.httpGet is not None:
        _http(p.httpGet)
    elif p.grpc is not None and p.grpc.service is None:
        p.grpc.service = ""


def _divisor(ref: core_v1.ResourceFieldSelector) -> None:
    ref.divisor = amounts.stored(ref.divisor) if ref.divisor is not None else "0"


_MODE = 420


def _volume(v: core_v1.Volume) -> None:
    if v.projected is not None:
        _projected(v.projected)
    elif v.configMap is not None:
        if v.configMap.defaultMode is None:
            v.configMap.defaultMode = _MODE
    elif v.secret is not None:
        if v.secret.defaultMode is None:
            v.secret.defaultMode = _MODE
    elif v.emptyDir is not None:
        if v.emptyDir.sizeLimit is not None:
            v.emptyDir.sizeLimit = amounts.stored(v.emptyDir.sizeLimit)
    elif v.hostPath is not None:
        if v.hostPath.type is None:
            v.hostPath.type = ""
    elif v.downwardAPI is not None:
        if v.downwardAPI.defaultMode is None:
            v.downwardAPI.defaultMode = _MODE
        _downward(v.downwardAPI.items)
    elif v.persistentVolumeClaim is None:
        _rare_volume(v)


def _rare_volume(v: core_v1.Volume) -> None:
    if v.image is not None:
        v.image.pullPolicy = v.image.pullPolicy or pull_policy(v.image.reference or "")
    elif v.ephemeral is not None:
        held = v.ephemeral.volumeClaimTemplate
        if held is not None:
            if held.metadata is None:
                held.metadata = meta_v1.ObjectMeta()
            claim_spec(held.spec)
    elif all(getattr(v, source) is None for source in _SOURCES):
        v.emptyDir = core_v1.EmptyDirVolumeSource()
    else:
        _network_volume(v)


def _downward(items: list[core_v1.DownwardAPIVolumeFile] | None) -> None:
    for item in items or ():
        if item.fieldRef is not None:
            item.fieldRef.apiVersion = item.fieldRef.apiVersion or "v1"
        elif item.resourceFieldRef is not None:
            _divisor(item.resourceFieldRef)


def _projected(source: core_v1.ProjectedVolumeSource) -> None:
    if source.defaultMode is None:
        source.defaultMode = _MODE
    for part in source.sources or ():
        if part.serviceAccountToken is not None:
            if part.serviceAccountToken.expirationSeconds is None:
                part.serviceAccountToken.expirationSeconds = 3600
        elif part.downwardAPI is not None:
            _downward(part.downwardAPI.items)


def claim_spec(spec: core_v1.PersistentVolumeClaimSpec | None) -> None:
    """Fills in the spec of a PersistentVolumeClaim."""
    if spec is None:
        return
    spec.volumeMode = spec.volumeMode or "Filesystem"
    if spec.resources is None:
        spec.resources = core_v1.VolumeResourceRequirements()
    amounts.canonical(spec.resources.limits)
    amounts.canonical(spec.resources.requests)


def volume_source(spec: core_v1.PersistentVolumeSpec) -> None:
    """Fills in the source of a PersistentVolume."""
    if spec.hostPath is not None and spec.hostPath.type is None:
        spec.hostPath.type = ""
    _network_volume(spec)


def _network_volume(v: core_v1.Volume | core_v1.PersistentVolumeSpec) -> None:
    """Volumes of storage systems, which pods and PersistentVolumes share."""
    if v.iscsi is not None:
        v.iscsi.iscsiInterface = v.iscsi.iscsiInterface or "default"
    if v.rbd is not None:
        v.rbd.pool, v.rbd.user = v.rbd.pool or "rbd", v.rbd.user or "admin"
        v.rbd.keyring = v.rbd.keyring or "/etc/ceph/keyring"
    if v.azureDisk is not None:
        disk = v.azureDisk
        disk.cachingMode, disk.kind = disk.cachingMode or "ReadWrite", disk.kind or "Shared"
        disk.fsType = disk.fsType or "ext4"
        disk.readOnly = bool(disk.readOnly)
    if v.scaleIO is not None:
        v.scaleIO.storageMode, v.scaleIO.fsType = v.scaleIO.storageMode or "ThinProvisioned", v.scaleIO.fsType or "xfs"


@texts.remembered(4096)
def pull_policy(image: str) -> str:
    """Always for the tag `latest` (given or implied), IfNotPresent otherwise."""
    head, _, digest = image.partition("@")
    _, _, tag = head.rpartition("/")[2].partition(":")
    if image and not tag and not digest:
        tag = "latest"
    return "Always" if tag == "latest" else "IfNotPresent"


_SOURCES = tuple(f for f in core_v1.Volume.__struct_fields__ if f != "name")
