"""Who is called a second time, when something changed the object after he was called.

Webhooks and policies that ask for it (IfNeeded) are called once more in the second round of the chain (`Attributes.reinvocation`), if
since their first call a plugin, a webhook or a policy changed the object. Nobody is called for the first time there.

Upstream counterparts: apiserver's pkg/admission/plugin/webhook/mutating, policy/mutating (reinvocationcontext.go).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from navarch.apiserver.admission.attributes import Attributes
from navarch.machinery import codec


@dataclass(slots=True)
class Round:
    """What one plugin remembers of a write from the first round to the second."""

    _left: bytes = b""
    """The object as the plugin left it: plugins change objects in place, so that only its text tells."""
    _called: set[Hashable] = field(default_factory=set)
    """Who may be called again, and was not yet told of a change."""
    _again: set[Hashable] = field(default_factory=set)
    """Who has to be."""

    def begin(self, attributes: Attributes) -> None:
        """The plugin is run: in the second round it sees what others did."""
        if attributes.reinvocation.running and (self._called or self._again) and self._left != _encoded(attributes):
            self._tell()

    def leaves_out(self, attributes: Attributes, key: Hashable) -> bool:
        """Whether somebody is not to be called in this round."""
        return attributes.reinvocation.running and key not in self._again

    def changed(self, attributes: Attributes) -> None:
        """Whoever was called just now changed the object: others must see it."""
        self._tell()
        attributes.reinvocation.wanted = True

    def called(self, key: Hashable) -> None:
        """Somebody who asks to be called again was."""
        self._called.add(key)

    def end(self, attributes: Attributes) -> None:
        """The plugin has run."""
        if not attributes.reinvocation.running and (self._called or self._again):
            self._left = _encoded(attributes)

    def _tell(self) -> None:
        self._again |= self._called
        self._called = set()


def of(attributes: Attributes, plugin: str) -> Round:
    """What a plugin remembers of a write."""
    held: Round = attributes.scratch.setdefault(plugin, Round())
    return held


def _encoded(attributes: Attributes) -> bytes:
    return codec.encode(attributes.obj) if attributes.obj is not None else b""
