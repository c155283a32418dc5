"""The scale subresource: `spec.replicas` of anything that has it, as an autoscaling/v1 Scale.

Upstream counterparts: the ScaleREST storages of apps and core.
"""

from __future__ import annotations

from typing import Any

from navarch.api.autoscaling import v1 as autoscaling_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import answers, background, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.verbs import get, patch
from navarch.apiserver.verbs.write import Writer, author_of
from navarch.apiserver.watch_cache import Entry
from navarch.machinery import codec, errors, field, selectors


class _Scales:
    """What clients and admission see of an object that can be scaled."""

    def of(self, served: Served, obj: Obj, version: str) -> autoscaling_v1.Scale:
        return scale_from(served, obj, version)

    def put(self, served: Served, seen: autoscaling_v1.Scale, obj: Obj) -> None:
        served.shape.set_scale(obj, _replicas(seen))


_VIEW = _Scales()


def _replicas(scale: autoscaling_v1.Scale) -> int:
    """The replicas asked for. Invalid when there cannot be so many."""
    replicas = (scale.spec.replicas if scale.spec else None) or 0
    if replicas < 0:
        problem = field.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise field.invalid_error("autoscaling", "Scale", (scale.metadata.name if scale.metadata else None) or "", [problem])
    return replicas


def scale_of(served: Served, entry: Entry) -> autoscaling_v1.Scale:
    """The Scale of an object."""
    return scale_from(served, served.decode(entry.body), str(entry.version))


def scale_from(served: Served, obj: Obj, version: str) -> autoscaling_v1.Scale:
    m = obj.metadata
    made = autoscaling_v1.Scale(apiVersion="autoscaling/v1", kind="Scale")
    made.metadata = meta_v1.ObjectMeta(name=m.name, namespace=m.namespace, uid=m.uid, resourceVersion=version, creationTimestamp=m.creationTimestamp)
    spec, status = served.shape.scale(obj)
    made.spec = autoscaling_v1.ScaleSpec(replicas=spec)
    made.status = autoscaling_v1.ScaleStatus(replicas=status or 0, selector=_selector(obj))
    return made


def _selector(obj: Obj) -> str | None:
    selector = getattr(getattr(obj, "spec", None), "selector", None)
    if isinstance(selector, meta_v1.LabelSelector):
        return str(selectors.from_object(selector)) or None
    return ",".join(f"{k}={v}" for k, v in sorted(selector.items())) if isinstance(selector, dict) else None


async def handle(writer: Writer, call: Call, served: Served) -> Answer:
    info = call.info
    entry = get.entry_of(served, info.name, info.namespace)
    if info.verb == "get":
        return answers.of_object(call, scale_of(served, entry))
    if info.verb == "update":
        wanted = await _body(call)
    else:
        wanted = await _patched(call, served, entry)
    changed = await _apply(writer, call, served, wanted)
    return answers.of_object(call, changed)


async def _body(call: Call) -> autoscaling_v1.Scale:
    return await _decode(call, await writing.body(call))


async def _decode(call: Call, data: bytes) -> autoscaling_v1.Scale:
    try:
        return await writing.decode(call, autoscaling_v1.Scale, data)
    except codec.DecodeError as error:
        raise _cannot_be(error) from None


def _cannot_be(error: codec.DecodeError) -> errors.BadRequest:
    return errors.BadRequest(f'Scale in version "v1" cannot be handled as a Scale: {error}')


async def _patched(call: Call, served: Served, entry: Entry) -> autoscaling_v1.Scale:
    """The Scale after a patch of it."""
    media = writing.media_type(call)
    if media not in patch.KINDS:
        raise errors.UnsupportedMediaType("the body of the request was in an unknown format")
    data = await writing.body(call)
    tree = codec.to_tree(scale_of(served, entry))
    tree["metadata"].pop("resourceVersion", None)
    text = await background.run(len(data), _merged, media, tree, data)
    try:
        return codec.decode(autoscaling_v1.Scale, text)
    except codec.DecodeError as error:
        raise _cannot_be(error) from None


def _merged(media: str, tree: dict[str, Any], data: bytes) -> bytes:
    from navarch.machinery.patch import json_patch, merge

    document = patch.parse(data)
    return patch.encoded(json_patch.apply(tree, document) if media == patch.JSON_PATCH else merge.apply(tree, document))


async def _apply(writer: Writer, call: Call, served: Served, wanted: autoscaling_v1.Scale) -> autoscaling_v1.Scale:
    metadata = wanted.metadata = wanted.metadata or meta_v1.ObjectMeta()
    metadata.name = metadata.name or call.info.name
    replicas = _replicas(wanted)
    if metadata.name and metadata.name != call.info.name:
        raise errors.BadRequest(f"the name of the object ({metadata.name}) does not match the name on the URL ({call.info.name})")

    async def make(old: Obj) -> Obj:
        new = served.decode(codec.encode(old))
        served.shape.set_scale(new, replicas)
        new.metadata.resourceVersion = metadata.resourceVersion
        if metadata.uid:
            new.metadata.uid = metadata.uid
        return new

    info = call.info
    author = author_of(call)
    changed = await writer.change(author, served, info.name, info.namespace, make, subresource="scale", view=_VIEW)
    obj = served.decode(changed.body)
    return scale_from(served, obj, obj.metadata.resourceVersion)
