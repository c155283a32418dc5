"""Tables: what `kubectl get` prints. A row is made when it is written, and not kept: a cell may tell an age.

The columns of each kind are in its strategy; a kind without any has Name and Created At.

Upstream counterparts: apiserver's endpoints/handlers/response.go and pkg/printers/internalversion.
"""

from __future__ import annotations

import time
from typing import Any

from navarch.apiserver.call import Call
from navarch.apiserver.kinds import columns
from navarch.apiserver.served import Served
from navarch.apiserver.watch_cache import Entry
from navarch.machinery import codec, errors


class Rows:
    """Makes rows of one resource for one request."""

    def __init__(self, call: Call, served: Served, *, headers: bool = True) -> None:
        self._served = served
        self._columns = served.strategy.columns
        self._include = call.query.get("includeObject", "Metadata") or "Metadata"
        if self._include not in ("None", "Metadata", "Object"):
            raise errors.BadRequest(f'unrecognized includeObject value: "{self._include}"')
        self._headers = headers

    def definitions(self) -> list[dict[str, Any]]:
        return [c.definition() for c in self._columns]

    def row(self, body: bytes) -> dict[str, Any]:
        tree = codec.tree(body)
        now = time.time()
        row: dict[str, Any] = {"cells": columns.cells(self._columns, tree, now)}
        if conditions := self._served.strategy.row_conditions(tree):
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


def of_entry(call: Call, served: Served, entry: Entry) -> bytes:
    """A Table of one entry, which is in the served version, as JSON."""
    return Rows(call, served).document(entry.body, entry.version)
