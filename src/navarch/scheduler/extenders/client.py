"""HTTP extenders: services that have a say in where pods go.

    extender = Extender(settings)
    kept = await extender.filter(pod, nodes)          # who may take it, who not and why
    points = await extender.prioritize(pod, nodes)    # node → points, weighted

In: API objects and node names. Out: values. Whatever goes wrong (no answer, no answer in time, an answer that is none) is `ExtenderFailed`
with a message in upstream's words; whether that matters is for the caller to know (`settings.ignorable`).

JSON is that of k8s.io/kube-scheduler/extender/v1, whose fields have Go's names; as Go's decoder does, any case is taken.

Upstream counterpart: pkg/scheduler/extender.go.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from navarch.api.core import v1 as core_v1
from navarch.machinery import codec
from navarch.objects import meta
from navarch.scheduler.config.extenders import ExtenderSettings, context
from navarch.scheduler.core.extended import NodeRejection

_log = logging.getLogger(__name__)
_SCALE = 100 // 10
"""MaxNodeScore / MaxExtenderPriority."""


class ExtenderFailed(Exception):
    """An extender did not answer, or not with what was asked for."""


class _Answer(msgspec.Struct, kw_only=True):
    """An answer; its fields are read in lower case."""


class _Nodes(_Answer):
    items: list[str] | None = None
    """Only their names are of interest."""


class _FilterResult(_Answer):
    nodes: _Nodes | None = None
    nodenames: list[str] | None = None
    failednodes: dict[str, str] | None = None
    failedandunresolvablenodes: dict[str, str] | None = None
    error: str | None = None


class _HostPriority(_Answer):
    host: str = ""
    score: int = 0


class _Bound(_Answer):
    error: str | None = None


class _MetaPod(_Answer):
    uid: str = ""


class _MetaVictims(_Answer):
    pods: list[_MetaPod] | None = None
    numpdbviolations: int = 0


class _Preempted(_Answer):
    nodenametometavictims: dict[str, _MetaVictims] | None = None


@dataclass(frozen=True, slots=True)
class Filtered:
    """The nodes that may take a pod, in the extender's order, and what it said of others."""

    nodes: tuple[str, ...]
    refused: Mapping[str, NodeRejection]


@dataclass(frozen=True, slots=True)
class Victims:
    """Pods that would go from a node, and how many disruption budgets that would break."""

    pods: tuple[core_v1.Pod, ...]
    violations: int


