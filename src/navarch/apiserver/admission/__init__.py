"""Admission: what may change or refuse a write after authorization and before it is stored.

The mutating plugins run in order on the defaulted object, then the validating ones on the final one. A plugin is an async function of the
attributes and the server; it changes `attributes.obj` in place, or raises an `ApiError`.

Upstream counterparts: apiserver's admission chain and plugin/pkg/admission/*.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from navarch.apiserver.context import Context
from navarch.apiserver.registry.strategy import Obj
from navarch.apiserver.served import Served

if TYPE_CHECKING:
    from navarch.apiserver.server import Server


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


Plugin = Callable[[Attributes, "Server"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Chain:
    """The plugins that run, in order (`table.chain` makes it)."""

    mutating: tuple[Plugin, ...] = ()
    validating: tuple[Plugin, ...] = ()


async def mutate(attributes: Attributes, server: Server) -> None:
    for plugin in server.admission.mutating:
        await plugin(attributes, server)


async def validate(attributes: Attributes, server: Server) -> None:
    for plugin in server.admission.validating:
        await plugin(attributes, server)
