"""Other servers' OpenAPI v2 documents beside our own: what of them is shown, and how names that mean something else here are changed.

In: documents as trees. Out: trees; nothing that is given is changed.

Upstream counterpart: kube-openapi's pkg/aggregator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

Tree = dict[str, Any]
_PREFIX = "#/definitions/"


def restricted(document: Tree, prefixes: Collection[str]) -> Tree:
    """The paths of a document that are below one of these (`/apis/GROUP/VERSION/`), and the definitions they need.

    ValueError when it is no document.
    """
    found, definitions = document.get("paths"), document.get("definitions") or {}
    if document.get("swagger") != "2.0" or not isinstance(found, dict) or not isinstance(definitions, dict):
        raise ValueError("it is no OpenAPI v2 document")
    kept = {path: item for path, item in found.items() if any(f"{path}/".startswith(prefix) for prefix in prefixes)}
    needed: Tree = {}
    waiting = list(_references(kept))
    while waiting:
        name = waiting.pop()
        if name not in needed and name in definitions:
            needed[name] = definitions[name]
            waiting += _references(definitions[name])
    return {"paths": kept, "definitions": dict(sorted(needed.items()))}


def renamed(known_paths: Collection[str], known: Mapping[str, Any], document: Tree) -> Tree:
    """What a document adds to paths and definitions: those that are not there, its definitions under other names (`NAME_v2`) where a name is taken
    by something else.
    """
    found = {path: item for path, item in document["paths"].items() if path not in known_paths}
    names: dict[str, str] = {}
    for name, definition in document["definitions"].items():
        if name in known and known[name] != definition:
            names[name] = _free(name, known, document["definitions"])
    made = {"paths": found, "definitions": {names.get(n, n): d for n, d in document["definitions"].items() if n in names or n not in known}}
    if names:
        made = copy.deepcopy(made)
        _each(made, lambda reference: names.get(reference, reference))
    return made


def _free(name: str, *taken: Collection[str]) -> str:
    number = 2
    while any(f"{name}_v{number}" in names for names in taken):
        number += 1
    return f"{name}_v{number}"


def _references(tree: Any) -> Iterator[str]:
    found: list[str] = []

    def note(name: str) -> str:
        found.append(name)
        return name

    _each(tree, note)
    yield from found


def _each(tree: Any, change: Callable[[str], str]) -> None:
    """Gives every reference to a definition the name that `change` has for it."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str) and reference.startswith(_PREFIX):
                name = reference[len(_PREFIX) :]
                if (new := change(name)) != name:
                    value["$ref"] = _PREFIX + new
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
