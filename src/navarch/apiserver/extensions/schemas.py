"""What follows from the schema of one version of a custom resource. Each part is made when it is first needed, and kept.

The schemas of well-known operators take half a second to make all parts of: a write first waits for `prepare`, which has that done in the
background.

In: an `openAPIV3Schema` as JSON. Out: its tree, the test of objects, the rules in CEL, the semantics of merging.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import msgspec

from navarch.apiserver import background
from navarch.machinery import schema
from navarch.machinery.cel.rules import Validator
from navarch.machinery.openapi.schemas import stamp_of
from navarch.machinery.structural import check
from navarch.machinery.structural.schema import ANYTHING, Structural, Unsupported, parse

_log = logging.getLogger(__name__)


class Schema:
    """A version's schema. `preserve`: unknown fields are kept everywhere (`spec.preserveUnknownFields`, of old definitions)."""

    def __init__(self, text: msgspec.Raw | None, *, preserve: bool = False) -> None:
        self.text = text
        """A part of the definition's own bytes; None for no schema."""
        self.preserve = preserve
        self.stamp = stamp_of(text or b"")
        """What tells this schema from another."""
        self.prepared = False

    @property
    def large(self) -> bool:
        """Whether making what follows from it takes the loop too long."""
        return self.text is not None and len(memoryview(self.text)) > background.LARGE

    async def prepare(self) -> None:
        """Makes all that a write needs, in the background."""
        if self.prepared:
            return
        parts = await background.aside(self._parts)
        if parts is not None:
            self.tree, self.test, self.rules, self.merging = parts
            self.prepared = True

    def _parts(self) -> tuple[Structural, check.Test, Validator, schema.Schema] | None:
        """Made without the cached properties: their lock is one for all schemas, and the loop may want a small one meanwhile."""
        if self.prepared:  # another write waited first
            return None
        tree = _tree(self.document)
        return tree, check.compiled(tree), Validator(tree), self._merging()

    @property
    def document(self) -> dict[str, Any] | None:
        """The schema as builtin values: made anew each time, since it is large and seldom needed. None for none."""
        return msgspec.json.decode(self.text) if self.text is not None else None

    @functools.cached_property
    def tree(self) -> Structural:
        return _tree(self.document)

    @functools.cached_property
    def test(self) -> check.Test:
        """Whether an object is valid."""
        return check.compiled(self.tree)

    @functools.cached_property
    def status(self) -> Structural | None:
        """The schema of `status`, if it says anything of it."""
        return self.tree.properties.get("status")

    @functools.cached_property
    def status_test(self) -> check.Test | None:
        return check.compiled(self.status) if self.status is not None else None

    @functools.cached_property
    def rules(self) -> Validator:
        return Validator(self.tree)

    @functools.cached_property
    def merging(self) -> schema.Schema:
        return self._merging()

    def _merging(self) -> schema.Schema:
        document = self.document
        if self.preserve:
            document = {**(document or {"type": "object"}), "x-kubernetes-preserve-unknown-fields": True}
        return schema.custom(document)


def _tree(document: dict[str, Any] | None) -> Structural:
    try:
        return parse(document)
    except Unsupported as error:
        # Validation lets none of these in; an object that somebody put into the store by other means must not keep the rest from working.
        _log.error("a schema cannot be used, and allows anything: %s", error)
        return ANYTHING
