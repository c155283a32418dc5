"""What is left in a namespace that is being emptied, and the conditions that tell it. Pure.

Upstream counterpart: pkg/controller/namespace/deletion (status_condition_utils.go).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from navarch.api.core import v1 as core_v1
from navarch.machinery import timestamps


@dataclass(slots=True)
class Remains:
    """What is left in a namespace: counts by resource and by finalizer, and what went wrong."""

    resources: dict[str, int] = field(default_factory=dict)
    finalizers: dict[str, int] = field(default_factory=dict)
    discovery: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not (self.resources or self.discovery or self.content)


def conditions(remains: Remains, held: list[core_v1.NamespaceCondition], now: float) -> list[core_v1.NamespaceCondition]:
    """The five conditions of a namespace that is being emptied."""
    left = ", ".join(f"{r} has {n} resource instances" for r, n in sorted(remains.resources.items()))
    stuck = ", ".join(f"{f} in {n} resource instances" for f, n in sorted(remains.finalizers.items()))
    facts = [
        ("NamespaceDeletionDiscoveryFailure", bool(remains.discovery), "DiscoveryFailed", "; ".join(remains.discovery),
         "ResourcesDiscovered", "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", False, "GroupVersionParsingFailed", "",
         "ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", bool(remains.content), "ContentDeletionFailed", "; ".join(remains.content),
         "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ("NamespaceContentRemaining", bool(remains.resources), "SomeResourcesRemain", f"Some resources are remaining: {left}",
         "ContentRemoved", "All content successfully removed"),
        ("NamespaceFinalizersRemaining", bool(remains.finalizers), "SomeFinalizersRemain",
         f"Some content in the namespace has finalizers remaining: {stuck}",
         "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
    ]  # fmt: skip
    made = []
    for kind, bad, reason, message, good_reason, good_message in facts:
        status = "True" if bad else "False"
        before = next((c for c in held if c.type == kind), None)
        since = before.lastTransitionTime if before is not None and before.status == status else timestamps.seconds(now)
        made.append(
            core_v1.NamespaceCondition(
                type=kind,
                status=status,
                reason=reason if bad else good_reason,
                message=message if bad else good_message,
                lastTransitionTime=since,
            )
        )
    return made
