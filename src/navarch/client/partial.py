"""Collections seen as metadata only: for who follows every kind there is, custom ones included, and needs no more than names and owners.

In: a collection's path. Out: its objects' `Metadata`, first all of them, then each change; `Follower` is a source for
`reflector.follow`. What it is not: a copy; who follows keeps what it needs.

Upstream counterpart: client-go's metadata client and metadatainformer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec

from navarch.api.meta import v1 as meta_v1
from navarch.client import watch
from navarch.client.rest import Client, Request
from navarch.machinery import codec, errors
from navarch.objects.partial import Metadata

OBJECT = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_WATCH_SECONDS = "540"


class _Item(msgspec.Struct):
    metadata: Metadata


class _List(msgspec.Struct):
    metadata: meta_v1.ListMeta
    items: list[_Item] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_item, _list, _event = msgspec.json.Decoder(_Item), msgspec.json.Decoder(_List), msgspec.json.Decoder(_Event)


async def get(client: Client, path: str) -> Metadata:
    """The metadata of one object. ApiError and Unreachable as `client.send` raises them."""
    return _item.decode(await client.send(Request("GET", path, accept=OBJECT))).metadata


class Follower:
    """Tells `listed` of all objects at once and `changed` of each event after that: ADDED, MODIFIED or DELETED."""

    def __init__(self, client: Client, path: str, listed: Callable[[list[Metadata]], None], changed: Callable[[str, Metadata], None]) -> None:
        self.name = path
        self.version = ""
        self._client = client
        self._listed, self._changed = listed, changed

    async def relist(self) -> None:
        data = await self._client.send(Request("GET", self.name, accept=LIST))
        try:
            found = _list.decode(data)
        except msgspec.MsgspecError as error:
            raise codec.DecodeError(str(error)) from error
        self._listed([item.metadata for item in found.items or ()])
        self.version = found.metadata.resourceVersion or ""

    async def events(self) -> AsyncIterator[None]:
        query = (("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", self.version), ("timeoutSeconds", _WATCH_SECONDS))
        request = Request("GET", self.name, query, timeout=None, silence=watch.SILENCE, accept=OBJECT)
        async with self._client.open(request) as response:
            async for line in watch.lines(response):
                event, metadata = _read(line)
                self.version = metadata.resourceVersion
                if event != "BOOKMARK":
                    self._changed(event, metadata)
                yield


def _read(line: bytes) -> tuple[str, Metadata]:
    """An event's type and metadata. The ApiError of an ERROR event; codec.DecodeError."""
    try:
        event = _event.decode(line)
        if event.type != "ERROR":
            return event.type, _item.decode(event.object).metadata
    except msgspec.MsgspecError as error:
        raise codec.DecodeError(str(error)) from error
    raise errors.from_status(codec.decode(meta_v1.Status, bytes(event.object)))
