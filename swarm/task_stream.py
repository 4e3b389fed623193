"""A task as this node's own code follows it: submitted here, done by whichever node is best."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

import msgspec

from swarm.capability import Member
from swarm.dispatch import Dispatcher
from swarm.engine import ChatMessage, Generator
from swarm.errors import EngineError, MycoswarmError
from swarm.task import Ended, Piece, Restarted, TaskRequest, read_events

BEGINS_ANEW = " …\n\n"
"""Stands in the text where the node that spoke was lost: what follows is another beginning."""


async def follow(dispatcher: Dispatcher, request: TaskRequest) -> AsyncGenerator[Piece | Restarted, None]:
    """Submit a task and yield its answer; closing the generator cancels it. Raises `EngineError` when it fails, and
    what `Dispatcher.submit` raises."""
    task = dispatcher.submit(request)
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
        """The model that would likely answer, None when no node has one."""
        own = None if self._own is None else await self._own.available()
        if own is not None:
            return own
        offered = (
            capability.model
            for member in self._members()
            if member.state == "alive" and not member.here
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
            async with aclosing(follow(self._dispatcher, request)) as events:
                async for event in events:
                    if isinstance(event, Piece):
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
