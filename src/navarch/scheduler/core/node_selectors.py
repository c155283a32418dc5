"""What node selector terms mean, over all nodes at once.

Upstream counterpart: component-helpers/scheduling/corev1/nodeaffinity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from navarch.api.core import v1 as core_v1
from navarch.lib import integers
from navarch.scheduler.core.arrays import Mask
from navarch.scheduler.core.columns import FIELD, Columns

FieldReader = Callable[[Columns, core_v1.NodeSelectorRequirement], Mask | bool]
"""Nodes whose field is as a requirement wants it."""


def any_term(columns: Columns, selector: core_v1.NodeSelector) -> Mask:
    """Nodes that any of the terms matches."""
    either = np.zeros(columns.capacity, np.bool_)
    for term in selector.nodeSelectorTerms or ():
        either |= node_term(columns, term)
    return either


def by_fields(columns: Columns, requirement: core_v1.NodeSelectorRequirement) -> Mask | bool:
    """Nodes whose field is as a requirement wants it."""
    return matching(columns, FIELD + (requirement.key or ""), requirement.operator, requirement.values or [])


def node_term(columns: Columns, term: core_v1.NodeSelectorTerm, fields: FieldReader = by_fields) -> Mask:
    """Nodes that one node selector term matches; an empty term matches none. `fields` reads its matchFields."""
    if not term.matchExpressions and not term.matchFields:
        return np.zeros(columns.capacity, np.bool_)
    passed = columns.alive.copy()
    for r in term.matchExpressions or ():
        passed &= matching(columns, r.key or "", r.operator, r.values or [])
    for r in term.matchFields or ():
        passed &= fields(columns, r)
    return passed


def matching(columns: Columns, key: str, operator: str | None, values: Sequence[str]) -> Mask:
    """Nodes whose label is as a requirement wants it."""
    match operator:
        case "In":
            return has(columns, key, values)
        case "NotIn":
            return ~has(columns, key, values)
        case "Exists":
            codes = columns.label(key)
            return np.zeros(columns.capacity, np.bool_) if codes is None else codes >= 0
        case "DoesNotExist":
            codes = columns.label(key)
            return np.ones(columns.capacity, np.bool_) if codes is None else codes < 0
        case "Gt" | "Lt":
            return _ordered(columns, key, operator, values[0] if values else "")
    return np.zeros(columns.capacity, np.bool_)


def has(columns: Columns, key: str, values: Sequence[str]) -> Mask:
    """Nodes whose label has one of some values."""
    column = columns.labels.get(key)
    if column is None:
        return np.zeros(columns.capacity, np.bool_)
    codes = [column.values[v] for v in values if v in column.values]
    if len(codes) == 1:
        same: Mask = column.codes == codes[0]
        return same
    return np.isin(column.codes, codes)


def _ordered(columns: Columns, key: str, operator: str, bound: str) -> Mask:
    column = columns.labels.get(key)
    passed = np.zeros(columns.capacity, np.bool_)
    if column is not None:
        for value, code in column.values.items():
            if integers.relates(value, operator, bound):
                passed |= column.codes == code
    return passed
