"""Runs orders on this node's engines: as many at once as there are slots, the rest in bounded queues by priority.

Who does not fit is refused with an honest estimate of when there is room. A run belongs to whoever ordered it: when all
of them cancel, the engine stops at once; when they vanish, it goes on for a few seconds, so that a broken connection
costs nothing. The same task, ordered again, is the same run.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from swarm.capability import Capability, Run, Speed, answer_units
from swarm.errors import MycoswarmError
from swarm.event_log import EventLog
from swarm.structured_log import log_context
from swarm.task import (
    PRIORITIES,
    Accepted,
    BadPayload,
    Finished,
    Order,
    Outcome,
    Piece,
    Priority,
    Refused,
    SizeClass,
    TaskRequest,
    event_bytes,
)
from swarm.transport import OVER_AT_ONCE, Execution, Receiver

ABANDONED_S = 5.0
"""How long a run goes on when the connection of whoever ordered it broke: time to come back."""
MAX_BYTES = 256 * 1024 * 1024
"""What all orders that run or wait here ask in all."""
REMEMBER_S = 30.0
REMEMBER_RUNS = 64
REMEMBER_BYTES = 8 * 1024 * 1024
"""Bounds of what is kept of runs that are done, for whoever orders one again."""
REMEMBER_SPEEDS = 64
"""Of models that are not offered now."""
WAITING: dict[Priority, int] = {"immediate": 8, "background": 64, "batch": 64}
"""Places in the queues of one engine, each priority its own, so that a long batch never keeps a person out. Nobody
waits for more than a few others to be answered; then another node, or a plain "not now", is better."""
PREFIXES = 4
"""Conversations for each slot whose beginning a model is believed to remember."""

_log = logging.getLogger(__name__)
_RunKey = tuple[str, int]
"""Task and number of the first piece: an answer that was restarted elsewhere is numbered differently."""


class TaskEngine(Protocol):
    """One model, ready to run tasks of one kind."""

    kind: str
    model: str
    size: SizeClass
    slots: int
    """Runs at once."""

    @property
    def warm(self) -> bool:
        """The model is in memory; the engine keeps this true to life."""

    def run(self, request: TaskRequest) -> AsyncGenerator[Piece, None]:
        """Answer; closing the generator stops the work at once. Raises `EngineError`."""


class Worker:
    """Admits and runs orders. An `Executor`; belongs to one event loop."""

    def __init__(
        self,
        node: str,
        engines: Sequence[TaskEngine],
        *,
        waiting: dict[Priority, int] | None = None,
        speeds: Mapping[tuple[str, str], Speed] | None = None,
    ) -> None:
        """`speeds` are averages from before, by kind and model, to go on from."""
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._waiting = waiting or WAITING
        self._stands: dict[tuple[str, str], _Stand] = {}
        self._runs: dict[_RunKey, _Run] = {}
        self._done: OrderedDict[_RunKey, _Run] = OrderedDict()
        self._speeds: dict[tuple[str, str], Speed] = {}
        """Of engines that are not offered now."""
        self._remember(speeds or {})
        self._bytes = self._done_bytes = 0
        for engine in engines:
            self.offer(engine)

    def offers(self, kind: str, model: str) -> bool:
        """Whether there is such an engine here, busy or not."""
        return (kind, model) in self._stands

    def offer(self, engine: TaskEngine) -> None:
        """Take orders for this engine from now on; one that is offered already stays. How fast one of this name was
        when it was offered before is not forgotten: a server that was busy for a moment is no new one."""
        key = (engine.kind, engine.model)
        if key not in self._stands:
            stand = self._stands[key] = _Stand(engine)
            stand.speed = self._speeds.pop(key, stand.speed)

    def withdraw(self, kind: str, model: str) -> None:
        """Take no more orders for it; those that run or wait here go on."""
        if stand := self._stands.pop((kind, model), None):
            self._remember({(kind, model): stand.speed})

    def capabilities(self) -> tuple[Capability, ...]:
        """What this node offers now, with its load."""
        now = self._loop.time()
        return tuple(stand.capability(now) for stand in self._stands.values())

    def speeds(self) -> Mapping[tuple[str, str], Speed]:
        """What was measured here, by kind and model; of engines that are not offered now too."""
        return self._speeds | {key: stand.speed for key, stand in self._stands.items()}

    def _remember(self, speeds: Mapping[tuple[str, str], Speed]) -> None:
        self._speeds |= speeds
        while len(self._speeds) > REMEMBER_SPEEDS:
            del self._speeds[next(iter(self._speeds))]

    def execute(self, order: Order, receiver: Receiver) -> Execution:
        """Run it now, queue it, attach to the run that is there, or refuse."""
        self._forget_old()
        key = (order.task, order.first_number)
        run = self._runs.get(key) or self._done.get(key)
        if run is not None:
            return self._attach(run, order, receiver)
        stand = self._stands.get((order.kind, order.model))
        if order.after or stand is None:
            receiver.over(
                Refused("gone", "this node does not have the task any more")
                if order.after
                else Refused("not_here", f"this node does not {order.kind} by {order.model}")
            )
            return OVER_AT_ONCE
        if order.left_s <= 0:
            receiver.over(Finished("expired"))
            return OVER_AT_ONCE
        now = self._loop.time()
        queue = stand.queues[order.request.priority]
        free = len(stand.running) < stand.engine.slots
        asked = len(bytes(order.request.payload))
        if self._bytes + asked > MAX_BYTES or (not free and len(queue) >= self._waiting[order.request.priority]):
            retry_s = stand.place_free_s(order.request.priority, now)
            receiver.over(Refused("busy", f"all {stand.engine.slots} slots and the queue are full", retry_s))
            return OVER_AT_ONCE
        run = _Run(order, stand)
        self._runs[key] = run
        self._bytes += asked
        run.deadline = self._loop.call_later(order.left_s, self._stop, run, "expired")
        run.receivers.append(receiver)
        # The engine is asked first, in the loop's next turn; then the answer that it was is sent.
        if free:
            self._start(run, now)
        else:
            queue.append(run)
        receiver.accepted(Accepted(self._node, order.model, order.instead_of))
        return _Hold(self, run, receiver)

    async def close(self) -> None:
        """Stop everything; whoever ordered is told that it was cancelled."""
        runs = list(self._runs.values())
        for run in runs:
            self._stop(run, "cancelled")
        await asyncio.gather(*(run.task for run in runs if run.task), return_exceptions=True)
        for run in self._done.values():
            run.forget_timer()

    # ---- one run

    def _start(self, run: _Run, now: float) -> None:
        run.started_at = now
        run.stand.running.add(run)
        with log_context(task=run.order.task):  # what is logged while it runs says for which task
            run.task = self._loop.create_task(self._work(run))
        run.task.add_done_callback(lambda _: self._done_with(run, Finished(run.stopped_as)))

    async def _work(self, run: _Run) -> None:
        engine, order = run.stand.engine, run.order
        cold, began, first_at = not engine.warm, self._loop.time(), 0.0
        number, units, first_units = order.first_number, 0.0, 0.0
        append, receivers = run.log.append, run.receivers
        finished = Finished("done")
        try:
            async with aclosing(engine.run(order.request)) as pieces:
                async for piece in pieces:
                    events = event_bytes(number, piece)
                    append(events)
                    number += 1
                    units += answer_units(piece.text, piece.audio)
                    for receiver in receivers:
                        receiver.data(events)
                    if first_at == 0.0:
                        first_at, first_units = self._loop.time(), units
                        await asyncio.sleep(0)  # the first is on its way before those that came with it are looked at
        except asyncio.CancelledError:
            finished = Finished(run.stopped_as)
        except MycoswarmError as error:
            finished = Finished("failed", str(error), error.hint, final=isinstance(error, BadPayload))
        except Exception:  # noqa: BLE001 an engine's bug ends its run, not the node
            _log.exception("%s failed at a task of kind %s", engine.model, engine.kind)
            finished = Finished("failed", f"{engine.model} failed at this task", "the log of its node says why")
        now = self._loop.time()
        if not finished.final:  # which tells nothing of the engine
            run.stand.ended(
                order.request,
                Run(
                    input_units=order.request.input_units,
                    output_units=units,
                    first_s=(first_at or now) - began,
                    total_s=now - began,
                    cold=cold,
                    first_units=first_units,
                    whole=finished.outcome == "done",
                ),
            )
        self._done_with(run, finished)

    def _done_with(self, run: _Run, finished: Finished) -> None:
        if run.over is not None:
            return  # as usual: a run only ends by its task's end when it was stopped before its first step
        run.stand.running.discard(run)
        self._end(run, finished)
        self._fill(run.stand)

    def _fill(self, stand: _Stand) -> None:
        while len(stand.running) < stand.engine.slots:
            queue = next((queue for queue in stand.queues.values() if queue), None)
            if queue is None:
                return
            self._start(queue.popleft(), self._loop.time())

    def _stop(self, run: _Run, outcome: Outcome) -> None:
        if run.over is not None or run.stopping:
            return
        run.stopping, run.stopped_as = True, outcome
        if run.task is not None:
            run.task.cancel()
        else:
            run.stand.queues[run.order.request.priority].remove(run)
            self._end(run, Finished(outcome))

    def _end(self, run: _Run, finished: Finished) -> None:
        run.over = finished
        run.log.finish()
        run.forget_timer()
        key = (run.order.task, run.order.first_number)
        del self._runs[key]
        self._bytes -= len(bytes(run.order.request.payload))
        receivers, run.receivers = run.receivers, []
        for receiver in receivers:
            receiver.over(finished)
        if finished.outcome == "done":  # what failed is tried anew when it is ordered again
            run.ended_at = self._loop.time()
            self._done[key] = run
            self._done_bytes += len(run.log)
            self._forget_old()

    def _forget_old(self) -> None:
        now = self._loop.time()
        while self._done:
            oldest = next(iter(self._done.values()))
            if (
                now - oldest.ended_at < REMEMBER_S
                and len(self._done) <= REMEMBER_RUNS
                and self._done_bytes <= REMEMBER_BYTES
            ):
                return
            self._done.popitem(last=False)
            self._done_bytes -= len(oldest.log)

    # ---- who wants it

    def _attach(self, run: _Run, order: Order, receiver: Receiver) -> Execution:
        if run.order.request != order.request:
            receiver.over(Refused("conflict", f"the key {order.task:.80} belongs to another task"))
            return OVER_AT_ONCE
        position = 0
        if order.after >= order.first_number:
            position = run.log.position_after(order.after)
            if position == 0:
                receiver.over(Refused("gone", "this node has not got so far with the task"))
                return OVER_AT_ONCE
        receiver.accepted(Accepted(self._node, run.order.model, run.order.instead_of))
        if missed := run.log.at(position):
            receiver.data(missed)
        if run.over is not None:
            receiver.over(run.over)
            return OVER_AT_ONCE
        if run.abandoned is not None:
            run.abandoned.cancel()
            run.abandoned = None
        run.receivers.append(receiver)
        return _Hold(self, run, receiver)

    def _let_go(self, run: _Run, receiver: Receiver, *, at_once: bool) -> None:
        if receiver not in run.receivers:
            return
        run.receivers.remove(receiver)
        if run.receivers or run.over is not None:
            return
        if at_once:
            self._stop(run, "cancelled")
        else:
            run.abandoned = self._loop.call_later(ABANDONED_S, self._stop, run, "cancelled")


class _Hold:
    """One receiver's hold on a run."""

    def __init__(self, worker: Worker, run: _Run, receiver: Receiver) -> None:
        self._worker = worker
        self._run = run
        self._receiver = receiver

    def cancel(self) -> None:
        self._worker._let_go(self._run, self._receiver, at_once=True)

    def abandon(self) -> None:
        self._worker._let_go(self._run, self._receiver, at_once=False)


