"""JSON merge patch (RFC 7386).

In: a document and a patch, both as builtin values. Out: a new document; the given ones are not changed, parts may be shared.

Upstream counterpart: evanphx/json-patch v4. As there, nulls inside what a patch newly brings are dropped, and nulls inside a
list that replaces something are kept.
"""

from __future__ import annotations

from typing import Any

from navarch.machinery import errors


def apply(document: Any, patch: Any) -> Any:
    """The document after the patch. BadRequest when the patch is neither object nor list."""
    if isinstance(patch, dict) and isinstance(document, dict):
        return merged(document, patch)
    if not isinstance(patch, dict | list):
        raise errors.BadRequest("Invalid JSON Patch")
    return without_nulls(patch)


def merged(document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """One object after its patch."""
    made = dict(document)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif (current := made.get(key)) is None or (isinstance(value, dict) and not isinstance(current, dict)):
            made[key] = without_nulls(value)
        elif isinstance(value, dict):
            made[key] = merged(current, value)
        else:
            made[key] = value
    return made


def without_nulls(value: Any) -> Any:
    """The value without null fields, at any depth; a list keeps its null elements."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value
