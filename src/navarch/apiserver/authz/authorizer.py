"""The authorizer asks the modes it was given, by default Node (kubelets, by what their node's pods refer to) and then RBAC; the first that
allows decides, and when none does the reasons are what the client reads.

Upstream counterpart: apiserver's authorization/union.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.node import NodeAuthorizer
from navarch.apiserver.authz.questions import Question, Verdict
from navarch.apiserver.authz.rbac import Rbac

_REMEMBERED = 8192
_LONGEST = 1024
"""Characters of a question whose verdict is kept: anybody can ask 8,192 questions of a megabyte."""

MODES = ("Node", "RBAC", "AlwaysAllow", "AlwaysDeny")
_MASTERS, _NODE = "system:masters", "system:node:"
_ALLOWED = Verdict(True)
_FORBIDDEN = Verdict(False, "Everything is forbidden.")


def check_modes(modes: Sequence[str]) -> None:
    """ValueError for modes that cannot be meant, in upstream's words where it has them."""
    if not modes:
        raise ValueError("at least one authorization-mode must be passed")
    for mode in modes:
        if mode in ("ABAC", "Webhook"):
            raise ValueError(f'authorization-mode "{mode}" is not supported by this server: it has {", ".join(MODES)}')
        if mode not in MODES:
            raise ValueError(f'authorization-mode "{mode}" is not a valid mode')
    if len(set(modes)) != len(modes):
        raise ValueError(f"authorization-mode [{' '.join(modes)}] has mode specified more than once")


class Authorizer:
    """Asks the modes in order; members of `system:masters` need none. What RBAC says is remembered until a role or binding changes."""

    def __init__(self, rbac: Rbac, node: NodeAuthorizer, modes: Sequence[str] = ("Node", "RBAC")) -> None:
        check_modes(modes)
        self.rbac = rbac
        self.modes = tuple(modes)
        self._node = node
        self._known: OrderedDict[tuple[User, Question], Verdict] = OrderedDict()
        self._generation = -1
        every: dict[str, Callable[[User, Question], Verdict | None]] = {
            "Node": self._by_node,
            "RBAC": self._by_rbac,
            "AlwaysAllow": lambda user, question: _ALLOWED,
            "AlwaysDeny": lambda user, question: _FORBIDDEN,
        }
        self._of_nodes = tuple(every[mode] for mode in modes)
        self._of_others = tuple(every[mode] for mode in modes if mode != "Node")

    def decide(self, user: User, question: Question) -> Verdict:
        if _MASTERS in user.groups:
            return _ALLOWED
        reason = ""
        for step in self._of_nodes if user.name.startswith(_NODE) else self._of_others:
            verdict = step(user, question)
            if verdict is None:
                continue
            if verdict.allowed:
                return verdict
            if verdict.reason:
                reason = f"{reason}\n{verdict.reason}" if reason else verdict.reason
        return Verdict(False, reason)

    def _by_node(self, user: User, question: Question) -> Verdict | None:
        node = user.node
        return None if node is None else self._node.decide(node, user, question)

    def _by_rbac(self, user: User, question: Question) -> Verdict:
        if self._generation != self.rbac.generation:
            self._known.clear()
            self._generation = self.rbac.generation
        key = (user, question)
        known = self._known.get(key)
        if known is None:
            known = self.rbac.decide(user, question)
            if question.length <= _LONGEST:
                self._known[key] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known
