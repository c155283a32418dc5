"""Objects that every cluster of ours gets: cluster DNS's Service, and once, the sample app. They are manifests beside this file.

An object that exists and differs is replaced only where it must follow the machine (the DNS endpoint); everything else, once
there, belongs to the user.
"""

from __future__ import annotations

import importlib.resources
import string
from collections.abc import Mapping
from typing import Any

import yaml

from navarch.api import resources
from navarch.client import rest
from navarch.cri import images
from navarch.machinery import codec, errors
from navarch.run.settings import Settings

FOLLOWING = ("EndpointSlice", "ClusterRole")
"""Kinds that are brought up to date at every start."""


def documents(name: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """The documents of a manifest with its `$names` filled in."""
    text = importlib.resources.files(__package__).joinpath("manifests", f"{name}.yaml").read_text()
    return [d for d in yaml.safe_load_all(string.Template(text).substitute(values)) if d]


def values(settings: Settings) -> dict[str, str]:
    return {
        "dns_ip": settings.dns_ip,
        "dns_port": str(settings.dns_port),
        "node_name": settings.node_name,
        "node_address": settings.node_address,
        "sample_image": images.SAMPLE,
    }


async def apply(client: rest.Client, name: str, settings: Settings) -> None:
    """Creates the objects of a manifest that are missing."""
    for document in documents(name, values(settings)):
        await _ensure(client, document)


async def _ensure(client: rest.Client, document: dict[str, Any]) -> None:
    group, _, version = document["apiVersion"].rpartition("/")
    kind = resources.kind_type(group, version, document["kind"])
    obj: Any = codec.decode(kind, codec.encode(document))
    namespace, name = obj.metadata.namespace or "", obj.metadata.name
    try:
        current: Any = await client.get(kind, name, namespace)
    except errors.NotFound:
        await client.create(obj, namespace)
        return
    if document["kind"] in FOLLOWING:
        obj.metadata.resourceVersion = current.metadata.resourceVersion
        await client.update(obj)
