"""The literal table: resource → its strategy."""

from __future__ import annotations

from navarch.api.apps import v1 as apps_v1
from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.networking import v1 as networking_v1
from navarch.apiserver.registry import kinds, pod_defaults, pod_rules, pods, services, workloads
from navarch.apiserver.registry.strategy import Part, Strategy
from navarch.machinery import names

_ADMISSION = "admissionregistration.k8s.io"
_CERTIFICATES = "certificates.k8s.io"
_DISCOVERY = "discovery.k8s.io"
_EXTENSIONS = "apiextensions.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"
_NETWORK = "networking.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
_RESOURCE = "resource.k8s.io"
_STORAGE = "storage.k8s.io"

STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("", "pods"): Strategy(
        default=pod_defaults.pod,
        prepare_create=pods.prepare_create,
        prepare_status=pods.prepare_status,
        validate=pod_rules.create,
        validate_update=pod_rules.update,
        validate_status=pod_rules.status,
        grace=pods.grace,
        subresources={
            "ephemeralcontainers": Part(pods.prepare_ephemeral, pod_rules.ephemeral),
            "resize": Part(pods.prepare_resize, pod_rules.resize),
        },
    ),
    ("", "podtemplates"): Strategy(default=workloads.pod_template),
    ("", "replicationcontrollers"): Strategy(default=workloads.replication_controller, prepare_create=workloads.set_status_create, orphans=True),
    ("", "services"): Strategy(
        default=services.default,
        prepare_create=services.prepare_create,
        prepare_update=services.prepare_update,
        prepare_status=services.status_update,
        begin=services.begin,
        name=names.dns_label_1035,
    ),
    ("", "secrets"): Strategy(default=kinds.secret),
    ("", "namespaces"): Strategy(
        default=kinds.namespace,
        prepare_create=kinds.namespace_create,
        prepare_update=kinds.namespace_update,
        name=names.dns_label,
        subresources={"finalize": Part(kinds.namespace_finalize)},
    ),
    ("", "nodes"): Strategy(default=kinds.node, prepare_create=kinds.node_create, prepare_update=kinds.node_update),
    ("", "persistentvolumes"): Strategy(
        default=kinds.persistent_volume, prepare_create=kinds.persistent_volume_create, prepare_status=kinds.persistent_volume_status
    ),
    ("", "persistentvolumeclaims"): Strategy(default=kinds.claim, prepare_create=kinds.claim_create),
    ("", "endpoints"): Strategy(default=kinds.endpoints),
    ("", "limitranges"): Strategy(default=kinds.limit_range),
    ("", "resourcequotas"): Strategy(default=kinds.resource_quota, prepare_create=workloads.blank_status(core_v1.ResourceQuotaStatus)),
    ("", "events"): Strategy(default=kinds.event),
    ("apps", "replicasets"): Strategy(
        default=workloads.replica_set, prepare_create=workloads.set_status_create, prepare_status=workloads.keep_labels
    ),
    ("apps", "deployments"): Strategy(
        default=workloads.deployment,
        prepare_create=workloads.blank_status(apps_v1.DeploymentStatus),
        prepare_status=workloads.keep_labels,
    ),
    ("apps", "daemonsets"): Strategy(
        default=workloads.daemon_set, prepare_create=workloads.set_status_create, prepare_update=workloads.daemon_set_update
    ),
    ("apps", "statefulsets"): Strategy(default=workloads.stateful_set, prepare_create=workloads.set_status_create),
    ("batch", "jobs"): Strategy(default=workloads.job, prepare_create=workloads.job_create, prepare_update=workloads.job_update, orphans=True),
    ("batch", "cronjobs"): Strategy(default=workloads.cron_job, prepare_create=workloads.blank_status(batch_v1.CronJobStatus)),
    ("autoscaling", "horizontalpodautoscalers"): Strategy(default=kinds.autoscaler, prepare_create=kinds.autoscaler_create),
    ("policy", "poddisruptionbudgets"): Strategy(prepare_create=kinds.budget_create),
    (_DISCOVERY, "endpointslices"): Strategy(default=kinds.endpoint_slice),
    (_NETWORK, "networkpolicies"): Strategy(default=kinds.network_policy),
    (_NETWORK, "ingresses"): Strategy(
        prepare_create=workloads.blank_status(lambda: networking_v1.IngressStatus(loadBalancer=networking_v1.IngressLoadBalancerStatus()))
    ),
    (_NETWORK, "ingressclasses"): Strategy(default=kinds.ingress_class),
    (_NETWORK, "servicecidrs"): Strategy(prepare_create=workloads.blank_status(networking_v1.ServiceCIDRStatus)),
    (_RBAC, "rolebindings"): Strategy(default=kinds.binding),
    (_RBAC, "clusterrolebindings"): Strategy(default=kinds.binding),
    ("scheduling.k8s.io", "priorityclasses"): Strategy(default=kinds.priority_class),
    (_STORAGE, "storageclasses"): Strategy(default=kinds.storage_class),
    (_STORAGE, "csidrivers"): Strategy(default=kinds.csi_driver),
    (_STORAGE, "csistoragecapacities"): Strategy(default=kinds.csi_capacity),
    (_STORAGE, "volumeattachments"): Strategy(prepare_create=kinds.attachment_create),
    (_CERTIFICATES, "certificatesigningrequests"): Strategy(
        default=kinds.signing_request,
        prepare_update=kinds.signing_request_update,
        prepare_status=kinds.signing_request_status,
        subresources={"approval": Part(kinds.signing_request_approval)},
    ),
    (_RESOURCE, "resourceclaims"): Strategy(default=kinds.resource_claim, prepare_create=kinds.resource_claim_create),
    (_RESOURCE, "resourceclaimtemplates"): Strategy(default=kinds.resource_claim_template),
    (_RESOURCE, "resourceslices"): Strategy(default=kinds.resource_slice),
    (_ADMISSION, "validatingwebhookconfigurations"): Strategy(default=kinds.validating_webhooks),
    (_ADMISSION, "mutatingwebhookconfigurations"): Strategy(default=kinds.mutating_webhooks),
    (_ADMISSION, "validatingadmissionpolicies"): Strategy(default=kinds.validating_policy, prepare_create=kinds.validating_policy_create),
    (_ADMISSION, "mutatingadmissionpolicies"): Strategy(default=kinds.mutating_policy),
    (_ADMISSION, "validatingadmissionpolicybindings"): Strategy(default=kinds.policy_binding),
    (_ADMISSION, "mutatingadmissionpolicybindings"): Strategy(default=kinds.policy_binding),
    (_EXTENSIONS, "customresourcedefinitions"): Strategy(default=kinds.definition, prepare_create=kinds.definition_create),
    ("apiregistration.k8s.io", "apiservices"): Strategy(default=kinds.api_service, prepare_create=kinds.api_service_create),
    (_FLOW, "flowschemas"): Strategy(default=kinds.flow_schema),
    (_FLOW, "prioritylevelconfigurations"): Strategy(default=kinds.priority_level),
}
