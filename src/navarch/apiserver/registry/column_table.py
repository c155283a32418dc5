"""The literal table: resource → its columns."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.apiserver.registry.columns import Column

COLUMNS: dict[tuple[str, str], Sequence[Column]] = {}
