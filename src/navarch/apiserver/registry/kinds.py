"""Defaults and preparation of the smaller kinds, by group.

Upstream counterparts: pkg/apis/*/v1/defaults.go and pkg/registry/*/*/strategy.go.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.apiextensions import v1 as extensions_v1
from navarch.api.apiregistration import v1 as registration_v1
from navarch.api.autoscaling import v2 as autoscaling_v2
from navarch.api.certificates import v1 as certificates_v1
from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.flowcontrol import v1 as flow_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.networking import v1 as networking_v1
from navarch.api.policy import v1 as policy_v1
from navarch.api.rbac import v1 as rbac_v1
from navarch.api.resource import v1 as resource_v1
from navarch.api.scheduling import v1 as scheduling_v1
from navarch.api.storage import v1 as storage_v1
from navarch.apiserver.registry import pod_defaults
from navarch.lib import integers
from navarch.machinery import amounts, timestamps

if TYPE_CHECKING:
    from navarch.apiserver.server import Server

_RBAC = "rbac.authorization.k8s.io"

# ---- core ----


def _base64(data: dict[str, str] | None) -> None:
    """Bytes are base64 in JSON: what is none cannot be read."""
    for value in (data or {}).values():
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            at = next((i for i, c in enumerate(value) if not (c.isascii() and (c.isalnum() or c in "+/="))), len(value) - len(value) % 4)
            raise ValueError(f"illegal base64 data at input byte {at}") from None


def config_map(obj: core_v1.ConfigMap) -> None:
    _base64(obj.binaryData)


def secret(obj: core_v1.Secret) -> None:
    """`stringData` goes into `data`."""
    obj.type = obj.type or "Opaque"
    _base64(obj.data)
    if obj.stringData:
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in obj.stringData.items()}
        obj.data = {**(obj.data or {}), **encoded}
    obj.stringData = None


def namespace(obj: core_v1.Namespace) -> None:
    metadata = obj.metadata
    assert metadata is not None
    if metadata.name and (metadata.labels or {}).get("kubernetes.io/metadata.name") != metadata.name:
        metadata.labels = {**(metadata.labels or {}), "kubernetes.io/metadata.name": metadata.name}
    obj.spec = obj.spec or core_v1.NamespaceSpec()
    obj.status = obj.status or core_v1.NamespaceStatus()
    obj.status.phase = obj.status.phase or "Active"


def namespace_create(obj: core_v1.Namespace) -> None:
    namespace(obj)
    obj.status = core_v1.NamespaceStatus(phase="Active")
    spec = obj.spec = obj.spec or core_v1.NamespaceSpec()
    if "kubernetes" not in (spec.finalizers or ()):
        spec.finalizers = [*(spec.finalizers or ()), "kubernetes"]


def namespace_update(new: core_v1.Namespace, old: core_v1.Namespace) -> None:
    """Finalizers are changed by the subresource finalize alone."""
    new.spec, new.status = old.spec, old.status


def namespace_finalize(new: core_v1.Namespace, old: core_v1.Namespace) -> None:
    new.status = old.status


_NODE_FACTS = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion",
    "operatingSystem", "architecture",
)  # fmt: skip


def node(obj: core_v1.Node) -> None:
    obj.spec = obj.spec or core_v1.NodeSpec()
    status = obj.status = obj.status or core_v1.NodeStatus()
    facts = status.nodeInfo = status.nodeInfo or core_v1.NodeSystemInfo()
    for name in _NODE_FACTS:
        if getattr(facts, name) is None:
            setattr(facts, name, "")
    if status.daemonEndpoints is None:
        status.daemonEndpoints = core_v1.NodeDaemonEndpoints(kubeletEndpoint=core_v1.DaemonEndpoint(Port=0))
    amounts.canonical(status.capacity)
    amounts.canonical(status.allocatable)
    if status.allocatable is None and status.capacity is not None:
        status.allocatable = dict(status.capacity)


def node_create(obj: core_v1.Node) -> None:
    assert obj.spec is not None
    if obj.spec.podCIDRs and not obj.spec.podCIDR:
        obj.spec.podCIDR = obj.spec.podCIDRs[0]
    elif obj.spec.podCIDR and not obj.spec.podCIDRs:
        obj.spec.podCIDRs = [obj.spec.podCIDR]


def node_update(new: core_v1.Node, old: core_v1.Node) -> None:
    del old
    if new.spec is not None and new.spec.podCIDR and not new.spec.podCIDRs:
        new.spec.podCIDRs = [new.spec.podCIDR]


def persistent_volume(obj: core_v1.PersistentVolume) -> None:
    spec = obj.spec = obj.spec or core_v1.PersistentVolumeSpec()
    obj.status = obj.status or core_v1.PersistentVolumeStatus()
    obj.status.phase = obj.status.phase or "Pending"
    spec.persistentVolumeReclaimPolicy = spec.persistentVolumeReclaimPolicy or "Retain"
    spec.volumeMode = spec.volumeMode or "Filesystem"
    amounts.canonical(spec.capacity)
    pod_defaults.volume_source(spec)


def persistent_volume_create(obj: core_v1.PersistentVolume) -> None:
    now = timestamps.seconds(time.time())
    obj.status = core_v1.PersistentVolumeStatus(phase="Pending", lastPhaseTransitionTime=now)


def persistent_volume_status(new: core_v1.PersistentVolume, old: core_v1.PersistentVolume) -> None:
    status, before = new.status, old.status
    if status is None or before is None or status.phase == before.phase:
        return
    if status.lastPhaseTransitionTime in (None, before.lastPhaseTransitionTime):
        status.lastPhaseTransitionTime = timestamps.seconds(time.time())


def claim(obj: core_v1.PersistentVolumeClaim) -> None:
    spec = obj.spec = obj.spec or core_v1.PersistentVolumeClaimSpec()
    obj.status = obj.status or core_v1.PersistentVolumeClaimStatus()
    obj.status.phase = obj.status.phase or "Pending"
    pod_defaults.claim_spec(spec)
    amounts.canonical(obj.status.capacity)
    amounts.canonical(obj.status.allocatedResources)
    if spec.dataSource is not None and spec.dataSourceRef is None:
        source = spec.dataSource
        spec.dataSourceRef = core_v1.TypedObjectReference(apiGroup=source.apiGroup, kind=source.kind, name=source.name)
    elif spec.dataSourceRef is not None and spec.dataSource is None and not spec.dataSourceRef.namespace:
        ref = spec.dataSourceRef
        spec.dataSource = core_v1.TypedLocalObjectReference(apiGroup=ref.apiGroup, kind=ref.kind, name=ref.name)


def claim_create(obj: core_v1.PersistentVolumeClaim) -> None:
    obj.status = core_v1.PersistentVolumeClaimStatus(phase="Pending")


def endpoints(obj: core_v1.Endpoints) -> None:
    for subset in obj.subsets or ():
        for port in subset.ports or ():
            port.protocol = port.protocol or "TCP"


def limit_range(obj: core_v1.LimitRange) -> None:
    for item in (obj.spec.limits or ()) if obj.spec else ():
        for part in (item.default, item.defaultRequest, item.max, item.maxLimitRequestRatio, item.min):
            amounts.canonical(part)
        if item.type == "Container":
            default = {**(item.max or {}), **(item.default or {})}
            request = {**(item.min or {}), **default, **(item.defaultRequest or {})}
            item.default, item.defaultRequest = default or None, request or None


def resource_quota(obj: core_v1.ResourceQuota) -> None:
    if obj.spec is not None:
        amounts.canonical(obj.spec.hard)
    if obj.status is not None:
        amounts.canonical(obj.status.hard)
        amounts.canonical(obj.status.used)


def event(obj: core_v1.Event) -> None:
    obj.involvedObject = obj.involvedObject or core_v1.ObjectReference()
    obj.source = obj.source or core_v1.EventSource()
    obj.reportingComponent = obj.reportingComponent or ""
    obj.reportingInstance = obj.reportingInstance or ""


KEEP_SECONDS = "navarch.io/keep-seconds"
"""An event's annotation: how long it is worth keeping, where that is longer than events are kept."""


