"""Home Assistant's WebSocket API, as far as it is needed (developers.home-assistant.io/docs/api/websocket).

Within the LAN only. One connection: it is authenticated by a long-lived access token, then questions have numbers and
may be under way at the same time, and events come in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from swarm.egress import require_lan
from swarm.errors import BusError

CONNECT_S = 10.0
"""For TCP, TLS, the upgrade and the token."""
ANSWER_S = 30.0
"""For one question; a Home Assistant that starts takes its time."""
HEARTBEAT_S = 20.0
"""A Home Assistant that vanished without a word is noticed after at most 1.5 times this."""
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""All states of some thousand entities have a few megabytes."""
MAX_UNDER_WAY = 1000
"""Questions that wait for their answers."""

Take = Callable[[Any], None]


class HassError(BusError):
    """Home Assistant did not do, or does not know, what it was asked for."""


class TokenRefused(HassError):
    """Home Assistant does not take the token, or not any more."""


class HassSocket:
    """An authenticated connection; `run` it beside its use."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self._websocket = websocket
        self._ids = itertools.count(1)
        self._answers: dict[int, tuple[asyncio.Future[Any], Take | None]] = {}
        self._events: dict[int, Take] = {}
        self._ended = False

    async def ask(self, kind: str, *, take: Take | None = None, **more: object) -> Any:
        """The result of a command. `take` gets it first, before whatever comes after it. Raises `HassError`."""
        return await self._ask(kind, take, None, more)

    async def subscribe(self, event_type: str, heard: Take) -> None:
        """Have `heard` called with the data of each such event. Raises `HassError`."""
        await self._ask("subscribe_events", None, heard, {"event_type": event_type})

    async def _ask(self, kind: str, take: Take | None, heard: Take | None, more: dict[str, object]) -> Any:
        if self._ended or len(self._answers) >= MAX_UNDER_WAY:
            raise HassError("the connection to Home Assistant is lost" if self._ended else "Home Assistant is too slow")
        number = next(self._ids)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer, take
        if heard is not None:
            self._events[number] = heard
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._websocket.send_str(msgspec.json.encode({"id": number, "type": kind, **more}).decode())
                return await answer
        except TimeoutError as error:
            raise HassError(f"Home Assistant did not answer {kind} within {ANSWER_S:g} s") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise HassError(f"the connection to Home Assistant is lost: {error}") from error
        finally:
            self._answers.pop(number, None)

    async def run(self) -> None:
        """Take in what comes until the connection ends; raises `HassError` then."""
        try:
            async for message in self._websocket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._on_message(message.data)
        finally:
            self._ended = True
            for answer, _ in self._answers.values():
                if not answer.done():
                    answer.set_exception(HassError("the connection to Home Assistant was lost before it answered"))
        why = self._websocket.exception()
        raise HassError(f"Home Assistant closed the connection{f': {why}' if why else ''}")

    def _on_message(self, text: str) -> None:
        content = _object(text)
        number = content.get("id")
        if not isinstance(number, int):
            return
        if content.get("type") == "event" and (heard := self._events.get(number)) is not None:
            event = content.get("event")
            if isinstance(event, dict):
                heard(event.get("data"))
            return
        answer, take = self._answers.get(number, (None, None))
        if content.get("type") != "result" or answer is None or answer.done():
            return
        if content.get("success") is True:
            if take is not None:
                take(content.get("result"))
            answer.set_result(content.get("result"))
        else:
            error = content.get("error")
            why = error.get("message") if isinstance(error, dict) else error
            answer.set_exception(HassError(f"Home Assistant refuses: {why!s:.300}"))


@asynccontextmanager
async def connected(url: str, token: str) -> AsyncIterator[HassSocket]:
    """Connect to the Home Assistant at `url` (`http://…`). Raises `TokenRefused`, `HassError` and `MycoswarmError`
    when it is not in the LAN."""
    address = f"{url.rstrip('/')}/api/websocket"
    async with contextlib.AsyncExitStack() as closing:
        try:
            async with asyncio.timeout(CONNECT_S):
                session = await closing.enter_async_context(aiohttp.ClientSession(middlewares=(_within_the_lan,)))
                websocket = await closing.enter_async_context(
                    session.ws_connect(address, heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES)
                )
                await _authenticate(websocket, token)
        except TimeoutError as error:
            raise HassError(f"no Home Assistant answers at {url} within {CONNECT_S:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise HassError(f"no Home Assistant answers at {url}: {error}") from error
        yield HassSocket(websocket)


async def _authenticate(websocket: aiohttp.ClientWebSocketResponse, token: str) -> None:
    while True:
        message = await websocket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise HassError("Home Assistant closed the connection before it looked at the token")
        match _object(message.data).get("type"):
            case "auth_required":
                await websocket.send_str(msgspec.json.encode({"type": "auth", "access_token": token}).decode())
            case "auth_ok":
                return
            case "auth_invalid":
                raise TokenRefused("Home Assistant does not take the token")
            case other:
                raise HassError(f"what answers is no Home Assistant: {other!s:.80}")


async def _within_the_lan(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """For each request, one that a redirection leads to as well."""
    await asyncio.to_thread(require_lan, request.url.host or "")
    return await handler(request)


def _object(text: str) -> dict[str, Any]:
    try:
        content = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise HassError(f"Home Assistant sent no JSON: {error}") from error
    return content if isinstance(content, dict) else {}
