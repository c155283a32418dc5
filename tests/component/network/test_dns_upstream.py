"""Questions to other name servers: nobody on the way can guess what an answer must look like."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import cast

import pytest

from navarch.network.dns.core import answering, wire
from navarch.network.dns.upstream import Forwarder

ADDRESS = wire.address_record


class Server(asyncio.DatagramProtocol):
    """A name server that notes ids and ports, and sends what it is told to before the right answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.forge = False
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        query = wire.parse(data)
        self.asked.append((query.id, addr[1]))
        right = wire.response(query, wire.Code.NOERROR, answers=(ADDRESS(query.name, "192.0.2.1", 30),))
        if self.forge:
            forged = wire.response(query, wire.Code.NOERROR, answers=(ADDRESS(query.name, "192.0.2.66", 30),))
            other_id = (query.id ^ 1).to_bytes(2, "big") + forged[2:]
            no_answer = forged[:2] + bytes([forged[2] & 0x7F]) + forged[3:]
            other_name = forged.replace(b"\x07example", b"\x07exbmple", 1)
            for wrong in (other_id, no_answer, other_name, forged[:11]):
                self._transport.sendto(wrong, addr)
        self._transport.sendto(right, addr)


async def serve() -> tuple[Server, Forwarder, asyncio.BaseTransport]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    return server, Forwarder([("127.0.0.1", port)]), transport


def question(number: int) -> wire.Query:
    return wire.parse(answering.question(wire.encode_name(f"n{number}.example.org"), wire.A, 7))


async def test_ids_and_ports_cannot_be_foretold() -> None:
    """Ids do not follow from the seed of the ordinary generator, and each question has a port of its own."""
    runs = []
    for _ in range(2):
        server, forwarder, transport = await serve()
        random.seed(1)
        for number in range(40):
            assert await forwarder.ask(question(number)) is not None
        runs.append(server.asked)
        transport.close()
    ids = [[ident for ident, _ in run] for run in runs]
    assert ids[0] != ids[1]
    assert len({*ids[0], *ids[1]}) > 70
    ports = [port for _, port in runs[0]]
    assert len(set(ports)) > 35
    steps = {b - a for a, b in itertools.pairwise(ports)}
    assert len(steps) > 20, "the ports follow each other"


async def test_wrong_answers_are_passed_over() -> None:
    server, forwarder, transport = await serve()
    server.forge = True
    found = await asyncio.wait_for(forwarder.ask(question(1)), 1.0)
    transport.close()
    assert found is not None
    _, records = wire.records(found)
    assert [r.data for r in records if r.type == wire.A] == [bytes([192, 0, 2, 1])]


@pytest.mark.parametrize("code", [wire.Code.FORMERR, wire.Code.SERVFAIL])
async def test_a_refusal_without_a_question_ends_the_wait(code: wire.Code) -> None:
    class Refusing(Server):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            assert self._transport is not None
            self._transport.sendto(wire.HEADER.pack(wire.parse(data).id, 0x8000 | code, 0, 0, 0, 0), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Refusing, local_addr=("127.0.0.1", 0))
    forwarder = Forwarder([("127.0.0.1", transport.get_extra_info("sockname")[1])])
    assert await asyncio.wait_for(forwarder.ask(question(1)), 1.0) is None
    transport.close()
