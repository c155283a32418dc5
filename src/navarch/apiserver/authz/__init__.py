"""Authorization: whether a user may do what was asked.

`Authorizer` asks Node (kubelets, by what their node's pods refer to), then RBAC; the first that allows decides, and when none
does the reasons are what the client reads.

Upstream counterparts: plugin/pkg/auth/authorizer/{node,rbac}, apiserver's endpoints/filters/authorization.go.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from navarch.apiserver.context import User
from navarch.machinery import selectors

if TYPE_CHECKING:
    from navarch.apiserver.authz.node import NodeAuthorizer
    from navarch.apiserver.authz.rbac import Rbac

_REMEMBERED = 8192


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants to do: a verb on a resource, or a method on a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    version: str = ""
    fields: tuple[selectors.FieldRequirement, ...] = field(default=(), compare=False)
    """What a list or watch confines itself to. RBAC does not look at it, so verdicts that are remembered do not either."""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Verdict:
    """Allowed or not, and why. `denied` means that nobody else is asked; `cause` is an evaluation error."""

    allowed: bool
    reason: str = ""


class Authorizer:
    """Node, then RBAC. Verdicts are remembered until a role or binding changes."""

    def __init__(self, rbac: Rbac, node: NodeAuthorizer) -> None:
        self.rbac = rbac
        self._node = node
        self._known: OrderedDict[tuple[User, Question], Verdict] = OrderedDict()
        self._generation = -1

    def decide(self, user: User, question: Question) -> Verdict:
        if "system:masters" in user.groups:
            return Verdict(True)
        node = user.node
        if node is not None:
            verdict = self._node.decide(node, user, question)
            if verdict.allowed:
                return verdict
            reason = verdict.reason
        else:
            reason = ""
        if self._generation != self.rbac.generation:
            self._known.clear()
            self._generation = self.rbac.generation
        key = (user, question)
        known = self._known.get(key)
        if known is None:
            known = self.rbac.decide(user, question)
            self._known[key] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        if known.allowed or not reason:
            return known
        return Verdict(False, f"{reason}{', ' if known.reason else ''}{known.reason}")


def field_requirements(text: str) -> tuple[selectors.FieldRequirement, ...]:
    """A field selector's terms; of one that cannot be read nothing is known, and the request is refused later."""
    try:
        return selectors.parse_fields(text)
    except ValueError:
        return ()


def refusal(user: User, question: Question, reason: str) -> str:
    """Upstream's sentence: `User "jane" cannot list resource "pods" in API group "" in the namespace "web"`."""
    who = f'User "{user.name}"'
    tail = f": {reason}" if reason else ""
    if not question.resource:
        return f'{who} cannot {question.verb} path "{question.path}"{tail}'
    where = f'in the namespace "{question.namespace}"' if question.namespace else "at the cluster scope"
    return f'{who} cannot {question.verb} resource "{question.full_resource}" in API group "{question.group}" {where}{tail}'
