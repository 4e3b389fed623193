"""The satellite's end of a voice session: one WebSocket to the hub, kept up for as long as the satellite runs."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

import aiohttp

from swarm.codec import MAX_AUDIO_BYTES, MAX_TEXT_BYTES, decode_from_hub, encode
from swarm.errors import MalformedMessage
from swarm.messages import PROTOCOL_VERSION, Hello, HubMessage, Message, Welcome

FIRST_RETRY_S, LAST_RETRY_S = 0.25, 5.0
"""Waits double from the first to the last: a restarted hub is found at once, a dead one costs nothing."""
CONNECT_S = 5.0
HEARTBEAT_S = 15.0
"""A hub that answers no ping within half of this is gone."""
MAX_UNSENT_BYTES = 512 * 1024
"""16 s of microphone that the hub did not take: it is stuck, and the session is given up."""

log = logging.getLogger(__name__)


class SessionListener(Protocol):
    """Told what the session brings. Calls come from the event loop, one at a time."""

    def hub_connected(self) -> None:
        """The hub said welcome."""

    def hub_lost(self) -> None:
        """The session broke; follows each `hub_connected` once."""

    def hub_said(self, message: HubMessage) -> None:
        """A message."""

    async def hub_audio(self, pcm: bytes) -> None:
        """A binary frame; while this waits, nothing more is read."""


class VoiceSession:
    """Connects to `url`, says `hello`, and again after a growing wait whenever the line breaks."""

    def __init__(self, url: str, hello: Hello, listener: SessionListener) -> None:
        self._url = url
        self._hello = hello
        self._listener = listener
        self._connected = False
        self._outbox: deque[str | bytes] = deque()
        self._unsent_bytes = 0
        self._changed = asyncio.Event()
        self._stuck = asyncio.Event()
        self._sent_all = asyncio.Event()
        self._sent_all.set()
        self._retry_s = FIRST_RETRY_S
        self._complained = False

    def send(self, item: Message | bytes) -> bool:
        """Queue a message or microphone frames. False when there is no session; then nothing is kept."""
        if not self._connected:
            return False
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            self._stuck.set()
            return False
        data = item if isinstance(item, bytes) else encode(item)
        self._unsent_bytes += len(data)
        self._outbox.append(data)
        self._sent_all.clear()
        self._changed.set()
        return True

    async def flush(self, *, timeout_s: float) -> None:
        """Wait until everything queued was sent, at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._sent_all.wait()
        except TimeoutError:
            log.warning("not everything could be sent to the hub")

    async def run(self) -> None:
        """Keep the session up until cancelled."""
        # No limit over the whole exchange (it lasts for days); ws_close bounds the good-bye at shutdown.
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
            while True:
                try:
                    await self._serve(http)
                    reason = "it closed the session"
                except (aiohttp.ClientError, OSError, TimeoutError, MalformedMessage) as error:
                    reason = str(error) or type(error).__name__
                self._complain(reason)
                await asyncio.sleep(self._retry_s)
                self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)

    async def _serve(self, http: aiohttp.ClientSession) -> None:
        async with asyncio.timeout(CONNECT_S) as connecting:
            async with http.ws_connect(
                self._url,
                heartbeat=HEARTBEAT_S,
                max_msg_size=max(MAX_AUDIO_BYTES, MAX_TEXT_BYTES) + 1,
                timeout=aiohttp.ClientWSTimeout(ws_close=0.5),
            ) as socket:
                await socket.send_str(encode(self._hello))
                self._check_welcome(await socket.receive())
                connecting.reschedule(None)
                self._retry_s, self._complained = FIRST_RETRY_S, False
                self._connected = True
                try:
                    self._listener.hub_connected()
                    await self._exchange(socket)
                finally:
                    self._connected = False
                    self._outbox.clear()
                    self._unsent_bytes = 0
                    self._sent_all.set()
                    self._listener.hub_lost()

    def _check_welcome(self, frame: aiohttp.WSMessage) -> None:
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise MalformedMessage("no welcome came")
        welcome = decode_from_hub(frame.data)
        if not isinstance(welcome, Welcome):
            raise MalformedMessage(f"{type(welcome).__name__} came instead of a welcome")
        if welcome.version != PROTOCOL_VERSION:
            raise MalformedMessage(
                f"it speaks version {welcome.version} of the voice protocol, this satellite {PROTOCOL_VERSION}"
            )

    async def _exchange(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._stuck.clear()
        tasks = {asyncio.create_task(work) for work in (self._receive(socket), self._send(socket), self._until_stuck())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in done:
            task.result()

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            if frame.type is aiohttp.WSMsgType.BINARY:
                await self._listener.hub_audio(frame.data)
            elif frame.type is aiohttp.WSMsgType.TEXT:
                try:
                    message = decode_from_hub(frame.data)
                except MalformedMessage as error:
                    log.warning("ignoring what the hub said: %s", error)
                    continue
                self._listener.hub_said(message)

    async def _until_stuck(self) -> None:
        await self._stuck.wait()
        raise ConnectionError("it does not take the microphone's audio")

    async def _send(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            self._changed.clear()
            while self._outbox:
                data = self._outbox.popleft()
                async with asyncio.timeout(CONNECT_S):
                    if isinstance(data, bytes):
                        await socket.send_bytes(data)
                    else:
                        await socket.send_str(data)
                self._unsent_bytes -= len(data)
            self._sent_all.set()
            await self._changed.wait()

    def _complain(self, reason: str) -> None:
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        log.log(level, "no voice session with the hub at %s: %s; trying again", self._url, reason)