def event_lasts(obj: core_v1.Event, server: Server) -> float:
    """--event-ttl, or longer where the event asks for it; never longer than history is kept."""
    asked = ((obj.metadata.annotations if obj.metadata is not None else None) or {}).get(KEEP_SECONDS, "")
    longest = server.options.history_hours * 3600.0
    return max(server.options.event_ttl, min(float(asked), longest) if integers.is_digits(asked) and len(asked) < 12 else 0.0)


# ---- discovery, networking, policy, autoscaling ----


def endpoint_slice(obj: discovery_v1.EndpointSlice) -> None:
    for endpoint in obj.endpoints or ():
        endpoint.conditions = endpoint.conditions or discovery_v1.EndpointConditions()
    for port in obj.ports or ():
        if port.name is None:
            port.name = ""
        port.protocol = port.protocol or "TCP"


def network_policy(obj: networking_v1.NetworkPolicy) -> None:
    spec = obj.spec = obj.spec or networking_v1.NetworkPolicySpec()
    spec.podSelector = spec.podSelector or meta_v1.LabelSelector()
    if not spec.policyTypes:
        spec.policyTypes = ["Ingress", "Egress"] if spec.egress else ["Ingress"]
    for rule in (*(spec.ingress or ()), *(spec.egress or ())):
        for port in rule.ports or ():
            port.protocol = port.protocol or "TCP"


