"""containerd's own event stream, for versions whose CRI has none (1.6): tells when a container's process has ended.

The service is `containerd.services.events.v1.Events/Subscribe` on the socket CRI is on. Its three messages are simple, so they are read
by hand: an envelope has the namespace (2), the topic (3) and an Any (4) whose value (2) is the TaskExit with container id (1), process id (2).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc.aio

from navarch.cri.client import Client, CriError

FILTERS = ('namespace==k8s.io,topic=="/tasks/exit"', 'namespace==k8s.io,topic=="/tasks/oom"')


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a protobuf message; others are passed over."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        match key & 7:
            case 0:
                _, position = _varint(data, position)
            case 1:
                position += 8
            case 2:
                size, position = _varint(data, position)
                yield key >> 3, data[position : position + size]
                position += size
            case 5:
                position += 4
            case _:
                return


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80:
            return value, position


def container_of(envelope: bytes) -> str:
    """The container whose own process ended; empty for anything else (such as a command run inside)."""
    fields = dict(_fields(envelope))
    inner = dict(_fields(dict(_fields(fields.get(4, b""))).get(2, b"")))
    container, process = inner.get(1, b"").decode(), inner.get(2, b"").decode()
    return container if process in ("", container) else ""


async def exits(cri: Client) -> AsyncIterator[str]:
    """Ids of containers that have just ended (or run out of memory). CriError when there is no such stream."""
    request = b"".join(b"\x0a" + bytes([len(text)]) + text.encode() for text in FILTERS)
    call = cri.channel.unary_stream("/containerd.services.events.v1.Events/Subscribe")
    try:
        async for envelope in call(request):
            container = container_of(envelope)
            if container:
                yield container
    except grpc.aio.AioRpcError as error:
        code = "".join(part.capitalize() for part in error.code().name.split("_"))
        raise CriError(code, error.details() or "") from None
