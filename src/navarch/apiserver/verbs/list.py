"""LIST: entries of a scope, joined.

Chunks (`limit`, `continue`) show one revision: as long as nothing of the resource changed since, they come from the cache,
else from the store's history. A token whose revision is no longer kept answers 410 with a token to go on inconsistently.

Upstream counterpart: apiserver's registry/generic and storage/continue.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import documents, negotiation, streams, tables, writing
from navarch.apiserver.answers import Answer, Document, Pieces
from navarch.apiserver.call import Call
from navarch.apiserver.served import Served
from navarch.apiserver.storage import Storage
from navarch.apiserver.watch_cache import Entry, Scope
from navarch.apiserver.writing import version_number
from navarch.lib import integers
from navarch.machinery import codec, errors, field, selectors
from navarch.store import interface as stores

_TOKEN_SECONDS = 300.0
"""How long a chunked list can be gone on with as it was begun: as long as upstream's store keeps what the list needs, which clients
(and the conformance suite) count on. History itself is kept for longer."""


MOST_TIMEOUT_SECONDS = 1 << 31
_WHOLE = 4 << 20
"""Bytes of a list that is joined at once: 1 ms of work. Larger ones are joined while they are written."""
_ITEMS = 32
"""Items that are joined at once."""
_READ = 500
"""Objects that are read from history at once."""


@dataclass(frozen=True, slots=True)
class Lists:
    """What lists are read from, and what gives costly ones their turns."""

    storage: Storage
    turns: streams.Turns


class _Token(msgspec.Struct):
    v: str
    rv: int
    start: str
    begun: float = 0.0


@dataclass(frozen=True, slots=True)
class Page:
    """A chunk: entries, the revision they show, and how to go on."""

    entries: Sequence[Entry]
    revision: int
    token: str = ""
    remaining: int = 0


def scope_of(call: Call, served: Served) -> Scope:
    """What the query selects. BadRequest when a selector cannot be read or names a field that cannot be selected."""
    label_text = call.query.get("labelSelector")
    field_text = call.query.get("fieldSelector")
    try:
        labels = selectors.parse_labels(label_text) if label_text else selectors.EVERYTHING
    except ValueError as error:
        raise errors.BadRequest(f"unable to parse requirement: {error}") from None
    try:
        terms = selectors.parse_fields(field_text) if field_text else ()
    except ValueError as error:
        raise errors.BadRequest(str(error)) from None
    if terms and served.convert_out is not None:
        terms = tuple(selectors.FieldRequirement(_stored_field(t.field), t.equal, t.value) for t in terms)
    known = served.cache.fields
    for term in terms:
        if term.field not in known:
            if served.shape.custom:
                raise errors.BadRequest(f"field label not supported: {term.field}")
            if known <= {"metadata.name", "metadata.namespace"}:
                raise errors.BadRequest(f'"{term.field}" is not a known field selector: only "metadata.name", "metadata.namespace"')
            version = f"{served.group}/{served.resource.version}"
            raise errors.BadRequest(
                f'Unable to find "{version}, Resource={served.plural}" that match label selector "{label_text}", field '
                f'selector "{field_text}": field label not supported: {term.field}'
            )
    if call.info.name:
        terms = (*terms, selectors.FieldRequirement("metadata.name", True, call.info.name))
    return Scope(call.info.namespace if served.resource.namespaced else "", labels, terms)


def _stored_field(name: str) -> str:
    return name.replace("regarding.", "involvedObject.").replace("reportingController", "reportingComponent")


async def handle(lists: Lists, call: Call, served: Served) -> Answer:
    query = call.query.raw
    form = negotiation.accepted(call, "Table", "PartialObjectMetadataList", "PartialObjectMetadata")
    scope = scope_of(call, served) if query else Scope(call.info.namespace if served.resource.namespaced else "")
    plain = not query and served.view is None
    if plain:
        await lists.storage.fresh()
    page = Page(served.cache.select(scope), lists.storage.revision) if plain else await read(call, served, scope, lists)
    pretty = form.pretty or ("pretty" in query and negotiation.pretty(call, form))
    if not form.shape and form.media == negotiation.JSON and not pretty:
        return _plain(served, lists, page)
    return _made(lists, call, served, form, page, pretty)


def _plain(served: Served, lists: Lists, page: Page) -> Answer:
    """A list of what the cache holds as it holds it: joined, and where it is large, piece by piece."""
    resource = served.resource
    bodies = [e.body for e in page.entries]
    size = sum(map(len, bodies))
    if size <= _WHOLE:
        return Document(documents.join_list(resource.group_version, resource.list_kind, page.revision, bodies, page.token, page.remaining))
    head, tail = documents.list_head(resource.group_version, resource.list_kind, page.revision, page.token, page.remaining), b"]}\n"
    length = len(head) + size + len(bodies) - 1 + len(tail)
    return Pieces(streams.pieces(_joined(head, bodies, tail), lists.turns), negotiation.JSON, length)


def _joined(head: bytes, bodies: Sequence[bytes], tail: bytes) -> Iterator[bytes]:
    """A list's parts, some items to a part."""
    yield head
    for at in range(0, len(bodies), _ITEMS):
        part = b",".join(bodies[at : at + _ITEMS])
        yield b"," + part if at else part
    yield tail


