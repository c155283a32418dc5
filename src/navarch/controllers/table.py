"""The literal table of controllers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from navarch.controllers.accounts import DefaultAccountController, RootCaController, TokenController
from navarch.controllers.deployment import DeploymentController
from navarch.controllers.endpoints import EndpointsController, EndpointSliceController, MirroringController
from navarch.controllers.engine import Context, Reconciler
from navarch.controllers.ephemeral import EphemeralVolumeController
from navarch.controllers.garbage import GarbageCollector
from navarch.controllers.job import JobController, TtlController
from navarch.controllers.namespace import NamespaceController
from navarch.controllers.nodes import NodeAddressController, NodeLifecycleController, TaintEvictionController
from navarch.controllers.podgc import PodGcController
from navarch.controllers.protection import ClaimProtection, VolumeProtection
from navarch.controllers.quota import QuotaController
from navarch.controllers.replicaset import ReplicaSetController, ReplicationControllerController
from navarch.controllers.volumes import VolumeBinder

CONTROLLERS: Mapping[str, Callable[[Context], Reconciler]] = {
    c.name: c
    for c in (
        NamespaceController,
        DefaultAccountController,
        RootCaController,
        TokenController,
        ReplicaSetController,
        ReplicationControllerController,
        DeploymentController,
        EndpointsController,
        EndpointSliceController,
        MirroringController,
        NodeAddressController,
        NodeLifecycleController,
        TaintEvictionController,
        PodGcController,
        QuotaController,
        JobController,
        TtlController,
        VolumeBinder,
        ClaimProtection,
        VolumeProtection,
        EphemeralVolumeController,
        GarbageCollector,
    )
}
