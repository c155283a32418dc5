"""flowcontrol.apiserver.k8s.io: FlowSchemas and PriorityLevelConfigurations.

Upstream counterparts: pkg/apis/flowcontrol/v1/defaults.go, pkg/registry/flowcontrol.
"""

from __future__ import annotations

from typing import Any

from navarch.api.flowcontrol import v1 as flow_v1
from navarch.apiserver.kinds.columns import NOTHING, Tree, age_of, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Strategy


def default_flow_schema(obj: flow_v1.FlowSchema) -> None:
    spec = obj.spec = obj.spec or flow_v1.FlowSchemaSpec()
    spec.matchingPrecedence = spec.matchingPrecedence or 1000


def flow_schema_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    method = (spec.get("distinguisherMethod") or {}).get("type") or NOTHING
    missing = next((c.get("status", "") for c in status_of(t).get("conditions") or () if c.get("type") == "Dangling"), "?")
    return [name_of(t, now), level, spec.get("matchingPrecedence", 0), method, age_of(t, now), missing]


def default_priority_level(obj: flow_v1.PriorityLevelConfiguration) -> None:
    spec = obj.spec
    if spec is None:
        return
    if spec.exempt is not None:
        spec.exempt.nominalConcurrencyShares = spec.exempt.nominalConcurrencyShares or 0
        spec.exempt.lendablePercent = spec.exempt.lendablePercent or 0
    limited = spec.limited
    if limited is not None:
        if limited.nominalConcurrencyShares is None:
            limited.nominalConcurrencyShares = 30
        limited.lendablePercent = limited.lendablePercent or 0
        queuing = limited.limitResponse.queuing if limited.limitResponse else None
        if queuing is not None:
            queuing.handSize, queuing.queues = queuing.handSize or 8, queuing.queues or 64
            queuing.queueLengthLimit = queuing.queueLengthLimit or 50


def priority_level_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    limited = spec.get("limited")
    cells: list[Any] = [NOTHING] * 4
    if limited:
        cells[0] = limited.get("nominalConcurrencyShares", 0)
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        if queuing:
            cells[1:] = [queuing.get("queues", 0), queuing.get("handSize", 0), queuing.get("queueLengthLimit", 0)]
    return [name_of(t, now), spec.get("type", ""), *cells, age_of(t, now)]


GROUP = "flowcontrol.apiserver.k8s.io"

KINDS: dict[Key, Strategy] = {
    (GROUP, "flowschemas"): Strategy(
        default=default_flow_schema,
        generation=True,
        columns=sheet("Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL", flow_schema_row),
    ),
    (GROUP, "prioritylevelconfigurations"): Strategy(
        default=default_priority_level,
        generation=True,
        columns=sheet("Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age", priority_level_row),
    ),
}
