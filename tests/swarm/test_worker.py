"""Slots, queues, cancelling, deadlines and repetition, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from swarm.capability import Speed
from swarm.event_log import AnswerTooLong, EventLog
from swarm.simulation.clock import run_virtual
from swarm.task import Accepted, Finished, Order, Over, Piece, Refused, TaskRequest, event_bytes, read_events
from swarm.worker import ABANDONED_S, REMEMBER_S, Worker
from tests.swarm.token_engine import TokenEngine, ask, expected


class Receipts:
    """A receiver that notes."""

    def __init__(self) -> None:
        self.taken: list[Accepted] = []
        self.bytes = b""
        self.end: Over | None = None
        self.ended = asyncio.Event()

    def accepted(self, accepted: Accepted) -> None:
        assert not self.taken
        self.taken.append(accepted)

    def data(self, events: bytes) -> None:
        assert self.taken
        assert self.end is None
        self.bytes += events

    def over(self, over: Over) -> None:
        assert self.end is None
        self.end = over
        self.ended.set()

    @property
    def text(self) -> str:
        return "".join(event.text for _, event in read_events(self.bytes) if isinstance(event, Piece))

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in read_events(self.bytes)]


def order(key: str, words: int = 3, *, left_s: float = 60.0, first: int = 1, after: int = 0, **fields: object) -> Order:
    request: TaskRequest = ask(words, key=key, **fields)
    return Order(key, request, "generate", "tiny", left_s, first_number=first, after=after)


def virtual(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(scenario())


def test_runs_as_many_at_once_as_it_has_slots_and_the_rest_by_priority() -> None:
    async def scenario() -> None:
        engine = TokenEngine(slots=2, word_s=0.1)
        worker = Worker("n", [engine])
        receivers = []
        for key, priority in [
            ("b1", "batch"),
            ("b2", "batch"),
            ("b3", "batch"),
            ("g", "background"),
            ("i", "immediate"),
        ]:
            receivers.append(Receipts())
            worker.execute(order(key, priority=priority), receivers[-1])
        for receiver in receivers:
            await receiver.ended.wait()
            assert receiver.end == Finished("done")
            assert receiver.text == expected(3)
        assert engine.order == ["b1", "b2", "i", "g", "b3"]
        assert engine.most_at_once == 2

    virtual(scenario)


def test_refuses_with_an_honest_estimate_when_slots_and_queue_are_full() -> None:
    async def scenario() -> None:
        engine = TokenEngine(slots=1, word_s=0.1)
        worker = Worker("n", [engine], waiting={"immediate": 1, "background": 1, "batch": 1})
        first = Receipts()
        worker.execute(order("learn", 11), first)
        await first.ended.wait()  # 11 words in 1 s: the speed is measured
        running, waiting, refused, other = Receipts(), Receipts(), Receipts(), Receipts()
        worker.execute(order("running", 11, output_units=11), running)
        await asyncio.sleep(0.4)
        worker.execute(order("waiting", 11, output_units=11), waiting)
        worker.execute(order("refused", 11), refused)
        worker.execute(order("batch", 11, priority="batch"), other)
        assert isinstance(refused.end, Refused)
        assert refused.end.reason == "busy"
        assert refused.end.retry_after_s == pytest.approx(0.7, abs=0.15)
        assert refused.taken == []
        assert other.end is None, "each priority has places of its own"
        capability = worker.capabilities()[0]
        assert (capability.running, capability.waiting) == (1, 2)
        immediate, background, batch = capability.backlog_s
        assert immediate == background == pytest.approx(1.8, abs=0.3)
        assert batch == pytest.approx(2.9, abs=0.4)
        await waiting.ended.wait()
        await worker.close()

    virtual(scenario)


def test_what_orders_ask_in_all_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.worker.MAX_BYTES", 25)

    async def scenario() -> None:
        worker = Worker("n", [TokenEngine(slots=9, word_s=0.1)])
        receivers = [Receipts() for _ in range(3)]
        for number, receiver in enumerate(receivers):
            worker.execute(order(f"k{number}"), receiver)
        assert [len(receiver.taken) for receiver in receivers] == [1, 1, 0]
        assert isinstance(receivers[2].end, Refused)
        await receivers[1].ended.wait()
        later = Receipts()
        worker.execute(order("later"), later)
        assert later.taken
        await worker.close()

    virtual(scenario)


def test_cancel_reaches_the_engine_and_frees_the_slot() -> None:
    async def scenario() -> None:
        engine = TokenEngine(slots=1, hold_after=1)
        worker = Worker("n", [engine])
        one, two = Receipts(), Receipts()
        execution = worker.execute(order("one"), one)
        worker.execute(order("two"), two)
        await engine.held.wait()
        execution.cancel()
        execution.cancel()
        engine.hold_after = None
        await two.ended.wait()
        assert engine.cancelled == 1
        assert one.end is None, "who cancels hears no more"
        assert two.text == expected(3)

    virtual(scenario)


@pytest.mark.parametrize("started", [True, False])
def test_cancel_of_what_did_not_begin_yet(started: bool) -> None:
    async def scenario() -> None:
        engine = TokenEngine(slots=1, word_s=0.1)
        worker = Worker("n", [engine])
        if not started:
            worker.execute(order("busy"), Receipts())
        worker.execute(order("gone"), Receipts()).cancel()
        last = Receipts()
        worker.execute(order("last"), last)
        await last.ended.wait()
        assert "gone" not in engine.order
        assert worker.capabilities()[0].running == 0

    virtual(scenario)


@pytest.mark.parametrize("queued", [False, True])
def test_deadline_ends_a_task_running_or_waiting(queued: bool) -> None:
    async def scenario() -> None:
        engine = TokenEngine(slots=1, hold_after=0)
        worker = Worker("n", [engine])
        if queued:
            worker.execute(order("busy"), Receipts())
        receiver = Receipts()
        worker.execute(order("late", left_s=2.0), receiver)
        await receiver.ended.wait()
        assert receiver.end == Finished("expired")
        assert asyncio.get_running_loop().time() == pytest.approx(2.0)
        await worker.close()

    virtual(scenario)


def test_same_task_again_is_the_same_run() -> None:
    async def scenario() -> None:
        engine = TokenEngine(hold_after=2)
        worker = Worker("n", [engine])
        one, two, three, conflict = Receipts(), Receipts(), Receipts(), Receipts()
        leaves = worker.execute(order("k"), one)
        await engine.held.wait()
        worker.execute(order("k"), two)
        assert two.text == expected(2)
        worker.execute(order("k", 4), conflict)
        assert isinstance(conflict.end, Refused)
        assert conflict.end.reason == "conflict"
        leaves.cancel()
        engine.go_on.set()
        await two.ended.wait()
        worker.execute(order("k"), three)
        assert two.text == three.text == expected(3)
        assert three.end == Finished("done")
        assert engine.started == 1

    virtual(scenario)


def test_who_comes_back_gets_the_rest_and_who_does_not_is_given_up() -> None:
    async def scenario() -> None:
        engine = TokenEngine(hold_after=2)
        worker = Worker("n", [engine])
        one, two = Receipts(), Receipts()
        worker.execute(order("k", first=5), one).abandon()
        await engine.held.wait()
        await asyncio.sleep(ABANDONED_S / 2)
        again = worker.execute(order("k", first=5, after=5), two)
        assert two.numbers == [6]
        await asyncio.sleep(ABANDONED_S)
        assert engine.cancelled == 0
        again.abandon()
        await asyncio.sleep(ABANDONED_S + 0.1)
        assert engine.cancelled == 1
        late = Receipts()
        worker.execute(order("k", first=5, after=6), late)
        assert isinstance(late.end, Refused)
        assert late.end.reason == "gone"

    virtual(scenario)


def test_finished_runs_are_forgotten() -> None:
    async def scenario() -> None:
        engine = TokenEngine()
        worker = Worker("n", [engine])
        for wait_s in (0.0, REMEMBER_S - 1.0, 2.0):
            await asyncio.sleep(wait_s)
            receiver = Receipts()
            worker.execute(order("k"), receiver)
            await receiver.ended.wait()
        assert engine.started == 2

    virtual(scenario)


def test_engine_error_is_told_and_tried_anew_when_ordered_again() -> None:
    async def scenario() -> None:
        engine = TokenEngine(break_after=1)
        worker = Worker("n", [engine])
        one, two = Receipts(), Receipts()
        worker.execute(order("k"), one)
        await one.ended.wait()
        assert one.end == Finished("failed", "the model broke", "mend it")
        engine.break_after = None
        worker.execute(order("k"), two)
        await two.ended.wait()
        assert two.end == Finished("done")

    virtual(scenario)


def test_speed_warmth_and_conversations_are_what_was_measured() -> None:
    async def scenario() -> None:
        engine = TokenEngine(first_s=0.51, word_s=0.2, load_s=3.0)
        worker = Worker("n", [engine])
        assert not worker.capabilities()[0].warm
        for key in ("cold", "warm"):
            receiver = Receipts()
            worker.execute(order(key, 6, input_units=100, prefix="talk"), receiver)
            await receiver.ended.wait()
        capability = worker.capabilities()[0]
        assert capability.warm
        assert capability.prefixes == ("talk",)
        assert capability.speed.output_s == pytest.approx(0.2)
        assert capability.speed.runs == 2
        assert capability.speed.load_s == pytest.approx(3.4, abs=0.2)  # all of the first wait but a guess for reading

    virtual(scenario)


def test_run_that_was_stopped_tells_of_its_speed_and_one_that_taught_nothing_is_counted() -> None:
    async def scenario() -> None:
        engine = TokenEngine(first_s=0.5, word_s=0.2)
        worker = Worker("n", [engine])
        for key, stopped_after_s, runs, fruitless in [
            ("early", 0.05, 0, 1),
            ("again", 0.05, 0, 2),
            ("late", 5.0, 1, 0),
        ]:
            execution = worker.execute(order(key, 100), Receipts())
            await asyncio.sleep(stopped_after_s)
            execution.cancel()
            await asyncio.sleep(0.01)
            capability = worker.capabilities()[0]
            assert (capability.speed.runs, capability.fruitless) == (runs, fruitless)
        assert capability.speed.output_s == pytest.approx(0.2, rel=0.1)
        assert capability.speed.output_units == Speed().output_units

    virtual(scenario)


def test_speed_is_known_again_when_a_model_comes_back() -> None:
    async def scenario() -> None:
        engine = TokenEngine(first_s=0.5, word_s=0.2)
        worker = Worker("n", [engine])
        receiver = Receipts()
        worker.execute(order("t"), receiver)
        await receiver.ended.wait()
        before = worker.capabilities()[0].speed
        worker.withdraw("generate", "tiny")
        assert worker.capabilities() == ()
        worker.offer(engine)
        assert worker.capabilities()[0].speed == before
        assert before.runs == 1

    virtual(scenario)


def test_not_here_and_closing() -> None:
    async def scenario() -> None:
        engine = TokenEngine(hold_after=0)
        worker = Worker("n", [engine])
        other, running = Receipts(), Receipts()
        worker.execute(msgspec.structs.replace(order("k"), model="huge"), other)
        assert other.end == Refused("not_here", "this node does not generate by huge")
        worker.execute(order("k"), running)
        await engine.held.wait()
        await worker.close()
        assert running.end == Finished("cancelled")
        assert engine.cancelled == 1

    virtual(scenario)


# ---- the log of events


def test_log_finds_its_way_by_numbers() -> None:
    log = EventLog()
    assert log.last_number() == 0
    tricky = Piece(text='id: 99\ndata: {"x"}\n\nid: 7')
    for number in range(8, 13):
        log.append(event_bytes(number, tricky))
        assert log.last_number() == number
    assert read_events(log.at(log.position_after(10))) == [(11, tricky), (12, tricky)]
    assert log.position_after(12) == len(log)
    assert log.position_after(99) == 0
    assert log.position_after(7) == 0


def test_log_is_bounded_but_takes_its_end() -> None:
    log = EventLog(limit_bytes=100)
    log.append(b"x" * 90)
    with pytest.raises(AnswerTooLong):
        log.append(b"x" * 20)
    log.finish(b"y" * 20)
    assert len(log) == 110


def test_readers_get_quiet_events_with_the_next_and_a_nudge_gives_nothing() -> None:
    async def scenario() -> None:
        log = EventLog()
        reading = asyncio.ensure_future(log.read(0))
        await asyncio.sleep(0)
        log.append(b"quiet ", wake=False)
        await asyncio.sleep(1)
        assert not reading.done()
        log.nudge()
        assert await reading == b""
        reading = asyncio.ensure_future(log.read(0))
        await asyncio.sleep(0)
        log.append(b"loud")
        assert await reading == b"quiet loud"
        log.finish()
        assert await log.read(10) == b""

    virtual(scenario)
