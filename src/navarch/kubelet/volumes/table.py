"""The literal table of the kinds of volumes this node makes. A CSI driver will be one more row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from navarch.api.scalars import Quantity
from navarch.kubelet.references import References
from navarch.kubelet.volumes.claimed import Claimed
from navarch.kubelet.volumes.empty_dir import EmptyDir
from navarch.kubelet.volumes.files import Contents, Files
from navarch.kubelet.volumes.host_path import HostPath
from navarch.kubelet.volumes.plugin import Plugin
from navarch.kubelet.volumes.tokens import Tokens


def plugins(references: References, tokens: Tokens, allocatable: Callable[[], Mapping[str, Quantity]]) -> tuple[Plugin, ...]:
    """The plugins, built with what they need."""
    contents = Contents(references, tokens, allocatable)
    return (
        EmptyDir(),
        HostPath(),
        Files("configmap", "configMap", contents),
        Files("secret", "secret", contents),
        Files("projected", "projected", contents),
        Files("downward-api", "downwardAPI", contents),
        Claimed(references),
    )
