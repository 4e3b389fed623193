"""The task API, the same on the people's port and on the nodes' port.

::

    POST   …/tasks                submit: 202 with a receipt; with `Accept: text/event-stream` the stream itself
    GET    …/tasks                list, the newest first
    GET    …/tasks/{id}           status, with placement's reasons
    GET    …/tasks/{id}/stream    Server-Sent Events, or a WebSocket when the client asks for one;
                                  `Last-Event-ID: N` or `?after=N` resumes after event N
    DELETE …/tasks/{id}           cancel

Bodies may come compressed (`Content-Encoding: gzip` or `deflate`). On a WebSocket each event is a text message
`{"number": N, "event": {…}}`; the client may send `cancel`. A node that cannot take a task answers 503 with
`Retry-After`, which rests on measured speeds. Every error is JSON: `error` says what happened, `hint` what to do.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import nullcontext

import aiohttp
import msgspec
from aiohttp import web

from swarm.dispatch import Dispatcher
from swarm.errors import MalformedMessage, MycoswarmError
from swarm.routing import NoRoute
from swarm.task import MAX_BODY_BYTES, TaskRequest, parse_request
from swarm.task_record import KeyConflict, TaskRecord, TooManyTasks

UPLOAD_S = 30.0
"""A request that arrives slower than this is given up."""
ALIVE_S = 10.0
"""A stream that has nothing to say says a comment so often: proxies keep it open, and a client that left is noticed."""
MAX_LISTED = 1000
MAX_KEY = 200
SSE = "text/event-stream"
_ALIVE = b": waiting\n\n"
_STREAM_HEADERS = {"Content-Type": SSE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class TaskApi:
    """The routes over one dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._loop = asyncio.get_running_loop()

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The routes below `prefix`, such as `/api` or `/v1`."""
        return [
            web.post(f"{prefix}/tasks", self.submit),
            web.get(f"{prefix}/tasks", self.list),
            web.get(f"{prefix}/tasks/{{task}}", self.status),
            web.get(f"{prefix}/tasks/{{task}}/stream", self.stream),
            web.delete(f"{prefix}/tasks/{{task}}", self.cancel),
        ]

    async def submit(self, request: web.Request) -> web.StreamResponse:
        """POST …/tasks."""
        try:
            task = self._dispatcher.submit(await _read_request(request))
        except NoRoute as error:
            return _error(422, error)
        except KeyConflict as error:
            return _error(409, error)
        except TooManyTasks as error:
            return _error(503, error, retry_after_s=1.0)
        except MalformedMessage as error:
            return _error(413 if isinstance(error, _TooLarge) else 400, error)
        except TimeoutError:
            return _error(408, MycoswarmError(f"the task did not arrive within {UPLOAD_S:g} s", hint="send it again"))
        # Whoever goes while no node has the task yet leaves it to itself: `reading` ends it, or lets it be found again.
        with self._dispatcher.reading(task):
            await asyncio.shield(task.settled)
            if task.refused is not None:
                return self._refusal(task)
            if SSE in request.headers.get("Accept", ""):
                return await self._send_events(request, task, 0)
        if task.left_alone is not None:  # a receipt was wanted: nobody needs to listen
            task.left_alone.cancel()
            task.left_alone = None
        return _json(task.receipt(), status=202, headers={"Location": f"{request.path}/{task.id}"})

    async def list(self, request: web.Request) -> web.Response:
        """GET …/tasks."""
        limit = _number(request.query.get("limit", "100"))
        if limit is None or not 1 <= limit <= MAX_LISTED:
            return _error(400, MycoswarmError("limit is no number of tasks", hint=f"1 to {MAX_LISTED}"))
        now = self._loop.time()
        return _json([task.status(now) for task, _ in zip(self._dispatcher.tasks, range(limit), strict=False)])

    async def status(self, request: web.Request) -> web.Response:
        """GET …/tasks/{id}."""
        task = self._find(request)
        return _unknown(request) if task is None else _json(task.status(self._loop.time()))

    async def cancel(self, request: web.Request) -> web.Response:
        """DELETE …/tasks/{id}: answers when the task has ended, whichever way."""
        task = self._find(request)
        if task is None:
            return _unknown(request)
        self._dispatcher.cancel(task)
        if task.runner is not None:
            await asyncio.wait([task.runner])
        return _json(task.status(self._loop.time()))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """GET …/tasks/{id}/stream."""
        task = self._find(request)
        if task is None:
            return _unknown(request)
        after = _number(request.headers.get("Last-Event-ID") or request.query.get("after", "0"))
        if after is None:
            return _error(400, MycoswarmError("that is no event number", hint="Last-Event-ID: 17, or ?after=17"))
        position = task.log.position_after(after) if after else 0
        with self._dispatcher.reading(task):
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._send_messages(request, task, position)
            return await self._send_events(request, task, position)

    # ---- streams

    async def _send_events(self, request: web.Request, task: TaskRecord, position: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={**_STREAM_HEADERS, "X-Task-Id": task.id})
        await response.prepare(request)
        log = task.log
        # One timer a stream and not one a piece: a nudge that comes between pieces costs nothing.
        quiet = self._loop.call_later(ALIVE_S, log.nudge)
        try:
            while not log.finished or position < len(log):
                chunk = await log.read(position)
                position += len(chunk)
                if log.finished and position == len(log):
                    await response.write_eof(chunk)  # the last piece and the end of the body in one packet
                    return response
                if not chunk:
                    quiet.cancel()
                    quiet = self._loop.call_later(ALIVE_S, log.nudge)
                await response.write(chunk or _ALIVE)
            await response.write_eof()
        except ConnectionError:
            pass  # the client left: it may come back and resume
        finally:
            quiet.cancel()
        return response

    async def _send_messages(self, request: web.Request, task: TaskRecord, position: int) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=ALIVE_S, max_msg_size=1024, compress=False)
        await socket.prepare(request)

        async def listen() -> None:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT and message.data == "cancel":
                    self._dispatcher.cancel(task)

        async def send() -> None:
            at, log = position, task.log
            while not log.finished or at < len(log):
                chunk = await log.read(at)
                at += len(chunk)
                for message in messages_of(chunk):
                    await socket.send_str(message)

        # The client's end and the task's end are both the end; whichever comes first stops waiting for the other.
        both = [asyncio.ensure_future(listen()), asyncio.ensure_future(send())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            await socket.close()
        return socket

    def _find(self, request: web.Request) -> TaskRecord | None:
        return self._dispatcher.tasks.by_id(request.match_info["task"])

    def _refusal(self, task: TaskRecord) -> web.Response:
        refused = task.refused
        assert refused is not None
        reasons = task.status(self._loop.time()).why
        if refused.reason == "busy":
            error = MycoswarmError(refused.message, hint=f"there is likely room in {refused.retry_after_s:.1f} s")
            return _error(503, error, retry_after_s=refused.retry_after_s, why=reasons)
        error = MycoswarmError(refused.message, hint="mycoswarm nodes shows what each node can do")
        return _error(503, error, retry_after_s=30.0, why=reasons)


def messages_of(events: bytes) -> list[str]:
    """Whole events of a stream as WebSocket messages; what is JSON in them stays as it is."""
    return [
        '{"number":' + head[4:] + ',"event":' + body + "}"
        for block in events.decode().split("\n\n")
        if block.startswith("id: ")
        for head, _, body in [block.partition("\ndata: ")]
    ]


# ---- requests and answers


class _TooLarge(MalformedMessage):
    """The body is larger than a task may be, compressed or inflated."""


async def _read_request(request: web.Request) -> TaskRequest:
    """Raises `MalformedMessage`, `TimeoutError`."""
    try:
        # Most requests are here already: no time is needed for them.
        async with nullcontext() if request.content.is_eof() else asyncio.timeout(UPLOAD_S):
            body = await _read_body(request)
    except web.RequestPayloadError as error:
        raise MalformedMessage(
            f"the body cannot be read: {error}", hint="is it compressed as its header says?"
        ) from error
    parsed = parse_request(body)
    key = request.headers.get("Idempotency-Key", "")
    if key and not parsed.key:
        if len(key) > MAX_KEY:
            raise MalformedMessage(f"Idempotency-Key is longer than {MAX_KEY} characters")
        parsed = msgspec.structs.replace(parsed, key=key)
    return parsed


async def _read_body(request: web.Request) -> bytes:
    """aiohttp inflates as much as is read: piece by piece, a bomb costs no more than its first 16 MB."""
    content, pieces, size = request.content, [], 0
    while not content.at_eof():
        pieces.append(await content.readany())
        size += len(pieces[-1])
        if size > MAX_BODY_BYTES:
            raise _TooLarge(f"the task is larger than {MAX_BODY_BYTES // 1024**2} MB", hint="send less at once")
    return b"".join(pieces)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _unknown(request: web.Request) -> web.Response:
    task = request.match_info["task"]
    return _error(404, MycoswarmError(f"no task {task:.80} is known here", hint="mycoswarm tasks lists those that are"))


def _json(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, headers=headers, content_type="application/json"
    )


def _error(
    status: int, error: MycoswarmError, *, retry_after_s: float | None = None, why: tuple[str, ...] = ()
) -> web.Response:
    body: dict[str, object] = {"error": str(error), "hint": error.hint}
    headers = {}
    if retry_after_s is not None:
        body["retry_after_s"] = round(retry_after_s, 3)
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if why:
        body["why"] = why
    answer = _json(body, status=status, headers=headers)
    if status in (408, 413):
        answer.force_close()  # the rest of the request may still be on its way
    return answer
