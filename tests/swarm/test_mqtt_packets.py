from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import MalformedMessage
from swarm.mqtt_packets import (
    CONNECT,
    PINGREQ,
    PUBLISH,
    Connect,
    OtherVersion,
    Packet,
    PacketReader,
    Will,
    connect_packet,
    parse_connect,
    publish_topic,
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
wills = st.builds(Will, texts, st.binary(max_size=300), st.integers(0, 2), st.booleans())
connects = st.builds(
    Connect,
    texts,
    st.integers(0, 65535),
    st.booleans(),
    st.none() | wills,
    texts,
    st.none() | st.binary(max_size=40),
)


@given(connects, st.lists(st.integers(1, 50), max_size=40))
def test_a_connect_is_read_as_it_was_written_however_it_is_cut(connect: Connect, cuts: list[int]) -> None:
    data = connect_packet(connect) + bytes((PINGREQ << 4, 0))
    reader = PacketReader(100_000)
    found: list[Packet] = []
    for cut in [*cuts, len(data)]:
        found += reader.read(data[:cut])
        data = data[cut:]
    assert [packet.kind for packet in found] == [CONNECT, PINGREQ]
    assert parse_connect(found[0]) == connect
    assert reader.waiting == 0


@given(st.binary(max_size=200))
def test_any_bytes_are_packets_or_malformed(data: bytes) -> None:
    try:
        for packet in PacketReader(100).read(data):
            assert len(packet.body) <= 100
            if packet.kind == PUBLISH:
                topic = publish_topic(packet)
                assert topic
                assert not set(topic) & set("+#\0")
            else:
                parse_connect(packet)
    except MalformedMessage:
        pass


def test_a_packet_above_the_bound_is_refused_before_it_is_here() -> None:
    assert [packet.body for packet in PacketReader(2).read(b"\x30\x02ab")] == [b"ab"]
    with pytest.raises(MalformedMessage, match="3 bytes"):
        list(PacketReader(2).read(b"\x30\x03"))


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x04MQTT\x04\x01\x00\x3c\x00\x01x",  # a reserved flag
        b"\x00\x04MQTT\x04\x1e\x00\x3c\x00\x01x\x00\x01t\x00\x00",  # quality of service 3
        b"\x00\x04MQTT\x04\x22\x00\x3c\x00\x01x",  # a will that is retained, and none
        b"\x00\x04MQTT\x04\x42\x00\x3c\x00\x01x\x00\x01p",  # a password without a name
        b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x!",
        b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x02x",
        b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\xff",
        b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\x00",
    ],
)
def test_a_connect_that_contradicts_itself_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_connect(Packet(CONNECT, 0, body, b""))


def test_other_versions_of_mqtt_are_told_apart() -> None:
    with pytest.raises(OtherVersion, match="level 5"):
        parse_connect(Packet(CONNECT, 0, b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01x", b""))
