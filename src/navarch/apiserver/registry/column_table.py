"""The literal table: resource → its columns."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.apiserver.registry import pod_columns, rows
from navarch.apiserver.registry.columns import Column, sheet

_ADMISSION = "admissionregistration.k8s.io"
_NETWORK = "networking.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
_RESOURCE = "resource.k8s.io"
_STORAGE = "storage.k8s.io"
_WIDE = "Containers*|Images*|Selector*"
_SETS = f"Name|Desired#|Current#|Ready#|Age|{_WIDE}"
_BINDING = "Name|Role|Age|Users*|Groups*|ServiceAccounts*"
_EVENT = "Last Seen|Type|Reason|Object|Subobject*|Source*|Message|First Seen*|Count*|Name*"
_CREATED = sheet("Name|Created At", rows.created_at)

COLUMNS: dict[tuple[str, str], Sequence[Column]] = {
    ("", "pods"): sheet("Name|Ready|Status|Restarts|Age|IP*|Node*|Nominated Node*|Readiness Gates*", pod_columns.row),
    ("", "podtemplates"): sheet("Name|Containers|Images|Pod Labels", rows.pod_template),
    ("", "replicationcontrollers"): sheet(_SETS, rows.replication_controller),
    ("", "services"): sheet("Name|Type|Cluster-IP|External-IP|Port(s)|Age|Selector*", rows.service),
    ("", "endpoints"): sheet("Name|Endpoints|Age", rows.endpoints),
    ("", "nodes"): sheet("Name|Status|Roles|Age|Version|Internal-IP*|External-IP*|OS-Image*|Kernel-Version*|Container-Runtime*", rows.node),
    ("", "events"): sheet(_EVENT, rows.event),
    ("", "namespaces"): sheet("Name|Status|Age", rows.namespace),
    ("", "secrets"): sheet("Name|Type|Data|Age", rows.secret),
    ("", "configmaps"): sheet("Name|Data|Age", rows.config_map),
    ("", "serviceaccounts"): sheet("Name|Age", rows.plain),
    ("", "persistentvolumes"): sheet(
        "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|VolumeMode*",
        rows.persistent_volume,
    ),
    ("", "persistentvolumeclaims"): sheet("Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|VolumeMode*", rows.claim),
    ("", "resourcequotas"): sheet("Name|Request|Limit|Age", rows.resource_quota),
    ("", "limitranges"): _CREATED,
    ("apps", "replicasets"): sheet(_SETS, rows.replica_set),
    ("apps", "deployments"): sheet(f"Name|Ready|Up-to-date|Available|Age|{_WIDE}", rows.deployment),
    ("apps", "statefulsets"): sheet("Name|Ready|Age|Containers*|Images*", rows.stateful_set),
    ("apps", "daemonsets"): sheet(f"Name|Desired#|Current#|Ready#|Up-to-date#|Available#|Node Selector|Age|{_WIDE}", rows.daemon_set),
    ("apps", "controllerrevisions"): sheet("Name|Controller|Revision|Age", rows.controller_revision),
    ("batch", "jobs"): sheet(f"Name|Status|Completions|Duration|Age|{_WIDE}", rows.job),
    ("batch", "cronjobs"): sheet(f"Name|Schedule|Timezone|Suspend?|Active#|Last Schedule|Age|{_WIDE}", rows.cron_job),
    ("autoscaling", "horizontalpodautoscalers"): sheet("Name|Reference|Targets|MinPods|MaxPods|Replicas|Age", rows.autoscaler),
    ("policy", "poddisruptionbudgets"): sheet("Name|Min Available|Max Unavailable|Allowed Disruptions#|Age", rows.budget),
    ("discovery.k8s.io", "endpointslices"): sheet("Name|AddressType|Ports|Endpoints|Age", rows.endpoint_slice),
    ("events.k8s.io", "events"): sheet(_EVENT, rows.event),
    ("coordination.k8s.io", "leases"): sheet("Name|Holder|Age", rows.lease),
    (_NETWORK, "ingresses"): sheet("Name|Class|Hosts|Address|Ports|Age", rows.ingress),
    (_NETWORK, "ingressclasses"): sheet("Name|Controller|Parameters|Age", rows.ingress_class),
    (_NETWORK, "networkpolicies"): sheet("Name|Pod-Selector|Age", rows.network_policy),
    (_NETWORK, "ipaddresses"): sheet("Name|ParentRef|Age", rows.ip_address),
    (_NETWORK, "servicecidrs"): sheet("Name|CIDRs|Age", rows.service_cidr),
    (_RBAC, "roles"): _CREATED,
    (_RBAC, "clusterroles"): _CREATED,
    (_RBAC, "rolebindings"): sheet(_BINDING, rows.binding),
    (_RBAC, "clusterrolebindings"): sheet(_BINDING, rows.binding),
    ("certificates.k8s.io", "certificatesigningrequests"): sheet("Name|Age|SignerName|Requestor|RequestedDuration|Condition", rows.signing_request),
    ("scheduling.k8s.io", "priorityclasses"): sheet("Name|Value#|Global-Default?|Age|PreemptionPolicy*", rows.priority_class),
    ("node.k8s.io", "runtimeclasses"): sheet("Name|Handler|Age", rows.runtime_class),
    (_STORAGE, "storageclasses"): sheet("Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age", rows.storage_class),
    (_STORAGE, "volumeattributesclasses"): sheet("Name|DriverName|Age", rows.attributes_class),
    (_STORAGE, "csidrivers"): sheet(
        "Name|AttachRequired?|PodInfoOnMount?|StorageCapacity?|TokenRequests|RequiresRepublish?|Modes|Age", rows.csi_driver
    ),
    (_STORAGE, "csinodes"): sheet("Name|Drivers#|Age", rows.csi_node),
    (_STORAGE, "csistoragecapacities"): sheet("Name|StorageClassName|Capacity", rows.csi_capacity),
    (_STORAGE, "volumeattachments"): sheet("Name|Attacher|PV|Node|Attached?|Age", rows.volume_attachment),
    (_ADMISSION, "mutatingwebhookconfigurations"): sheet("Name|Webhooks#|Age", rows.webhooks),
    (_ADMISSION, "validatingwebhookconfigurations"): sheet("Name|Webhooks#|Age", rows.webhooks),
    (_ADMISSION, "validatingadmissionpolicies"): sheet("Name|Validations#|ParamKind|Age", rows.validating_policy),
    (_ADMISSION, "validatingadmissionpolicybindings"): sheet("Name|PolicyName|ParamRef|Age", rows.policy_binding),
    (_ADMISSION, "mutatingadmissionpolicies"): sheet("Name|Mutations#|ParamKind|Age", rows.mutating_policy),
    (_ADMISSION, "mutatingadmissionpolicybindings"): sheet("Name|PolicyName|ParamRef|Age", rows.policy_binding),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): sheet(
        "Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL", rows.flow_schema
    ),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): sheet(
        "Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age", rows.priority_level
    ),
    (_RESOURCE, "deviceclasses"): sheet("Name|Age", rows.plain),
    (_RESOURCE, "resourceclaims"): sheet("Name|State|Age", rows.resource_claim),
    (_RESOURCE, "resourceclaimtemplates"): sheet("Name|Age", rows.plain),
    (_RESOURCE, "resourceslices"): sheet("Name|Node|Driver|Pool|Age", rows.resource_slice),
    ("apiextensions.k8s.io", "customresourcedefinitions"): _CREATED,
    ("apiregistration.k8s.io", "apiservices"): sheet("Name|Service|Available|Age", rows.api_service),
}
