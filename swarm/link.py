"""The link between two nodes: many tasks and the beats of a node over one connection. No I/O: bytes in, bytes out.

The node that calls opens the link and orders; the node that serves answers. Each direction is one record after the
other, in pieces of any size::

    record  = kind (1 byte), stream (4 bytes), length of body (4 bytes), body;  big-endian
    calling: ORDER (JSON `Order`), CANCEL, BEAT (JSON `Beat`)
    serving: ACCEPTED (JSON), DATA (events as they will reach the client), OVER (JSON), HEARD (answers a BEAT)

A stream is one order; its number is the caller's and used once on a link. Whichever end breaks the rules
loses the link.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from swarm.errors import MalformedMessage
from swarm.membership import Beat
from swarm.task import MAX_BODY_BYTES, Accepted, Finished, LossReason, Lost, Order, Refused
from swarm.transport import Execution, Receiver, Service

ORDER, CANCEL, BEAT, ACCEPTED, DATA, OVER, HEARD = range(1, 8)
MAX_RECORD_BYTES = MAX_BODY_BYTES + 64 * 1024
MAX_CONTROL_BYTES = 256 * 1024
"""Any record but an order and data."""
MAX_STREAMS = 2000
"""Orders under way on one link."""

_HEADER = struct.Struct("!BII")
_HEADER_BYTES = _HEADER.size
_encode = msgspec.json.Encoder().encode


_finished = msgspec.json.Decoder(Finished)
_refused = msgspec.json.Decoder(Refused)
_accepted = msgspec.json.Decoder(Accepted)
_order = msgspec.json.Decoder(Order)
_beat = msgspec.json.Decoder(Beat)
T = TypeVar("T")

Write = Callable[[bytes], None]
"""Queues one record for the other end; never blocks."""


class CallingEnd:
    """The end that opened the link. Gives each order's receiver what comes of it."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._receivers: dict[int, Receiver] = {}
        self._next = 0
        self._records = _Records()

    @property
    def orders(self) -> int:
        """Under way."""
        return len(self._receivers)

    def order(self, order: Order, receiver: Receiver) -> Execution:
        """Send an order."""
        self._next += 1
        self._receivers[self._next] = receiver
        self._write(_record(ORDER, self._next, _encode(order)))
        return _Call(self, self._next)

    def beat(self, beat: Beat) -> None:
        """Send a sign of life."""
        self._write(_record(BEAT, 0, _encode(beat)))

    def received(self, data: bytes) -> None:
        """Bytes of the serving end. Raises `MalformedMessage`."""
        for kind, stream, body in self._records.of(data):
            if kind == HEARD:
                continue
            receiver = self._receivers.get(stream)
            if receiver is None:
                continue  # cancelled while this was on its way
            if kind == DATA:
                receiver.data(body)
            elif kind == ACCEPTED:
                receiver.accepted(_parsed(_accepted, body))
            elif kind == OVER:
                del self._receivers[stream]
                receiver.over(_parsed(_finished, body[1:]) if body[:1] == b"F" else _parsed(_refused, body[1:]))
            else:
                raise MalformedMessage(f"record of kind {kind} from a serving node")

    def broken(self, reason: LossReason, message: str) -> None:
        """The link is no more."""
        receivers, self._receivers = self._receivers, {}
        for receiver in receivers.values():
            receiver.over(Lost(reason, message))

    def _cancel(self, stream: int) -> None:
        if self._receivers.pop(stream, None) is not None:
            self._write(_record(CANCEL, stream, b""))


class _Call:
    """An order on its way through a link."""

    def __init__(self, end: CallingEnd, stream: int) -> None:
        self._end = end
        self._stream = stream

    def cancel(self) -> None:
        self._end._cancel(self._stream)

    def abandon(self) -> None:
        self._end._cancel(self._stream)


class ServingEnd:
    """The end that was called, by `peer`, whose identity is proved."""

    def __init__(self, peer: str, service: Service, write: Write) -> None:
        self._peer = peer
        self._service = service
        self._write = write
        self._executions: dict[int, Execution | None] = {}
        self._newest = 0
        self._records = _Records()

    def received(self, data: bytes) -> None:
        """Bytes of the calling end. Raises `MalformedMessage`."""
        for kind, stream, body in self._records.of(data):
            if kind == ORDER:
                self._execute(stream, _parsed(_order, body))
            elif kind == CANCEL:
                execution = self._executions.pop(stream, None)
                if execution is not None:
                    execution.cancel()
            elif kind == BEAT:
                beat = _parsed(_beat, body)
                if beat.node != self._peer:
                    raise MalformedMessage(f"{self._peer} sent a beat of {beat.node:.80}")
                self._write(_record(HEARD, 0, b""))
                self._service.heard(beat)
            else:
                raise MalformedMessage(f"record of kind {kind} from a calling node")

    def broken(self) -> None:
        """The link is no more; the caller may come back by another one."""
        executions, self._executions = self._executions, {}
        for execution in executions.values():
            if execution is not None:
                execution.abandon()

    def _execute(self, stream: int, order: Order) -> None:
        if stream <= self._newest:
            raise MalformedMessage(f"stream {stream} was used before")
        self._newest = stream
        answer = _Answer(self, stream)
        if len(self._executions) >= MAX_STREAMS:
            answer.over(Refused("busy", f"{MAX_STREAMS} orders are under way on this link", 1.0))
            return
        self._executions[stream] = None
        execution = self._service.execute_for(self._peer, order, answer)
        if stream in self._executions:  # it may be over already
            self._executions[stream] = execution


class _Answer:
    """The receiver of one order of the caller."""

    def __init__(self, end: ServingEnd, stream: int) -> None:
        self._end = end
        self._stream = stream
        self._write = end._write

    def accepted(self, accepted: Accepted) -> None:
        self._write(_record(ACCEPTED, self._stream, _encode(accepted)))

    def data(self, events: bytes) -> None:
        self._write(_HEADER.pack(DATA, self._stream, len(events)) + events)

    def over(self, over: Finished | Refused | Lost) -> None:
        self._end._executions.pop(self._stream, None)
        if isinstance(over, Lost):  # this node passed the order on, and lost the node behind it
            over = Finished("failed", f"lost on the way: {over.message or over.reason}")
        self._write(_record(OVER, self._stream, (b"F" if isinstance(over, Finished) else b"R") + _encode(over)))


def _record(kind: int, stream: int, body: bytes) -> bytes:
    return _HEADER.pack(kind, stream, len(body)) + body


class _Records:
    """Takes bytes as they come apart into records."""

    def __init__(self) -> None:
        self._rest = bytearray()
        """Of a record that has not come whole."""
        self._wanted = 0
        """So many bytes the rest must have before there is anything new to see in it."""

    def of(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Kind, stream and body of each record that is complete with `data`. Raises `MalformedMessage`."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data, self._rest = bytes(self._rest), bytearray()
        begin, end, self._wanted = 0, len(data), _HEADER_BYTES
        while (body := begin + _HEADER_BYTES) <= end:
            kind, stream, length = _HEADER.unpack_from(data, begin)
            if length > (MAX_RECORD_BYTES if kind in (ORDER, DATA) else MAX_CONTROL_BYTES):
                raise MalformedMessage(f"a record of {length} bytes exceeds its bound")
            if body + length > end:
                self._wanted += length
                break
            begin = body + length
            yield kind, stream, data[body:begin]
        self._rest += data[begin:]


def _parsed(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not a record of a link: {error}") from error
