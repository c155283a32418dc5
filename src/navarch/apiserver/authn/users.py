"""Who asks: a name, groups, and what else is known of a user.

Upstream counterpart: apiserver's authentication/user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, as authentication found it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, self.groups))

    @property
    def node(self) -> str | None:
        """The name of the node this user is, which may be ""; None for everybody else."""
        if not self.name.startswith("system:node:") or "system:nodes" not in self.groups:
            return None
        return self.name.removeprefix("system:node:")


AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))


def authenticated(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The groups of a user who said who they are: `system:authenticated` is one, unless they are said to be nobody."""
    if name == ANONYMOUS.name or AUTHENTICATED in groups or UNAUTHENTICATED in groups:
        return groups
    return (*groups, AUTHENTICATED)
