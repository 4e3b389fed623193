"""Voice sessions: the hub's end of the WebSocket that each satellite holds."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

import aiohttp
import msgspec
from aiohttp import web

from hub.conversation import Conversation
from hub.happenings import Happening
from hub.session import Session, SpeechParts
from hub.utterance import Judge
from swarm.announcement import Announcement, Report, Until, Whom
from swarm.codec import MAX_AUDIO_BYTES, MAX_TEXT_BYTES, decode_from_satellite, encode
from swarm.engine import Synthesizer, Transcriber
from swarm.errors import MalformedMessage
from swarm.messages import PROTOCOL_VERSION, Hello, Listen, SetVolume, StopSpeaking, Trace, Welcome
from swarm.trace import TraceRecorder
from swarm.voice_routes import ListenReport

MAX_SESSIONS = 64
MAX_NAME = 100
HELLO_S = 5.0
HEARTBEAT_S = 15.0
DEFAULT_VOLUME = 80
MAX_FINISHED = 200
"""Traces that are kept for whoever still waits for one."""

log = logging.getLogger(__name__)


class VoiceHub:
    """All satellites that are connected; implements `hub.skills.skill.Satellites`."""

    def __init__(
        self,
        *,
        node: str,
        conversation: Callable[[], Conversation],
        judge: Judge,
        transcriber: Transcriber,
        synthesizer: Synthesizer,
        keep_trace: Callable[[Trace], Awaitable[None]],
        keep_audio: Callable[[str, bytes], Awaitable[None]] | None = None,
        keep_volume: Callable[[str, int], Awaitable[None]] | None = None,
        kept_volume: Callable[[str], Awaitable[int | None]] | None = None,
        wake_words: tuple[str, ...] = (),
        happened: Callable[[Happening], None] = lambda _: None,
    ) -> None:
        """`keep_audio` (utterance id, pcm) is given only when a person switched recording on. `keep_volume` and
        `kept_volume` (satellite; percent) let a satellite that connects be as loud as it was set before."""
        self._parts = SpeechParts(
            node=node,
            conversation=conversation,
            judge=judge,
            transcriber=transcriber,
            synthesizer=synthesizer,
            keep_audio=keep_audio,
            finished=self._finished,
            happened=happened,
            volume_changed=self._volume_changed,
        )
        self._keep_trace = keep_trace
        self._keep_volume = keep_volume
        self._kept_volume = kept_volume
        self._wake_words = wake_words
        self._sessions: dict[str, Session] = {}
        self._nodes: dict[Session, tuple[str, str]] = {}
        """The machine of each satellite, and what it calls itself."""
        self._volumes: dict[str, int] = {}
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._news = asyncio.Condition()

    @property
    def connected(self) -> tuple[str, ...]:
        """Names of the satellites that are connected now."""
        return tuple(sorted(self._sessions))

    @property
    def speaking(self) -> bool:
        """Somebody speaks at one of them, or is being answered."""
        return any(session.speaking for session in self._sessions.values())

    async def handle(self, request: web.Request, *, node: str = "") -> web.WebSocketResponse:
        """One session, from hello to the end. `node` is the other machine that the satellite belongs to; empty: this
        one. Satellites of two machines that have the same name are two satellites."""
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=max(MAX_AUDIO_BYTES, MAX_TEXT_BYTES) + 1)
        await socket.prepare(request)
        if len(self._sessions) >= MAX_SESSIONS:
            await socket.close(code=aiohttp.WSCloseCode.TRY_AGAIN_LATER, message=b"too many satellites")
            return socket
        try:
            hello = await self._hello(socket)
        except (MalformedMessage, TimeoutError) as error:
            log.warning("refused a satellite: %s", str(error) or "it said no hello")
            await socket.close(code=aiohttp.WSCloseCode.POLICY_VIOLATION, message=str(error).encode()[:120])
            return socket
        former = next((each for each, of in self._nodes.items() if of == (node, hello.satellite)), None)
        if former is not None:  # its old line is dead and it noticed first
            self._forget(former)
            await former.close()
        own_name = hello.satellite
        hello = msgspec.structs.replace(hello, satellite=self._shown_name(own_name, node))
        session = Session(socket, hello, self._parts)
        self._sessions[hello.satellite] = session
        self._nodes[session] = node, own_name
        log.info("satellite %s connected%s", hello.satellite, f", in the {hello.area}" if hello.area else "")
        try:
            await socket.send_str(encode(Welcome(self._parts.node, self._wake_words)))
            volume = await self._kept_volume(hello.satellite) if self._kept_volume is not None else None
            if volume is not None:
                self._volumes[hello.satellite] = volume
                await session.send(SetVolume(volume))
            async with self._news:
                self._news.notify_all()
            await session.run()
        except MalformedMessage as error:
            log.warning("ended the session of %s: %s", hello.satellite, error)
            await socket.close(code=aiohttp.WSCloseCode.POLICY_VIOLATION, message=str(error).encode()[:120])
        except ConnectionError:
            pass  # it went away while something was sent
        finally:
            self._forget(session)
            await session.close()
            log.info("satellite %s disconnected", hello.satellite)
        return socket

    async def close(self) -> None:
        """End all sessions, in good order: their satellites are told rather than cut off."""
        await asyncio.gather(*(session.close() for session in list(self._sessions.values())))

    def _shown_name(self, name: str, node: str) -> str:
        """Its own; where a satellite of another machine has that, with the beginning of its machine's id, so that it
        is the same whenever it comes."""
        for known_by in (name, *(f"{name} ({(node or 'here')[:length]})" for length in (4, 8, 26))):
            if known_by not in self._sessions:
                return known_by
        return f"{name} ({uuid.uuid4().hex})"

    def _forget(self, session: Session) -> None:
        self._nodes.pop(session, None)
        if self._sessions.get(session.hello.satellite) is session:
            del self._sessions[session.hello.satellite]

    # ---- what skills and timers ask of satellites

    def machine_of(self, satellite: str) -> str:
        """The other machine that a connected satellite belongs to; empty: this one, or it is not connected."""
        session = self._sessions.get(satellite)
        return self._nodes[session][0] if session in self._nodes else ""

    def in_area(self, area: str) -> tuple[str, ...]:
        """Names of the satellites that stand in a room."""
        return tuple(
            name
            for name, session in self._sessions.items()
            if (session.hello.area or "").casefold() == area.casefold() and area
        )

    def volume(self, satellite: str) -> int | None:
        """Playback volume, 0 to 100, as last set from here; None when this satellite is not connected."""
        return self._volumes.get(satellite, DEFAULT_VOLUME) if satellite in self._sessions else None

    async def set_volume(self, satellite: str, percent: int) -> bool:
        """Set the playback volume; False when this satellite is not connected."""
        session = self._sessions.get(satellite)
        if session is None:
            return False
        self._volumes[satellite] = percent
        if self._keep_volume is not None:
            await self._keep_volume(satellite, percent)
        return await session.send(SetVolume(percent))

    async def _volume_changed(self, satellite: str, percent: int) -> None:
        self._volumes[satellite] = percent
        if self._keep_volume is not None:
            await self._keep_volume(satellite, percent)

    async def stop_speaking(self, satellite: str) -> None:
        """Stop playback there at once."""
        session = self._sessions.get(satellite)
        if session is not None:
            await session.send(StopSpeaking())

    async def wait_connected(self, satellite: str, *, timeout_s: float) -> None:
        """Return once this satellite, or with an empty name any, is connected; at the latest after `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(lambda: satellite in self._sessions if satellite else bool(self._sessions))

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Name and room of the satellites that are connected now."""
        return tuple(sorted((name, session.hello.area or "") for name, session in self._sessions.items()))

    @property
    def place_names(self) -> tuple[str, ...]:
        """Names of all those satellites and rooms, each once."""
        return tuple(dict.fromkeys(name for place in self.places for name in place if name))

    async def announce(self, announcement: Announcement, whom: Whom, *, until: Until) -> tuple[Report, ...]:
        """Say something unasked at all satellites here that are meant; what became of it at each."""
        chosen = [each for each in self._sessions.values() if whom.means(each.hello.satellite, each.hello.area or "")]
        return tuple(await asyncio.gather(*(self._announce(each, announcement, until) for each in chosen)))

    async def listen(self, whom: Whom) -> tuple[ListenReport, ...]:
        """Have satellites here listen without a wake word, as a program of the home wants."""
        chosen = [each for each in self._sessions.values() if whom.means(each.hello.satellite, each.hello.area or "")]
        return tuple(await asyncio.gather(*(self._listen(each) for each in chosen)))

    async def _listen(self, session: Session) -> ListenReport:
        outcome: Literal["listening", "muted", "failed"] = "muted"
        if not session.muted:
            outcome = "listening" if await session.send(Listen()) else "failed"
        return ListenReport(session.hello.satellite, session.hello.area or "", outcome)

    async def _announce(self, session: Session, announcement: Announcement, until: Until) -> Report:
        satellite = session.hello.satellite
        recorder = TraceRecorder(uuid.uuid4().hex, node=self._parts.node, source="announcement", satellite=satellite)
        recorder.note(answer=announcement.text, outcome="done")
        outcome = await session.announce(announcement, recorder, until=until)
        return Report(satellite, session.hello.area or "", outcome)

    # ---- traces of finished utterances

    async def trace_of(self, utterance_id: str, *, timeout_s: float) -> Trace | None:
        """The trace of an utterance once it has ended; None when it does not end in time."""
        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(lambda: utterance_id in self._traces)
        except TimeoutError:
            return None
        return self._traces[utterance_id]

    async def _finished(self, trace: Trace) -> None:
        async with self._news:
            self._traces[trace.utterance_id] = trace
            while len(self._traces) > MAX_FINISHED:
                self._traces.popitem(last=False)
            self._news.notify_all()
        await self._keep_trace(trace)

    async def _hello(self, socket: web.WebSocketResponse) -> Hello:
        frame = await socket.receive(timeout=HELLO_S)
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise MalformedMessage("a session begins with a hello")
        hello = decode_from_satellite(frame.data)
        if not isinstance(hello, Hello):
            raise MalformedMessage(f"a session begins with a hello, not with {type(hello).__name__}")
        if hello.version != PROTOCOL_VERSION:
            raise MalformedMessage(f"version {hello.version} of the voice protocol; this hub speaks {PROTOCOL_VERSION}")
        if not 0 < len(hello.satellite) <= MAX_NAME:
            raise MalformedMessage(f"a satellite's name has 1 to {MAX_NAME} characters")
        if len(hello.area or "") > MAX_NAME or len(hello.language) > MAX_NAME:
            raise MalformedMessage(f"a satellite's area and language have at most {MAX_NAME} characters")
        return hello
