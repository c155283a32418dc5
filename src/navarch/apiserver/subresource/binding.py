"""pods/binding: puts a pod on a node. Only a pod that has none, is not gated and not being deleted can be bound.

Upstream counterpart: pkg/registry/core/pod/storage (BindingREST).
"""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.apiserver import answers, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.verbs import update
from navarch.machinery import codec, errors, field, timestamps

_SUCCESS = b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}'


async def handle(call: Call, served: Served, server: Server) -> Answer:
    if call.info.verb != "create":
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    data = await writing.body(call)
    try:
        wanted = await writing.decode(call, core_v1.Binding, data)
    except codec.DecodeError as error:
        raise errors.BadRequest(f'Binding in version "v1" cannot be handled as a Binding: {error}') from None
    await bind(call, served, server, wanted)
    return answers.of_json(call, _SUCCESS, 201)


async def bind(call: Call, served: Served, server: Server, wanted: core_v1.Binding) -> None:
    """Sets spec.nodeName. Invalid, NotFound, or Conflict when the pod cannot be bound (any more)."""
    problems = _problems(wanted)
    name = call.info.name
    if problems:
        raise field.invalid_error("", "Binding", name, problems)
    while True:
        # None of the hooks of an ordinary update, which would refuse to change nodeName.
        entry = served.cache.get(served.key(name, call.info.namespace))
        if entry is None:
            raise errors.not_found("", "pods", name)
        pod = update.current(served, entry)
        _check(pod, wanted, name)
        _place(pod, wanted)
        scheduled(pod, timestamps.seconds(writing.now()))
        if call.dry_run:
            return
        if await server.storage.put(served, entry.name, entry.namespace, codec.encode(pod), entry.version) is not None:
            return


def _place(pod: core_v1.Pod, wanted: core_v1.Binding) -> None:
    assert pod.metadata is not None and pod.spec is not None and wanted.target is not None
    pod.spec.nodeName = wanted.target.name
    if wanted.metadata is not None:
        for part in ("annotations", "labels"):
            added = getattr(wanted.metadata, part)
            if added:
                setattr(pod.metadata, part, (getattr(pod.metadata, part) or {}) | added)


def scheduled(pod: core_v1.Pod, now: str) -> None:
    """Sets the condition PodScheduled."""
    status = pod.status = pod.status or core_v1.PodStatus(phase="Pending")
    conditions = [c for c in status.conditions or () if c.type != "PodScheduled"]
    held = next((c for c in status.conditions or () if c.type == "PodScheduled"), None)
    since = held.lastTransitionTime if held is not None and held.status == "True" else now
    made = core_v1.PodCondition(type="PodScheduled", status="True", lastProbeTime=None, lastTransitionTime=since)
    if pod.metadata is not None:
        made.observedGeneration = pod.metadata.generation
    status.conditions = [*conditions, made]


def _problems(wanted: core_v1.Binding) -> list[field.Problem]:
    found: list[field.Problem] = []
    target = wanted.target
    if target is not None and target.kind not in (None, "", "Node"):
        found.append(field.not_supported("target.kind", target.kind, ("Node", "<empty>")))
    if target is None or not target.name:
        found.append(field.required("target.name"))
    return found


def _check(pod: core_v1.Pod, wanted: core_v1.Binding, name: str) -> None:
    assert pod.metadata is not None and pod.spec is not None and wanted.target is not None
    if wanted.metadata is not None and wanted.metadata.uid and wanted.metadata.uid != pod.metadata.uid:
        why = f"Precondition failed: UID in precondition: {wanted.metadata.uid}, UID in object meta: {pod.metadata.uid}"
        raise errors.conflict("", "pods/binding", name, why)
    if pod.metadata.deletionTimestamp is not None:
        raise errors.conflict("", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if pod.spec.nodeName:
        raise errors.conflict("", "pods/binding", name, f'pod {name} is already assigned to node "{pod.spec.nodeName}"')
    if pod.spec.schedulingGates:
        raise errors.conflict("", "pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
