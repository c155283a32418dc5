"""Server-side apply: PATCH with `application/apply-patch+yaml`.

The merge itself is `machinery.patch.apply`; here the configuration is read, the object created when there is none, and the
result written like any other change.

Upstream counterpart: applyPatcher in apiserver's endpoints/handlers/patch.go.
"""

from __future__ import annotations

from typing import Any

from navarch.apiserver import background, managed_fields, writing
from navarch.apiserver.call import Call
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.verbs.write import Changed, Writer, author_of
from navarch.machinery import codec, errors, field
from navarch.machinery.patch import apply as merging

Tree = dict[str, Any]


async def apply(writer: Writer, call: Call, served: Served, data: bytes) -> Changed:
    """Applies a configuration. BadRequest, Conflict (of managers), and what create and update raise."""
    config = await background.run(len(data), _config, call, served, data)
    info = call.info
    force = call.query.flag("force")
    if served.cache.get(served.key(info.name, info.namespace)) is None:
        if info.subresource:
            raise errors.not_found(served.group, served.plural, info.name)
        try:
            return await _create(writer, call, served, config)
        except errors.AlreadyExists:
            pass

    def merged(old: Obj) -> Obj:
        live = codec.to_tree(served.external(old))
        made = merging.apply(live, config, served.schema(), managed_fields.writer(call.field_manager, served, info.subresource), force=force)
        return _decoded(call, served, made)

    async def make(old: Obj) -> Obj:
        entry = served.cache.get(served.key(info.name, info.namespace))
        return await background.run(max(len(data), len(entry.body) if entry is not None else 0), merged, old)

    author = author_of(call)
    return await writer.change(author, served, info.name, info.namespace, make, subresource=info.subresource, patch=True, applied=True)


def _config(call: Call, served: Served, data: bytes) -> Tree:
    """The configuration as builtin values, checked against the URL."""
    if not call.query.get("fieldManager"):
        problem = field.required("fieldManager", "is required for apply patch")
        raise field.invalid_error("meta.k8s.io", "PatchOptions", "", [problem])
    try:
        config = codec.from_yaml(data)
    except codec.DecodeError as error:
        raise errors.BadRequest(f"error decoding YAML: {error}") from None
    if not isinstance(config, dict):
        raise errors.BadRequest("error decoding YAML: the configuration is no object")
    info = call.info
    metadata = config.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise errors.BadRequest("error decoding YAML: metadata is no object")
    name = metadata.setdefault("name", info.name)
    if name != info.name:
        raise errors.BadRequest(f"the name of the object ({name}) does not match the name on the URL ({info.name})")
    if served.resource.namespaced and metadata.setdefault("namespace", info.namespace) != info.namespace:
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    version, kind = config.get("apiVersion"), config.get("kind")
    if (version, kind) != (served.resource.group_version, served.resource.kind):
        where = f"{served.resource.group_version}, Kind={served.resource.kind}"
        raise errors.BadRequest(f"invalid object type: {version or '/'}, Kind={kind or ''}, expected {where}")
    return config


def _decoded(call: Call, served: Served, merged: Tree) -> Obj:
    return writing.decoded(call, served, codec.encode(merged))


async def _create(writer: Writer, call: Call, served: Served, config: Tree) -> Changed:
    def merged() -> Obj:
        made = merging.apply(None, config, served.schema(), managed_fields.writer(call.field_manager, served), force=True)
        return _decoded(call, served, made)

    obj = await background.run(call.size, merged)
    if obj.metadata.uid:
        why = f"Precondition failed: UID in precondition: {obj.metadata.uid}, UID in object meta: "
        raise errors.conflict(served.group, served.plural, obj.metadata.name, why)
    if obj.metadata.resourceVersion:
        raise errors.not_found(served.group, served.plural, obj.metadata.name)
    namespace = call.info.namespace if served.resource.namespaced else ""
    body = await writer.create(author_of(call), served, namespace, obj, applied=True)
    return Changed(body, created=True)
