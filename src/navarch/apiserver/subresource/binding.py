"""pods/binding: puts a pod on a node. Only a pod that has none, is not gated and not being deleted can be bound.

Upstream counterpart: pkg/registry/core/pod/storage (BindingREST).
"""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import answers, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.served import Served
from navarch.apiserver.verbs.write import Author, Writer, author_of
from navarch.apiserver.watch_cache import Entry
from navarch.machinery import codec, errors, field, timestamps

_SUCCESS = b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}'


async def handle(writer: Writer, call: Call, served: Served) -> Answer:
    if call.info.verb != "create":
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    data = await writing.body(call)
    try:
        wanted = await writing.decode(call, core_v1.Binding, data)
    except codec.DecodeError as error:
        raise errors.BadRequest(f'Binding in version "v1" cannot be handled as a Binding: {error}') from None
    await bind(author_of(call), served, writer, call.info.name, call.info.namespace, wanted)
    return answers.of_json(call, _SUCCESS, 201)


async def bind(author: Author, served: Served, writer: Writer, name: str, namespace: str, wanted: core_v1.Binding) -> None:
    """Sets spec.nodeName. Invalid, NotFound, Conflict when the pod cannot be bound (any more), and what admission raises."""
    metadata = wanted.metadata = wanted.metadata or meta_v1.ObjectMeta()
    metadata.name, metadata.namespace = name, namespace
    wanted.apiVersion, wanted.kind = "v1", "Binding"

    def check(binding: core_v1.Binding) -> None:
        if problems := _problems(binding):
            raise field.invalid_error("", "Binding", name, problems)

    binding = await writer.admit(author, served, "CREATE", name, namespace, wanted, "binding", check)

    def placed(entry: Entry, pod: core_v1.Pod) -> core_v1.Pod:
        # None of the hooks of an ordinary update, which would refuse to change nodeName.
        _check(pod, binding, name, entry.version)
        _place(pod, binding)
        scheduled(pod, timestamps.seconds(writing.now()))
        return pod

    await writer.replace(author, served, name, namespace, placed)


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


def _check(pod: core_v1.Pod, wanted: core_v1.Binding, name: str, version: int) -> None:
    assert pod.metadata is not None and pod.spec is not None and wanted.target is not None
    if wanted.metadata is not None and wanted.metadata.uid and wanted.metadata.uid != pod.metadata.uid:
        why = f"Precondition failed: UID in precondition: {wanted.metadata.uid}, UID in object meta: {pod.metadata.uid}"
        raise errors.conflict("", "pods/binding", name, why)
    if wanted.metadata is not None and (asked := wanted.metadata.resourceVersion) and asked != str(version):
        why = f"Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {version}"
        raise errors.conflict("", "pods/binding", name, why)
    if pod.metadata.deletionTimestamp is not None:
        raise errors.conflict("", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if pod.spec.nodeName:
        raise errors.conflict("", "pods/binding", name, f'pod {name} is already assigned to node "{pod.spec.nodeName}"')
    if pod.spec.schedulingGates:
        raise errors.conflict("", "pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
