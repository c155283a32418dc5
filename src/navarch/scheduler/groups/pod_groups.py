"""Which pods belong to which group, and whether a group is complete enough to be tried.

A pod names its group in `spec.schedulingGroup.podGroupName`; the group is a PodGroup object (scheduling.k8s.io/v1alpha2) whose gang policy
says how many pods it takes at least (`minCount`). Until the object and that many pods are there, its pods wait at the gate.
The resource is alpha and often not served: then groups mean nothing, and it is asked for again once a minute.

In: changes of pods and of PodGroups. Out: `gate` (why a pod must wait), `gang` (what it is placed with).

Upstream counterparts: framework/plugins/gangscheduling (PreEnqueue), backend/cache/podgroupstate.go; off there in v1.36 until the
feature gates GenericWorkload and GangScheduling are set.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from navarch.api import resources
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scheduling import v1alpha2
from navarch.client.informer import Informer
from navarch.client.rest import Client, Request, Unreachable
from navarch.lib import tasks
from navarch.machinery import codec, errors, timestamps
from navarch.objects import meta

_log = logging.getLogger(__name__)
_AGAIN_SECONDS, _SOON = 60.0, (0.1, 0.5, 1.0, 2.0)
"""When to look again: for a resource that is not served, and when there was no answer at the start."""
TOO_FEW = "waiting for minCount pods from a gang to appear in scheduling queue"
SCHEDULED = "PodGroupScheduled"


@dataclass(frozen=True, slots=True)
class Gang:
    """A group that is placed together: at least `minimum` of its pods at once."""

    key: str
    minimum: int


class PodGroups:
    """Knows the groups of all pods."""

    def __init__(self, client: Client, look_again: Callable[[str], None]) -> None:
        self._client = client
        self._look_again = look_again
        self._informer = Informer(client, v1alpha2.PodGroup)
        self._served = False
        self._pods: dict[str, dict[str, core_v1.Pod]] = {}
        self._open: set[str] = set()

    async def start(self, group: tasks.Group) -> None:
        """Finds out whether groups are served; reads them if they are."""
        for wait in _SOON:
            try:
                await self._look(group)
                break
            except (errors.ApiError, Unreachable) as error:
                _log.info("pod groups: %s", error)
                await self._client.clock.sleep(wait)
        group.start("pod groups", self._keep_looking(group))

    async def _keep_looking(self, group: tasks.Group) -> None:
        while not self._served:
            await self._client.clock.sleep(_AGAIN_SECONDS)
            with contextlib.suppress(errors.ApiError, Unreachable):
                await self._look(group)

    async def _look(self, group: tasks.Group) -> None:
        """One look; raises when there was no answer."""
        try:
            path = resources.of(v1alpha2.PodGroup).path()
            await self._client.send(Request("GET", path, (("limit", "1"),)))
        except (errors.NotFound, errors.Forbidden) as error:
            _log.debug("pod groups: %s", error)
            return
        self._served = True
        group.start("informer PodGroup", self._informer.run())
        await self._informer.synced.wait()
        self._informer.subscribe(self._changed)
        for key in list(self._pods):
            self._look_at(key)

    def _changed(self, change: Any) -> None:
        found: v1alpha2.PodGroup = change.new if hasattr(change, "new") else change.obj
        key = meta.key(found)
        self._look_at(key)
        if key not in self._open:  # its pods wait for something else now
            self._look_again(key)

    # ---- pods ----

    def see(self, pod: core_v1.Pod) -> None:
        """A pod that is there, bound or not."""
        key, uid = key_of(pod), meta.of(pod).uid or ""
        if key:
            self._pods.setdefault(key, {})[uid] = pod
            self._look_at(key)

    def forget(self, pod: core_v1.Pod) -> None:
        """A pod that is gone or finished."""
        key = key_of(pod)
        if key in self._pods:
            self._pods[key].pop(meta.of(pod).uid or "", None)
            if not self._pods[key]:
                del self._pods[key]
            self._look_at(key)

    def _look_at(self, key: str) -> None:
        """Has the pods of a group looked at again when its gate has opened."""
        if self._closed(key):
            self._open.discard(key)
        elif key not in self._open:
            self._open.add(key)
            self._look_again(key)

    def members(self, key: str) -> list[core_v1.Pod]:
        return list(self._pods.get(key, {}).values())

    # ---- the gate ----

    def gate(self, pod: core_v1.Pod) -> str:
        """Why a pod must wait for its group; empty when it need not."""
        key = key_of(pod)
        return self._closed(key) if key else ""

    def _closed(self, key: str) -> str:
        if not self._served:
            return ""
        found = self._informer.by_key(key)
        if found is None:
            return f'waiting for pods\'s pod group "{key.partition("/")[2]}" to appear in scheduling queue'
        return TOO_FEW if len(self._pods.get(key, ())) < _minimum(found) else ""

    def gang(self, pod: core_v1.Pod) -> Gang | None:
        """What a pod is placed together with; None when it is placed alone."""
        key = key_of(pod)
        found = self._informer.by_key(key) if key and self._served else None
        minimum = _minimum(found) if found is not None else 0
        return Gang(key, minimum) if minimum else None

    # ---- telling ----

    async def tell(self, key: str, *, scheduled: bool, message: str) -> None:
        """Writes the group's condition. One that was scheduled stays so."""
        found = self._informer.by_key(key)
        if found is None:
            return
        m = meta.of(found)
        status, reason = ("True", "Scheduled") if scheduled else ("False", "Unschedulable")
        listed = (found.status.conditions if found.status is not None else None) or []
        held = next((c for c in listed if c.type == SCHEDULED), None)
        if held is not None and ((held.status == "True" and not scheduled) or (held.status, held.reason, held.message) == (status, reason, message)):
            return
        since = held.lastTransitionTime if held is not None and held.status == status else timestamps.seconds(self._client.clock.now())
        made = meta_v1.Condition(
            type=SCHEDULED, status=status, reason=reason, message=message, lastTransitionTime=since, observedGeneration=m.generation
        )
        conditions = [codec.to_tree(c) for c in (*(c for c in listed if c.type != SCHEDULED), made)]
        try:
            await self._client.patch(v1alpha2.PodGroup, m.name or "", {"status": {"conditions": conditions}}, m.namespace or "", subresource="status")
        except (errors.ApiError, Unreachable) as error:
            _log.debug("status of pod group %s: %s", key, error)


def key_of(pod: core_v1.Pod) -> str:
    """The namespace/name of a pod's group; empty when it names none."""
    group = pod.spec.schedulingGroup if pod.spec is not None else None
    if group is None or not group.podGroupName:
        return ""
    return f"{meta.of(pod).namespace}/{group.podGroupName}"


def _minimum(group: v1alpha2.PodGroup) -> int:
    """How many pods a gang takes; 0 when it is no gang."""
    policy = group.spec.schedulingPolicy if group.spec is not None else None
    return (policy.gang.minCount or 0) if policy is not None and policy.gang is not None else 0
