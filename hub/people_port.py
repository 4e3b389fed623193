"""The people's port: what people and their programs on this machine ask of the node, over HTTP with JSON.

Loopback only. A web page in a browser on this machine could still send requests here, so `Host` (against DNS rebinding)
and `Origin` (against foreign pages) are checked. Every error is JSON: `error` says what happened, `hint` what to do.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from hub.home.entity import Entity, State
from hub.intent import Context
from swarm.audio import MAX_RECORDING_S
from swarm.client import Status
from swarm.errors import AudioError, MycoswarmError
from swarm.messages import Trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.timer_book import Timer

MAX_TEXT = 2_000
"""Characters of one question."""
MAX_AUDIO_BYTES = 32 * 1024 * 1024
"""One recording; the longest that is heard has 10 MB at 16 kHz."""
MAX_ASKS = 8
"""Questions answered at once; a home asks one or two. Beyond, 503 with `Retry-After`."""
MAX_TRACES = 500
"""Traces in one answer."""
SHUTDOWN_S = 0.5
"""How long answers under way may still take when the node ends."""
UPLOAD_TIMEOUT_S = 30.0
"""A recording that arrives slower than this is given up, so that it frees its place."""

T = TypeVar("T")
_log = logging.getLogger(__name__)

Say = Callable[[str], Awaitable[None]]
"""Takes one sentence of an answer as soon as it is ready. Raises `ConnectionError` when nobody listens any more:
let it pass, and make no more of an answer that only says something."""


class Ask(Protocol):
    """Answers typed text."""

    def __call__(self, text: str, *, context: Context, say: Say) -> Awaitable[Trace]:
        """The trace of the finished answer, after `say` had each of its sentences; raises `MycoswarmError`."""


class SpokenAnswer(msgspec.Struct, frozen=True):
    """What came of a recording."""

    trace: Trace
    reply_wav: bytes
    """A whole WAV file; empty when nothing was said."""


class Traces(Protocol):
    """Where finished utterances are kept."""

    async def traces(self, limit: int) -> list[Trace]:
        """The newest first."""

    async def trace(self, utterance_id: str) -> Trace | None:
        """One of them."""


@dataclass(frozen=True)
class Node:
    """What the people's port needs of the node behind it. All callables may raise `MycoswarmError`."""

    language: str
    """Of a question that names none."""
    status: Callable[[], Status]
    ask: Ask
    ask_audio: Callable[[bytes, bool], Awaitable[SpokenAnswer]]
    """A WAV file as it came and whether a wake word must come first; raises `AudioError` for one it cannot use.
    It is heard in real time."""
    traces: Traces
    entities: Callable[[], Sequence[tuple[Entity, State]]]
    timers: Callable[[], Sequence[tuple[Timer, float]]]
    """Each with the seconds left."""
    set_muted: Callable[[bool], Awaitable[None]]
    """Mute or unmute this machine's satellite."""
    voice: Handler
    """The WebSocket of satellites."""


def build_app(node: Node, *, ask_timeout_s: float, max_asks: int = MAX_ASKS) -> web.Application:
    """The application; an answer may take `ask_timeout_s` in all, after the recording if it was one."""
    port = _PeoplePort(node, ask_timeout_s=ask_timeout_s, max_asks=max_asks)
    app = web.Application(middlewares=[_errors_as_json, _only_this_machine], client_max_size=MAX_AUDIO_BYTES)
    app.add_routes(
        [
            web.get("/api/status", port.status),
            web.post("/api/ask", port.ask),
            web.post("/api/ask/audio", port.ask_audio),
            web.get("/api/traces", port.traces),
            web.get("/api/traces/{utterance_id}", port.trace),
            web.get("/api/entities", port.entities),
            web.get("/api/timers", port.timers),
            web.post("/api/mute", port.mute),
            web.post("/api/unmute", port.unmute),
            web.get("/api/voice", node.voice),
        ]
    )
    return app