def _made(lists: Lists, call: Call, served: Served, form: negotiation.Accepted, page: Page, pretty: bool) -> Answer:
    """A list whose items have to be made: rows of a Table, metadata, another version, YAML, lines for people."""
    metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if page.token:
        metadata["continue"] = page.token
    if page.remaining:
        metadata["remainingItemCount"] = page.remaining
    bodies = (e.body for e in page.entries)
    version, kind = served.resource.group_version, served.resource.list_kind
    items = "items"
    if form.shape == "Table":
        rows = tables.Rows(call, served)
        version, kind, items = "meta.k8s.io/v1", "Table", "rows"
        bodies = (codec.encode(rows.row(body)) for body in bodies)
        metadata = {"metadata": metadata, "columnDefinitions": rows.definitions()}
    else:
        if form.shape:
            version, kind, bodies = "meta.k8s.io/v1", "PartialObjectMetadataList", (documents.partial(body) for body in bodies)
        metadata = {"metadata": metadata}
    head = {"kind": kind, "apiVersion": version, **metadata}
    make = documents.yaml_parts if form.media == negotiation.YAML else documents.pretty_parts if pretty else documents.json_parts
    return Pieces(streams.pieces(make(head, items, bodies), lists.turns), form.media)


async def read(call: Call, served: Served, scope: Scope, lists: Lists) -> Page:
    """The chunk a query asks for, at the revision it asks for, in the served version."""
    page = await _read(call, served, scope, lists)
    return page if served.view is None else replace(page, entries=await served.entries(page.entries, lists.turns))


async def _read(call: Call, served: Served, scope: Scope, lists: Lists) -> Page:
    """The same as it is stored."""
    query = call.query
    if query.get("sendInitialEvents"):
        problem = field.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
        raise field.invalid_error("meta.k8s.io", "ListOptions", "", [problem])
    limit = _number(query.get("limit"))
    timeout_seconds(call)
    token, match = query.get("continue"), query.get("resourceVersionMatch")
    asked = query.get("resourceVersion")
    check_match(asked, match, token)
    if token:
        if asked not in ("", "0"):
            raise errors.BadRequest("specifying resource version is not allowed when using continue")
        return await _continued(served, scope, lists, _parse(token), limit)
    try:
        revision = version_number(asked)
    except errors.BadRequest as error:
        raise errors.BadRequest(f"invalid resource version: {error.status.message}") from None
    if match == "Exact":
        return await _at(served, scope, lists, revision, "", limit)
    if not asked:
        await lists.storage.fresh()
    if revision > lists.storage.revision:
        raise too_large(revision, lists.storage.revision)
    revision = lists.storage.revision
    return _cut(await _chosen(served, scope, lists), revision, limit, scope)


async def _chosen(served: Served, scope: Scope, lists: Lists, after: str = "") -> list[Entry]:
    """The entries of a scope as they are at this moment, those behind a key only."""
    found = served.cache.candidates(scope, after)
    return await lists.turns.chosen(found, scope.matches, scope.cost) if scope.cost and found else found


