"""Brings each task to a node and keeps it alive until it ends: once, or reported as failed.

Before the first piece of an answer a task moves on to the next best node by itself; after it the stream says that it
starts anew. A connection that broke is first tried again: the node may still have the run. One coroutine a task waits
here for what happens between pieces; pieces themselves go from the receiver straight into the task's log.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from swarm.capability import Member, in_words
from swarm.circuit import Circuits
from swarm.errors import MycoswarmError
from swarm.event_log import AnswerTooLong
from swarm.lease import live_hubs, rank
from swarm.membership import BACK_S, may_be_back
from swarm.placement import Choice, Nowhere, SentKey, choose_node
from swarm.routing import RoutingSection, route
from swarm.structured_log import log_context
from swarm.task import (
    Accepted,
    Ended,
    Finished,
    Lost,
    Order,
    Over,
    Placed,
    Refused,
    Restarted,
    TaskRequest,
    event_bytes,
)
from swarm.task_record import TaskMemory, TaskRecord
from swarm.transport import Execution, Receiver

MAX_ATTEMPTS = 8
"""Nodes that may be lost or fail under one task before it is given up: it may be the task that kills them."""
LEFT_ALONE_S = 15.0
"""A streamed task whose reader left is stopped after so long without one: time to come back and resume."""
NO_NODE_PAUSE_S = (0.1, 2.0)
"""A task that has no node now looks so often for one; doubled each time."""

_log = logging.getLogger(__name__)
ExecuteAt = Callable[[str, Order, Receiver], Execution]
"""Hands an order to a node by id; this node's own worker is one of them."""


class Dispatcher:
    """The tasks that came in at this node. Belongs to one event loop."""

    def __init__(
        self,
        node: str,
        *,
        routing: RoutingSection,
        members: Callable[[], Sequence[Member]],
        execute_at: ExecuteAt,
        ended: Callable[[TaskRecord], None] = lambda _: None,
    ) -> None:
        """`members` holds this node too, marked `here`; `ended` hears of each task at its end."""
        self._ended = ended
        self.circuits = Circuits()
        self.tasks = TaskMemory()
        self._node = node
        self._routing = routing
        self._members = members
        self._execute_at = execute_at
        self._loop = asyncio.get_running_loop()
        self._sent: Counter[SentKey] = Counter()

    def submit(self, request: TaskRequest) -> TaskRecord:
        """Take a task in; wait for `settled` to know whether a node has it. The same key gives the same task.
        Raises `NoRoute`, `KeyConflict`, `TooManyTasks`."""
        same = self.tasks.same(request)
        if same is not None:
            return same
        task = TaskRecord(request, route(self._routing, request), self._loop.time())
        self.tasks.add(task)
        with log_context(task=task.name):
            task.runner = self._loop.create_task(self._run(task))
        task.runner.add_done_callback(lambda _: self._end(task, Finished("cancelled")))
        return task

    def cancel(self, task: TaskRecord) -> None:
        """Stop it, and the engine that works on it."""
        if task.runner is not None:
            task.runner.cancel()

    @contextmanager
    def reading(self, task: TaskRecord) -> Iterator[None]:
        """While somebody follows a stream; a task that nobody follows any more is stopped after a while."""
        task.readers += 1
        if task.left_alone is not None:
            task.left_alone.cancel()
            task.left_alone = None
        try:
            yield
        finally:
            task.readers -= 1
            if task.readers == 0 and task.ended_at is None and task.request.priority == "immediate":
                task.left_alone = self._loop.call_later(LEFT_ALONE_S, self.cancel, task)

    async def close(self) -> None:
        """Cancel everything."""
        runners = [task.runner for task in self.tasks.live() if task.runner is not None]
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)

    # ---- one task

    async def _run(self, task: TaskRecord) -> None:
        try:
            async with asyncio.timeout_at(task.deadline_at):
                over = await _Carrying(self, task).carry()
        except TimeoutError:
            over = Finished("expired", f"not done within {task.route.timeout_s:g} s", "give it more time or ask less")
        except asyncio.CancelledError:
            over = Finished("cancelled")
        except MycoswarmError as error:
            over = Finished("failed", str(error), error.hint)
        except Exception:  # noqa: BLE001 a bug here ends this task as failed: whoever waits for it must hear something
            _log.exception("task %s cannot be carried on", task.id)
            over = Finished("failed", "the node failed at this task", "its log says why; please report it")
        self._end(task, over)

    def _end(self, task: TaskRecord, over: Finished | Refused) -> None:
        if task.ended_at is not None:
            return
        task.ended_at = self._loop.time()
        if isinstance(over, Refused):
            task.refused, task.state, task.error = over, "failed", over.message
            last = Ended("failed", over.message)
        else:
            task.state, task.error, task.hint = over.outcome, over.error, over.hint
            last = Ended(over.outcome, over.error, over.hint)
        task.log.finish(event_bytes(task.log.last_number() + 1, last))
        if task.left_alone is not None:
            task.left_alone.cancel()
        if not task.settled.done():
            task.settled.set_result(None)
        self.tasks.ended(task, task.ended_at, remember=task.refused is None)
        self._ended(task)


