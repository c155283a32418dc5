"""Events: served as core/v1 and as events.k8s.io/v1, stored as the former; they go by themselves after a time.

Upstream counterparts: pkg/registry/core/event, pkg/apis/{core,events}/v1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import Tree, name_of, sheet, since
from navarch.apiserver.kinds.strategy import Kept, Key, Selectable, Stored, Strategy, again, selectable
from navarch.lib import integers
from navarch.machinery import field


def default_event(obj: core_v1.Event) -> None:
    obj.involvedObject = obj.involvedObject or core_v1.ObjectReference()
    obj.source = obj.source or core_v1.EventSource()
    obj.reportingComponent = obj.reportingComponent or ""
    obj.reportingInstance = obj.reportingInstance or ""


def validate_event(obj: core_v1.Event) -> Found:
    found: Found = []
    about, metadata = obj.involvedObject, obj.metadata
    assert about is not None and metadata is not None
    if obj.eventTime is None:
        namespace = about.namespace or ""
        if not namespace:
            if metadata.namespace not in ("default", ""):
                found.append(field.invalid("involvedObject.namespace", namespace, "does not match event.namespace"))
        elif namespace != metadata.namespace:
            found.append(field.invalid("involvedObject.namespace", namespace, "does not match event.namespace"))
        return found
    for name in ("reportingComponent", "reportingInstance", "action", "reason"):
        value = getattr(obj, name)
        shown = "reportingController" if name == "reportingComponent" else name
        if not value:
            found.append(field.required(shown))
        elif len(value) > 128 and name != "reportingComponent":
            found.append(field.invalid(shown, "", "can have at most 128 characters"))
    if obj.type not in ("Normal", "Warning"):
        found.append(field.invalid("type", obj.type or "", "has invalid value: " + (obj.type or "")))
    if len(obj.message or "") > 1024:
        found.append(field.invalid("message", "", "can have at most 1024 characters"))
    return found


def event_row(t: Tree, now: float) -> list[Any]:
    """Of a core/v1 Event, or of an events.k8s.io/v1 one."""
    first = since(t.get("firstTimestamp") or t.get("deprecatedFirstTimestamp") or t.get("eventTime"), now)
    last_stamp = t.get("lastTimestamp") or t.get("deprecatedLastTimestamp")
    last = since(last_stamp, now) if last_stamp else first
    count = t.get("count") or t.get("deprecatedCount") or 1
    if series := t.get("series"):
        last, count = since(series.get("lastObservedTime"), now), series.get("count", 0)
    about = t.get("involvedObject") or t.get("regarding") or {}
    target = about.get("kind", "").lower() + (f"/{about['name']}" if about.get("name") else "")
    source = t.get("source") or t.get("deprecatedSource") or {}
    component = source.get("component") or t.get("reportingComponent") or t.get("reportingController") or ""
    host = source.get("host") or t.get("reportingInstance") or ""
    message = (t.get("message") or t.get("note") or "").strip()
    return [
        last,
        t.get("type", ""),
        t.get("reason", ""),
        target,
        about.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        message,
        first,
        count,
        name_of(t, now),
    ]


KEEP_SECONDS = "navarch.io/keep-seconds"
"""An event's annotation: how long it is worth keeping, where that is longer than events are kept."""


def event_ttl(obj: core_v1.Event, kept: Kept) -> float:
    """--event-ttl, or longer where the event asks for it; never longer than history is kept."""
    asked = ((obj.metadata.annotations if obj.metadata is not None else None) or {}).get(KEEP_SECONDS, "")
    return max(kept.events, min(float(asked), kept.history) if integers.is_digits(asked) and len(asked) < 12 else 0.0)


_EVENT_NAMES = {
    "note": "message",
    "regarding": "involvedObject",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}


def event_inward(tree: Tree) -> Tree:
    """events.k8s.io/v1 → core/v1."""
    made = _event_head(tree, "v1")
    made |= {_EVENT_NAMES.get(k, k): v for k, v in tree.items() if k not in made}
    return made


def event_outward(tree: Tree) -> Tree:
    """core/v1 → events.k8s.io/v1."""
    back = {v: k for k, v in _EVENT_NAMES.items()}
    made = _event_head(tree, "events.k8s.io/v1")
    made |= {back.get(k, k): v for k, v in tree.items() if k not in made}
    return made


def _event_head(tree: Tree, api_version: str) -> Tree:
    return {"apiVersion": api_version, "kind": tree.get("kind"), "metadata": tree.get("metadata") or {}}


_EVENT = Strategy(
    default=default_event,
    validate=validate_event,
    validate_update=again(validate_event),
    ttl=event_ttl,
    create_on_update=True,
    collected=False,
    columns=sheet("Last Seen|Type|Reason|Object|Subobject*|Source*|Message|First Seen*|Count*|Name*", event_row),
    selectable=(
        *selectable("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion"),
        *selectable("involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "type"),
        Selectable("source", "source.component", otherwise="reportingComponent"),
    ),
    indexed=("involvedObject.uid",),
)

KINDS: dict[Key, Strategy] = {
    ("", "events"): _EVENT,
    ("events.k8s.io", "events"): replace(_EVENT, versions={"v1": Stored(("", "v1", "events"), event_inward, event_outward)}),
}
