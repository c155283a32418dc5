"""The chain of admission plugins: the mutating halves run in order on the defaulted object, then the validating ones on the final one.

A plugin changes `attributes.obj` in place, or raises an `ApiError`. It is called for the operations it handles, and has been given what
it decides by when it was made (`table`). One that has to wait for something (the store, a webhook) returns an awaitable; only then does the
chain wait.

Upstream counterparts: apiserver's admission/{chain,interfaces}.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from navarch.apiserver.admission.attributes import Attributes

Run = Callable[[Attributes], Awaitable[None] | None]
OPERATIONS = ("CREATE", "UPDATE", "DELETE", "CONNECT")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin: its name upstream, the operations it handles, and its halves (one of them, or both).

    A plugin without a name is a check of the registry upstream: it cannot be switched off.
    """

    name: str
    handles: tuple[str, ...]
    mutate: Run | None = None
    validate: Run | None = None


class Chain:
    """The plugins that run. Which of them an operation concerns is known before a request comes."""

    def __init__(self, plugins: Iterable[Plugin] = ()) -> None:
        self.plugins = tuple(plugins)
        self._mutating = {o: tuple(p.mutate for p in self.plugins if p.mutate and o in p.handles) for o in OPERATIONS}
        self._validating = {o: tuple(p.validate for p in self.plugins if p.validate and o in p.handles) for o in OPERATIONS}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.plugins if p.name)

    async def mutate(self, attributes: Attributes) -> None:
        """Runs the mutating halves; once more when one of them says that others must see what it changed."""
        await self._mutate(attributes)
        if attributes.reinvocation.wanted:
            attributes.reinvocation.running = True
            await self._mutate(attributes)

    async def _mutate(self, attributes: Attributes) -> None:
        for run in self._mutating[attributes.operation]:
            if (pending := run(attributes)) is not None:
                await pending

    async def validate(self, attributes: Attributes) -> None:
        for run in self._validating[attributes.operation]:
            if (pending := run(attributes)) is not None:
                await pending
