"""What is asked of authorization, what it answers, and the sentence a refused client reads.

Upstream counterparts: apiserver's authorization/authorizer and endpoints/filters/authorization.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from navarch.apiserver.authn.users import User
from navarch.machinery import selectors


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
    def length(self) -> int:
        return len(self.path) + len(self.name) + len(self.namespace) + len(self.resource) + len(self.subresource) + len(self.group)

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Verdict:
    """Allowed or not, and why."""

    allowed: bool
    reason: str = ""


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
