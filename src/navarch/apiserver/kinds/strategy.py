"""What a kind says of itself: everything that happens to it beyond what happens to every kind.

A hook takes the typed object and changes it in place, or returns the problems it finds. Hooks are pure: the time is an argument, and
what they take from the server (addresses, ports, how long things are kept) is handed in. A kind that leaves something out has the
default here, which does nothing. `table` finds the strategies of the kinds there are from the start; one that is made while the server
runs works like them.

Upstream counterparts: the strategies of pkg/registry/*/strategy.go and the functions of pkg/apis/*/{defaults,validation}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from navarch.apiserver.kinds.columns import DEFAULT, Column, Tree
from navarch.machinery import names
from navarch.machinery.field import Problem

Key = tuple[str, str]
"""Group and plural."""

Obj = Any
"""An API object: a generated struct, or a tree of builtin values in an envelope. Both have apiVersion, kind and metadata."""


class Selectable(NamedTuple):
    """A field that selectors may name: where it is when not under its own name, and what it is when absent."""

    name: str
    path: str = ""
    absent: str = ""
    otherwise: str = ""
    """The selectable field whose value it takes when it has none of its own."""


def selectable(*fields: str) -> tuple[Selectable, ...]:
    """Fields that are where their names say."""
    return tuple(Selectable(n) for n in fields)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where objects of a version are stored (`home`: group, version, plural), and how they get there and back."""

    home: tuple[str, str, str]
    inward: Callable[[Tree], Tree]
    outward: Callable[[Tree], Tree]


class Numbers(Protocol):
    """Addresses and node ports that are given out, by number. What is counted in `addresses` and `ports` is taken."""

    @property
    def families(self) -> Sequence[str]: ...

    @property
    def addresses(self) -> Counter[int]: ...

    @property
    def ports(self) -> Counter[int]: ...

    def address(self, family: str) -> int | None:
        """A free address, None when there is none."""

    def port(self) -> int | None:
        """A free node port, None when there is none."""

    def refuse_address(self, text: str, family: str) -> str:
        """Why an address cannot be had, "" when it can."""

    def refuse_port(self, number: int) -> str:
        """Why a node port cannot be had, "" when it can."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How long the server keeps things, in seconds: events, and the history of its store."""

    events: float
    history: float


Finish = Callable[[], None]
"""Gives back what was set aside for a write; called when the write is over, whether it was made or not."""

Allocate = Callable[[Numbers, Obj, Obj | None, bool], Finish]


def nothing(obj: Obj) -> None:
    del obj


def nothing_on_create(obj: Obj, now: float) -> None:
    del obj, now


def nothing_on_update(new: Obj, old: Obj, now: float) -> None:
    del new, old, now


def no_rules(obj: Obj) -> list[Problem]:
    del obj
    return []


def no_update_rules(new: Obj, old: Obj) -> list[Problem]:
    del new, old
    return []


def no_warnings(new: Obj, old: Obj | None) -> list[str]:
    del new, old
    return []


def no_conditions(tree: Tree) -> list[Tree]:
    del tree
    return []


def again(check: Callable[[Any], list[Problem]]) -> Callable[[Any, Any], list[Problem]]:
    """A check of updates that is the one of creations."""

    def run(new: Any, old: Any) -> list[Problem]:
        del old
        return check(new)

    return run


@dataclass(frozen=True, slots=True)
class Part:
    """A subresource that changes a part of the object: `prepare(new, old, now)` keeps the rest, `validate(new, old)` finds problems."""

    prepare: Callable[[Obj, Obj, float], None]
    validate: Callable[[Obj, Obj], list[Problem]] = no_update_rules


@dataclass(frozen=True, slots=True)
class Strategy:
    """Everything that is particular to one kind. Hooks may assume that the types are right."""

    default: Callable[[Obj], None] = nothing
    """Fills in defaults, on every object that is read from a client. ValueError when the object cannot be read."""

    prepare_create: Callable[[Obj, float], None] = nothing_on_create
    """Clears what a client may not set. Status is cleared without it."""

    prepare_update: Callable[[Obj, Obj, float], None] = nothing_on_update
    """Keeps what a client may not change. Status is kept and generation counted without it."""

    prepare_status: Callable[[Obj, Obj, float], None] = nothing_on_update
    """The same for the subresource status; everything but metadata and status is kept without it."""

    validate: Callable[[Obj], list[Problem]] = no_rules
    """Problems of a new object, in upstream's words."""

    validate_update: Callable[[Obj, Obj], list[Problem]] = no_update_rules
    validate_status: Callable[[Obj, Obj], list[Problem]] = no_update_rules
    weight: int = 1
    """How much more work it is to check a byte of it than of other kinds: where expressions are compiled, some ten times."""

    warnings: Callable[[Obj, Obj | None], list[str]] = no_warnings
    """What a writer is told of a new object, or of one that replaces another."""

    subresources: Mapping[str, Part] = field(default_factory=dict)
    """The subresources that change a part of the object, other than status."""

    name: Callable[[str], tuple[str, ...]] = names.dns_subdomain
    """The problems of a name: the form that names have."""

    any_finalizer: bool = False
    """Finalizers need not be qualified by a domain."""

    columns: Sequence[Column] = DEFAULT
    """What tables show."""

    row_conditions: Callable[[Tree], list[Tree]] = no_conditions
    """The conditions of a row, for clients that leave rows out by them."""

    selectable: tuple[Selectable, ...] = ()
    """The fields that field selectors may name, besides the name and namespace."""

    indexed: tuple[str, ...] = ()
    """Those of them that lists find by an index."""

    versions: Mapping[str, Stored] = field(default_factory=dict)
    """The versions that are stored as another one."""

    generation: bool = False
    """metadata.generation counts changes of anything but metadata and status."""

    create_on_update: bool = False
    """A PUT to a name that does not exist creates it."""

    conditional_update: bool = False
    """A PUT must carry a resourceVersion."""

    status_on_create: bool = False
    """A status that is given on creation is kept."""

    returns_deleted: bool = False
    """DELETE answers with the object instead of a Status."""

    grace: Callable[[Obj, int | None], int | None] | None = None
    """Seconds of graceful deletion, of those a client asked for. A kind without it is deleted at once."""

    finalizers: Callable[[Obj], Sequence[str]] | None = None
    """The finalizers a kind has besides those of metadata: a deleted object waits for them, marked."""

    terminate: Callable[[Obj], None] = nothing
    """Shows on an object that is being deleted that it is."""

    orphans: bool = False
    """Dependents are orphaned when a client that deletes names no policy."""

    collected: bool = True
    """The garbage collector has to do with it: its finalizers are put on deleted objects."""

    allocate: Allocate | None = None
    """`allocate(numbers, obj, old, dry_run)` sets numbers aside for the object before it is validated."""

    ttl: Callable[[Obj, Kept], float] | None = None
    """Seconds after which the object goes by itself, counted anew from every write."""
