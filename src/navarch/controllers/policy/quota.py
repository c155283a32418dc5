"""ResourceQuotas: keeps `status.used` what the namespace's objects really use.

Admission counts up as objects are made; this counts anew, so that what went is given back. It does not count because of what
admission wrote, nor because of a new object: what admission has counted may not be stored yet, and counting then would give away
what was just taken.

Upstream counterpart: pkg/controller/resourcequota.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from navarch.api import resources
from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Object
from navarch.client import partial
from navarch.client.informer import Change, Deleted, Modified
from navarch.client.rest import Request
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import errors, quantity, usage
from navarch.objects import meta

_COUNTED: tuple[type[Object], ...] = (
    core_v1.Pod,
    core_v1.Service,
    core_v1.ConfigMap,
    core_v1.Secret,
    core_v1.PersistentVolumeClaim,
    core_v1.ReplicationController,
    core_v1.ResourceQuota,
)
_RECOUNT_SECONDS = 300.0
_UNWATCHED_SECONDS = 10.0
"""How soon a quota is counted again that limits what is not watched: any resource there may be."""
_COUNT = "count/"


class _More(msgspec.Struct):
    remainingItemCount: int = 0


class _Count(msgspec.Struct):
    metadata: _More = msgspec.field(default_factory=_More)
    items: list[msgspec.Raw] | None = None


class QuotaController(Reconciler):
    """Counts what each quota limits."""

    name = "resourcequota"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._by_namespace = {kind: context.index(kind, "namespace", meta.namespace) for kind in _COUNTED}
        self._quotas = context.informer(core_v1.ResourceQuota)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.ResourceQuota, lambda quota: [meta.key(quota)], when=_limits_changed)
        for kind in _COUNTED:
            yield Watch(kind, self._keys, when=_may_give_back)

    def _keys(self, obj: Object) -> list[str]:
        """The quotas of an object's namespace."""
        return [meta.key(q) for q in self._by_namespace[core_v1.ResourceQuota].of(meta.of(obj).namespace or "")]

    async def reconcile(self, key: str) -> float | None:
        quota = self._quotas.by_key(key)
        if quota is None or meta.of(quota).deletionTimestamp is not None:
            return None
        spec = quota.spec or core_v1.ResourceQuotaSpec()
        hard = spec.hard or {}
        parts = self._known(quota, spec)
        for name in hard:
            if name.startswith(_COUNT):
                parts.append({name: str(await self._counted(meta.of(quota).namespace or "", name.removeprefix(_COUNT)))})
        status = core_v1.ResourceQuotaStatus(hard=hard, used=usage.total(parts, hard))
        if not _same(status, quota.status):
            await self._context.client.update_status(msgspec.structs.replace(quota, status=status))
        return _UNWATCHED_SECONDS if any(name.startswith(_COUNT) and not _watched(name) for name in hard) else _RECOUNT_SECONDS

    def _known(self, quota: core_v1.ResourceQuota, spec: core_v1.ResourceQuotaSpec) -> list[usage.Usage]:
        """What the watched objects use, but for plain counts."""
        now = self._context.now()
        found: list[usage.Usage] = []
        for kind in _COUNTED:
            plural = resources.of(kind).plural
            objects: Sequence[Any] = self._by_namespace[kind].of(meta.of(quota).namespace or "")
            for obj in objects:
                if usage.matches(spec, "", plural, obj):
                    found.append({n: v for n, v in usage.of("", plural, obj, now).items() if not n.startswith(_COUNT)})
        return found

    async def _counted(self, namespace: str, what: str) -> int:
        """How many objects of `plural.group` a namespace has; 0 when there is no such resource."""
        plural, _, group = what.partition(".")
        resource = await self._context.discovery.resource(group, plural)
        if resource is None or not resource.namespaced or "list" not in resource.verbs:
            return 0
        path = f"{resource.prefix}/namespaces/{namespace}/{plural}"
        try:
            data = await self._context.client.send(Request("GET", path, (("limit", "1"),), accept=partial.LIST))
        except errors.NotFound:
            return 0
        listed = msgspec.json.decode(data, type=_Count)
        return len(listed.items or ()) + listed.metadata.remainingItemCount


def _watched(name: str) -> bool:
    """Whether what a name counts is watched, so that changes of it are heard of."""
    return name.removeprefix(_COUNT) in {resources.of(kind).plural for kind in _COUNTED}


def _limits_changed(change: Change[Any]) -> bool:
    return not isinstance(change, Modified) or change.old.spec != change.new.spec


def _may_give_back(change: Change[Any]) -> bool:
    """Whether a change can lessen what is used: an object that goes, asks for something else, or comes to its end."""
    match change:
        case Deleted():
            return True
        case Modified(old, new) if not isinstance(new, core_v1.ResourceQuota):
            return getattr(old, "spec", None) != getattr(new, "spec", None) or _end(old) != _end(new)
    return False


def _end(obj: Object) -> tuple[str | None, str | None]:
    """How far an object has come towards its end: when it is to go, and a pod's phase."""
    status = obj.status if isinstance(obj, core_v1.Pod) else None
    return meta.of(obj).deletionTimestamp, status.phase if status is not None else None


def _same(status: core_v1.ResourceQuotaStatus, held: core_v1.ResourceQuotaStatus | None) -> bool:
    """Whether two statuses say the same, however the amounts are written."""
    if held is None:
        return False
    for mine, theirs in ((status.hard or {}, held.hard or {}), (status.used or {}, held.used or {})):
        if mine.keys() != theirs.keys() or any(quantity.compare(mine[n], theirs[n]) for n in mine):
            return False
    return True
