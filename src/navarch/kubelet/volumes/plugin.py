"""What a kind of volume is to the mounter: whether a volume is of it, how it is made, where it is.

In: a pod and one of its volumes, and the folder that the volume may have under the pod's (`pods/<uid>/volumes/kubernetes.io~name/volume`).
Out: the path on the node that containers mount. PayloadError, ApiError, Unreachable, OSError: why there is none yet.

Upstream counterpart: pkg/volume's VolumePlugin.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Protocol

from navarch.api.core import v1


@dataclass(frozen=True, slots=True)
class Place:
    """A volume of a pod. `folder` is its own; it need not exist."""

    pod: v1.Pod
    volume: v1.Volume
    folder: pathlib.Path


class Plugin(Protocol):
    """One kind of volume. What it makes below `folder` the mounter unmounts and removes; `forget` is for what else it keeps."""

    name: str
    """The part of the folder's name after `kubernetes.io~`."""
    in_folder: bool
    """Whether what containers see is the volume's folder, and gone with it: it is missing when the folder is."""

    def matches(self, volume: v1.Volume) -> bool: ...

    async def set_up(self, place: Place, refresh: bool) -> pathlib.Path:
        """Makes a volume, or with `refresh` brings it up to date. May be repeated."""
        ...

    async def path(self, place: Place) -> pathlib.Path:
        """Where a volume that was made before is."""
        ...

    def forget(self, uid: str) -> None:
        """The pod's volumes are gone."""
        ...


def group_of(pod: v1.Pod) -> int | None:
    """The group that owns a pod's files (fsGroup)."""
    context = pod.spec.securityContext if pod.spec else None
    return context.fsGroup if context else None