async def start(app: web.Application, *, port: int) -> tuple[web.AppRunner, str]:
    """Listen on loopback; returns the runner (its `cleanup` ends it) and the URL. Raises if the port is taken."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError as error:
        await runner.cleanup()
        raise MycoswarmError(
            f"cannot listen on 127.0.0.1:{port}: {os.strerror(error.errno or 0)}",
            hint="if no other mycoswarm runs here, give this one another port: people.port in the configuration",
        ) from error
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


class _AskRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
    area: Annotated[str, msgspec.Meta(max_length=200)] = ""
    language: Annotated[str, msgspec.Meta(max_length=35)] = ""


class _PeoplePort:
    def __init__(self, node: Node, *, ask_timeout_s: float, max_asks: int) -> None:
        self._node = node
        self._ask_timeout_s = ask_timeout_s
        self._places = max_asks

    async def status(self, request: web.Request) -> web.Response:
        return _json(self._node.status())

    async def ask(self, request: web.Request) -> web.StreamResponse:
        async with self._place():
            asked = _parse_ask(await _body(request))
            context = Context(area=asked.area, language=asked.language or self._node.language)
            if "application/x-ndjson" in request.headers.get("Accept", ""):
                return await self._ask_streaming(request, asked.text, context)
            trace = await self._bounded(self._node.ask(asked.text, context=context, say=_say_nothing))
            return _json(_answer(trace))

    async def _ask_streaming(self, request: web.Request, text: str, context: Context) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        await response.prepare(request)

        async def write(line: Mapping[str, Any]) -> None:
            await response.write(msgspec.json.encode(line) + b"\n")

        async def say(sentence: str) -> None:
            await write({"sentence": sentence})

        try:
            try:
                trace = await self._bounded(self._node.ask(text, context=context, say=say))
            except ConnectionError:
                raise
            except Exception as error:  # noqa: BLE001 the status line is sent: only a last line can still say it
                await write(_explain(request, error)[1])
            else:
                await write(_answer(trace))
            await response.write_eof()
        except ConnectionError:
            pass  # whoever asked is gone, and with it whoever wanted the rest
        return response

    async def ask_audio(self, request: web.Request) -> web.Response:
        wake = request.query.get("wake", "1")
        if wake not in ("0", "1"):
            raise _Refused(
                400, f"wake={wake:.20} is neither 0 nor 1", "wake=1 waits for the wake word, wake=0 does not"
            )
        async with self._place():
            wav = await _body(request)
            if not wav:
                raise _Refused(400, "no recording came with the request", "send a WAV file as the body")
            answering = self._node.ask_audio(wav, wake == "1")
            spoken = await self._bounded(answering, plus_s=MAX_RECORDING_S)
            reply = base64.b64encode(spoken.reply_wav).decode()
            return _json({**_answer(spoken.trace), "transcript": spoken.trace.transcript, "reply_wav": reply})

    async def traces(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", "20")
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_TRACES):
            raise _Refused(400, f"limit={text:.20} is no number of traces", f"1 to {MAX_TRACES}")
        return _json(await self._node.traces.traces(int(text)))

    async def trace(self, request: web.Request) -> web.Response:
        utterance_id = request.match_info["utterance_id"]
        trace = await self._node.traces.trace(utterance_id)
        if trace is None:
            raise _Refused(404, f"no trace of an utterance {utterance_id:.80}", "mycoswarm trace --last 10 lists some")
        return _json(trace)

    async def entities(self, request: web.Request) -> web.Response:
        return _json([{"entity": entity, "state": state} for entity, state in self._node.entities()])

    async def timers(self, request: web.Request) -> web.Response:
        return _json([{**msgspec.to_builtins(timer), "left_s": left_s} for timer, left_s in self._node.timers()])

    async def mute(self, request: web.Request) -> web.Response:
        await self._node.set_muted(True)
        return _json({"muted": True})

    async def unmute(self, request: web.Request) -> web.Response:
        await self._node.set_muted(False)
        return _json({"muted": False})

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._places == 0:
            raise _Refused(503, "too many questions at once", "ask again in a second", retry_after_s=1)
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1

    async def _bounded(self, answer: Awaitable[T], *, plus_s: float = 0.0) -> T:
        deadline_s = self._ask_timeout_s + plus_s
        try:
            async with asyncio.timeout(deadline_s):
                return await answer
        except TimeoutError as error:
            raise _Refused(504, f"no answer within {deadline_s:g} s", "mycoswarm doctor tells what is slow") from error


# ---- what comes in


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            return await request.read()
    except TimeoutError as error:
        raise _Refused(408, f"the request did not arrive within {UPLOAD_TIMEOUT_S:g} s", "send it again") from error


def _parse_ask(body: bytes) -> _AskRequest:
    try:
        asked = msgspec.json.decode(body, type=_AskRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = f'send JSON such as {{"text": "turn on the kitchen lamp"}}, text of at most {MAX_TEXT} characters'
        raise _Refused(400, f"not a question: {error}", hint) from error
    if not asked.text.strip():
        raise _Refused(400, "the question is empty", "say what you want in `text`")
    return asked


async def _say_nothing(sentence: str) -> None:
    """For whoever wants the whole answer only."""


# ---- what goes out


def _answer(trace: Trace) -> dict[str, Any]:
    return {
        "answer": trace.answer,
        "intent": trace.intent,
        "outcome": trace.outcome,
        "utterance_id": trace.utterance_id,
        "trace": trace,
    }


def _json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, headers=headers, content_type="application/json"
    )


# ---- who may ask, and how errors look


class _Refused(MycoswarmError):
    def __init__(self, status: int, message: str, hint: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConnectionError:
        raise  # whoever asked is gone; aiohttp lets that pass quietly
    except Exception as error:  # noqa: BLE001 whatever fails, the asker gets JSON and the node stays up
        status, body = _explain(request, error)
        return _json(body, status=status, headers=getattr(error, "headers", None) if status == 503 else None)


def _explain(request: web.Request, error: Exception) -> tuple[int, dict[str, str]]:
    """The status and the body that tell a person about `error`."""
    match error:
        case _Refused():
            return error.status, {"error": str(error), "hint": error.hint}
        case AudioError():
            return 400, {"error": str(error), "hint": error.hint}
        case MycoswarmError():
            return 503, {"error": str(error), "hint": error.hint}
        case web.HTTPRequestEntityTooLarge():
            return 413, {
                "error": f"the request is larger than {MAX_AUDIO_BYTES // 1024**2} MB",
                "hint": "cut the recording into shorter ones",
            }
        case web.HTTPException():
            return error.status, {
                "error": f"{error.reason}: {request.method} {request.path:.100}",
                "hint": "GET /api/status is a good beginning",
            }
        case _:
            _log.error("%s %s failed", request.method, request.path, exc_info=error)
            return 500, {"error": "the node failed at this", "hint": "its log says why; please report it"}


@web.middleware
async def _only_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    address = request.transport.get_extra_info("sockname") if request.transport else None
    port = address[1] if address else None
    ours = {f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"}
    host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
    if host.lower() not in ours:
        raise _Refused(403, f"this node is not {host:.100}", f"use http://localhost:{port}")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        raise _Refused(403, f"pages of {origin:.100} may not speak with this node", f"use http://localhost:{port}")
    return await handler(request)
