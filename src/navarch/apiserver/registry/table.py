"""The literal table: resource → its strategy."""

from __future__ import annotations

from navarch.apiserver.registry.strategy import Strategy

STRATEGIES: dict[tuple[str, str], Strategy] = {}
