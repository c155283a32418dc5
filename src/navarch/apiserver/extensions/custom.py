"""Objects of custom resources: a typed envelope (apiVersion, kind, metadata) around a tree of whatever their schema allows.

They are written as Go writes them, keys in order, so that an object that says the same is the same bytes. Reading one from a client
takes out what the schema does not know (and says so), reading one from the store puts right what an older schema left there.

Upstream counterparts: unstructured.Unstructured, and the schema coercing decoders of apiextensions-apiserver's customresource_handler.go.
"""

from __future__ import annotations

from typing import Any

import msgspec

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.extensions.definition import Scale
from navarch.apiserver.extensions.schemas import Schema
from navarch.machinery import codec, schema
from navarch.machinery.structural import coerce, default, prune

Tree = dict[str, Any]
_ENVELOPE = ("apiVersion", "kind", "metadata")
_SCALARS = frozenset({str, int, bool, float, type(None)})


class CustomObject:
    """One object. `content` is everything but the envelope."""

    __slots__ = ("apiVersion", "content", "kind", "metadata")

    def __init__(self, api_version: str | None, kind: str | None, metadata: meta_v1.ObjectMeta, content: Tree) -> None:
        self.apiVersion = api_version
        self.kind = kind
        self.metadata = metadata
        self.content = content

    def json_fields(self) -> Tree:
        """How it is written: the envelope, then the rest in the order of names."""
        return _ordered(self.apiVersion, self.kind, self.metadata, self.content)


def _ordered(api_version: Any, kind: Any, metadata: Any, content: Tree) -> Tree:
    made: Tree = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
    for key in sorted(content):
        value = content[key]
        made[key] = value if value.__class__ in _SCALARS else msgspec.Raw(codec.encode_sorted(value))
    return made


def encoded(tree: Tree) -> bytes:
    """A whole object as it is stored."""
    content = {key: value for key, value in tree.items() if key not in _ENVELOPE}
    return codec.encode(_ordered(tree.get("apiVersion"), tree.get("kind"), tree.get("metadata"), content))


def repaired(tree: Tree, held: Schema) -> None:
    """Puts an object that was stored where a version's schema wants it: without what that does not know, with what it has defaults for.

    Metadata that is wrong is dropped, field by field: what is stored must be readable.
    """
    if held.tree.below.embedded or not _is_metadata(tree.get("metadata")):
        coerce.coerce(tree, held.tree, root=True, drop_invalid=True)
    pruned(tree, held)
    default.default(tree, held.tree)
    metadata = tree.setdefault("metadata", {})
    metadata.setdefault("generation", 1)


def _is_metadata(held: Any) -> bool:
    """Whether metadata is good as it is, which is told fast."""
    try:
        msgspec.convert(held, meta_v1.ObjectMeta)
    except msgspec.ValidationError:
        return False
    return True


def pruned(tree: Tree, held: Schema) -> list[str]:
    """Takes out unknown fields, whose paths it returns, and nulls that may not be."""
    return [] if held.preserve else prune.prune(tree, held.tree, nulls=True)


