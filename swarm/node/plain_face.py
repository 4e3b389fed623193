"""The people's port of a node that has no voice assistant of its own: a question goes to one that has."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import aclosing

import msgspec
from aiohttp import web

from hub.intent import Context
from hub.people_port import Node as NodeFace
from hub.people_port import Say, SpokenAnswer
from swarm.client import Status
from swarm.config import Config
from swarm.dispatch import Dispatcher
from swarm.errors import MycoswarmError
from swarm.messages import Trace
from swarm.task import Piece, TaskRequest
from swarm.task_stream import BEGINS_ANEW, follow
from swarm.trace import TraceRecorder

_NONE = "this node has no voice assistant"
_HINT = "swarm.roles in its configuration makes it no hub; ask on a node that is one"


def plain_face(config: Config, dispatcher: Dispatcher, status: Callable[[], Status]) -> NodeFace:
    """The node as the people's port sees it."""

    async def ask(text: str, *, context: Context, say: Say) -> Trace:
        recorder = TraceRecorder(uuid.uuid4().hex, node=config.node.name, source="text")
        recorder.mark("transcript")
        recorder.note(transcript=text)
        asked = {"text": text, "area": context.area, "language": context.language, "desk": config.node.name}
        payload = msgspec.json.encode(asked)
        said: list[str] = []
        async with aclosing(follow(dispatcher, TaskRequest("ask", msgspec.Raw(payload)))) as events:
            async for event in events:
                if not isinstance(event, Piece):
                    said.append(BEGINS_ANEW.strip())
                    await say(said[-1])
                elif event.text:
                    said.append(event.text)
                    await say(event.text)
                elif isinstance(event.value, dict):
                    recorder.note(
                        intent=str(event.value.get("intent", "")), outcome=str(event.value.get("outcome", ""))
                    )
        recorder.note(answer=" ".join(said))
        return recorder.trace()

    async def ask_audio(wav: bytes, wake: bool) -> SpokenAnswer:
        raise MycoswarmError(_NONE, hint=_HINT)

    async def set_muted(muted: bool) -> None:
        raise MycoswarmError("this node has no microphone and no speaker of its own")

    async def voice(request: web.Request) -> web.StreamResponse:
        raise MycoswarmError(_NONE, hint=_HINT)

    return NodeFace(
        language=config.node.language,
        status=status,
        ask=ask,
        ask_audio=ask_audio,
        traces=_NoTraces(),
        entities=list,
        timers=list,
        set_muted=set_muted,
        voice=voice,
    )


class _NoTraces:
    async def traces(self, limit: int) -> list[Trace]:
        return []

    async def trace(self, utterance_id: str) -> Trace | None:
        return None
