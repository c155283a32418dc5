"""What admission knows of a write, and how a plugin refuses it.

In: a request that may be made by its user. A plugin reads what it needs, changes `obj` in place (or puts another object there), and leaves
words for the client in `warnings` and for the audit log in `annotations`.

Upstream counterpart: apiserver's admission/attributes.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.authn.users import User
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.machinery import errors


class WriteOptions(msgspec.Struct, omit_defaults=True):
    """CreateOptions and UpdateOptions, which have the same fields."""

    kind: str
    apiVersion: str
    dryRun: list[str] | None = None
    fieldManager: str | None = None
    fieldValidation: str | None = None


Options = WriteOptions | meta_v1.DeleteOptions


class Kind(NamedTuple):
    """Group, version and kind of the object that a request carries."""

    group: str
    version: str
    kind: str


@dataclass(slots=True)
class Reinvocation:
    """Whether mutating plugins are called a second time: `wanted` by one that changed the object for others to see, and whether they are now."""

    wanted: bool = False
    running: bool = False


@dataclass(slots=True)
class Attributes:
    """One write. `operation` is CREATE, UPDATE, DELETE or CONNECT; `obj` is None for DELETE, `old` for CREATE and CONNECT.

    `served` is the resource, in the version that was asked for; objects are in the stored one (`served.external` changes them).
    For a subresource whose body is another kind (Binding, Eviction, Scale, TokenRequest, PodExecOptions) `obj` and `old` are of that
    kind.
    """

    user: User
    served: Served
    operation: str
    name: str
    namespace: str
    obj: Obj
    old: Obj
    subresource: str = ""
    dry_run: bool = False
    options: Options | None = None
    """CreateOptions, UpdateOptions (of a patch, too) or DeleteOptions, as the operation is; None for CONNECT."""

    warnings: list[str] = field(default_factory=list)
    """What the client is told besides its answer: `Warning` headers."""

    annotations: dict[str, str] = field(default_factory=dict)
    """What the audit log is told: qualified names, each set once."""

    patched: bool = False
    """Whether somebody from outside (a webhook, a policy) has changed the object: what its kind keeps is then kept once more. The plugin that
    let them sets it, and puts another object there: `obj` and `old` may share what a write cannot change."""

    reinvocation: Reinvocation = field(default_factory=Reinvocation)
    scratch: dict[Any, Any] = field(default_factory=dict)
    """What plugins note for a later call of theirs for the same write."""

    @property
    def key(self) -> tuple[str, str]:
        return self.served.group, self.served.plural

    @property
    def kind(self) -> Kind:
        """The kind of `obj` and `old`, in the version that was asked for."""
        return self.kind_in(self.served)

    def kind_in(self, served: Served) -> Kind:
        """Their kind in another version of the resource."""
        resource = served.resource
        declared = resource.subresources.get(self.subresource) if self.subresource else None
        if declared is not None:
            return Kind(declared.group, declared.version, declared.kind)
        return Kind(resource.group, resource.version, resource.kind)


def refuse(attributes: Attributes, why: str) -> errors.Forbidden:
    """The refusal of a write, for a plugin to raise."""
    resource = attributes.served.resource
    return errors.forbidden(resource.group, resource.plural, attributes.name or _name_of(attributes.obj) or "Unknown", why)


def _name_of(obj: Obj) -> str:
    """A new object's name, or what it is going to be made of."""
    metadata = getattr(obj, "metadata", None)
    return (metadata.name or metadata.generateName or "") if metadata is not None else ""