class Custom:
    """The shape of a version's objects."""

    custom = True

    def __init__(self, api_version: str, kind: str, held: Schema, *, status: bool, scale: Scale | None) -> None:
        self.envelope = (api_version, kind)
        self.held = held
        self._status = status
        self._scale = scale

    def decode(self, body: bytes) -> CustomObject:
        tree = codec.tree(body)
        metadata = msgspec.convert(tree.pop("metadata"), meta_v1.ObjectMeta)
        return CustomObject(tree.pop("apiVersion"), tree.pop("kind"), metadata, tree)

    def decode_reporting(self, text: bytes) -> tuple[CustomObject, list[str]]:
        tree = codec.decoded_tree(text)
        if not isinstance(tree, dict):
            raise codec.DecodeError(
                f"json: cannot unmarshal {'array' if isinstance(tree, list) else 'value'} into Go value of type map[string]interface {{}}"
            )
        repeated = codec.duplicates(text) if text.count(b'":') != codec.encode(tree).count(b'":') else []
        made, unknown = self._read(tree)
        return made, codec.sorted_problems([], [*repeated, *(f'unknown field "{path}"' for path in unknown)])

    def from_tree(self, tree: Tree) -> CustomObject:
        return self._read(tree)[0]

    def _read(self, tree: Tree) -> tuple[CustomObject, list[str]]:
        """The object of a client's tree, which is used up, and the paths of what the schema does not know."""
        for key in ("kind", "apiVersion"):
            if not isinstance(tree.get(key, ""), str):
                raise codec.DecodeError(f".{key} accessor error: {tree[key]} is of the type {_go_type(tree[key])}, expected string")
        metadata, unknown = _metadata(tree.pop("metadata", None))
        unknown += pruned(tree, self.held)
        if self.held.tree.below.embedded:
            problem, below = coerce.coerce(tree, self.held.tree)
            if problem is not None:
                raise codec.DecodeError(str(problem))
            unknown += below
        default.default(tree, self.held.tree)
        return CustomObject(tree.pop("apiVersion", None), tree.pop("kind", None), metadata, tree), unknown

    def schema(self) -> schema.Schema:
        return self.held.merging

    def substance(self, obj: CustomObject) -> Any:
        return codec.encode_sorted(obj.content)

    def keep_all_but_status(self, new: CustomObject, old: CustomObject) -> None:
        """A write of the status keeps metadata too, but for who manages what."""
        managed = new.metadata.managedFields
        content = dict(old.content)
        if "status" in new.content:
            content["status"] = new.content["status"]
        else:
            content.pop("status", None)
        new.content = content
        asked = new.metadata.resourceVersion
        new.metadata = msgspec.structs.replace(old.metadata)
        new.metadata.managedFields, new.metadata.resourceVersion = managed, asked

    def keep_status(self, new: CustomObject, old: CustomObject | None) -> None:
        if not self._status:
            return
        if old is not None and "status" in old.content:
            new.content["status"] = old.content["status"]
        else:
            new.content.pop("status", None)

    def scale(self, obj: CustomObject) -> tuple[int | None, int | None]:
        assert self._scale is not None
        spec, status = at(obj.content, self._scale.specReplicasPath), at(obj.content, self._scale.statusReplicasPath)
        return _whole(spec), _whole(status)

    def set_scale(self, obj: CustomObject, replicas: int) -> None:
        assert self._scale is not None
        *above, last = steps(self._scale.specReplicasPath)
        place = obj.content
        for name in above:
            below = place.get(name)
            if not isinstance(below, dict):
                below = place[name] = {}
            place = below
        place[last] = replicas

    def scale_selector(self, obj: CustomObject) -> str | None:
        """The selector of the pods that are counted, as text."""
        path = self._scale.labelSelectorPath if self._scale is not None else None
        found = at(obj.content, path) if path else None
        return found if isinstance(found, str) else None


def _metadata(held: Any) -> tuple[meta_v1.ObjectMeta, list[str]]:
    """Typed metadata, and the paths of what is no field of it. DecodeError, in Go's words, when it is none."""
    if held is None:
        return meta_v1.ObjectMeta(), []
    try:
        return msgspec.convert(held, meta_v1.ObjectMeta), []
    except msgspec.ValidationError:
        unknown: list[str] = []
        tree = codec.prune(meta_v1.ObjectMeta, held, unknown)
        return codec.from_tree(meta_v1.ObjectMeta, tree), sorted(f"metadata.{path}" for path in unknown)


def steps(path: str) -> list[str]:
    """A simple JSON path (`.spec.replicas`) as its names."""
    return path.removeprefix(".").split(".")


def at(tree: Any, path: str) -> Any:
    """What stands at a simple JSON path; None for nothing."""
    for name in steps(path):
        if not isinstance(tree, dict):
            return None
        tree = tree.get(name)
    return tree


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _go_type(value: Any) -> str:
    names = {bool: "bool", int: "int64", float: "float64", list: "[]interface {}", dict: "map[string]interface {}"}
    return names.get(type(value), "<nil>")
