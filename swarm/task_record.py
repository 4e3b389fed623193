"""The tasks that this node took in: those under way, and a bounded memory of those that ended."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Iterator

from swarm.errors import MycoswarmError
from swarm.event_log import EventLog
from swarm.placement import Choice, Nowhere, PlacementTask, explain
from swarm.routing import Route
from swarm.task import Receipt, Refused, State, TaskRequest, TaskStatus

MAX_LIVE = 1000
MAX_LIVE_BYTES = 256 * 1024 * 1024
"""Tasks under way at one entry node, and what they ask in all; beyond, 503."""
REMEMBER_TASKS = 1000
REMEMBER_BYTES = 32 * 1024 * 1024
REMEMBER_S = 600.0
"""Bounds of what is kept of tasks that ended, for late readers and for `mycoswarm why`."""


class TooManyTasks(MycoswarmError):
    """This node has all the tasks that it can keep track of."""


class KeyConflict(MycoswarmError):
    """An idempotency key was used for two different tasks."""


class TaskRecord:
    """One task, from its submission until it is forgotten."""

    def __init__(self, request: TaskRequest, route: Route, now: float) -> None:
        self.id = secrets.token_hex(16)
        self.request = request
        self.route = route
        self.submitted_at = now
        self.deadline_at = now + route.timeout_s
        self.log = EventLog()
        self.state: State = "placing"
        self.node = self.model = ""
        self.attempts = 0
        self.decision: Choice | Nowhere | None = None
        self.error = self.hint = ""
        self.ended_at: float | None = None
        self.refused: Refused | None = None
        """Set when nobody took it at all; it is then not remembered."""
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done as soon as a node accepted the task, or it ended without."""
        self.runner: asyncio.Task[None] | None = None
        self.readers = 0
        self.left_alone: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """What all nodes call it: the same for the same task, wherever it was submitted."""
        return self.request.key or self.id

    def placement(self, now: float) -> PlacementTask:
        """What placement decides on."""
        request, route = self.request, self.route
        return PlacementTask(
            task=self.name,
            kind=route.kind,
            model=route.model,
            size=route.size,
            fallback_models=route.fallback_models,
            fallback_size=route.fallback_size,
            priority=request.priority,
            privacy=request.privacy,
            input_units=request.input_units,
            output_units=request.output_units,
            prefix=request.prefix,
            left_s=self.deadline_at - now,
        )

    def receipt(self) -> Receipt:
        """The answer to its submission."""
        predicted_s = self.decision.finish_s if isinstance(self.decision, Choice) else 0.0
        return Receipt(self.id, self.state, self.node, self.model, round(predicted_s, 3))

    def status(self, now: float) -> TaskStatus:
        """Where it stands, with placement's reasons."""
        ended = self.ended_at if self.ended_at is not None else now
        return TaskStatus(
            task=self.id,
            type=self.request.type,
            state=self.state,
            priority=self.request.priority,
            node=self.node,
            model=self.model,
            age_s=round(now - self.submitted_at, 3),
            took_s=round(ended - self.submitted_at, 3),
            events=self.log.last_number(),
            attempts=self.attempts,
            error=self.error,
            hint=self.hint,
            why=explain(self.placement(now), self.decision) if self.decision is not None else (),
        )


class TaskMemory:
    """Finds tasks by id and by idempotency key; forgets the oldest that ended."""

    def __init__(self) -> None:
        self._live: dict[str, TaskRecord] = {}
        self._ended: OrderedDict[str, TaskRecord] = OrderedDict()
        self._by_key: dict[str, TaskRecord] = {}
        self._bytes = self._live_bytes = 0

    def __iter__(self) -> Iterator[TaskRecord]:
        """The newest first, those under way before those that ended."""
        yield from reversed(self._live.values())
        yield from reversed(self._ended.values())

    def add(self, task: TaskRecord) -> None:
        """Raises `TooManyTasks`."""
        asked = len(bytes(task.request.payload))
        if len(self._live) >= MAX_LIVE or self._live_bytes + asked > MAX_LIVE_BYTES:
            raise TooManyTasks(
                f"this node has {len(self._live)} tasks under way, {self._live_bytes // 1024**2} MB in all",
                hint="try again in a few seconds",
            )
        self._live_bytes += asked
        self._live[task.id] = task
        if task.request.key:
            self._by_key[task.request.key] = task

    def by_id(self, task_id: str) -> TaskRecord | None:
        """None when there never was one, or it is forgotten."""
        return self._live.get(task_id) or self._ended.get(task_id)

    def same(self, request: TaskRequest) -> TaskRecord | None:
        """The task that this request is a repetition of. One that failed is no more: it may be tried anew.
        Raises `KeyConflict`."""
        task = self._by_key.get(request.key) if request.key else None
        if task is None or task.state in ("failed", "cancelled", "expired"):
            return None
        if task.request != request:
            raise KeyConflict(
                f"the key {request.key:.80} belongs to another task ({task.id})", hint="make a new key for each task"
            )
        return task

    def live(self) -> tuple[TaskRecord, ...]:
        """Those under way."""
        return tuple(self._live.values())

    def ended(self, task: TaskRecord, now: float, *, remember: bool) -> None:
        """Move it to the memory, and forget what is beyond its bounds."""
        if self._live.pop(task.id, None):
            self._live_bytes -= len(bytes(task.request.payload))
        if remember:
            self._ended[task.id] = task
            self._bytes += _size(task)
        else:
            self._forget_key(task)
        while self._ended:
            oldest = next(iter(self._ended.values()))
            ended_at = oldest.ended_at if oldest.ended_at is not None else now
            if now - ended_at < REMEMBER_S and len(self._ended) <= REMEMBER_TASKS and self._bytes <= REMEMBER_BYTES:
                return
            self._ended.popitem(last=False)
            self._bytes -= _size(oldest)
            self._forget_key(oldest)

    def _forget_key(self, task: TaskRecord) -> None:
        if self._by_key.get(task.request.key) is task:
            del self._by_key[task.request.key]


def _size(task: TaskRecord) -> int:
    return len(task.log) + len(bytes(task.request.payload))
