"""The part of an object's metadata that is read by who follows every kind there is: names, owners, finalizers.

Counterpart: PartialObjectMetadata, without what nobody reads of it.
"""

from __future__ import annotations

import msgspec


class Owner(msgspec.Struct, frozen=True):
    """An owner reference, without its `controller` mark."""

    apiVersion: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    blockOwnerDeletion: bool = False


class Metadata(msgspec.Struct):
    """What is read of an object's metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""
    deletionTimestamp: str | None = None
    finalizers: list[str] = []
    ownerReferences: list[Owner] = []
