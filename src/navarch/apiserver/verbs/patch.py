"""PATCH: JSON patch, merge patch, strategic merge patch, server-side apply.

A patch is applied to the current object as builtin values, then decoded, defaulted and written like an update. Server-side
apply creates the object when it does not exist.

Upstream counterpart: apiserver's endpoints/handlers/patch.go.
"""

from __future__ import annotations

from typing import Any

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import answers, background, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.verbs import apply as applying
from navarch.apiserver.verbs import update as updating
from navarch.apiserver.verbs.write import Changed, Writer, author_of
from navarch.machinery import codec, errors
from navarch.machinery.patch import json_patch, merge, strategic

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY_YAML = "application/apply-patch+yaml"
APPLY_CBOR = "application/apply-patch+cbor"
KINDS = (JSON_PATCH, MERGE, STRATEGIC, APPLY_YAML)


async def handle(writer: Writer, call: Call, served: Served) -> Answer:
    media = writing.media_type(call)
    if media not in KINDS or (media == STRATEGIC and served.shape.custom):
        raise errors.UnsupportedMediaType("415: Unsupported Media Type")
    writing.check_options(call, "PatchOptions")
    data = await writing.body(call)
    if media == APPLY_YAML:
        changed = await applying.apply(writer, call, served, data)
    else:
        check_force(call)
        changed = await patch(writer, call, served, media, data)
    return answers.of_json(call, served.outward(changed.body), 201 if changed.created else 200)


def check_force(call: Call) -> None:
    if "force" in call.query:
        from navarch.machinery import field

        problem = field.forbidden("force", "may not be specified for non-apply patch")
        raise field.invalid_error("meta.k8s.io", "PatchOptions", "", [problem])


async def patch(writer: Writer, call: Call, served: Served, media: str, data: bytes) -> Changed:
    document = await background.run(len(data), parse, data)

    async def make(old: Obj) -> Obj:
        entry = served.cache.get(served.key(old.metadata.name, old.metadata.namespace or ""))
        size = max(len(data), len(entry.body) if entry is not None else 0)
        return await background.run(size, patched, call, served, media, document, old, entry.version if entry is not None else 0)

    info = call.info
    return await writer.change(author_of(call), served, info.name, info.namespace, make, subresource=info.subresource, patch=True)


def parse(data: bytes) -> Any:
    """The patch as builtin values; JSON, or YAML as upstream also takes it."""
    try:
        data = codec.well_formed(data)
        try:
            return codec.tree(data)
        except ValueError:
            if data[:64].lstrip()[:1] in (b"{", b"["):
                codec.decode(meta_v1.ListMeta, data)
            return codec.from_yaml(data)
    except codec.DecodeError as error:
        raise errors.BadRequest(f"error decoding patch: {error}") from None


def encoded(tree: Any) -> bytes:
    """A patched object as JSON. BadRequest when the patch nested it too deep: each of its operations can go one deeper."""
    try:
        return codec.well_formed(codec.encode(tree))
    except (RecursionError, codec.DecodeError) as error:
        why = "exceeded max depth" if isinstance(error, RecursionError) else str(error)
        raise errors.BadRequest(f"error decoding patch: {why}") from None


def patched(call: Call, served: Served, media: str, document: Any, old: Obj, version: int) -> Obj:
    """The object after the patch, typed and defaulted. `version` is the current object's, 0 when there is none any more."""
    tree = codec.to_tree(served.external(old))
    if version:
        tree["metadata"]["resourceVersion"] = str(version)
    seen = tree["metadata"].get("resourceVersion")
    if media == JSON_PATCH:
        tree = json_patch.apply(tree, document)
    elif media == MERGE:
        if not isinstance(document, dict):
            raise errors.BadRequest("error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}")
        tree = merge.apply(tree, document)
    else:
        tree = strategic.apply(tree, document, served.schema())
    if not isinstance(tree, dict):
        raise errors.BadRequest("the patched object is no object")
    if isinstance(tree.get("metadata"), dict) and tree["metadata"].get("resourceVersion") == seen:
        tree["metadata"].pop("resourceVersion", None)
    made = writing.decoded(call, served, encoded(tree))
    updating.check_name(made, old.metadata.name, old.metadata.namespace or "")
    return made
