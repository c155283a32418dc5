"""JSON patch (RFC 6902), as Kubernetes answers it.

In: a document and a list of operations, both as builtin values. Out: a new document; the given one is not changed, parts
of it may be shared.

What a patch costs grows with its own size, not with that times the document's: a list or object is copied when the patch first changes
something in it, and changed in place from then on. What `copy` copies is charged by its size as JSON.

Upstream counterpart: evanphx/json-patch v4 behind the API server's patch handler. Where that library leaves the RFC, this
does too, since clients have come to depend on it: `replace` of an object's missing key adds it, indexes may be negative, a
missing `value` is null, `test` for null holds for a missing key.

A patch that cannot be read is a 400. One that does not apply is a 422 whose message says nothing of the reason: so does
upstream's; the reason is the exception's cause, for the log.
"""

from __future__ import annotations

from typing import Any

import msgspec

from navarch.lib import integers
from navarch.machinery import errors

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 * 1024 * 1024
"""What all `copy` operations of a patch may add together, as JSON: upstream's --json-patch-max-copy-bytes."""
REJECTED = "the server rejected our request due to an error in our request"


class DoesNotApply(Exception):
    """Why an operation cannot be done."""


class TestFailed(DoesNotApply):
    """A `test` that does not hold."""


def apply(document: Any, patch: Any) -> Any:
    """The document after the patch. BadRequest, RequestEntityTooLarge, Invalid."""
    state = _Patching(document)
    for operation in checked(patch):
        try:
            state.step(operation)
        except DoesNotApply as error:
            raise errors.Invalid(REJECTED) from error
    return state.document


def checked(patch: Any) -> list[dict[str, Any]]:
    """The operations of a patch. BadRequest, RequestEntityTooLarge."""
    if not isinstance(patch, list):
        raise errors.BadRequest(f"error decoding patch: json: cannot unmarshal {json_kind(patch)} into Go value of type []handlers.jsonPatchOp")
    for operation in patch:
        if not isinstance(operation, dict):
            raise errors.BadRequest(f"json: cannot unmarshal {json_kind(operation)} into Go value of type jsonpatch.Operation")
    if len(patch) > MAX_OPERATIONS:
        raise errors.RequestEntityTooLarge(f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}")
    return patch


def json_kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


class _Patching:
    """A document on its way through a patch."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self._own: dict[int, Any] = {}
        """The lists and objects that were made here, by identity: they may be changed."""
        self._copied = 0

    def step(self, operation: dict[str, Any]) -> None:
        """Carries out one operation."""
        path = text(operation, "path")
        value = operation.get("value")
        match operation.get("op"):
            case "add":
                self._put(path, value, insert=True)
            case "remove":
                self._remove(path)
            case "replace" if path == "":
                if not isinstance(value, dict | list):
                    raise DoesNotApply("replace operation value must be object or array")
                self.document = value
            case "replace":
                get(self.document, path)  # raises unless the place can be replaced; a missing key of an object can
                self._put(path, value, insert=False)
            case "move":
                source = text(operation, "from")
                moved = get(self.document, source)
                self._remove(source)
                self._put(path, moved, insert=True)
            case "copy":
                self._put(path, self._copy(get(self.document, text(operation, "from"))), insert=True)
            case "test":
                if not same(self.document if path == "" else get(self.document, path), value):
                    raise TestFailed(f"testing value {path} failed: test failed")
            case kind:
                raise DoesNotApply(f"Unexpected kind: {kind}")

    def _copy(self, value: Any) -> Any:
        if not isinstance(value, dict | list | str):
            return value
        try:
            encoded = msgspec.json.encode(value)
        except RecursionError:
            raise DoesNotApply("exceeded max depth") from None
        self._copied += len(encoded)
        if self._copied > MAX_COPIED_BYTES:
            raise DoesNotApply(
                f"Unable to complete the copy, the accumulated size increase of copy is {self._copied}, exceeding the limit {MAX_COPIED_BYTES}"
            )
        return msgspec.json.decode(encoded)

    def _owned(self, container: Any) -> Any:
        """The container, or a copy of it that may be changed."""
        if id(container) in self._own:
            return container
        made = container.copy()
        self._own[id(made)] = made
        return made

    def _container(self, path: str) -> tuple[Any, str]:
        """The list or object that a path ends in, made our own like all on the way to it, and the last key."""
        keys = steps(path)
        if not isinstance(self.document, dict | list):
            raise DoesNotApply(f"doc is missing path: {path}: missing value")
        self.document = container = self._owned(self.document)
        for key in keys[:-1]:
            inner = child(container, key, path)
            own = self._owned(inner)
            if own is not inner:
                container[key if isinstance(container, dict) else index(key, len(container), len(container))] = own
            container = own
        return container, keys[-1]

    def _put(self, path: str, value: Any, *, insert: bool) -> None:
        container, key = self._container(path)
        if isinstance(container, dict):
            container[key] = value
        elif not insert:
            container[index(key, len(container), len(container))] = value
        elif key == "-":
            container.append(value)
        else:
            container.insert(index(key, len(container) + 1, len(container) + 1), value)

    def _remove(self, path: str) -> None:
        container, key = self._container(path)
        if isinstance(container, list):
            del container[index(key, len(container), len(container))]
        elif key in container:
            del container[key]
        else:
            raise DoesNotApply(f"Unable to remove nonexistent key: {key}: missing value")


def text(operation: dict[str, Any], name: str) -> str:
    value = operation.get(name)
    if not isinstance(value, str):
        raise DoesNotApply(f"operation missing {name} field: missing value")
    return value


def steps(path: str) -> list[str]:
    """The keys of a JSON pointer; at least one."""
    parts = path.split("/")
    if len(parts) < 2:
        raise DoesNotApply(f"doc is missing path: {path}: missing value")
    return [part.replace("~1", "/").replace("~0", "~") for part in parts[1:]] if "~" in path else parts[1:]


def index(key: str, length: int, limit: int) -> int:
    """A list's index below `limit`; negative ones count from `length`."""
    try:
        number = integers.required(key)
    except ValueError:
        raise DoesNotApply(f"value was not a proper array index: '{key}'") from None
    if number < 0:
        number += length
    if not 0 <= number < limit:
        raise DoesNotApply(f"Unable to access invalid index: {key}: invalid index referenced")
    return number


def get(document: Any, path: str) -> Any:
    """What a pointer points at; None for a key that an object does not have."""
    keys = steps(path)
    for key in keys[:-1]:
        document = child(document, key, path)
    return look(document, keys[-1], path)


def look(container: Any, key: str, path: str) -> Any:
    if isinstance(container, dict):
        return container.get(key)
    if isinstance(container, list):
        return container[index(key, len(container), len(container))]
    raise DoesNotApply(f"doc is missing path: {path}: missing value")


def child(container: Any, key: str, path: str) -> Any:
    found = look(container, key, path)
    if not isinstance(found, dict | list):
        raise DoesNotApply(f"doc is missing path: {path}: missing value")
    return found


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are three values."""
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)
