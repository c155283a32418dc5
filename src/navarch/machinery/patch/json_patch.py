"""JSON patch (RFC 6902), as Kubernetes answers it.

In: a document and a list of operations, both as builtin values. Out: a new document; the given one is not changed, parts
of it may be shared.

Upstream counterpart: evanphx/json-patch v4 behind the API server's patch handler. Where that library leaves the RFC, this
does too, since clients have come to depend on it: `replace` of an object's missing key adds it, indexes may be negative, a
missing `value` is null, `test` for null holds for a missing key.

A patch that cannot be read is a 400. One that does not apply is a 422 whose message says nothing of the reason: so does
upstream's; the reason is the exception's cause, for the log.
"""

from __future__ import annotations

import re
from typing import Any

from navarch.machinery import errors

MAX_OPERATIONS = 10_000
REJECTED = "the server rejected our request due to an error in our request"
INDEX = re.compile(r"[+-]?\d+\Z")


class DoesNotApply(Exception):
    """Why an operation cannot be done."""


def apply(document: Any, patch: Any) -> Any:
    """The document after the patch. BadRequest, RequestEntityTooLarge, Invalid."""
    operations = checked(patch)
    for operation in operations:
        try:
            document = step(document, operation)
        except DoesNotApply as error:
            raise errors.Invalid(REJECTED) from error
    return document


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


def step(document: Any, operation: dict[str, Any]) -> Any:
    """The document after one operation."""
    kind = operation.get("op")
    path = text(operation, "path")
    value = operation.get("value")
    match kind:
        case "add":
            return put(document, path, value, insert=True)
        case "remove":
            return remove(document, path)
        case "replace":
            if path == "":
                if not isinstance(value, dict | list):
                    raise DoesNotApply("replace operation value must be object or array")
                return value
            look_for_replace(document, path)
            return put(document, path, value, insert=False)
        case "move":
            source = text(operation, "from")
            moved = get(document, source)
            return put(remove(document, source), path, moved, insert=True)
        case "copy":
            return put(document, path, get(document, text(operation, "from")), insert=True)
        case "test":
            found = document if path == "" else get(document, path)
            if not same(found, value):
                raise DoesNotApply(f"testing value {path} failed: test failed")
            return document
        case _:
            raise DoesNotApply(f"Unexpected kind: {kind}")


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
    return [part.replace("~1", "/").replace("~0", "~") for part in parts[1:]]


def index(key: str, length: int, limit: int) -> int:
    """A list's index below `limit`; negative ones count from `length`."""
    if not INDEX.match(key):
        raise DoesNotApply(f"value was not a proper array index: '{key}'")
    number = int(key)
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


def look_for_replace(document: Any, path: str) -> None:
    """Raises unless the place can be replaced; a missing key of an object can."""
    get(document, path)


def put(document: Any, path: str, value: Any, *, insert: bool) -> Any:
    return changed(document, steps(path), path, lambda container, key: put_into(container, key, value, insert))


def put_into(container: Any, key: str, value: Any, insert: bool) -> Any:
    if isinstance(container, dict):
        return {**container, key: value}
    made = list(container)
    if not insert:
        made[index(key, len(made), len(made))] = value
    elif key == "-":
        made.append(value)
    else:
        made.insert(index(key, len(made) + 1, len(made) + 1), value)
    return made


def remove(document: Any, path: str) -> Any:
    return changed(document, steps(path), path, remove_from)


def remove_from(container: Any, key: str) -> Any:
    if isinstance(container, dict):
        if key not in container:
            raise DoesNotApply(f"Unable to remove nonexistent key: {key}: missing value")
        return {name: value for name, value in container.items() if name != key}
    made = list(container)
    del made[index(key, len(made), len(made))]
    return made


def changed(container: Any, keys: list[str], path: str, change: Any) -> Any:
    """The container with `change(inner container, last key)` done at the end of the keys; copies what is on the way."""
    if not isinstance(container, dict | list):
        raise DoesNotApply(f"doc is missing path: {path}: missing value")
    key = keys[0]
    if len(keys) == 1:
        return change(container, key)
    inner = changed(child(container, key, path), keys[1:], path, change)
    return put_into(container, key, inner, insert=False)


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are three values."""
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)