def ingress_class(obj: networking_v1.IngressClass) -> None:
    parameters = obj.spec.parameters if obj.spec else None
    if parameters is not None:
        parameters.scope = parameters.scope or "Cluster"


_SCALE_UP = (
    autoscaling_v2.HPAScalingPolicy(type="Pods", value=4, periodSeconds=15),
    autoscaling_v2.HPAScalingPolicy(type="Percent", value=100, periodSeconds=15),
)
_SCALE_DOWN = (autoscaling_v2.HPAScalingPolicy(type="Percent", value=100, periodSeconds=15),)


def autoscaler(obj: autoscaling_v2.HorizontalPodAutoscaler) -> None:
    spec = obj.spec = obj.spec or autoscaling_v2.HorizontalPodAutoscalerSpec()
    if spec.minReplicas is None:
        spec.minReplicas = 1
    if not spec.metrics:
        target = autoscaling_v2.MetricTarget(type="Utilization", averageUtilization=80)
        spec.metrics = [autoscaling_v2.MetricSpec(type="Resource", resource=autoscaling_v2.ResourceMetricSource(name="cpu", target=target))]
    for metric in spec.metrics:
        for part in (metric.resource, metric.containerResource, metric.pods, metric.object, metric.external):
            if part is not None and part.target is not None:
                _target(part.target)
    if spec.behavior is not None:
        up = spec.behavior.scaleUp = spec.behavior.scaleUp or autoscaling_v2.HPAScalingRules()
        if up.stabilizationWindowSeconds is None:
            up.stabilizationWindowSeconds = 0
        up.selectPolicy = up.selectPolicy or "Max"
        up.policies = list(_SCALE_UP) if up.policies is None else up.policies
        down = spec.behavior.scaleDown = spec.behavior.scaleDown or autoscaling_v2.HPAScalingRules()
        down.selectPolicy = down.selectPolicy or "Max"
        down.policies = list(_SCALE_DOWN) if down.policies is None else down.policies


def _target(target: autoscaling_v2.MetricTarget) -> None:
    if target.value is not None:
        target.value = amounts.stored(target.value)
    if target.averageValue is not None:
        target.averageValue = amounts.stored(target.averageValue)


def autoscaler_create(obj: autoscaling_v2.HorizontalPodAutoscaler) -> None:
    obj.status = autoscaling_v2.HorizontalPodAutoscalerStatus(desiredReplicas=0, currentMetrics=None)


def budget_create(obj: policy_v1.PodDisruptionBudget) -> None:
    obj.status = policy_v1.PodDisruptionBudgetStatus(currentHealthy=0, desiredHealthy=0, disruptionsAllowed=0, expectedPods=0)


# ---- rbac ----


def binding(obj: rbac_v1.RoleBinding | rbac_v1.ClusterRoleBinding) -> None:
    obj.roleRef = obj.roleRef or rbac_v1.RoleRef()
    obj.roleRef.apiGroup = obj.roleRef.apiGroup or _RBAC
    for subject in obj.subjects or ():
        if not subject.apiGroup and subject.kind in ("User", "Group"):
            subject.apiGroup = _RBAC


# ---- scheduling, storage, certificates, resource ----


def priority_class(obj: scheduling_v1.PriorityClass) -> None:
    obj.preemptionPolicy = obj.preemptionPolicy or "PreemptLowerPriority"


def storage_class(obj: storage_v1.StorageClass) -> None:
    obj.reclaimPolicy = obj.reclaimPolicy or "Delete"
    obj.volumeBindingMode = obj.volumeBindingMode or "Immediate"


def csi_driver(obj: storage_v1.CSIDriver) -> None:
    spec = obj.spec = obj.spec or storage_v1.CSIDriverSpec()
    if spec.attachRequired is None:
        spec.attachRequired = True
    for name in ("podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"):
        if getattr(spec, name) is None:
            setattr(spec, name, False)
    spec.fsGroupPolicy = spec.fsGroupPolicy or "ReadWriteOnceWithFSType"
    spec.volumeLifecycleModes = spec.volumeLifecycleModes or ["Persistent"]


