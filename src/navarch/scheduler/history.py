"""A cluster read through the API for the core: as it is, or as a decision had seen it; and the decisions that are kept.

In: a client. Out: `Snapshot`s, and what the events of the last day tell of decisions. A decision is made again from the API server's
history; where that is not kept for long (etcd's is compacted after five minutes), `errors.Expired` is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from navarch.api import resources
from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.policy import v1 as policy_v1
from navarch.client.rest import Client
from navarch.objects import meta
from navarch.scheduler.core import journal, replay
from navarch.scheduler.core.journal import Record
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.replay import Replayed
from navarch.scheduler.core.volumes.storage import KINDS as STORAGE
from navarch.scheduler.core.what_if import Snapshot

KINDS: tuple[Any, ...] = (
    core_v1.Namespace,
    core_v1.Node,
    core_v1.Pod,
    core_v1.Service,
    core_v1.ReplicationController,
    apps_v1.ReplicaSet,
    apps_v1.StatefulSet,
    policy_v1.PodDisruptionBudget,
    *STORAGE,
)
"""What the scheduler decides from."""


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """A decision and the pod it is about; `message` is what its event says."""

    uid: str
    namespace: str
    name: str
    message: str
    record: Record


async def snapshot(client: Client, record: Record | None = None) -> Snapshot:
    """The cluster now, or as it had been seen when a decision was made. Raises Expired when that is not kept any more."""
    seen = record.seen if record is not None else {}
    lists = await asyncio.gather(*(client.list(kind, revision=seen.get(resources.of(kind).plural, 0)) for kind in KINDS))
    return Snapshot.of(obj for items, _ in lists for obj in items)


async def decisions(client: Client, namespace: str = "", name: str = "") -> list[KeptDecision]:
    """The decisions that are kept, the newest first; of one pod, or of all."""
    about = f"involvedObject.kind=Pod,involvedObject.name={name}" if name else "involvedObject.kind=Pod"
    found: list[KeptDecision] = []
    events, _ = await client.list(core_v1.Event, namespace, fields=about)
    for event in events:
        text = (meta.of(event).annotations or {}).get(journal.ANNOTATION)
        pod = event.involvedObject
        if text and pod is not None:
            with contextlib.suppress(ValueError):  # written by another version
                record = journal.decode(text)
                found.append(KeptDecision(pod.uid or "", pod.namespace or "", pod.name or "", event.message or "", record))
    return sorted(found, key=lambda k: -k.record.at)


async def remade(client: Client, kept: KeptDecision, profile: Profile) -> Replayed:
    """A kept decision, made again. Raises Expired when the history it needs is not kept any more."""
    cluster = await snapshot(client, kept.record)
    pod = next((p for p in cluster.pods if meta.of(p).uid == kept.uid), None)
    if pod is None:
        raise ValueError(f'pods "{kept.name}" is not in the history at revision {kept.record.seen.get("pods", 0)}')
    others = await decisions(client) if kept.record.unconfirmed else []
    return replay.remake(cluster, pod, kept.record, ((k.uid, k.record) for k in others), profile)
