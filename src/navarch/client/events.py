"""Event recording: what `kubectl describe` shows at the end.

Equal events of one object are counted on one Event object; a burst of events about one object is cut off (25 at once, then
one in five minutes), as upstream does. Recording never blocks or fails the caller.

Upstream counterpart: client-go's tools/record.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from navarch.api import resources
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.client.rest import Client, Unreachable
from navarch.machinery import errors, timestamps

_log = logging.getLogger(__name__)
_BURST, _REFILL = 25.0, 1 / 300
_KNOWN = 4096


def reference(obj: Object, field_path: str = "") -> core_v1.ObjectReference:
    """A reference to an object, as events and owners of bindings carry it."""
    metadata: Any = getattr(obj, "metadata", None)
    version, kind = resources.group_version_kind(type(obj))
    return core_v1.ObjectReference(
        apiVersion=version,
        kind=kind,
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        resourceVersion=metadata.resourceVersion,
        fieldPath=field_path or None,
    )


@dataclass(frozen=True, slots=True)
class _Recorded:
    involved: core_v1.ObjectReference
    type: str
    reason: str
    message: str
    at: float
    component: str
    annotations: Mapping[str, str] | None


@dataclass(slots=True)
class _Seen:
    name: str
    count: int
    first: str


class Recorder:
    """Records events of one component; `run` sends them."""

    def __init__(self, client: Client, component: str, host: str = "") -> None:
        self._client = client
        self._component = component
        self._host = host
        self._queue: asyncio.Queue[_Recorded] = asyncio.Queue(10_000)
        self._seen: OrderedDict[tuple[str, ...], _Seen] = OrderedDict()
        self._tokens: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def named(self, component: str) -> Named:
        """The same recorder for one part of the component, whose name its events carry."""
        return Named(self, component)

    def event(
        self,
        obj: Object,
        type: str,
        reason: str,
        message: str,
        field_path: str = "",
        component: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Notes an event ("Normal" or "Warning") about an object or an ObjectReference. Of equal events, the newest's annotations stay."""
        involved = obj if isinstance(obj, core_v1.ObjectReference) else reference(obj, field_path)
        now = self._client.clock.now()
        if not self._allowed(involved, now):
            return
        try:
            self._queue.put_nowait(_Recorded(involved, type, reason, message, now, component or self._component, annotations))
        except asyncio.QueueFull:
            _log.warning("too many events: dropped %s %s", reason, involved.name)

    async def run(self) -> None:
        """Sends what was recorded until cancelled."""
        while True:
            recorded = await self._queue.get()
            try:
                await self._send(recorded)
            except errors.ApiError as error:
                _log.debug("event %s for %s was refused: %s", recorded.reason, recorded.involved.name, error)
            except Unreachable:
                await self._client.clock.sleep(1.0)

    def _allowed(self, involved: core_v1.ObjectReference, now: float) -> bool:
        key = (involved.uid or "", involved.name or "")
        tokens, last = self._tokens.pop(key, (_BURST, now))
        tokens = min(_BURST, tokens + (now - last) * _REFILL)
        allowed = tokens >= 1.0
        self._tokens[key] = (tokens - 1.0 if allowed else tokens, now)
        while len(self._tokens) > _KNOWN:
            self._tokens.popitem(last=False)
        return allowed

    async def _send(self, recorded: _Recorded) -> None:
        involved, kind, reason, message, now = recorded.involved, recorded.type, recorded.reason, recorded.message, recorded.at
        stamp = timestamps.seconds(now)
        key = (recorded.component, involved.uid or "", involved.kind or "", involved.name or "", involved.fieldPath or "", kind, reason, message)
        namespace = involved.namespace or "default"
        seen = self._seen.get(key)
        if seen is not None:
            self._seen.move_to_end(key)
            patch: dict[str, Any] = {"count": seen.count + 1, "lastTimestamp": stamp}
            if recorded.annotations:
                patch["metadata"] = {"annotations": recorded.annotations}
            try:
                await self._client.patch(core_v1.Event, seen.name, patch, namespace)
            except errors.NotFound:
                del self._seen[key]
            else:
                seen.count += 1
                return
        name = f"{involved.name}.{int(now * 1e9):x}"
        source = core_v1.EventSource(component=recorded.component, host=self._host or None)
        event = core_v1.Event(
            metadata=meta_v1.ObjectMeta(name=name, namespace=namespace, annotations=dict(recorded.annotations) if recorded.annotations else None),
            involvedObject=involved,
            type=kind,
            reason=reason,
            message=message,
            source=source,
            firstTimestamp=stamp,
            lastTimestamp=stamp,
            count=1,
            reportingComponent=recorded.component,
            reportingInstance=self._host,
        )
        await self._client.create(event)
        self._seen[key] = _Seen(name, 1, stamp)
        while len(self._seen) > _KNOWN:
            self._seen.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Named:
    """A recorder under the name of one part of a component, as upstream's controllers each have their own."""

    recorder: Recorder
    component: str

    def event(self, obj: Object, type: str, reason: str, message: str, field_path: str = "") -> None:
        self.recorder.event(obj, type, reason, message, field_path, self.component)