def csi_capacity(obj: storage_v1.CSIStorageCapacity) -> None:
    for name in ("capacity", "maximumVolumeSize"):
        if getattr(obj, name) is not None:
            setattr(obj, name, amounts.stored(getattr(obj, name)))


def attachment_create(obj: storage_v1.VolumeAttachment) -> None:
    obj.status = storage_v1.VolumeAttachmentStatus(attached=False)


def signing_request(obj: certificates_v1.CertificateSigningRequest) -> None:
    spec = obj.spec = obj.spec or certificates_v1.CertificateSigningRequestSpec()
    spec.usages = spec.usages or None


def signing_request_update(new: certificates_v1.CertificateSigningRequest, old: certificates_v1.CertificateSigningRequest) -> None:
    """What was asked for stays as it was."""
    new.spec, new.status = old.spec, old.status


def signing_request_status(new: certificates_v1.CertificateSigningRequest, old: certificates_v1.CertificateSigningRequest) -> None:
    """Approved and Denied are set by the subresource approval alone; the certificate by status alone."""
    status = new.status = new.status or certificates_v1.CertificateSigningRequestStatus()
    held = (old.status.conditions or []) if old.status else []
    kept = [c for c in held if c.type in ("Approved", "Denied")]
    status.conditions = [*kept, *(c for c in status.conditions or () if c.type not in ("Approved", "Denied"))] or None
    _stamp(status.conditions, held)


def signing_request_approval(new: certificates_v1.CertificateSigningRequest, old: certificates_v1.CertificateSigningRequest) -> None:
    wanted = (new.status.conditions or []) if new.status else []
    new.spec = old.spec
    new.status = certificates_v1.CertificateSigningRequestStatus(certificate=old.status.certificate if old.status else None)
    new.status.conditions = list(wanted) or None
    _stamp(new.status.conditions, (old.status.conditions or []) if old.status else [])


def _stamp(
    conditions: list[certificates_v1.CertificateSigningRequestCondition] | None,
    held: list[certificates_v1.CertificateSigningRequestCondition],
) -> None:
    """Conditions get the times they lack."""
    now = timestamps.seconds(time.time())
    since = {c.type: c.lastTransitionTime for c in held}
    for condition in conditions or ():
        condition.status = condition.status or "True"
        condition.lastUpdateTime = condition.lastUpdateTime or now
        condition.lastTransitionTime = condition.lastTransitionTime or since.get(condition.type) or now


def _devices(claim_spec: resource_v1.ResourceClaimSpec | None) -> None:
    devices = claim_spec.devices if claim_spec else None
    for request in (devices.requests or ()) if devices else ():
        parts: list[Any] = [request.exactly] if request.exactly is not None else list(request.firstAvailable or ())
        for part in parts:
            part.allocationMode = part.allocationMode or "ExactCount"
            if part.allocationMode == "ExactCount":
                part.count = part.count or 1
            for toleration in part.tolerations or ():
                toleration.operator = toleration.operator or "Equal"


def resource_claim(obj: resource_v1.ResourceClaim) -> None:
    _devices(obj.spec)


def resource_claim_create(obj: resource_v1.ResourceClaim) -> None:
    obj.status = resource_v1.ResourceClaimStatus()


def resource_claim_template(obj: resource_v1.ResourceClaimTemplate) -> None:
    if obj.spec is not None:
        obj.spec.metadata = obj.spec.metadata or meta_v1.ObjectMeta()
        _devices(obj.spec.spec)


def resource_slice(obj: resource_v1.ResourceSlice) -> None:
    now = timestamps.seconds(time.time())
    for device in (obj.spec.devices or ()) if obj.spec else ():
        for capacity in (device.capacity or {}).values():
            if capacity.value is not None:
                capacity.value = amounts.stored(capacity.value)
        for taint in device.taints or ():
            taint.timeAdded = taint.timeAdded or now


# ---- admissionregistration, apiextensions, apiregistration, flowcontrol ----


def _webhook(hook: admission_v1.ValidatingWebhook | admission_v1.MutatingWebhook) -> None:
    hook.failurePolicy = hook.failurePolicy or "Fail"
    hook.matchPolicy = hook.matchPolicy or "Equivalent"
    hook.namespaceSelector = hook.namespaceSelector or meta_v1.LabelSelector()
    hook.objectSelector = hook.objectSelector or meta_v1.LabelSelector()
    if hook.timeoutSeconds is None:
        hook.timeoutSeconds = 10
    for rule in hook.rules or ():
        rule.scope = rule.scope or "*"
    service = hook.clientConfig.service if hook.clientConfig else None
    if service is not None and service.port is None:
        service.port = 443


