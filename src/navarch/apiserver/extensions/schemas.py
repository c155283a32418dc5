"""What follows from the schema of one version of a custom resource. Each part is made when it is first needed, and kept.

In: an `openAPIV3Schema` as JSON. Out: its tree, the test of objects, the rules in CEL, the semantics of merging.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import msgspec

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

    @property
    def document(self) -> dict[str, Any] | None:
        """The schema as builtin values: made anew each time, since it is large and seldom needed. None for none."""
        return msgspec.json.decode(self.text) if self.text is not None else None

    @functools.cached_property
    def tree(self) -> Structural:
        try:
            return parse(self.document)
        except Unsupported as error:
            # Validation lets none of these in; an object that somebody put into the store by other means must not keep the rest from working.
            _log.error("a schema cannot be used, and allows anything: %s", error)
            return ANYTHING

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
        document = self.document
        if self.preserve:
            document = {**(document or {"type": "object"}), "x-kubernetes-preserve-unknown-fields": True}
        return schema.custom(document)
