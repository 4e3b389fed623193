"""A task as this node's own code follows it: submitted here, done by whichever node is best."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

import msgspec

from swarm.capability import Member
from swarm.dispatch import Dispatcher
from swarm.engine import ChatMessage, Generator
from swarm.errors import EngineError, MycoswarmError
from swarm.membership import may_be_back
from swarm.placement import Choice
from swarm.task import Ended, Piece, Restarted, TaskRequest, read_events
from swarm.task_record import TaskRecord
from swarm.trace import done_by

LATE_S = 1.0
"""So much longer than it promised may another node take before this one's own engine steps in: a person waits."""
PROMISE_S = 2.0
"""A node that promises to take longer than that is believed so much only."""
BEGINS_ANEW = " …\n\n"
"""Stands in the text where the node that spoke was lost: what follows is another beginning."""


async def follow(dispatcher: Dispatcher, request: TaskRequest) -> AsyncGenerator[Piece | Restarted, None]:
    """Submit a task and yield its answer; closing the generator cancels it. Raises `EngineError` when it fails, and
    what `Dispatcher.submit` raises."""
    async with aclosing(answer_of(dispatcher, dispatcher.submit(request))) as events:
        async for event in events:
            yield event


async def answer_of(dispatcher: Dispatcher, task: TaskRecord) -> AsyncGenerator[Piece | Restarted, None]:
    """The answer of a task that was just submitted; closing the generator, once it began, cancels the task. Raises
    `EngineError` when it fails."""
    position = 0
    try:
        while True:
            chunk = await task.log.read(position)
            position += len(chunk)
            for _, event in read_events(chunk):
                if isinstance(event, Piece | Restarted):
                    yield event
                elif isinstance(event, Ended):
                    if event.outcome != "done":
                        raise EngineError(event.error or f"the task was {event.outcome}", hint=event.hint)
                    return
    finally:
        if task.ended_at is None:
            dispatcher.cancel(task)


def promised_s(task: TaskRecord) -> float:
    """How long the node that has the task would take for it, as placement believes; 0 when none has it."""
    return min(task.decision.finish_s, PROMISE_S) if isinstance(task.decision, Choice) else 0.0


def name_of(node: str, members: Sequence[Member]) -> str:
    """What people call the node with this id."""
    return next((member.name for member in members if member.node == node), node)


class SwarmGenerator:
    """`swarm.engine.Generator` by the best language model of the swarm, this node's own among them."""

    name = "swarm"

    def __init__(
        self, dispatcher: Dispatcher, members: Callable[[], Sequence[Member]], own: Generator | None = None
    ) -> None:
        """`own` is this node's, which the dispatcher reaches too: here it only says at once whether it is there."""
        self._dispatcher = dispatcher
        self._members = members
        self._own = own

    async def available(self) -> str | None:
        """The model that would likely answer, None when no node has one. Nodes that died a moment ago count: a task
        waits for them."""
        own = None if self._own is None else await self._own.available()
        if own is not None:
            return own
        now = asyncio.get_running_loop().time()
        offered = (
            capability.model
            for member in self._members()
            if not member.here and (member.state != "dead" or may_be_back(member, now))
            for capability in member.capabilities
            if capability.kind == "generate"
        )
        return next(offered, None)

    async def generate(self, messages: Sequence[ChatMessage], *, timeout_s: float) -> AsyncIterator[str]:
        """Stream the answer as text. Raises `EngineError`."""
        payload = msgspec.Raw(msgspec.json.encode({"messages": messages}))
        size = sum(len(message.content) for message in messages) / 4  # characters of a token, roughly
        request = TaskRequest("chat", payload, deadline_s=timeout_s, input_units=size)
        begun = False
        try:
            task = self._dispatcher.submit(request)
            async with aclosing(answer_of(self._dispatcher, task)) as events:
                async for event in events:
                    if isinstance(event, Piece):
                        if not begun:
                            done_by(name_of(task.node, self._members()))
                        begun = begun or bool(event.text)
                        yield event.text
                    elif begun:
                        yield BEGINS_ANEW
        except EngineError:
            raise
        except MycoswarmError as error:
            raise EngineError(str(error), hint=error.hint) from error

    async def close(self) -> None:
        """Nothing: its parts belong to others."""