class _Carrying:
    """What one task remembers while it goes from node to node."""

    def __init__(self, dispatcher: Dispatcher, task: TaskRecord) -> None:
        self._d = dispatcher
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._avoid: dict[str, str] = {}
        """Nodes where this task failed, and why."""
        self._full_until: dict[str, float] = {}
        self._failure: Finished | None = None
        """The last error of an engine."""
        self._pauses = 0

    async def carry(self) -> Finished | Refused:
        task = self._task
        while task.attempts < MAX_ATTEMPTS:
            now = self._loop.time()
            decision, order, node = self._next(now)
            if node is None:
                if self._failure is not None:
                    return self._failure
                if not task.settled.done() and not self._may_be_reached_soon(decision, now):
                    return self._refusal(decision, now)
                await self._pause()
                continue
            attempt = _Attempt(self._d, task, node, order)
            over = await attempt.go()
            if isinstance(over, Lost) and over.reason == "reset" and attempt.has_it:
                over = await attempt.go_back()
            done = attempt.too_long or self._consider(node, over)
            if done is not None:
                return done
            if attempt.pieces:
                task.log.append(event_bytes(task.log.last_number() + 1, Restarted(_reason(node, over))))
        return self._failure or Finished(
            "failed", f"{task.attempts} nodes were lost or failed at it", "mycoswarm why tells which"
        )

    def _next(self, now: float) -> tuple[Choice | Nowhere, Order, str | None]:
        task = self._task
        members = self._d._members()
        hops = task.request.hops_left
        if hops == 0:
            members = [member for member in members if member.here]
        wanted = task.placement(now)
        decision = choose_node(wanted, members, now, avoid=self._avoided(now), sent=self._d._sent)
        task.decision = decision
        node: str | None = None
        model = instead_of = ""
        if isinstance(decision, Choice):
            node, model, instead_of = decision.node, decision.model, decision.instead_of
        elif not decision.offered and hops > 0 and not self._was_here_just_now(members, now):
            node = self._hub_that_may_know(members, now)
        order = Order(
            task=task.name,
            request=task.request,
            kind=wanted.kind,
            model=model or wanted.model,
            left_s=max(wanted.left_s, 0.0),
            instead_of=instead_of,
            size=wanted.size,
            fallback_models=wanted.fallback_models,
            fallback_size=wanted.fallback_size,
            first_number=task.log.last_number() + 2,  # the number between is kept for `Placed`
            hops_left=max(hops - 1, 0),
            path=(self._d._node,),
        )
        return decision, order, node

    def _hub_that_may_know(self, members: Sequence[Member], now: float) -> str | None:
        """This node knows nobody who could: one that has just joined may know only few."""
        avoided = self._avoided(now)
        trusted = [each for each in members if not each.here and self._task.request.privacy in each.accepts]
        hubs = [node for node in live_hubs(trusted) if node not in avoided]
        return rank(self._task.name, hubs)[0] if hubs else None

    def _avoided(self, now: float) -> Mapping[str, str]:
        open_circuits = self._d.circuits.open(now)
        if not self._avoid and not self._full_until:
            return open_circuits
        full = {node: "is full" for node, until in self._full_until.items() if until > now}
        return {**open_circuits, **full, **self._avoid}

    def _consider(self, node: str, over: Over) -> Finished | None:
        """What an attempt's end means: the task's end, or on to the next node."""
        task, now = self._task, self._loop.time()
        match over:
            case Finished(outcome="done" | "expired") | Finished(final=True):
                return over
            case Finished(outcome="cancelled"):  # not by us: that node ends
                self._avoid[node] = "stopped it"
                task.attempts += 1
            case Finished():
                self._failure = over
                self._avoid[node] = f"failed at it: {over.error}"
                task.attempts += 1
            case Refused(reason="busy"):
                self._full_until[node] = now + max(over.retry_after_s, 0.1)
            case Refused(reason="conflict"):
                return Finished("failed", over.message, "make a new key for each task")
            case Refused(reason="gone"):
                task.attempts += 1  # it lives, and may well take the task anew
            case Refused():
                self._avoid[node] = over.message or "does not take it"
                task.attempts += 1
            case Lost():
                if node != self._d._node:
                    self._d.circuits.failed(node, over.message or over.reason, now)
                task.attempts += 1
        return None

    def _may_be_reached_soon(self, decision: Choice | Nowhere, now: float) -> bool:
        if not isinstance(decision, Nowhere) or now - self._task.submitted_at > BACK_S:
            return False
        if any(until > now for until in self._full_until.values()):
            return False
        avoided = any(each.why == "avoided" for each in decision.passed)
        return avoided or self._was_here_just_now(self._d._members(), now)

    def _was_here_just_now(self, members: Sequence[Member], now: float) -> bool:
        """A node that could do it died a moment ago."""
        kind = self._task.route.kind
        return any(
            may_be_back(member, now) and any(capability.kind == kind for capability in member.capabilities)
            for member in members
        )

    def _refusal(self, decision: Choice | Nowhere, now: float) -> Refused:
        """Nobody has the task, and nobody waits for it but whoever submitted it: say so at once."""
        route = self._task.route
        size = route.fallback_size or route.size
        does = in_words(route.kind)
        what = f"{does} by {route.model}" if route.model else does
        if not route.model and size not in ("any", "tiny"):
            what = f"{does} by a {size} or larger model"
        waits = [until - now for until in self._full_until.values() if until > now]
        if waits:
            return Refused("busy", f"all nodes that {what} are full", min(waits))
        if isinstance(decision, Nowhere) and decision.offered:
            return Refused("busy", f"no node can {what} just now", 1.0)
        return Refused("not_here", f"no node of this swarm can {what}")

    async def _pause(self) -> None:
        first, longest = NO_NODE_PAUSE_S
        await asyncio.sleep(min(first * 2**self._pauses, longest))
        self._pauses += 1
        self._avoid.clear()  # its nodes may have recovered; `MAX_ATTEMPTS` ends it


