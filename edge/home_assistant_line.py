"""Home Assistant as the hub of a satellite: a voice session's messages (`swarm.messages`) as Wyoming events."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import AsyncIterator

import aiohttp
from wyoming.audio import AudioChunk, AudioStop
from wyoming.event import Event
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.snd import Played
from wyoming.wake import Detection

from edge.earcons import earcon
from swarm.audio import SAMPLE_BYTES
from swarm.codec import decode_from_satellite, encode
from swarm.engine import RATE
from swarm.messages import (
    Hello,
    Message,
    NoReply,
    PlaybackFinished,
    SpeechEnded,
    SpeechStarted,
    Transcribed,
    UtteranceEnded,
    UtteranceStarted,
    Welcome,
)
from swarm.wyoming.audio import PcmReader, format_of
from swarm.wyoming.events import text_in
from swarm.wyoming.listener import Client

NAME = "Home Assistant"
STILL_WORKING_S = 4.0
"""The satellite gives a hub up that says nothing for 10 s; Home Assistant says nothing while it thinks."""
MAX_THINKING_S = 60.0
KEPT_MS = 250.0
"""Of what was heard before the wake word was recognised, which takes up to 255 ms: no more, or Home Assistant takes the
wake word for the command, and the pause behind it for its end."""
MAX_PREROLL_MS = 10_000.0
MAX_INBOX_BYTES = 32 * 1024 * 1024
"""Speech that is not played yet: ten minutes. Home Assistant sends it all at once, and must not be kept waiting: its
pings would not be answered."""
MAX_TEXT = 20_000
TIMER_CHIMES = 3
CHIME_RATE = 22_050

log = logging.getLogger(__name__)


class Bridge:
    """The socket of a voice session (`edge.line.Socket`) whose other end is Home Assistant."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox: deque[aiohttp.WSMessage] = deque()
        self._inbox_bytes = 0
        self._news = asyncio.Event()
        self._closed = False
        self._utterance = ""
        """What is said, or waits for its answer; empty when nobody waits."""
        self._streaming = False
        self._skip_bytes = 0
        """Of the microphone, before anything is sent."""
        self._waiting: asyncio.TimerHandle | None = None
        self._thinking_since = 0.0
        self._speech = ""
        """The utterance whose answer arrives, or an announcement."""
        self._reader: PcmReader | None = None
        self._text = ""

    # ---- what the satellite says

    async def send_str(self, data: str) -> None:
        """See `Socket`."""
        match decode_from_satellite(data):
            case Hello():
                self._tell(Welcome(NAME))
            case UtteranceStarted() as started:
                self._no_longer_waiting()
                self._utterance, self._streaming = started.utterance_id, True
                skipped_ms = min(max(0.0, started.preroll_ms - KEPT_MS), MAX_PREROLL_MS)
                self._skip_bytes = round(skipped_ms * RATE / 1000) * SAMPLE_BYTES
                if started.wake_word:
                    await self._send(Detection(started.wake_word).event())
                await self._send(
                    RunPipeline(PipelineStage.ASR, PipelineStage.TTS, wake_word_name=started.wake_word).event()
                )
            case UtteranceEnded() as ended if ended.utterance_id == self._utterance:
                if self._streaming:
                    self._streaming = False
                    await self._send(AudioStop().event())
                if ended.reason in ("nothing_said", "cancelled"):
                    self._utterance = ""
                else:
                    self._thinking_since = asyncio.get_running_loop().time()
                    self._keep_waiting()
            case PlaybackFinished():
                await self._send(Played().event())

    async def send_bytes(self, data: bytes) -> None:
        """See `Socket`."""
        if not self._streaming:
            return
        skipped = min(self._skip_bytes, len(data))
        self._skip_bytes -= skipped
        if len(data) > skipped:
            await self._send(AudioChunk(RATE, SAMPLE_BYTES, 1, data[skipped:]).event())

    async def _send(self, event: Event) -> None:
        try:
            await self._client.send(event)
        except OSError as error:
            self.close()
            raise ConnectionError("Home Assistant is gone") from error

    # ---- what Home Assistant says

    def take(self, event: Event) -> None:
        """Raises `MalformedMessage`."""
        match event.type:
            case "transcript" if self._utterance:
                self._tell(Transcribed(self._utterance, text_in(event, "text", limit=MAX_TEXT) or ""))
                self._streaming = False
            case "error" if self._utterance:
                why, code = text_in(event, "text", limit=MAX_TEXT), text_in(event, "code", limit=MAX_TEXT)
                log.warning("Home Assistant has no answer: %.300r (%.60r)", why, code)
                self._give_up("error")
            case "synthesize":
                self._text = text_in(event, "text", limit=MAX_TEXT) or ""
            case "audio-start":
                self._begin_speech(format_of(event).rate)
            case "audio-chunk" if self._reader is not None:
                self._add(self._reader.feed(event))
            case "audio-stop" if self._reader is not None:
                self._add(self._reader.finish())
                self._tell(SpeechEnded(self._speech, self._text))
                self._reader, self._text = None, ""
            case "timer-finished":
                self._ring()

    def _begin_speech(self, rate: int) -> None:
        answer, self._utterance = self._utterance, ""
        self._no_longer_waiting()
        if answer and self._streaming:
            self._tell(Transcribed(answer, ""))  # it answers before we ended: listening is over
            self._streaming = False
        self._speech = answer or uuid.uuid4().hex
        self._reader = PcmReader(rate)
        self._tell(SpeechStarted(self._speech, rate, announcement=not answer))

    def _ring(self) -> None:
        """Home Assistant leaves it to the satellite to make the sound of a timer that ended."""
        if self._reader is None:
            timer = uuid.uuid4().hex
            self._tell(SpeechStarted(timer, CHIME_RATE, announcement=True))
            self._add(earcon("chime", CHIME_RATE) * TIMER_CHIMES)
            self._tell(SpeechEnded(timer))

    def _give_up(self, cue: str) -> None:
        if self._streaming:
            self._streaming = False
            self._tell(Transcribed(self._utterance, ""))
        self._tell(NoReply(self._utterance, "error" if cue == "error" else "none"))
        self._utterance = ""
        self._no_longer_waiting()

    def _keep_waiting(self) -> None:
        """Until the answer begins, say in its place that it is at work."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._thinking_since > MAX_THINKING_S:
            self._give_up("none")  # nothing is to be said: it does not tell
            return
        self._tell(Transcribed(self._utterance, ""))
        self._waiting = loop.call_later(STILL_WORKING_S, self._keep_waiting)

    def _no_longer_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    # ---- the socket

    async def receive(self) -> aiohttp.WSMessage:
        """See `Socket`."""
        while not self._inbox:
            if self._closed:
                return aiohttp.WSMessage(aiohttp.WSMsgType.CLOSED, None, None)
            self._news.clear()
            await self._news.wait()
        frame = self._inbox.popleft()
        self._inbox_bytes -= len(frame.data)
        return frame

    async def __aiter__(self) -> AsyncIterator[aiohttp.WSMessage]:
        """See `Socket`."""
        while (frame := await self.receive()).type is not aiohttp.WSMsgType.CLOSED:
            yield frame

    async def ping(self, message: bytes = b"") -> None:
        """See `Socket`."""

    async def pong(self, message: bytes = b"") -> None:
        """See `Socket`."""

    def close(self) -> None:
        """End it."""
        self._no_longer_waiting()
        self._closed = True
        self._news.set()

    def _tell(self, message: Message) -> None:
        self._put(aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, encode(message), None))

    def _add(self, pcm: bytes) -> None:
        if not pcm:
            return
        if self._inbox_bytes + len(pcm) > MAX_INBOX_BYTES:
            log.warning("Home Assistant speaks faster than it can be heard: some of it is left out")
            return
        self._put(aiohttp.WSMessage(aiohttp.WSMsgType.BINARY, pcm, None))

    def _put(self, frame: aiohttp.WSMessage) -> None:
        if not self._closed:
            self._inbox.append(frame)
            self._inbox_bytes += len(frame.data)
            self._news.set()
