"""How a satellite gets to a hub: a connector opens a line, which is a WebSocket on which nothing was said yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from swarm.codec import MAX_AUDIO_BYTES, MAX_TEXT_BYTES

MAX_FRAME_BYTES = max(MAX_AUDIO_BYTES, MAX_TEXT_BYTES) + 1
HEARTBEAT_S = 15.0
"""In this machine: a hub that answers no ping within half of this hangs."""
CLOSE_S = 0.5
"""For the good-bye."""


class Socket(Protocol):
    """What a voice session needs of a WebSocket."""

    async def send_str(self, data: str) -> None:
        """A message."""

    async def send_bytes(self, data: bytes) -> None:
        """Microphone."""

    async def receive(self) -> aiohttp.WSMessage:
        """The next frame."""

    def __aiter__(self) -> AsyncIterator[aiohttp.WSMessage]:
        """All frames until the end."""

    async def ping(self, message: bytes = b"") -> None:
        """Ask for a sign of life."""

    async def pong(self, message: bytes = b"") -> None:
        """Give one."""


@dataclass(frozen=True)
class Line:
    """One way to one hub."""

    socket: Socket
    over_network: bool = False
    """It can go silent without an end. Then the socket was opened with `autoping=False`, and the session pings."""
    better: Callable[[], bool] | None = None
    """Whether there is a hub for which to leave this one once nobody speaks; None: never."""


class Connector(Protocol):
    """Chooses a hub each time it is asked."""

    @property
    def where(self) -> str:
        """What it connects to, for the log: "the hub at ws://…"."""

    def line(self, *, urgent: bool) -> AbstractAsyncContextManager[Line]:
        """A line while the context lasts; `urgent`: somebody waits.

        Raises `aiohttp.ClientError`, `OSError`, `TimeoutError` or `MycoswarmError` when there is none now.
        """


class UrlConnector:
    """Always the same hub, in this machine."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def where(self) -> str:
        """See `Connector`."""
        return f"the hub at {self._url}"

    @asynccontextmanager
    async def line(self, *, urgent: bool) -> AsyncIterator[Line]:
        """See `Connector`."""
        # No limit over the whole exchange (it lasts for days); ws_close bounds the good-bye at shutdown.
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http,
            http.ws_connect(
                self._url,
                heartbeat=HEARTBEAT_S,
                max_msg_size=MAX_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
            ) as socket,
        ):
            yield Line(socket)
