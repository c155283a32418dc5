"""What can happen in a cluster that may help a pod that was refused.

Upstream counterpart: framework.ClusterEvent.
"""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """One kind of change."""

    NODE_ADDED = "NodeAdded"
    NODE_LABELS = "NodeLabels"
    NODE_TAINTS = "NodeTaints"
    NODE_RESOURCES = "NodeResources"
    POD_PLACED = "PodPlaced"
    POD_GONE = "PodGone"
    NAMESPACE = "Namespace"
    CLAIM = "Claim"
    VOLUME = "Volume"
    CLASS = "StorageClass"
    CSI_NODE = "CSINode"
    CSI_DRIVER = "CSIDriver"
    CAPACITY = "CSIStorageCapacity"
    ATTACHMENT_GONE = "VolumeAttachmentGone"
    ANY = "Any"
