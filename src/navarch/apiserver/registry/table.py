"""The literal table: resource → its strategy."""

from __future__ import annotations

from navarch.api.apps import v1 as apps_v1
from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.networking import v1 as networking_v1
from navarch.apiserver.registry import (
    core_rules,
    definition_rules,
    group_rules,
    kinds,
    pod_defaults,
    pod_rules,
    pods,
    service_rules,
    services,
    workload_rules,
    workloads,
)
from navarch.apiserver.registry.group_rules import again
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
    ("", "replicationcontrollers"): Strategy(
        validate=workload_rules.replication_controller,
        validate_update=again(workload_rules.replication_controller),
        default=workloads.replication_controller,
        prepare_create=workloads.set_status_create,
        orphans=True,
    ),
    ("", "services"): Strategy(
        validate=service_rules.create,
        validate_update=service_rules.update,
        default=services.default,
        prepare_create=services.prepare_create,
        prepare_update=services.prepare_update,
        prepare_status=services.status_update,
        begin=services.begin,
        name=names.dns_label,
    ),
    ("", "secrets"): Strategy(validate=core_rules.secret, validate_update=core_rules.secret_update, default=kinds.secret),
    ("", "namespaces"): Strategy(
        default=kinds.namespace,
        prepare_create=kinds.namespace_create,
        prepare_update=kinds.namespace_update,
        name=names.dns_label,
        subresources={"finalize": Part(kinds.namespace_finalize, core_rules.namespace_finalize)},
    ),
    ("", "nodes"): Strategy(
        validate=core_rules.node,
        validate_update=core_rules.node_update,
        validate_status=core_rules.node_status,
        default=kinds.node,
        prepare_create=kinds.node_create,
        prepare_update=kinds.node_update,
    ),
    ("", "persistentvolumes"): Strategy(
        validate=core_rules.volume,
        validate_update=core_rules.volume_update,
        default=kinds.persistent_volume,
        prepare_create=kinds.persistent_volume_create,
        prepare_status=kinds.persistent_volume_status,
    ),
    ("", "persistentvolumeclaims"): Strategy(
        validate=core_rules.claim, validate_update=core_rules.claim_update, default=kinds.claim, prepare_create=kinds.claim_create
    ),
    ("", "endpoints"): Strategy(validate=core_rules.endpoints, validate_update=core_rules.endpoints_update, default=kinds.endpoints),
    ("", "limitranges"): Strategy(validate=core_rules.limit_range, validate_update=again(core_rules.limit_range), default=kinds.limit_range),
    ("", "resourcequotas"): Strategy(
        validate=core_rules.resource_quota,
        validate_update=core_rules.resource_quota_update,
        default=kinds.resource_quota,
        prepare_create=workloads.blank_status(core_v1.ResourceQuotaStatus),
    ),
    ("", "events"): Strategy(validate=core_rules.event, default=kinds.event, lasts=kinds.event_lasts),
    ("apps", "replicasets"): Strategy(
        validate=workload_rules.replica_set,
        validate_update=workload_rules.replica_set_update,
        default=workloads.replica_set,
        prepare_create=workloads.set_status_create,
        prepare_status=workloads.keep_labels,
    ),
    ("apps", "deployments"): Strategy(
        validate=workload_rules.deployment,
        validate_update=workload_rules.deployment_update,
        default=workloads.deployment,
        prepare_create=workloads.blank_status(apps_v1.DeploymentStatus),
        prepare_status=workloads.keep_labels,
    ),
    ("apps", "daemonsets"): Strategy(
        validate=workload_rules.daemon_set,
        validate_update=workload_rules.daemon_set_update,
        default=workloads.daemon_set,
        prepare_create=workloads.set_status_create,
        prepare_update=workloads.daemon_set_update,
    ),
    ("apps", "statefulsets"): Strategy(
        validate=workload_rules.stateful_set,
        validate_update=workload_rules.stateful_set_update,
        default=workloads.stateful_set,
        prepare_create=workloads.set_status_create,
    ),
    ("batch", "jobs"): Strategy(
        validate=workload_rules.job,
        validate_update=workload_rules.job_update,
        default=workloads.job,
        prepare_create=workloads.job_create,
        prepare_update=workloads.job_update,
        orphans=True,
    ),
    ("batch", "cronjobs"): Strategy(
        validate=workload_rules.cron_job,
        validate_update=again(workload_rules.cron_job),
        default=workloads.cron_job,
        prepare_create=workloads.blank_status(batch_v1.CronJobStatus),
    ),
    ("autoscaling", "horizontalpodautoscalers"): Strategy(
        validate=group_rules.autoscaler,
        validate_update=again(group_rules.autoscaler),
        default=kinds.autoscaler,
        prepare_create=kinds.autoscaler_create,
    ),
    ("policy", "poddisruptionbudgets"): Strategy(
        validate=group_rules.budget, validate_update=again(group_rules.budget), prepare_create=kinds.budget_create
    ),
    (_DISCOVERY, "endpointslices"): Strategy(
        validate=group_rules.endpoint_slice, validate_update=group_rules.endpoint_slice_update, default=kinds.endpoint_slice
    ),
    (_NETWORK, "networkpolicies"): Strategy(
        validate=group_rules.network_policy, validate_update=again(group_rules.network_policy), default=kinds.network_policy
    ),
    (_NETWORK, "ingresses"): Strategy(
        validate=group_rules.ingress,
        validate_update=again(group_rules.ingress),
        prepare_create=workloads.blank_status(lambda: networking_v1.IngressStatus(loadBalancer=networking_v1.IngressLoadBalancerStatus())),
    ),
    (_NETWORK, "ingressclasses"): Strategy(
        validate=group_rules.ingress_class, validate_update=again(group_rules.ingress_class), default=kinds.ingress_class
    ),
    (_NETWORK, "ipaddresses"): Strategy(
        validate=group_rules.ip_address, validate_update=group_rules.ip_address_update, name=group_rules.address_name
    ),
    (_NETWORK, "servicecidrs"): Strategy(
        validate=group_rules.service_cidr,
        validate_update=group_rules.service_cidr_update,
        prepare_create=workloads.blank_status(networking_v1.ServiceCIDRStatus),
    ),
    (_RBAC, "rolebindings"): Strategy(validate=group_rules.binding, validate_update=group_rules.binding_update, default=kinds.binding),
    (_RBAC, "clusterrolebindings"): Strategy(validate=group_rules.binding, validate_update=group_rules.binding_update, default=kinds.binding),
    ("scheduling.k8s.io", "priorityclasses"): Strategy(
        validate=group_rules.priority_class, validate_update=group_rules.priority_class_update, default=kinds.priority_class
    ),
    (_STORAGE, "storageclasses"): Strategy(
        validate=group_rules.storage_class, validate_update=group_rules.storage_class_update, default=kinds.storage_class
    ),
    (_STORAGE, "csidrivers"): Strategy(default=kinds.csi_driver),
    (_STORAGE, "csistoragecapacities"): Strategy(default=kinds.csi_capacity),
    (_STORAGE, "volumeattachments"): Strategy(prepare_create=kinds.attachment_create),
    (_CERTIFICATES, "certificatesigningrequests"): Strategy(
        validate=group_rules.signing_request,
        validate_status=group_rules.signing_request_status,
        default=kinds.signing_request,
        prepare_update=kinds.signing_request_update,
        prepare_status=kinds.signing_request_status,
        subresources={"approval": Part(kinds.signing_request_approval, group_rules.signing_request_approval)},
    ),
    (_RESOURCE, "resourceclaims"): Strategy(default=kinds.resource_claim, prepare_create=kinds.resource_claim_create),
    (_RESOURCE, "resourceclaimtemplates"): Strategy(default=kinds.resource_claim_template),
    (_RESOURCE, "resourceslices"): Strategy(default=kinds.resource_slice),
    (_ADMISSION, "validatingwebhookconfigurations"): Strategy(
        validate=group_rules.webhooks, validate_update=again(group_rules.webhooks), default=kinds.validating_webhooks
    ),
    (_ADMISSION, "mutatingwebhookconfigurations"): Strategy(
        validate=group_rules.webhooks, validate_update=again(group_rules.webhooks), default=kinds.mutating_webhooks
    ),
    (_ADMISSION, "validatingadmissionpolicies"): Strategy(default=kinds.validating_policy, prepare_create=kinds.validating_policy_create),
    (_ADMISSION, "mutatingadmissionpolicies"): Strategy(default=kinds.mutating_policy),
    (_ADMISSION, "validatingadmissionpolicybindings"): Strategy(default=kinds.policy_binding),
    (_ADMISSION, "mutatingadmissionpolicybindings"): Strategy(default=kinds.policy_binding),
    (_EXTENSIONS, "customresourcedefinitions"): Strategy(
        validate=definition_rules.create, validate_update=definition_rules.update, default=kinds.definition, prepare_create=kinds.definition_create
    ),
    ("apiregistration.k8s.io", "apiservices"): Strategy(default=kinds.api_service, prepare_create=kinds.api_service_create),
    (_FLOW, "flowschemas"): Strategy(default=kinds.flow_schema),
    (_FLOW, "prioritylevelconfigurations"): Strategy(default=kinds.priority_level),
    ("", "configmaps"): Strategy(default=kinds.config_map, validate=core_rules.config_map, validate_update=core_rules.config_map_update),
    (_RBAC, "roles"): Strategy(validate=group_rules.role, validate_update=again(group_rules.role)),
    (_RBAC, "clusterroles"): Strategy(validate=group_rules.role, validate_update=again(group_rules.role)),
    ("coordination.k8s.io", "leases"): Strategy(validate=group_rules.lease, validate_update=again(group_rules.lease)),
    ("node.k8s.io", "runtimeclasses"): Strategy(validate=group_rules.runtime_class, validate_update=group_rules.runtime_class_update),
}
