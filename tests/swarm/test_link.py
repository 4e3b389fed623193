"""The two ends of a link against each other, and against what does not keep to the protocol."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import MalformedMessage
from swarm.link import BEAT, DATA, MAX_STREAMS, ORDER, CallingEnd, ServingEnd
from swarm.membership import Beat
from swarm.task import Accepted, Finished, Lost, Order, Over, Refused
from swarm.transport import Receiver
from tests.swarm.token_engine import ask


class Noted:
    """A service and an execution that note."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, Order, Receiver]] = []
        self.beats: list[Beat] = []
        self.ends: list[str] = []

    def execute_for(self, peer: str, order: Order, receiver: Receiver) -> Noted:
        self.orders.append((peer, order, receiver))
        return self

    def heard(self, beat: Beat) -> None:
        self.beats.append(beat)

    def peer_refused(self, node: str) -> None: ...

    def cancel(self) -> None:
        self.ends.append("cancel")

    def abandon(self) -> None:
        self.ends.append("abandon")


class Answers:
    def __init__(self) -> None:
        self.all: list[Accepted | bytes | Over] = []

    def accepted(self, accepted: Accepted) -> None:
        self.all.append(accepted)

    def data(self, events: bytes) -> None:
        self.all.append(events)

    def over(self, over: Over) -> None:
        self.all.append(over)


ASKED = Order("t", ask(3, key="t"), "generate", "tiny", 5.0, hops_left=2, path=("a",))


def pair() -> tuple[CallingEnd, ServingEnd, Noted, list[bytes], list[bytes]]:
    service, up, down = Noted(), [], []  # type: ignore[var-annotated]
    return CallingEnd(up.append), ServingEnd("a", service, down.append), service, up, down


def test_orders_and_answers_of_many_tasks_share_messages() -> None:
    calling, serving, service, up, down = pair()
    one, two = Answers(), Answers()
    calling.order(ASKED, one)
    calling.order(ASKED, two)
    serving.received(b"".join(up))
    assert [(peer, order) for peer, order, _ in service.orders] == [("a", ASKED), ("a", ASKED)]
    for _, _, receiver in service.orders:
        receiver.accepted(Accepted("b", "tiny"))
        receiver.data(b"id: 1\ndata: {}\n\n")
    service.orders[0][2].over(Finished("done"))
    service.orders[1][2].over(Refused("busy", "full", 1.5))
    calling.received(b"".join(down))
    assert one.all == [Accepted("b", "tiny"), b"id: 1\ndata: {}\n\n", Finished("done")]
    assert two.all[-1] == Refused("busy", "full", 1.5)
    assert calling.orders == 0


def test_cancel_reaches_the_other_end_once_and_silences_this_one() -> None:
    calling, serving, service, up, down = pair()
    answers = Answers()
    call = calling.order(ASKED, answers)
    serving.received(b"".join(up))
    service.orders[0][2].data(b"late")
    call.cancel()
    call.cancel()
    serving.received(b"".join(up[1:]))
    calling.received(b"".join(down))
    assert service.ends == ["cancel"]
    assert answers.all == []


def test_broken_link_loses_orders_on_one_end_and_abandons_them_on_the_other() -> None:
    calling, serving, service, up, _ = pair()
    answers = Answers()
    calling.order(ASKED, answers)
    serving.received(b"".join(up))
    serving.broken()
    calling.broken("reset", "cable")
    assert service.ends == ["abandon"]
    assert answers.all == [Lost("reset", "cable")]


def test_a_beat_is_of_the_peer_itself_and_answered() -> None:
    calling, serving, service, up, down = pair()
    beat = Beat("a", 1, 1, "kitchen")
    calling.beat(beat)
    serving.received(b"".join(up))
    assert service.beats == [beat]
    calling.received(b"".join(down))
    calling.beat(Beat("someone else", 1, 1))
    with pytest.raises(MalformedMessage, match="a sent a beat of someone else"):
        serving.received(up[-1])


def test_orders_on_one_link_are_bounded() -> None:
    calling, serving, service, up, down = pair()
    answers = [Answers() for _ in range(MAX_STREAMS + 1)]
    for each in answers:
        calling.order(ASKED, each)
    serving.received(b"".join(up))
    calling.received(b"".join(down))
    assert len(service.orders) == MAX_STREAMS
    assert isinstance(answers[-1].all[0], Refused)


@pytest.mark.parametrize(
    "message",
    [
        struct.pack("!BII", ORDER, 1, 2**31),
        struct.pack("!BII", ORDER, 1, 2) + b"{}",
        struct.pack("!BII", BEAT, 0, 1) + b"\xff",
        struct.pack("!BII", DATA, 1, 0),
        struct.pack("!BII", 99, 1, 0),
    ],
)
def test_what_is_no_record_is_malformed(message: bytes) -> None:
    _, serving, *_ = pair()
    with pytest.raises(MalformedMessage):
        serving.received(message)


@pytest.mark.parametrize("size", [1, 3, 8, 9, 10, 50, 10_000])
def test_records_come_in_pieces_of_any_size(size: int) -> None:
    calling, serving, service, up, down = pair()
    answers = Answers()
    for _ in range(3):
        calling.order(ASKED, answers)
    sent = b"".join(up)
    for begin in range(0, len(sent), size):
        serving.received(sent[begin : begin + size])
    for _, order, receiver in service.orders:
        assert order == ASKED
        receiver.data(b"")
        receiver.data(b"x" * 1000)
    sent = b"".join(down)
    for begin in range(0, len(sent), size):
        calling.received(sent[begin : begin + size])
    assert answers.all == [b"", b"x" * 1000] * 3


def test_a_record_that_is_too_large_is_not_waited_for() -> None:
    _, serving, *_ = pair()
    serving.received(struct.pack("!BII", ORDER, 1, 2**31)[:8])
    with pytest.raises(MalformedMessage, match="exceeds"):
        serving.received(struct.pack("!BII", ORDER, 1, 2**31)[8:])


def test_a_stream_number_is_used_once() -> None:
    calling, serving, _, up, _ = pair()
    calling.order(ASKED, Answers())
    serving.received(up[0])
    with pytest.raises(MalformedMessage, match="used before"):
        serving.received(up[0])


@given(st.binary(max_size=200))
def test_whatever_arrives_breaks_nothing_but_the_link(message: bytes) -> None:
    calling, serving, *_ = pair()
    for received in (calling.received, serving.received):
        with contextlib.suppress(MalformedMessage):
            received(message)
