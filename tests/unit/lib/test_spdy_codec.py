"""SPDY/3.1 framing: what one side sends is what the other side sees, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navarch.lib.streaming import channels, spdy

NAMES = st.text(alphabet="abcdefgh-", min_size=1, max_size=12)
VALUES = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


def test_the_dictionary_is_the_specifications() -> None:
    assert len(spdy.DICTIONARY) == 1423
    assert spdy.DICTIONARY.startswith(b"\0\0\0\x07options\0\0\0\x04head")
    assert spdy.DICTIONARY.endswith(b",enq=0.")


@given(st.lists(st.tuples(st.dictionaries(NAMES, VALUES, max_size=4), st.binary(max_size=200)), min_size=1, max_size=6), st.integers(1, 50))
def test_streams_and_data_arrive(streams: list[tuple[dict[str, str], bytes]], cut: int) -> None:
    client, server = spdy.Codec(client=True), spdy.Codec(client=False)
    wire = b""
    expected: list[spdy.Event] = []
    for index, (headers, data) in enumerate(streams):
        number, frame = client.open(headers)
        assert number == 2 * index + 1
        wire += frame + client.data(number, data, fin=True)
        expected += [spdy.StreamOpened(number, headers, False), spdy.DataReceived(number, data, True)]
    events: list[spdy.Event] = []
    for start in range(0, len(wire), cut):
        events += server.receive(wire[start : start + cut])
    assert events == expected


def test_replies_resets_pings() -> None:
    client, server = spdy.Codec(client=True), spdy.Codec(client=False)
    number, frame = client.open({"streamtype": "data"})
    server.receive(frame)
    answer = server.reply(number) + server.reset(number, 3) + server.ping(2) + server.go_away(number)
    assert client.receive(answer) == [
        spdy.StreamReplied(number, {}, False),
        spdy.StreamReset(number, 3),
        spdy.PingReceived(2),
        spdy.GoneAway(number),
    ]
    assert client.receive(server.ping(1)) == [], "an answer to our own ping is no news"


def test_large_data_is_sent_in_moderate_frames() -> None:
    client, server = spdy.Codec(client=True), spdy.Codec(client=False)
    events = server.receive(client.data(1, b"x" * 100_000))
    assert [len(e.data) for e in events if isinstance(e, spdy.DataReceived)] == [32768, 32768, 32768, 1696]


@given(st.binary(min_size=8, max_size=60))
def test_garbage_is_refused_or_awaited(data: bytes) -> None:
    codec = spdy.Codec(client=False)
    try:
        events = codec.receive(data)
    except spdy.SpdyError:
        return
    assert all(isinstance(event, spdy.Event) for event in events)


@pytest.mark.parametrize("protocol", channels.REMOTE_COMMAND)
def test_channels_there_and_back(protocol: str) -> None:
    message = channels.encode(protocol, channels.STDERR, b"a\0b")
    assert isinstance(message, str) == ("base64" in protocol)
    assert channels.decode(protocol, message) == (channels.STDERR, b"a\0b")


@pytest.mark.parametrize("message", ["", "x", "1***", b""])
def test_broken_channel_messages(message: str | bytes) -> None:
    assert channels.decode("base64.channel.k8s.io", message) is None
