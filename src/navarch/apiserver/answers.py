"""Answers: bytes in the form the client asked for.

JSON is what is stored, so it is written as it is. Tables, metadata-only objects and YAML are made from it on demand.

Upstream counterpart: apiserver's endpoints/handlers/{negotiation,responsewriters}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml
from aiohttp import web

from navarch.api.scalars import Object
from navarch.apiserver import background, streams
from navarch.apiserver.context import Context
from navarch.lib import texts
from navarch.machinery import codec, errors

Tree = dict[str, Any]
JSON = "application/json"
_MOST_WARNED, _MOST_WARNING = 4096, 256
YAML = "application/yaml"
_AVAILABLE = (
    "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, "
    "application/vnd.kubernetes.protobuf;stream=watch"
)
_JSON_NAMES = frozenset({"application/json", "*/*", "application/*", "text/*"})
_YAML_NAMES = frozenset({YAML, "text/yaml", "application/x-yaml"})
_MEDIA = _JSON_NAMES | _YAML_NAMES | {"application/vnd.kubernetes.protobuf"}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The form of an answer. `shape` is "", "Table", "PartialObjectMetadata" or "PartialObjectMetadataList"."""

    media: str = JSON
    shape: str = ""
    pretty: bool = False
    version: str = "v1"


@texts.remembered(256)
def negotiate(accept: str) -> Accepted | None:
    """The first form of an Accept header that we can give; None when there is none."""
    if not accept:
        return Accepted()
    for clause in accept.split(","):
        media, *parameters = (p.strip() for p in clause.split(";"))
        options = dict(p.split("=", 1) for p in parameters if "=" in p)
        shape = options.get("as", "")
        if media in _JSON_NAMES:
            form = JSON
        elif media in _YAML_NAMES:
            form = YAML
        else:
            continue
        if shape and (options.get("g") != "meta.k8s.io" or options.get("v") not in ("v1", "v1beta1")):
            continue
        return Accepted(form, shape, options.get("pretty") in ("1", "true"), options.get("v", "v1"))
    return None


def accepted(context: Context, *shapes: str) -> Accepted:
    """The form to answer in. NotAcceptable when the client takes none of ours (`shapes`: those this answer can have)."""
    header = context.request.headers.get("Accept", "")
    found = negotiate(header)
    if found is None and header.startswith("application/vnd.kubernetes.protobuf") and "," not in header and ";as=" not in header:
        return Accepted()
    if found is None and not {c.split(";")[0].strip() for c in header.split(",")} & _MEDIA:
        raise errors.NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {_AVAILABLE}")
    if found is None or (found.shape and found.shape not in shapes):
        raise errors.NotAcceptable(
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
    return found


def raw(body: bytes, status: int = 200, media: str = JSON, headers: dict[str, str] | None = None) -> web.Response:
    """Finished bytes."""
    made = {"Content-Type": media, "Cache-Control": "no-cache, private"}
    if headers:
        made |= headers
    kind = streams.Pieces if len(body) > streams.PIECE else web.Response
    return kind(body=body, status=status, headers=made)


def of_json(context: Context, body: bytes, status: int = 200) -> web.Response:
    """A JSON document in the form the client asked for, with the warnings collected so far."""
    form = accepted(context, "PartialObjectMetadata", "Table", "PartialObjectMetadataList")
    media = form.media
    if media == YAML:
        response = raw(as_yaml(body), status, media) if len(body) < background.LARGE else streams.Late(lambda: _later(body), status, media)
    elif pretty(context, form):
        response = raw(msgspec.json.format(body, indent=2) + b"\n", status, media)
    else:
        response = raw(body, status, media)
    warn(context, response)
    return response


def pretty(context: Context, form: Accepted) -> bool:
    """Whether JSON is wanted in lines, for people."""
    return form.pretty or context.query.get("pretty") in ("1", "true")


def as_yaml(body: bytes) -> bytes:
    """A JSON document as YAML."""
    text: str = yaml.dump(codec.tree(body), Dumper=yaml.CSafeDumper, sort_keys=True, default_flow_style=False)
    return text.encode()


async def _later(body: bytes) -> bytes:
    return await background.run(len(body), as_yaml, body)


def of_object(context: Context, obj: Object | dict[str, Any], status: int = 200) -> web.Response:
    return of_json(context, codec.encode(obj), status)


def warn(context: Context, response: web.StreamResponse) -> None:
    """Adds `Warning` headers (RFC 7234, code 299) for what the request made us note, as many characters of them as upstream does."""
    noted = list(dict.fromkeys(context.warnings))
    shortened = sum(map(len, noted)) > _MOST_WARNED
    written = 0
    for text in noted:
        if written >= _MOST_WARNED:
            break
        text = text[:_MOST_WARNING] if shortened else text
        written += len(text)
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        response.headers.add("Warning", f'299 - "{quoted}"')


def failure(error: errors.ApiError) -> web.Response:
    """An error as a Status."""
    status = error.status
    headers = {}
    if error.retry_after:
        headers["Retry-After"] = str(error.retry_after)
    return raw(codec.encode(status), status.code or 500, headers=headers)


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
