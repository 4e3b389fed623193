"""MQTT 3.1.1 packets, as far as somebody who passes them on has to understand them. No I/O.

Written after the standard (OASIS, MQTT Version 3.1.1); the numbers in comments are its sections. Other versions are
refused by name: 5.0 has topic aliases, behind which a topic could hide.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from swarm.errors import MalformedMessage

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)

ACCEPTED, WRONG_VERSION, BAD_ID, UNAVAILABLE, BAD_LOGIN, NOT_AUTHORIZED = range(6)
"""Return codes of a CONNACK (3.2.2.3)."""

_MAX_LENGTH_BYTES = 4


class Packet(NamedTuple):
    """One control packet."""

    kind: int
    """`CONNECT` to `DISCONNECT`."""
    flags: int
    """The lower half of the first byte."""
    body: bytes
    """All after the fixed header."""
    whole: bytes
    """The packet as it came."""


class PacketReader:
    """Cuts a stream of bytes into packets."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` of one packet's body."""
        self._max_bytes = max_bytes
        self._rest = bytearray()

    @property
    def waiting(self) -> int:
        """Bytes of a packet that is not whole yet."""
        return len(self._rest)

    def read(self, data: bytes) -> Iterator[Packet]:
        """The packets that are whole with `data`. Raises `MalformedMessage` when there can be none, or too large."""
        self._rest += data
        while (header := self._header()) is not None:
            start, length = header
            if len(self._rest) < start + length:
                return
            whole = bytes(self._rest[: start + length])
            del self._rest[: start + length]
            yield Packet(whole[0] >> 4, whole[0] & 0x0F, whole[start:], whole)

    def _header(self) -> tuple[int, int] | None:
        """Where the body begins and how long it is; None while that is not known."""
        length = 0
        for at in range(1, _MAX_LENGTH_BYTES + 1):
            if at >= len(self._rest):
                return None
            length |= (self._rest[at] & 0x7F) << 7 * (at - 1)
            if not self._rest[at] & 0x80:
                if length > self._max_bytes:
                    raise MalformedMessage(f"an MQTT packet of {length} bytes; more than {self._max_bytes} are refused")
                return at + 1, length
        raise MalformedMessage("an MQTT packet without an end")


@dataclass(frozen=True)
class Will:
    """What the broker publishes when the client is lost."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True)
class Connect:
    """The first packet of a client (3.1)."""

    client_id: str
    keepalive_s: int
    clean: bool = True
    will: Will | None = None
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)


class OtherVersion(MalformedMessage):
    """The client speaks another version of MQTT."""


def parse_connect(packet: Packet) -> Connect:
    """Raises `MalformedMessage`, `OtherVersion`."""
    if packet.kind != CONNECT or packet.flags:
        raise MalformedMessage("the first MQTT packet is no CONNECT")
    fields = _Fields(packet.body)
    name, level = fields.text(), fields.number(1)
    if (name, level) != ("MQTT", 4):
        raise OtherVersion(f"MQTT protocol {name:.20} level {level}; only 3.1.1 is spoken here")
    flags, keepalive_s = fields.number(1), fields.number(2)
    has_will, will_qos = bool(flags & 0x04), flags >> 3 & 3
    if flags & 0x01 or will_qos == 3 or (not has_will and flags & 0x38) or flags & 0xC0 == 0x40:
        raise MalformedMessage("a CONNECT with flags that contradict each other")
    client_id = fields.text()
    will = Will(fields.text(), fields.data(), will_qos, bool(flags & 0x20)) if has_will else None
    username = fields.text() if flags & 0x80 else None
    password = fields.data() if flags & 0x40 else None
    fields.end()
    return Connect(client_id, keepalive_s, bool(flags & 0x02), will, username, password)


def connect_packet(connect: Connect) -> bytes:
    """The packet that `parse_connect` parses."""
    flags = 0x02 if connect.clean else 0
    rest = [_text(connect.client_id)]
    if connect.will is not None:
        flags |= 0x04 | connect.will.qos << 3 | (0x20 if connect.will.retain else 0)
        rest += [_text(connect.will.topic), _data(connect.will.payload)]
    if connect.username is not None:
        flags |= 0x80
        rest.append(_text(connect.username))
        if connect.password is not None:
            flags |= 0x40
            rest.append(_data(connect.password))
    body = b"".join((_text("MQTT"), struct.pack("!BBH", 4, flags, connect.keepalive_s), *rest))
    return bytes((CONNECT << 4,)) + _length(len(body)) + body


def connack_packet(code: int) -> bytes:
    """The broker's answer to a CONNECT, without a session of before."""
    return bytes((CONNACK << 4, 2, 0, code))


def subscribe_packet(number: int, topics: Iterable[str]) -> bytes:
    """Subscribe to these topics with QoS 0 (3.8); `number`, not 0, comes back in the SUBACK."""
    body = struct.pack("!H", number) + b"".join(_text(topic) + b"\0" for topic in topics)
    return bytes((SUBSCRIBE << 4 | 2,)) + _length(len(body)) + body


def publish_packet(topic: str, payload: bytes) -> bytes:
    """A message with QoS 0 that is not retained (3.3)."""
    body = _text(topic) + payload
    return bytes((PUBLISH << 4,)) + _length(len(body)) + body


def publish_topic(packet: Packet) -> str:
    """The topic of a PUBLISH (3.3.2.1). Raises `MalformedMessage`."""
    topic = _Fields(packet.body).text()
    if not topic or "+" in topic or "#" in topic:
        raise MalformedMessage(f"{topic:.80!r} is no topic to publish to")
    return topic


class _Fields:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size))

    def data(self) -> bytes:
        return self._take(self.number(2))

    def text(self) -> str:
        try:
            text = self.data().decode()
        except UnicodeDecodeError as error:
            raise MalformedMessage(f"an MQTT text that is not UTF-8: {error}") from error
        if "\0" in text:
            raise MalformedMessage("an MQTT text with a zero in it")  # 1.5.3
        return text

    def end(self) -> None:
        if self._at != len(self._body):
            raise MalformedMessage("an MQTT packet with something after its end")

    def _take(self, size: int) -> bytes:
        taken = self._body[self._at : self._at + size]
        if len(taken) < size:
            raise MalformedMessage("an MQTT packet that is cut short")
        self._at += size
        return taken


def _data(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def _text(text: str) -> bytes:
    return _data(text.encode())


def _length(length: int) -> bytes:
    encoded = bytearray()
    while True:
        length, low = divmod(length, 128)
        encoded.append(low | (0x80 if length else 0))
        if not length:
            return bytes(encoded)
