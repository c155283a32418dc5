"""The columns of a custom resource's tables: its name, and what its definition says, found by JSON paths.

Upstream counterpart: apiextensions-apiserver's pkg/registry/customresource/tableconvertor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.apiserver.extensions.definition import PrinterColumn
from navarch.apiserver.kinds.columns import NAME, Cell, Column, Tree, since
from navarch.machinery import goform, jsonpath, timestamps

_AGE = PrinterColumn(
    name="Age",
    type="date",
    description="Time since the object was created.",
    jsonPath=".metadata.creationTimestamp",
)


def of(declared: Sequence[PrinterColumn]) -> tuple[Column, ...]:
    """All columns of a version; the name alone, where one of them cannot be understood."""
    try:
        return (NAME, *(_column(column) for column in declared or (_AGE,)))
    except jsonpath.Invalid:
        return (NAME,)


def _column(column: PrinterColumn) -> Column:
    about = column.description or f"Custom resource definition column (in JSONPath format): {column.jsonPath}"
    return Column(column.name, _cell(column), column.type, column.format, about, column.priority)


def _cell(column: PrinterColumn) -> Cell:
    path = jsonpath.parse(column.jsonPath)
    kind = column.type

    def run(tree: Tree, now: float) -> Any:
        try:
            found = path.find(tree)
        except jsonpath.Unanswerable:
            return None
        return shown(kind, found[0], now) if found else None

    return run


def shown(kind: str, value: Any, now: float) -> Any:
    """A value as a cell of a column of some type; None when it is of another."""
    if kind == "string":
        return _text(value)
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "integer":
            return int(value) if number else None
        case "number":
            return float(value) if number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date" if isinstance(value, str):
            try:
                timestamps.parse(value)
            except ValueError:
                return "<invalid>"
            return since(value, now)
    return None


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return goform.number(value)
        case _:
            return goform.json(value)
