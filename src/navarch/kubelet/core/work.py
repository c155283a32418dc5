"""What is under way for a pod: the keys of `State.busy`, and of the back-off of what failed.

Each names one thing that must not be done twice at a time. A new one is a class here, so that the checker finds who does not know it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mounting:
    """The pod's volumes are being made."""


@dataclass(frozen=True, slots=True)
class Unmounting:
    """The pod's volumes are being taken away."""


@dataclass(frozen=True, slots=True)
class MakingSandbox:
    """A sandbox is being made."""


@dataclass(frozen=True, slots=True)
class StoppingSandbox:
    id: str


@dataclass(frozen=True, slots=True)
class Starting:
    """A container is being started, its postStart hook included. One at a time."""

    name: str


@dataclass(frozen=True, slots=True)
class Killing:
    id: str


@dataclass(frozen=True, slots=True)
class Resizing:
    id: str


@dataclass(frozen=True, slots=True)
class Finishing:
    """The API object may go."""


@dataclass(frozen=True, slots=True)
class Crashing:
    """Never under way: the back-off of a container that ends again and again, as it is made from this spec."""

    name: str
    fingerprint: str


Work = Mounting | Unmounting | MakingSandbox | StoppingSandbox | Starting | Killing | Resizing | Finishing | Crashing
