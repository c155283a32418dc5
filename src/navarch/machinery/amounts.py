"""Resource amounts as the server stores them: maps of canonical quantities, to the thousandth.

Upstream counterpart: SetDefaults_ResourceList and resource.Quantity's marshalling.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from navarch.api.scalars import Quantity
from navarch.machinery import quantity

Amounts = dict[str, Quantity]
stored = quantity.stored


def canonical(held: Amounts | None) -> None:
    """Brings every amount of a map into its stored form, in place."""
    if held:
        for name, value in held.items():
            text = stored(value)
            if text is not value and text != value:
                held[name] = text


def total(parts: Iterable[Mapping[str, Quantity] | None]) -> dict[str, Quantity]:
    """The sums, name by name."""
    made: dict[str, Quantity] = {}
    for part in parts:
        for name, value in (part or {}).items():
            made[name] = quantity.add(made[name], value) if name in made else value
    return made


def largest(left: Mapping[str, Quantity], right: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """The larger of two amounts, name by name."""
    made = dict(left)
    for name, value in right.items():
        if name not in made or quantity.compare(value, made[name]) > 0:
            made[name] = value
    return made