class _Run:
    def __init__(self, order: Order, stand: _Stand) -> None:
        self.order = order
        self.stand = stand
        self.log = EventLog()
        self.receivers: list[Receiver] = []
        self.task: asyncio.Task[None] | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.abandoned: asyncio.TimerHandle | None = None
        self.started_at = 0.0
        self.ended_at = 0.0
        self.predicted_s = stand.speed.run_s(order.request.input_units, order.request.output_units)
        self.stopping = False
        self.stopped_as: Outcome = "cancelled"
        self.over: Finished | None = None

    def forget_timer(self) -> None:
        for timer in (self.deadline, self.abandoned):
            if timer is not None:
                timer.cancel()

    def left_s(self, now: float) -> float:
        """Until its slot is free; whoever takes longer than predicted is believed to need a little more."""
        return max(self.predicted_s - (now - self.started_at), self.predicted_s * 0.1)


class _Stand:
    """One engine with its slots, queues and speed."""

    def __init__(self, engine: TaskEngine) -> None:
        self.engine = engine
        self.speed = Speed()
        self.fruitless = 0
        self.running: set[_Run] = set()
        self.queues: dict[Priority, deque[_Run]] = {priority: deque() for priority in PRIORITIES}
        self.prefixes: OrderedDict[str, None] = OrderedDict()

    def capability(self, now: float) -> Capability:
        full = len(self.running) >= self.engine.slots
        return Capability(
            kind=self.engine.kind,
            model=self.engine.model,
            size=self.engine.size,
            speed=self.speed,
            slots=self.engine.slots,
            running=len(self.running),
            waiting=sum(len(queue) for queue in self.queues.values()),
            backlog_s=tuple(round(self.backlog_s(priority, now), 3) for priority in PRIORITIES) if full else (),
            warm=self.engine.warm,
            prefixes=tuple(reversed(self.prefixes))[:16],
            fruitless=self.fruitless,
        )

    def backlog_s(self, priority: Priority, now: float) -> float:
        """Until a new task of this priority gets a slot."""
        slots = self._slots(now)
        for _ in self._starts(slots, priority):
            pass
        return slots[0]

    def place_free_s(self, priority: Priority, now: float) -> float:
        """Until the first that waits with this priority gets a slot, which frees its place in the queue."""
        slots = self._slots(now)
        for run, start_s in self._starts(slots, priority):
            if run.order.request.priority == priority:
                return start_s
        return slots[0]

    def ended(self, request: TaskRequest, run: Run) -> None:
        """Learn from a run. One that was stopped or failed tells of its speed too, when it got beyond its first piece
        or took longer to get there than was believed: nobody who is that slow shall pass for unknown."""
        believed_s = self.speed.read_s(run.input_units) + (self.speed.load_s if run.cold else 0.0)
        if run.whole or run.output_units > run.first_units or (not run.output_units and run.first_s > believed_s):
            self.speed, self.fruitless = self.speed.after(run), 0
        else:
            self.fruitless += 1
        if run.whole and request.prefix:
            self.prefixes[request.prefix] = None
            self.prefixes.move_to_end(request.prefix)
            while len(self.prefixes) > min(PREFIXES * self.engine.slots, 16):
                self.prefixes.popitem(last=False)

    def _slots(self, now: float) -> list[float]:
        """Seconds until each slot is free, as a heap."""
        slots = [run.left_s(now) for run in self.running]
        slots += [0.0] * (self.engine.slots - len(slots))
        heapq.heapify(slots)
        return slots

    def _starts(self, slots: list[float], down_to: Priority) -> Iterator[tuple[_Run, float]]:
        """The waiting runs in the order in which they get slots, with the seconds until then."""
        for priority in PRIORITIES[: PRIORITIES.index(down_to) + 1]:
            for run in self.queues[priority]:
                start_s = slots[0]
                heapq.heapreplace(slots, start_s + run.predicted_s)
                yield run, start_s
