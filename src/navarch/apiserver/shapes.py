"""The shape of a resource's objects: how they come from bytes and trees, and what of them the server reaches into without knowing the kind.

Built-in kinds are `Typed`: one generated struct each. What is defined while the server runs has a shape of its own, and nothing else of
the server asks which of the two it is.
"""

from __future__ import annotations

from typing import Any, Protocol

from navarch.api import resources
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.apiserver.kinds.strategy import Obj
from navarch.machinery import codec, schema, selectors

_ENVELOPE = frozenset({"apiVersion", "kind", "metadata", "status"})


class Shape(Protocol):
    """What there is to be known of a resource's objects, whatever they are made of."""

    @property
    def custom(self) -> bool:
        """No generated type: no strategic merge, and its kind is in no table."""

    @property
    def envelope(self) -> tuple[str, str]:
        """apiVersion and kind, as they are stored."""

    def decode(self, body: bytes) -> Obj:
        """An object from JSON that the server wrote."""

    def decode_reporting(self, text: bytes) -> tuple[Obj, list[str]]:
        """An object from JSON that a client wrote, and what a strict reader objects to. DecodeError."""

    def from_tree(self, tree: dict[str, Any]) -> Obj:
        """An object from builtin values."""

    def schema(self) -> schema.Schema:
        """The merge semantics of its fields."""

    def substance(self, obj: Obj) -> Any:
        """All that generation counts changes of, as something that can be compared."""

    def keep_all_but_status(self, new: Obj, old: Obj) -> None:
        """Everything but metadata and status becomes what it was."""

    def keep_status(self, new: Obj, old: Obj | None) -> None:
        """Status becomes what it was; nothing, where there was no object."""

    def scale(self, obj: Obj) -> tuple[int | None, int | None]:
        """(spec.replicas, status.replicas) of an object that can be scaled."""

    def set_scale(self, obj: Obj, replicas: int) -> None: ...

    def scale_selector(self, obj: Obj) -> str | None:
        """The selector of the pods that `status.replicas` counts, as text."""


class Typed:
    """Objects that are structs of one generated type."""

    def __init__(self, object_type: type[Object]) -> None:
        self.object_type = object_type
        fields = object_type.__struct_fields__
        self._rest = tuple(f for f in fields if f not in _ENVELOPE)
        self._has_status = "status" in fields
        self.custom = False
        self.envelope = resources.group_version_kind(object_type)

    def decode(self, body: bytes) -> Obj:
        return codec.decode(self.object_type, body)

    def decode_reporting(self, text: bytes) -> tuple[Obj, list[str]]:
        return codec.decode_reporting(self.object_type, text)

    def from_tree(self, tree: dict[str, Any]) -> Obj:
        return codec.from_tree(self.object_type, tree)

    def schema(self) -> schema.Schema:
        return schema.named(resources.type_name(self.object_type))

    def substance(self, obj: Obj) -> Any:
        return codec.encode([getattr(obj, name) for name in self._rest])

    def keep_all_but_status(self, new: Obj, old: Obj) -> None:
        for name in self._rest:
            setattr(new, name, getattr(old, name))

    def keep_status(self, new: Obj, old: Obj | None) -> None:
        if self._has_status:
            new.status = old.status if old is not None else None

    def scale(self, obj: Obj) -> tuple[int | None, int | None]:
        return obj.spec.replicas if obj.spec else None, obj.status.replicas if obj.status else None

    def set_scale(self, obj: Obj, replicas: int) -> None:
        obj.spec.replicas = replicas

    def scale_selector(self, obj: Obj) -> str | None:
        selector = obj.spec.selector if obj.spec else None
        if isinstance(selector, meta_v1.LabelSelector):
            return str(selectors.from_object(selector)) or None
        return ",".join(f"{k}={v}" for k, v in sorted(selector.items())) if isinstance(selector, dict) else None