def validating_webhooks(obj: admission_v1.ValidatingWebhookConfiguration) -> None:
    for hook in obj.webhooks or ():
        _webhook(hook)


def mutating_webhooks(obj: admission_v1.MutatingWebhookConfiguration) -> None:
    for hook in obj.webhooks or ():
        _webhook(hook)
        hook.reinvocationPolicy = hook.reinvocationPolicy or "Never"


def _match_resources(match: admission_v1.MatchResources | None) -> None:
    if match is None:
        return
    match.matchPolicy = match.matchPolicy or "Equivalent"
    match.namespaceSelector = match.namespaceSelector or meta_v1.LabelSelector()
    match.objectSelector = match.objectSelector or meta_v1.LabelSelector()
    for rule in (*(match.resourceRules or ()), *(match.excludeResourceRules or ())):
        rule.scope = rule.scope or "*"


def validating_policy(obj: admission_v1.ValidatingAdmissionPolicy) -> None:
    spec = obj.spec = obj.spec or admission_v1.ValidatingAdmissionPolicySpec()
    spec.failurePolicy = spec.failurePolicy or "Fail"
    _match_resources(spec.matchConstraints)


def validating_policy_create(obj: admission_v1.ValidatingAdmissionPolicy) -> None:
    obj.status = admission_v1.ValidatingAdmissionPolicyStatus()


def mutating_policy(obj: admission_v1.MutatingAdmissionPolicy) -> None:
    spec = obj.spec = obj.spec or admission_v1.MutatingAdmissionPolicySpec()
    spec.failurePolicy = spec.failurePolicy or "Fail"
    _match_resources(spec.matchConstraints)


def policy_binding(obj: admission_v1.ValidatingAdmissionPolicyBinding | admission_v1.MutatingAdmissionPolicyBinding) -> None:
    if obj.spec is not None:
        _match_resources(obj.spec.matchResources)


def definition(obj: extensions_v1.CustomResourceDefinition) -> None:
    spec = obj.spec = obj.spec or extensions_v1.CustomResourceDefinitionSpec()
    names = spec.names = spec.names or extensions_v1.CustomResourceDefinitionNames()
    names.singular = names.singular or (names.kind or "").lower() or None
    if names.kind:
        names.listKind = names.listKind or f"{names.kind}List"
    spec.conversion = spec.conversion or extensions_v1.CustomResourceConversion(strategy="None")
    hook = spec.conversion.webhook
    service = hook.clientConfig.service if hook and hook.clientConfig else None
    if service is not None and service.port is None:
        service.port = 443


def definition_create(obj: extensions_v1.CustomResourceDefinition) -> None:
    spec = obj.spec
    assert spec is not None
    stored = [v.name or "" for v in spec.versions or () if v.storage][:1]
    obj.status = extensions_v1.CustomResourceDefinitionStatus(
        acceptedNames=extensions_v1.CustomResourceDefinitionNames(kind="", plural=""), storedVersions=stored, conditions=[]
    )


def api_service(obj: registration_v1.APIService) -> None:
    service = obj.spec.service if obj.spec else None
    if service is not None and service.port is None:
        service.port = 443


def api_service_create(obj: registration_v1.APIService) -> None:
    obj.status = registration_v1.APIServiceStatus()


def flow_schema(obj: flow_v1.FlowSchema) -> None:
    spec = obj.spec = obj.spec or flow_v1.FlowSchemaSpec()
    spec.matchingPrecedence = spec.matchingPrecedence or 1000


def priority_level(obj: flow_v1.PriorityLevelConfiguration) -> None:
    spec = obj.spec
    if spec is None:
        return
    if spec.exempt is not None:
        spec.exempt.nominalConcurrencyShares = spec.exempt.nominalConcurrencyShares or 0
        spec.exempt.lendablePercent = spec.exempt.lendablePercent or 0
    limited = spec.limited
    if limited is not None:
        if limited.nominalConcurrencyShares is None:
            limited.nominalConcurrencyShares = 30
        limited.lendablePercent = limited.lendablePercent or 0
        queuing = limited.limitResponse.queuing if limited.limitResponse else None
        if queuing is not None:
            queuing.handSize, queuing.queues = queuing.handSize or 8, queuing.queues or 64
            queuing.queueLengthLimit = queuing.queueLengthLimit or 50