def check_match(asked: str, match: str, token: str) -> None:
    """The rules for resourceVersionMatch."""
    problem: field.Problem | None = None
    if not match:
        return
    if token:
        problem = field.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
    elif not asked:
        problem = field.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
    elif match not in ("Exact", "NotOlderThan"):
        problem = field.not_supported("resourceVersionMatch", match, ("Exact", "NotOlderThan"))
    elif match == "Exact" and asked == "0":
        problem = field.forbidden("resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if problem is not None:
        raise field.invalid_error("meta.k8s.io", "ListOptions", "", [problem])


def too_large(asked: int, current: int) -> errors.Timeout:
    cause = meta_v1.StatusCause(reason="ResourceVersionTooLarge", message="Too large resource version")
    return errors.Timeout(f"Timeout: Too large resource version: {asked}, current: {current}", causes=[cause], retry_after=1)


def timeout_seconds(call: Call) -> int:
    """`timeoutSeconds` of a list or watch; 0 when it says none. BadRequest."""
    return min(_number(call.query.get("timeoutSeconds")), MOST_TIMEOUT_SECONDS)


def _number(text: str) -> int:
    """A number of the query as Go reads it; none, and one below 0, is 0. BadRequest."""
    if not text:
        return 0
    try:
        return max(integers.required(text), 0)
    except ValueError as error:
        raise errors.BadRequest(str(error)) from None


def _parse(token: str) -> _Token:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=_Token)
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise errors.BadRequest(f"invalid continue token: continue key is not valid: {error}") from None


def _token(revision: int, last: str, begun: float) -> str:
    text = msgspec.json.encode(_Token("meta.k8s.io/v1", revision, last, begun))
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _cut(entries: Sequence[Entry], revision: int, limit: int, scope: Scope, begun: float = 0.0, behind: int = 0) -> Page:
    """The first `limit` entries, with a token for the rest of a list that was begun then (0: now). `behind`: how many more there are."""
    if not limit or len(entries) + behind <= limit:
        return Page(entries, revision)
    token = _token(revision, entries[limit - 1].key, begun or writing.now())
    return Page(entries[:limit], revision, token, 0 if scope.cost else len(entries) + behind - limit)


async def _continued(served: Served, scope: Scope, lists: Lists, token: _Token, limit: int) -> Page:
    if token.rv < 0:
        revision = lists.storage.revision
        return _cut(await _chosen(served, scope, lists, token.start), revision, limit, scope)
    if writing.now() - token.begun > _TOKEN_SECONDS:
        raise _expired_token(token.start)
    if served.cache.version <= token.rv and token.rv >= served.cache.complete_since:
        return _cut(await _chosen(served, scope, lists, token.start), token.rv, limit, scope, token.begun)
    return await _at(served, scope, lists, token.rv, token.start, limit, token.begun)


async def _at(served: Served, scope: Scope, lists: Lists, revision: int, after: str, limit: int, begun: float = 0.0) -> Page:
    """Entries as they were at a revision, from the store's history: no more of it is read than the page shows, and what it passes over."""
    cache, store = served.cache, lists.storage.store
    prefix = cache.prefix
    start, end = (f"{prefix}{scope.namespace}/", f"{prefix}{scope.namespace}0") if scope.namespace else (prefix, f"{prefix[:-1]}0")
    start = max(start, f"{prefix}{after}\0") if after else start
    found: list[Entry] = []
    behind = 0
    try:
        while True:
            wanted = min(limit - len(found), _READ) if limit and not scope.cost else _READ
            read = await store.range(start, end, revision=revision, limit=wanted, counted=False)
            async with lists.turns:
                entries = [cache.entry(r.key[len(prefix) :], r.value, r.mod_revision) for r in read.records]
            found += (entry for entry in entries if scope.matches(entry))
            if not read.more:
                break
            start = f"{read.records[-1].key}\0"
            if limit and len(found) >= limit:
                behind = 1 if scope.cost else (await store.range(start, end, revision=revision, limit=1)).count
                break
    except stores.Compacted:
        if not after:
            raise errors.Expired(f"The resourceVersion for the provided list is too old: {revision}") from None
        raise _expired_token(after) from None
    except stores.FutureRevision:
        raise too_large(revision, lists.storage.revision) from None
    return _cut(found, revision, limit, scope, begun, behind)


def _expired_token(after: str) -> errors.Expired:
    error = errors.Expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
        "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided "
        "token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was "
        "returned and now may show up in the list."
    )
    error.status.metadata = meta_v1.ListMeta(continue_=_token(-1, after, 0.0))
    return error
