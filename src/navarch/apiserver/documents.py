"""Documents: lists and single objects as JSON, in lines, and as YAML, from finished JSON.

Upstream counterpart: apiserver's endpoints/handlers/responsewriters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import yaml

from navarch.machinery import codec

Tree = dict[str, Any]


def as_yaml(body: bytes) -> bytes:
    """A JSON document as YAML."""
    text: str = yaml.dump(codec.tree(body), Dumper=yaml.CSafeDumper, sort_keys=True, default_flow_style=False)
    return text.encode()


def list_head(api_version: str, kind: str, revision: int, token: str = "", remaining: int = 0) -> bytes:
    """What stands before the items of a list document."""
    more = b""
    if token:
        more += b',"continue":"%b"' % token.encode()
    if remaining:
        more += b',"remainingItemCount":%d' % remaining
    named = (kind.encode(), api_version.encode(), revision, more)
    return b'{"kind":"%bList","apiVersion":"%b","metadata":{"resourceVersion":"%d"%b},"items":[' % named


def join_list(api_version: str, kind: str, revision: int, bodies: Sequence[bytes], token: str = "", remaining: int = 0) -> bytes:
    """A list document from finished items."""
    return b"".join((list_head(api_version, kind, revision, token, remaining), b",".join(bodies), b"]}\n"))


def json_parts(head: Tree, items: str, bodies: Iterable[bytes]) -> Iterator[bytes]:
    """A document with a list of items at its end, item by item."""
    yield codec.encode(head)[:-1] + b',"%b":[' % items.encode()
    before = b""
    for body in bodies:
        yield before + body
        before = b","
    yield b"]}\n"


def pretty_parts(head: Tree, items: str, bodies: Iterable[bytes]) -> Iterator[bytes]:
    """The same in lines, for people."""
    yield msgspec.json.format(codec.encode(head), indent=2)[:-2] + b',\n  "%b": [' % items.encode()
    before, end = b"\n    ", b"]\n}\n"
    for body in bodies:
        yield before + msgspec.json.format(body, indent=2).replace(b"\n", b"\n    ")
        before, end = b",\n    ", b"\n  ]\n}\n"
    yield end


def yaml_parts(head: Tree, items: str, bodies: Iterable[bytes]) -> Iterator[bytes]:
    """The same as YAML, whose keys are sorted."""
    first = {key: value for key, value in head.items() if key < items}
    yield as_yaml(codec.encode(first)) + f"{items}:".encode()
    before, end = b"\n", b" []\n"
    for body in bodies:
        yield before + as_yaml(b"[%b]" % body)
        before, end = b"", b""
    rest = {key: value for key, value in head.items() if key > items}
    yield end + (as_yaml(codec.encode(rest)) if rest else b"")


def partial(body: bytes) -> bytes:
    """An object's metadata alone, as PartialObjectMetadata."""
    tree = codec.tree(body)
    return codec.encode({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": tree.get("metadata") or {}})
