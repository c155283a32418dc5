"""The literal table of controllers, by upstream's names (`--controllers`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler
from navarch.controllers.identity.accounts import DefaultAccountController
from navarch.controllers.identity.root_ca import RootCaController
from navarch.controllers.identity.signing import SigningController
from navarch.controllers.identity.tokens import TokenController
from navarch.controllers.lifecycle.finished_jobs import TtlController
from navarch.controllers.lifecycle.garbage import GarbageCollector
from navarch.controllers.lifecycle.namespaces import NamespaceController
from navarch.controllers.lifecycle.podgc import PodGcController
from navarch.controllers.network.endpoints import EndpointsController
from navarch.controllers.network.endpointslices import EndpointSliceController
from navarch.controllers.network.mirroring import MirroringController
from navarch.controllers.network.service_cidrs import ServiceCidrController
from navarch.controllers.nodes.addresses import NodeAddressController
from navarch.controllers.nodes.eviction import TaintEvictionController
from navarch.controllers.nodes.lifecycle import NodeLifecycleController
from navarch.controllers.policy.disruption import DisruptionController
from navarch.controllers.policy.quota import QuotaController
from navarch.controllers.policy.type_checking import TypeCheckingController
from navarch.controllers.storage.binder import VolumeBinder
from navarch.controllers.storage.ephemeral import EphemeralVolumeController
from navarch.controllers.storage.protection import ClaimProtection, VolumeProtection
from navarch.controllers.workloads import replicaset
from navarch.controllers.workloads.cronjob import CronJobController
from navarch.controllers.workloads.daemonset import DaemonSetController
from navarch.controllers.workloads.deployment import DeploymentController
from navarch.controllers.workloads.job import JobController
from navarch.controllers.workloads.statefulset import StatefulSetController

CONTROLLERS: Mapping[str, Callable[[Context], Reconciler]] = {
    "namespace": NamespaceController,
    "serviceaccount": DefaultAccountController,
    "root-ca-certificate-publisher": RootCaController,
    "serviceaccount-token": TokenController,
    "replicaset": replicaset.replica_sets,
    "replicationcontroller": replicaset.replication_controllers,
    "deployment": DeploymentController,
    "statefulset": StatefulSetController,
    "daemonset": DaemonSetController,
    "endpoints": EndpointsController,
    "endpointslice": EndpointSliceController,
    "endpointslicemirroring": MirroringController,
    "service-cidr": ServiceCidrController,
    "node-ipam": NodeAddressController,
    "node-lifecycle": NodeLifecycleController,
    "taint-eviction": TaintEvictionController,
    "pod-garbage-collector": PodGcController,
    "resourcequota": QuotaController,
    "disruption": DisruptionController,
    "job": JobController,
    "cronjob": CronJobController,
    "ttl-after-finished": TtlController,
    "persistentvolume-binder": VolumeBinder,
    "persistentvolumeclaim-protection": ClaimProtection,
    "persistentvolume-protection": VolumeProtection,
    "ephemeral-volume": EphemeralVolumeController,
    "garbage-collector": GarbageCollector,
    "certificatesigningrequest-signing": SigningController,
    "validatingadmissionpolicy-status": TypeCheckingController,
}

_MISSING = frozenset(
    {
        "bootstrap-signer", "certificatesigningrequest-approving", "certificatesigningrequest-cleaner", "clusterrole-aggregation",
        "device-taint-eviction", "horizontal-pod-autoscaler", "kube-apiserver-serving-clustertrustbundle-publisher",
        "legacy-serviceaccount-token-cleaner", "persistentvolume-attach-detach", "persistentvolume-expander", "podcertificaterequest-cleaner",
        "podgroup-protection", "resourceclaim", "resourcepoolstatusrequest", "selinux-warning", "service-ca-certificate-publisher",
        "storage-version-migrator", "storageversion-garbage-collector", "token-cleaner", "ttl",
        "volumeattributesclass-protection",
    }
)  # fmt: skip
"""Upstream's controllers that we do not have; both name them with `-controller` behind."""

_ALIASES = {"endpointslice-mirroring": "endpointslicemirroring"}

Chosen = Mapping[str, Callable[[Context], Reconciler]]


def chosen(names: Iterable[str]) -> Chosen:
    """The controllers that `--controllers` names: `*` is all, `-name` none. ValueError for names that cannot be meant."""
    found: set[str] = set()
    off: set[str] = set()
    for text in names:
        if text == "*":
            found |= set(CONTROLLERS)
            continue
        name = text.removeprefix("-").removesuffix("-controller")
        name = _ALIASES.get(name, name)
        if name not in CONTROLLERS and name not in _MISSING:
            raise ValueError(f'--controllers: "{text.removeprefix("-")}" is not in the list of known controllers')
        if text.startswith("-"):
            off.add(name)
        elif name in _MISSING:
            raise ValueError(f'--controllers: this controller manager does not have "{text}"')
        else:
            found.add(name)
    return {name: make for name, make in CONTROLLERS.items() if name in found and name not in off}
