"""Columns of tables, and what the rows of many kinds are made with.

A column is a name, a type and a function of the object as builtin values (and the time); a row makes all cells of an object.
Priority 0 is always shown, 1 with `-o wide`.

Upstream counterpart: pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from navarch.machinery import timestamps

Tree = dict[str, Any]
Cell = Callable[[Tree, float], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `format` is "name" for the column that names the object.

    `row`, on the first column of a kind, makes all its cells at once, where they are found in one walk of the object.
    """

    name: str
    cell: Cell
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    row: Callable[[Tree, float], list[Any]] | None = None

    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


def name_of(tree: Tree, now: float) -> str:
    return str(tree["metadata"].get("name", ""))


def age_of(tree: Tree, now: float) -> str:
    """The object's age, as upstream shows durations."""
    return since(tree["metadata"].get("creationTimestamp"), now)


def since(stamp: str | None, now: float) -> str:
    if not stamp:
        return "<unknown>"
    return duration(now - timestamps.parse(stamp))


def duration(seconds: float) -> str:
    """A duration for people: 45s, 3m20s, 5h, 2d4h, 3y10d (k8s.io/apimachinery/pkg/util/duration)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{rest}s" if (rest := whole % 60) else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{rest}m" if (rest := minutes % 60) else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{rest}h" if (rest := hours % 24) else f"{days}d"
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return f"{days // 365}y{rest}d" if (rest := days % 365) else f"{days // 365}y"
    return f"{days // 365}y"


def created(tree: Tree, now: float) -> str:
    return str(tree["metadata"].get("creationTimestamp", ""))


NAME = Column("Name", name_of, format="name", description="Name must be unique within a namespace.")
AGE = Column("Age", age_of, description="Time since the object was created.")
DEFAULT = (NAME, Column("Created At", created, type="date", description="When the object was created."))


def cells(columns: Sequence[Column], tree: Tree, now: float) -> list[Any]:
    row = columns[0].row
    return row(tree, now) if row is not None else [c.cell(tree, now) for c in columns]


Row = Callable[[Tree, float], list[Any]]


def sheet(titles: str, row: Row) -> tuple[Column, ...]:
    """Columns from their titles, separated by `|`: `*` marks one shown with `-o wide`, `#` a whole number, `?` a truth value."""
    made: list[Column] = []
    for i, title in enumerate(titles.split("|")):
        kind = "date" if title == "Created At" else "integer" if "#" in title else "boolean" if "?" in title else "string"
        plain = title.rstrip("*#?")
        form = "name" if plain == "Name" else ""
        priority = 1 if "*" in title else 0
        made.append(Column(plain, _picker(row, i), kind, form, _ABOUT.get(plain, ""), priority, row if i == 0 else None))
    return tuple(made)


_ABOUT = {"Name": "Name must be unique within a namespace.", "Age": "Time since the object was created."}


def _picker(row: Row, position: int) -> Cell:
    return lambda tree, now: row(tree, now)[position]


# ---- what many rows show ----

NOTHING, UNSET, UNKNOWN = "<none>", "<unset>", "<unknown>"
_OPERATORS = {"In": "in", "NotIn": "notin"}


def spec_of(tree: Tree) -> Tree:
    return tree.get("spec") or {}


def status_of(tree: Tree) -> Tree:
    return tree.get("status") or {}


def template_spec(tree: Tree) -> Tree:
    return (spec_of(tree).get("template") or {}).get("spec") or {}


def containers(spec: Tree) -> list[str]:
    held = spec.get("containers") or ()
    return [",".join(c.get("name", "") for c in held), ",".join(c.get("image", "") for c in held)]


def label_text(values: Mapping[str, str] | None) -> str:
    return ",".join(f"{k}={values[k]}" for k in sorted(values)) if values else NOTHING


def selector_text(held: Tree | None) -> str:
    """A label selector as its text, terms in the order of their keys."""
    if held is None:
        return NOTHING
    terms = [(k, f"{k}={v}") for k, v in (held.get("matchLabels") or {}).items()]
    for e in held.get("matchExpressions") or ():
        key, operator = e.get("key", ""), e.get("operator")
        if operator in _OPERATORS:
            text = f"{key} {_OPERATORS[operator]} ({','.join(sorted(e.get('values') or ()))})"
        else:
            text = key if operator == "Exists" else f"!{key}"
        terms.append((key, text))
    terms.sort(key=lambda t: t[0])
    return ",".join(t[1] for t in terms) or NOTHING


def first_ones(items: list[str], most: int = 3) -> str:
    if not items:
        return NOTHING
    shown = ",".join(items[:most])
    return f"{shown} + {len(items) - most} more..." if len(items) > most else shown


def marked_name(t: Tree, now: float, *notes: str) -> str:
    held = t["metadata"].get("annotations") or {}
    return name_of(t, now) + (" (default)" if any(held.get(n) == "true" for n in notes) else "")


def plain_row(tree: Tree, now: float) -> list[Any]:
    """Name and Age."""
    return [name_of(tree, now), age_of(tree, now)]


def created_row(t: Tree, now: float) -> list[Any]:
    """Name and the time of creation (roles)."""
    return [name_of(t, now), t["metadata"].get("creationTimestamp", "")]


def balancer_addresses(status: Tree) -> list[str]:
    found = {i.get("ip") or i.get("hostname") or "" for i in (status.get("loadBalancer") or {}).get("ingress") or ()}
    return sorted(found - {""})


PLAIN = sheet("Name|Age", plain_row)
CREATED = sheet("Name|Created At", created_row)
