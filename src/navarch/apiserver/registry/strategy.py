"""What a kind does beyond what every kind does: the hooks the verbs call.

A hook takes the typed object and changes it in place, or returns the problems it finds. A kind without a hook of some sort
has the default here, which does nothing.

Upstream counterpart: the strategies of pkg/registry/*/strategy.go and the functions of pkg/apis/*/{defaults,validation}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from navarch.machinery import names
from navarch.machinery.field import Problem

if TYPE_CHECKING:
    from navarch.apiserver.server import Server

Obj = Any
"""An API object: a generated struct, or `machinery.custom.Custom`. Both have apiVersion, kind and metadata."""


def _nothing(obj: Obj) -> None:
    del obj


def _nothing_more(new: Obj, old: Obj) -> None:
    del new, old


def _no_problem(obj: Obj) -> list[Problem]:
    del obj
    return []


def _no_problems(new: Obj, old: Obj) -> list[Problem]:
    del new, old
    return []


@dataclass(frozen=True, slots=True)
class Part:
    """A subresource that changes a part of the object: `prepare(new, old)` keeps the rest, `validate(new, old)` finds problems."""

    prepare: Callable[[Obj, Obj], None]
    validate: Callable[[Obj, Obj], list[Problem]] = _no_problems


Finish = Callable[[], None]
"""Gives back what was set aside for a write; called when the write is over, whether it was made or not."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """The hooks of one kind. Every one of them may assume that the types are right.

    - `default(obj)`: fills in defaults, on every decoded object.
    - `prepare_create(obj)`: clears what a client may not set; `prepare_update(new, old)`: keeps what it may not change.
      Status is kept and generation counted without them.
    - `prepare_status(new, old)`: the same for the status subresource (spec is kept without it).
    - `validate(obj)`, `validate_update(new, old)`, `validate_status(new, old)`: problems, in upstream's words. `validate` also
      runs on update unless `validate_update` is there.
    - `name`: the form its names have.
    - `generation`: its metadata.generation counts changes of anything but metadata and status.
    - `create_on_update`: a PUT to a name that does not exist creates it.
    - `conditional_update`: a PUT must carry a resourceVersion.
    - `grace(obj, requested)`: seconds of graceful deletion, None when the kind knows none (deleted at once).
    - `orphans`: dependents are orphaned when the client names no policy.
    - `returns_deleted`: DELETE answers with the object instead of a Status.
    - `status_on_create`: a status given on creation is kept (nodes).
    - `begin(server, obj, old, dry_run)`: sets something of the server's aside for the object before it is validated (a Service's
      addresses and ports); what it returns is called when the write is over.
    - `lasts(obj, server)`: seconds after which the object goes by itself, counted anew from every write.
    - `subresources`: the subresources that change a part of the object, other than status.
    """

    default: Callable[[Obj], None] = _nothing
    prepare_create: Callable[[Obj], None] = _nothing
    prepare_update: Callable[[Obj, Obj], None] = _nothing_more
    prepare_status: Callable[[Obj, Obj], None] = _nothing_more
    validate: Callable[[Obj], list[Problem]] = _no_problem
    validate_update: Callable[[Obj, Obj], list[Problem]] = _no_problems
    validate_status: Callable[[Obj, Obj], list[Problem]] = _no_problems
    name: Callable[[str], tuple[str, ...]] = names.dns_subdomain
    generation: bool = False
    create_on_update: bool = False
    conditional_update: bool = False
    grace: Callable[[Obj, int | None], int | None] | None = None
    orphans: bool = False
    returns_deleted: bool = False
    status_on_create: bool = False
    begin: Callable[[Server, Obj, Obj | None, bool], Finish] | None = None
    lasts: Callable[[Obj, Server], float] | None = None
    subresources: Mapping[str, Part] = field(default_factory=dict)
