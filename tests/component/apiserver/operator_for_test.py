"""An operator as users write them with kopf: a Widget's status says its color, and it goes when the operator let it go."""

from __future__ import annotations

from typing import Any

import kopf

GROUP = "operated.example.com"


@kopf.on.create(GROUP, "v1", "widgets")
@kopf.on.update(GROUP, "v1", "widgets", field="spec.color")
async def colored(spec: Any, patch: Any, **_: Any) -> None:
    patch.status["color"] = spec.get("color", "")


@kopf.on.delete(GROUP, "v1", "widgets")
async def released(name: str, logger: Any, **_: Any) -> None:
    logger.info("released %s", name)


@kopf.on.startup()
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