class _Attempt:
    """One try at one node; the receiver of what comes of it."""

    def __init__(self, dispatcher: Dispatcher, task: TaskRecord, node: str, order: Order) -> None:
        self.pieces = False
        """Something of the answer came: it is not to be repeated without a word."""
        self.has_it = False
        """The node accepted the task."""
        self.too_long: Finished | None = None
        """It would be so everywhere: not to be tried again."""
        self._d = dispatcher
        self._task = task
        self._node = node
        self._order = order
        self._over: asyncio.Future[Over] = asyncio.get_running_loop().create_future()

    async def go(self) -> Over:
        """Hand the order over, and wait for the end."""
        key = (self._node, self._order.kind, self._order.model)
        sent = self._d._sent
        sent[key] += 1
        execution = self._d._execute_at(self._node, self._order, self)
        try:
            return await self._over
        finally:
            execution.cancel()
            sent[key] -= 1
            if sent[key] <= 0:
                del sent[key]

    async def go_back(self) -> Over:
        """The connection broke, not necessarily the node: ask for the rest."""
        self._order = msgspec.structs.replace(self._order, after=self._task.log.last_number())
        self._over = asyncio.get_running_loop().create_future()
        return await self.go()

    def accepted(self, accepted: Accepted) -> None:
        task = self._task
        self._d.circuits.worked(self._node)
        if self._over.done() or self.has_it:
            return
        self.has_it = True
        task.node, task.model, task.state = accepted.node, accepted.model, "waiting"
        placed = Placed(task.id, accepted.node, accepted.model, accepted.instead_of)
        # Readers get it together with the first piece: nobody needs to be woken twice.
        task.log.append(event_bytes(self._order.first_number - 1, placed), wake=False)
        if not task.settled.done():
            task.settled.set_result(None)

    def data(self, events: bytes) -> None:
        if self._over.done():
            return
        if not self.pieces:
            self.pieces, self._task.state = True, "running"
        try:
            self._task.log.append(events)
        except AnswerTooLong as error:
            self.too_long = Finished("failed", str(error), error.hint)
            self._over.set_result(self.too_long)

    def over(self, over: Over) -> None:
        if not self._over.done():
            self._over.set_result(over)


def _reason(node: str, over: Over) -> str:
    match over:
        case Lost():
            return f"{node} is lost ({over.message or over.reason})"
        case Refused():
            return f"{node} {over.message}"
        case _:
            return f"{node} failed at it ({over.error or over.outcome})"