class Extender:
    """One extender. `close` ends its connections."""

    def __init__(self, settings: ExtenderSettings) -> None:
        self.settings = settings
        self._opened: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return self.settings.url

    @property
    def decides(self) -> bool:
        """Whether it does more than bind."""
        settings = self.settings
        return bool(settings.filter_verb or settings.prioritize_verb or settings.preempt_verb)

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    def concerns(self, pod: core_v1.Pod) -> bool:
        """Whether it has a say about a pod: one that asks for a resource it manages, or any if it manages none."""
        managed = self.settings.managed
        if not managed:
            return True
        spec = pod.spec or core_v1.PodSpec()
        for container in (*(spec.containers or ()), *(spec.initContainers or ())):
            wanted = container.resources
            if wanted is not None and (managed & set(wanted.requests or ()) or managed & set(wanted.limits or ())):
                return True
        return False

    async def filter(self, pod: core_v1.Pod, nodes: Sequence[core_v1.Node]) -> Filtered:
        """Which of the nodes may take the pod."""
        found = await self._ask(self.settings.filter_verb, self._offer(pod, nodes), _FilterResult)
        if found.error:
            raise ExtenderFailed(found.error)
        offered = {_name(node) for node in nodes}
        kept = _kept(found, self.settings)
        for name in kept:
            if name not in offered:
                raise ExtenderFailed(f'extender "{self.name}" claims a filtered node "{name}" which is not found in the input node list')
        rejected = {node: NodeRejection(text, False) for node, text in (found.failednodes or {}).items()}
        rejected |= {node: NodeRejection(text, True) for node, text in (found.failedandunresolvablenodes or {}).items()}
        return Filtered(kept, rejected)

    async def prioritize(self, pod: core_v1.Pod, nodes: Sequence[core_v1.Node]) -> dict[str, int]:
        """Node → points, on the scale of the scheduler's own scores and weighted."""
        found = await self._ask(self.settings.prioritize_verb, self._offer(pod, nodes), list[_HostPriority])
        points: dict[str, int] = {}
        for each in found or ():
            points[each.host] = points.get(each.host, 0) + each.score * self.settings.weight * _SCALE
        return points

    async def preempt(self, pod: core_v1.Pod, victims: Mapping[str, Victims]) -> dict[str, tuple[tuple[str, ...], int]]:
        """Node → the uids of the pods that shall go from there, and how many budgets that breaks; fewer nodes than were offered."""
        by_uid = {node: {"Pods": [{"UID": meta.of(p).uid or ""} for p in v.pods], "NumPDBViolations": v.violations} for node, v in victims.items()}
        whole = {node: {"Pods": v.pods, "NumPDBViolations": v.violations} for node, v in victims.items()}
        by_name = self.settings.by_name
        args = {"Pod": pod, "NodeNameToVictims": None if by_name else whole, "NodeNameToMetaVictims": by_uid if by_name else None}
        found = await self._ask(self.settings.preempt_verb, args, _Preempted)
        listed = found.nodenametometavictims or {}
        return {node: (tuple(p.uid for p in v.pods or ()), v.numpdbviolations) for node, v in listed.items()}

    async def bind(self, pod: core_v1.Pod, node: str) -> None:
        """Has the extender bind a pod."""
        m = meta.of(pod)
        args = {"PodName": m.name, "PodNamespace": m.namespace, "PodUID": m.uid, "Node": node}
        found = await self._ask(self.settings.bind_verb, args, _Bound)
        if found.error:
            raise ExtenderFailed(found.error)

    # ---- the wire ----

    def _offer(self, pod: core_v1.Pod, nodes: Sequence[core_v1.Node]) -> dict[str, Any]:
        """ExtenderArgs."""
        if self.settings.by_name:
            return {"Pod": pod, "Nodes": None, "NodeNames": [_name(node) for node in nodes]}
        return {"Pod": pod, "Nodes": {"metadata": {}, "items": nodes}, "NodeNames": None}

    async def _ask(self, verb: str, args: Mapping[str, Any], kind: type[Any]) -> Any:
        url = f"{self.settings.url.rstrip('/')}/{verb}"
        body = await self._send(url, verb, codec.encode(args))
        try:
            if not body.strip():
                raise msgspec.DecodeError("EOF")
            tree = codec.tree(body)
            return kind() if tree is None else msgspec.convert(_lower(tree), kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ExtenderFailed(f"decoding the answer of {url}: {error}") from None

    async def _send(self, url: str, verb: str, body: bytes) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self.settings.timeout)
        name = (self.settings.tls.server_name if self.settings.tls is not None else "") or None
        try:
            async with self._session.post(
                url, data=body, headers={"Content-Type": "application/json"}, timeout=timeout, server_hostname=name
            ) as answer:
                if answer.status != 200:
                    raise ExtenderFailed(f"failed {verb} with extender at URL {url}, code {answer.status}")
                return await answer.read()
        except TimeoutError:
            raise ExtenderFailed(f'Post "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)') from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ExtenderFailed(f'Post "{url}": {error or type(error).__name__}') from error

    @property
    def _session(self) -> aiohttp.ClientSession:
        """The session, made within the running loop when first needed."""
        if self._opened is None:
            tls = self.settings.tls
            connector = aiohttp.TCPConnector(ssl=context(tls) if tls is not None else True, keepalive_timeout=90, ttl_dns_cache=10)
            self._opened = aiohttp.ClientSession(connector=connector)
        return self._opened


def with_a_say(extenders: Sequence[Extender], pod: core_v1.Pod) -> tuple[str, ...]:
    """The extenders that have a say about where a pod goes."""
    return tuple(e.name for e in extenders if e.decides and e.concerns(pod))


async def bind(extenders: Sequence[Extender], pod: core_v1.Pod, node: str) -> bool:
    """Has an extender bind a pod, if one does that for it. Raises ExtenderFailed."""
    for extender in extenders:
        if not extender.settings.bind_verb or not extender.concerns(pod):
            continue
        try:
            await extender.bind(pod, node)
        except ExtenderFailed as error:
            if extender.settings.ignorable:
                _log.info("extender %s is passed over: %s", extender.name, error)
                continue
            raise
        return True
    return False


def _kept(found: _FilterResult, settings: ExtenderSettings) -> tuple[str, ...]:
    if settings.by_name and found.nodenames is not None:
        return tuple(found.nodenames)
    return tuple((found.nodes.items if found.nodes is not None else None) or ())


def _name(node: core_v1.Node) -> str:
    return meta.of(node).name or ""


_OPAQUE = frozenset({"failednodes", "failedandunresolvablenodes", "nodenametometavictims"})
"""Fields whose keys are data."""


def _lower(tree: Any, *, data: bool = False) -> Any:
    """The same with lower-case field names, and names in the place of nodes."""
    if isinstance(tree, list):
        return [_lower(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    found = {}
    for key, value in tree.items():
        name = key if data else key.lower()
        if name == "items" and not data and isinstance(value, list):
            found[name] = [_part(_part(item, "metadata"), "name") or "" for item in value]
        else:
            found[name] = _lower(value, data=not data and name in _OPAQUE)
    return found


def _part(tree: Any, name: str) -> Any:
    """A field, in any case."""
    if not isinstance(tree, dict):
        return None
    return tree[name] if name in tree else next((value for key, value in tree.items() if key.lower() == name), None)
