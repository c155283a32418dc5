"""What types and fields are, in words: what `kubectl explain` prints of them.

In: `api/descriptions/GROUP.yaml`, a file for each API group. It names types without their package; what it says holds for all
versions of the group that have the type, and a field's text for those whose type has the field. The key `about` describes the type
itself:

    PodIP:
      about: One IP address of a pod.
      ip: The address, IPv4 or IPv6.

What all objects and lists share (`metadata`, `items`) is said here once. Out: texts by field, `about` among them.

A file is read when a document is first made of its group, never before: a server that nobody asks does not pay for it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Any

import msgspec
import yaml

ABOUT = "about"
META = "meta"
"""The group of all that is apimachinery's: ObjectMeta, LabelSelector, Quantity."""
ENVELOPE = {
    "apiVersion": "APIVersion defines in which group and version this object is written, as in apps/v1.",
    "kind": "What this object is, in CamelCase.",
}
OBJECT = {**ENVELOPE, "metadata": "Standard object's metadata: name, namespace, labels and what else every object has."}
LIST = {
    **ENVELOPE,
    "metadata": "The list's resource version and where to continue it.",
    "items": "The objects that were found.",
}

Texts = Mapping[str, str]
NOTHING: Texts = {}


def of_type(name: str, declared: Mapping[str, Any]) -> Texts:
    """A type's texts by field. `name` is its full name, `declared` its entry in the fact table."""
    group, short = place(name)
    told = of_group(group).get(short, NOTHING)
    if "gvk" not in declared:
        return told
    items = declared.get("fields", {}).get("items")
    if short.endswith("List") and items:
        return {ABOUT: f"A list of {items['t'][1].rpartition('.')[2]} objects.", **LIST, **told}
    return {**OBJECT, **told}


def place(name: str) -> tuple[str, str]:
    """The group whose file describes a type, and the type's name there."""
    if name.startswith("io.k8s.apimachinery."):
        return META, name.rpartition(".")[2]
    group, _, short = name.split(".")[-3:]
    return group, short


@functools.cache
def of_group(group: str) -> Mapping[str, Texts]:
    """What a group's file says: type → field → text. Empty for a group without one."""
    for file in files():
        if file.name == f"{group}.yaml":
            return msgspec.convert(yaml.load(file.read_bytes(), yaml.CSafeLoader), dict[str, dict[str, str]])
    return {}


@functools.cache
def edition() -> str:
    """Changes when any text does."""
    made = hashlib.sha256()
    for file in files():
        made.update(file.read_bytes())
    return made.hexdigest()


def files() -> Iterator[Traversable]:
    """All descriptions, by name."""
    found = importlib.resources.files("navarch.api").joinpath("descriptions").iterdir()
    yield from sorted((file for file in found if file.name.endswith(".yaml")), key=lambda file: file.name)
