"""Tables: what `kubectl get` prints. A row's cells are made once per object revision.

The columns of each kind are in `registry.columns`; a kind without any has Name and Created At.

Upstream counterparts: apiserver's endpoints/handlers/response.go and pkg/printers/internalversion.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from navarch.apiserver.context import Context
from navarch.apiserver.registry import columns
from navarch.apiserver.served import Served
from navarch.apiserver.watch_cache import Entry
from navarch.machinery import codec, errors


class Rows:
    """Makes rows of one resource for one request."""

    def __init__(self, context: Context, served: Served, *, headers: bool = True) -> None:
        self._served = served
        self._columns = served.columns or columns.of(served.group, served.plural)
        self._include = context.query.get("includeObject", "Metadata") or "Metadata"
        if self._include not in ("None", "Metadata", "Object"):
            raise errors.BadRequest(f'unrecognized includeObject value: "{self._include}"')
        self._headers = headers

    def definitions(self) -> list[dict[str, Any]]:
        return [c.definition() for c in self._columns]

    def row(self, body: bytes) -> dict[str, Any]:
        tree = codec.tree(body)
        now = time.time()
        row: dict[str, Any] = {"cells": columns.cells(self._columns, tree, now)}
        if conditions := columns.row_conditions(tree):
            row["conditions"] = conditions
        if self._include == "Object":
            row["object"] = tree
        elif self._include == "Metadata":
            metadata = tree.get("metadata") or {}
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        return row

    def document(self, body: bytes, revision: int) -> bytes:
        """A table of one object: what a table watch sends per event."""
        return codec.encode(
            {
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": str(revision)},
                "columnDefinitions": self.definitions(),
                "rows": [self.row(body)],
            }
        )


def of_entries(context: Context, served: Served, entries: Sequence[Entry], revision: int, token: str = "", remaining: int = 0) -> bytes:
    """A Table of entries as JSON."""
    rows = Rows(context, served)
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if token:
        metadata["continue"] = token
    if remaining:
        metadata["remainingItemCount"] = remaining
    return codec.encode(
        {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "columnDefinitions": rows.definitions(),
            "rows": [rows.row(served.body(e)) for e in entries],
        }
    )
