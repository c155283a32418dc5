"""What admission knows of a write, and how a plugin refuses it.

Upstream counterpart: apiserver's admission/attributes.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from navarch.apiserver.context import Context
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.machinery import errors


@dataclass(slots=True)
class Attributes:
    """One write. `operation` is CREATE, UPDATE, DELETE or CONNECT; `obj` is None for DELETE, `old` for CREATE.

    `served` is the resource; for a subresource whose body is another kind (Binding, Eviction, Scale, TokenRequest) `obj` is that.
    """

    context: Context
    served: Served
    operation: str
    name: str
    namespace: str
    obj: Obj
    old: Obj
    subresource: str = ""
    dry_run: bool = False
    options: Any = None
    scratch: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        return self.served.group, self.served.plural


def refuse(attributes: Attributes, why: str) -> errors.Forbidden:
    """The refusal of a write, for a plugin to raise."""
    resource = attributes.served.resource
    name = attributes.name or (attributes.obj.metadata.name if attributes.obj is not None else "") or "Unknown"
    return errors.forbidden(resource.group, resource.plural, name, why)
