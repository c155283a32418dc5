"""The scalar forms of the API, and the one base all generated types share.

Values keep the form they have in JSON: a quantity is the string "500m", a time is an RFC 3339 string, int-or-string is
either. Parsing is done by whoever needs the number (`machinery.quantity`, `machinery.timestamps`), so an object that only
passes through costs nothing.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Quantity = str | int | float
"""A resource amount ("500m", "1Gi"); the API server stores it as a canonical string. Clients may send a number."""

Time = str
"""RFC 3339 in UTC, to the second: "2026-01-31T12:00:00Z"."""

MicroTime = str
"""RFC 3339 in UTC with exactly six digits of fraction."""

IntOrString = int | str
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Object(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """The base of every generated type. None means absent."""
