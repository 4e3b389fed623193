"""Does and answers what a Wyoming client was told: Home Assistant's conversation agent, for example."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop, NotHandled

from hub.conversation import Conversation
from hub.intent import Context
from swarm.errors import MalformedMessage
from swarm.messages import Trace
from swarm.trace import TraceRecorder
from swarm.wyoming.events import text_in, text_of
from swarm.wyoming.listener import Client, Talk

MAX_TEXT = 2_000
MAX_LANGUAGE = 35
MAX_ID = 64


class HandleTalk(Talk):
    """One client: each `transcript` is answered by `handled`, or by `not-handled` when nobody understood it; what is
    handled is streamed sentence by sentence, too.

    Nobody proves who asks, so it counts as a program's text: nothing is done that a person would be asked about before.
    """

    def __init__(
        self,
        client: Client,
        conversation: Callable[[], Conversation],
        *,
        node: str,
        language: str,
        finished: Callable[[Trace], Awaitable[None]],
    ) -> None:
        """`language` of those who name none; `finished` keeps the trace of each text."""
        self._client = client
        self._conversation = conversation
        self._node = node
        self._language = language
        self._finished = finished

    async def take(self, event: Event) -> None:
        """See `Talk`."""
        if event.type != "transcript":
            return
        text = text_in(event, "text", limit=MAX_TEXT)
        if text is None:
            raise MalformedMessage("a transcript without a text")
        said = event.data.get("context") or {}
        if not isinstance(said, dict):
            raise MalformedMessage("a context that is no object")
        conversation_id = text_of(said.get("conversation_id"), "a conversation's id", limit=MAX_ID)
        await self._answer(
            text,
            Context(
                language=text_in(event, "language", limit=MAX_LANGUAGE) or self._language,
                origin="program",
                cause=f"Wyoming, {self._client.address}",
                desk=f"wyoming {self._client.address} {conversation_id or ''}".strip(),
            ),
            {"conversation_id": conversation_id} if conversation_id else None,
        )

    async def _answer(self, text: str, context: Context, told: dict[str, str] | None) -> None:
        send = self._client.send
        recorder = TraceRecorder(uuid.uuid4().hex, node=self._node, source="text")
        recorder.mark("transcript")
        recorder.note(transcript=text)
        try:
            answer = await self._conversation().answer(text, context=context, recorder=recorder)
            try:
                understood = answer.outcome != "not_understood"
                if understood:
                    await send(HandledStart(context=told).event())
                first = True
                async for sentence in answer.sentences:
                    if understood:
                        await send(HandledChunk(sentence if first else f" {sentence}").event())
                    first = False
                if understood:
                    await send(Handled(answer.text, context=told).event())
                    await send(HandledStop().event())
                else:
                    await send(NotHandled(answer.text, context=told).event())
            finally:
                await answer.close()
        finally:
            await self._finished(recorder.trace())
