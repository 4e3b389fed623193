"""The satellite's end of a voice session: one WebSocket to a hub, kept up for as long as the satellite runs."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

import aiohttp

from edge.line import Connector, Line, Socket
from swarm.codec import decode_from_hub, encode
from swarm.errors import MalformedMessage, MycoswarmError
from swarm.messages import PROTOCOL_VERSION, Hello, HubMessage, Message, Welcome

FIRST_RETRY_S, LAST_RETRY_S = 0.25, 5.0
"""Waits double from the first to the last: a restarted hub is found at once, a dead one costs nothing."""
STOOD_S = 1.0
"""A session that stood for so long is followed by the next without a wait: somebody may be speaking."""
CONNECT_S = 5.0
PING_EVERY_S, MAX_UNANSWERED = 0.4, 3
"""Over the network while somebody speaks or waits: a hub is given up 1.2 to 1.6 s after its last word, so that there is
time to find another before a person notices. It costs 15 bytes a second each way. Fewer pings would take a Wi-Fi that
lost one packet twice for a dead hub. While nobody speaks, TCP finds a dead hub in three seconds."""
LOOK_EVERY_S = 0.5
"""How often a better hub is looked for."""
MAX_UNSENT_BYTES = 512 * 1024
"""16 s of microphone that the hub did not take: it is stuck, and the session is given up."""

log = logging.getLogger(__name__)


class SessionListener(Protocol):
    """Told what the session brings. Calls come from the event loop, one at a time."""

    def hub_connected(self, hub: str) -> None:
        """The hub of this name said welcome."""

    def hub_lost(self) -> None:
        """The session broke; follows each `hub_connected` once."""

    def hub_said(self, message: HubMessage) -> None:
        """A message."""

    async def hub_audio(self, pcm: bytes) -> None:
        """A binary frame; while this waits, nothing more is read."""


class VoiceSession:
    """Gets a line, says `hello`, and again after a growing wait whenever the line breaks."""

    def __init__(self, connector: Connector, hello: Hello, listener: SessionListener) -> None:
        self._connector = connector
        self._hello = hello
        self._listener = listener
        self._connected = False
        self._connected_at: float | None = None
        self._engaged = asyncio.Event()
        self._unanswered = 0
        self._taking = False
        """What came is being taken: nothing is read."""
        self._outbox: deque[str | bytes] = deque()
        self._unsent_bytes = 0
        self._changed = asyncio.Event()
        self._stuck = asyncio.Event()
        self._sent_all = asyncio.Event()
        self._sent_all.set()
        self._retry_s = FIRST_RETRY_S
        self._complained = False

    def engage(self, engaged: bool) -> None:
        """Somebody speaks, waits or is answered: the hub is watched closely and left only when it is lost."""
        if engaged:
            self._engaged.set()
        else:
            self._engaged.clear()

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
        while True:
            self._connected_at = None
            try:
                left = await self._serve()
                reason = "it closed the session"
            except (aiohttp.ClientError, OSError, TimeoutError, MycoswarmError) as error:
                left, reason = False, str(error) or type(error).__name__
            if not left:
                self._complain(reason)
            if self._stood():
                continue
            await asyncio.sleep(self._retry_s)
            self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)

    def _stood(self) -> bool:
        since = self._connected_at
        return since is not None and asyncio.get_running_loop().time() - since > STOOD_S

    async def _serve(self) -> bool:
        """True when the line was left for a better one."""
        async with asyncio.timeout(CONNECT_S) as connecting:
            async with self._connector.line(urgent=self._engaged.is_set()) as line:
                socket = line.socket
                await socket.send_str(encode(self._hello))
                welcome = self._check_welcome(await socket.receive())
                connecting.reschedule(None)
                self._retry_s, self._complained = FIRST_RETRY_S, False
                self._connected = True
                self._connected_at = asyncio.get_running_loop().time()
                try:
                    self._listener.hub_connected(welcome.node)
                    return await self._exchange(line)
                finally:
                    self._connected = False
                    self._outbox.clear()
                    self._unsent_bytes = 0
                    self._sent_all.set()
                    self._listener.hub_lost()

    def _check_welcome(self, frame: aiohttp.WSMessage) -> Welcome:
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise MalformedMessage("no welcome came")
        welcome = decode_from_hub(frame.data)
        if not isinstance(welcome, Welcome):
            raise MalformedMessage(f"{type(welcome).__name__} came instead of a welcome")
        if welcome.version != PROTOCOL_VERSION:
            raise MalformedMessage(
                f"it speaks version {welcome.version} of the voice protocol, this satellite {PROTOCOL_VERSION}"
            )
        return welcome

    async def _exchange(self, line: Line) -> bool:
        self._stuck.clear()
        socket = line.socket
        tasks = {asyncio.create_task(work) for work in (self._receive(socket), self._send(socket), self._until_stuck())}
        if line.over_network:
            tasks.add(asyncio.create_task(self._watch(socket)))
        leaving: asyncio.Task[None] | None = None
        if line.better is not None:
            leaving = asyncio.create_task(self._until(line.better))
            tasks.add(leaving)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in done:
            task.result()
        return leaving in done

    async def _receive(self, socket: Socket) -> None:
        async for frame in socket:
            self._unanswered = 0
            if frame.type is aiohttp.WSMsgType.BINARY:
                self._taking = True
                try:
                    await self._listener.hub_audio(frame.data)
                finally:
                    self._taking = False
            elif frame.type is aiohttp.WSMsgType.TEXT:
                try:
                    message = decode_from_hub(frame.data)
                except MalformedMessage as error:
                    log.warning("ignoring what the hub said: %s", error)
                    continue
                self._listener.hub_said(message)
            elif frame.type is aiohttp.WSMsgType.PING:  # only where the session pings itself
                await socket.pong(frame.data)

    async def _watch(self, socket: Socket) -> None:
        """Counts pings, not seconds: when this process itself was held up, what came meanwhile is read first."""
        while True:
            await self._engaged.wait()
            self._unanswered = 0
            while self._engaged.is_set():
                if self._unanswered >= MAX_UNANSWERED:
                    raise ConnectionError("it went silent")
                self._unanswered = 0 if self._taking else self._unanswered + 1
                try:
                    async with asyncio.timeout(PING_EVERY_S):
                        await socket.ping()
                except TimeoutError:
                    continue  # it takes nothing
                await asyncio.sleep(PING_EVERY_S)

    async def _until(self, better: Callable[[], bool]) -> None:
        while self._engaged.is_set() or not better():  # noqa: ASYNC110 what makes one better tells nobody
            await asyncio.sleep(LOOK_EVERY_S)

    async def _until_stuck(self) -> None:
        await self._stuck.wait()
        raise ConnectionError("it does not take the microphone's audio")

    async def _send(self, socket: Socket) -> None:
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
        log.log(level, "no voice session with %s: %s; trying again", self._connector.where, reason)
