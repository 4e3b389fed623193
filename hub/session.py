"""The conversation with one satellite: its utterances in, answers and announcements out, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import msgspec
from aiohttp import web

from hub.conversation import Answer, Conversation
from hub.happenings import Answered, Happening, Heard, Understood, Wake
from hub.intent import Context
from hub.mouth import Mouth
from hub.utterance import IncomingUtterance, Judge
from swarm.announcement import Announcement, Outcome, Until
from swarm.audio import SAMPLE_BYTES
from swarm.codec import decode_from_satellite, encode
from swarm.engine import Synthesizer, Transcriber
from swarm.errors import EngineError, MalformedMessage
from swarm.messages import (
    HeardSoFar,
    Hello,
    Message,
    NoReply,
    PlaybackFinished,
    PlaybackStarted,
    SatelliteState,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    Trace,
    Traced,
    Transcribed,
    UtteranceEnded,
    UtteranceStarted,
    VolumeChanged,
)
from swarm.trace import TraceRecorder

SEND_S = 10.0
"""A satellite that takes nothing for this long is gone."""
STILL_WORKING_S = 4.0
"""A satellite gives up after 10 s without a word about its utterance."""
LONGEST_S = 180.0
"""An utterance with its answer; one of which nothing was heard for longer counts for nothing any more."""
MAX_OPEN_TRACES = 8
"""Utterances whose playback has not been reported yet."""
MAX_ANNOUNCEMENTS = 8
"""That wait for their turn, or for the end of their playing."""
PLAYED_S = 90.0
"""Longer than the longest announcement lasts, and a person's conversation before it: then nothing is known of it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpeechParts:
    """What all sessions share."""

    node: str
    conversation: Callable[[], Conversation]
    judge: Judge
    transcriber: Transcriber
    synthesizer: Synthesizer
    keep_audio: Callable[[str, bytes], Awaitable[None]] | None
    finished: Callable[[Trace], Awaitable[None]]
    happened: Callable[[Happening], None]
    volume_changed: Callable[[str, int], Awaitable[None]]
    """A satellite was set louder or quieter by itself: its name, percent."""


class Session:
    """One satellite that said hello."""

    def __init__(self, socket: web.WebSocketResponse, hello: Hello, parts: SpeechParts) -> None:
        self.hello = hello
        self.muted = False
        """Its microphone is not listened to."""
        self._socket = socket
        self._parts = parts
        self._context = Context(hello.satellite, hello.area or "", hello.language)
        self._recorder: TraceRecorder | None = None
        """Of the utterance that began last."""
        self._utterance: IncomingUtterance | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._current: tuple[asyncio.Task[None], ...] = ()
        self._recorders: dict[str, TraceRecorder] = {}
        self._began_at = 0.0
        """When the last one of them did."""
        self._mouth = Mouth(parts.synthesizer, self.send)
        self._unheard: dict[str, asyncio.Future[Outcome]] = {}
        """Announcements whose end the satellite has not told."""

    @property
    def speaking(self) -> bool:
        """Somebody speaks there, or is being answered. Not for ever: a satellite may never tell the end of it."""
        return bool(self._recorders) and asyncio.get_running_loop().time() - self._began_at < LONGEST_S

    async def run(self) -> None:
        """Serve until the satellite leaves; raises `MalformedMessage` when it sends what is no message."""
        async for frame in self._socket:
            if frame.type is aiohttp.WSMsgType.BINARY:
                if len(frame.data) % SAMPLE_BYTES:
                    raise MalformedMessage(f"audio of {len(frame.data)} bytes: a sample has {SAMPLE_BYTES}")
                if self._utterance is not None:
                    self._utterance.feed(frame.data)
            elif frame.type is aiohttp.WSMsgType.TEXT:
                await self._take(decode_from_satellite(frame.data))

    async def close(self) -> None:
        """Stop everything; utterances under way end as cancelled."""
        for task in self._tasks:
            task.cancel()
        for heard in self._unheard.values():
            if not heard.done():
                heard.set_result("failed")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        for recorder in list(self._recorders.values()):
            await self._cut_off(recorder)
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._socket.close()

    async def send(self, item: Message | bytes) -> bool:
        """Send a message or speech; False when the satellite takes nothing any more."""
        try:
            async with asyncio.timeout(SEND_S):
                if isinstance(item, bytes):
                    await self._socket.send_bytes(item)
                else:
                    await self._socket.send_str(encode(item))
        except (ConnectionError, TimeoutError):
            return False
        return True

    async def announce(self, announcement: Announcement, recorder: TraceRecorder, *, until: Until) -> Outcome:
        """Say something unasked, after what is being said now unless it interrupts that; what became of it."""
        utterance_id = recorder.utterance_id
        if len(self._unheard) >= MAX_ANNOUNCEMENTS:
            recorder.note(outcome="failed")
            await self._parts.finished(recorder.trace())
            return "full"
        self._keep(recorder)
        heard: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._unheard[utterance_id] = heard
        begun = False
        try:
            async with self._mouth.turn(interrupt=announcement.interrupt) as turn:
                sent = await turn.speak(self._speak_unasked(announcement, recorder))
                begun = self._mouth.begun == utterance_id
            if not begun:
                return "stopped" if turn.over.is_set() else "failed"
            if sent and until == "sent":
                return "waits"
            async with asyncio.timeout(PLAYED_S):
                return await heard
        except TimeoutError:
            return "waits"
        finally:
            self._unheard.pop(utterance_id, None)
            if not begun:
                recorder.note(outcome="failed")
                await self._finish(utterance_id)

    async def _speak_unasked(self, announcement: Announcement, recorder: TraceRecorder) -> bool:
        language = announcement.language or self._context.language
        spoken = await self._mouth.speak(recorder, announcement.text, language, announcement=announcement)
        return spoken and await self.send(SpeechEnded(recorder.utterance_id, announcement.text))

    # ---- what the satellite says

    async def _take(self, message: Message) -> None:
        match message:
            case UtteranceStarted():
                await self._begin(message)
            case SpeechPaused(utterance_id=utterance_id) if self._is_current(utterance_id):
                assert self._utterance is not None
                self._utterance.pause()
            case SpeechResumed(utterance_id=utterance_id) if self._is_current(utterance_id):
                assert self._utterance is not None
                self._utterance.resume()
            case UtteranceEnded(utterance_id=utterance_id) if self._is_current(utterance_id):
                await self._end(message)
            case PlaybackStarted(utterance_id=utterance_id) if utterance_id in self._recorders:
                self._recorders[utterance_id].mark("first_audio", ms_ago=message.ms_ago)
            case PlaybackFinished(utterance_id=utterance_id):
                if (heard := self._unheard.get(utterance_id)) is not None and not heard.done():
                    heard.set_result("stopped" if message.interrupted else "played")
                if utterance_id in self._recorders:
                    self._recorders[utterance_id].mark("last_audio", ms_ago=message.ms_ago, node=self.hello.satellite)
                    await self._finish(utterance_id)
            case VolumeChanged():
                await self._parts.volume_changed(self.hello.satellite, message.percent)
            case SatelliteState():
                self.muted = message.state == "muted"
            case Hello():
                raise MalformedMessage("a second hello")

    def _where(self, recorder: TraceRecorder) -> tuple[str, str, str]:
        return recorder.utterance_id, self.hello.satellite, self.hello.area or ""

    def _is_current(self, utterance_id: str) -> bool:
        current = self._recorder if self._utterance is not None else None
        return current is not None and current.utterance_id == utterance_id

    async def _begin(self, message: UtteranceStarted) -> None:
        """A new utterance ends the one before, whatever became of it: the person speaks again."""
        if not 0 < len(message.utterance_id) <= 100:
            raise MalformedMessage("an utterance's id has 1 to 100 characters")
        if len(message.wake_word or "") > 100:
            raise MalformedMessage("a wake word's name has at most 100 characters")
        if message.utterance_id in self._recorders:
            raise MalformedMessage("an utterance began twice")
        unfinished = self._recorder if self._utterance is not None else None
        self._cancel_current()
        if unfinished is not None:
            await self._cut_off(unfinished)
        recorder = TraceRecorder(
            message.utterance_id, node=self._parts.node, source="voice", satellite=self.hello.satellite
        )
        if message.wake_word is not None:
            recorder.mark("wake", ms_ago=message.wake_ms_ago, node=self.hello.satellite)
            recorder.note(wake_word=message.wake_word)
            self._parts.happened(Wake(*self._where(recorder), message.wake_word))
        self._keep(recorder)
        self._recorder = recorder

        async def hint(verdict: str, text: str) -> None:
            await self.send(HeardSoFar(message.utterance_id, verdict, text))  # type: ignore[arg-type]

        self._context = msgspec.structs.replace(self._context, told_before=message.told_before)
        self._utterance = IncomingUtterance(
            self._parts.transcriber, context=self._context, judge=self._parts.judge, hint=hint
        )
        self._current = (self._start(self._utterance.run()),)

    async def _end(self, message: UtteranceEnded) -> None:
        utterance, self._utterance = self._utterance, None
        recorder = self._recorder
        assert utterance is not None and recorder is not None
        recorder.mark("speech_end", ms_ago=message.speech_end_ms_ago, node=self.hello.satellite)
        recorder.mark("endpoint", node=self.hello.satellite)
        if self._parts.keep_audio is not None:
            self._start(self._parts.keep_audio(message.utterance_id, bytes(utterance.audio)))
        if message.reason in ("nothing_said", "cancelled"):
            self._cancel_current()
            recorder.note(outcome=message.reason)
            await self._finish(message.utterance_id)
            return
        self._current = (*self._current, self._start(self._answer(utterance, recorder)))

    # ---- the answer

    async def _answer(self, utterance: IncomingUtterance, recorder: TraceRecorder) -> None:
        utterance_id = recorder.utterance_id
        try:
            try:
                heard = await utterance.transcript()
                text = heard.text if heard.accepted else ""
            except EngineError as error:
                log.error("cannot transcribe: %s", error)
                recorder.note(outcome="failed")
                await self.send(NoReply(utterance_id, "error"))
                await self._finish(utterance_id)
                return
            recorder.tell("transcript", utterance.work)
            recorder.mark("transcript")
            recorder.note(transcript=text)
            await self.send(Transcribed(utterance_id, text))
            where = self._where(recorder)
            self._parts.happened(Heard(*where, "voice", text))
            working = self._start(self._keep_waiting(utterance_id, text))
            try:
                answer = await self._parts.conversation().answer(text, context=self._context, recorder=recorder)
                self._parts.happened(Understood(*where, "voice", answer.intent))
                try:
                    async with self._mouth.turn() as turn:
                        await turn.speak(self._say(answer, recorder))
                        unheard = turn.over.is_set() and self._mouth.begun != utterance_id
                finally:
                    await answer.close()
                    self._parts.happened(Answered(*where, "voice", answer.outcome, answer.text))
                if unheard:
                    await self.send(NoReply(utterance_id, "none"))
                    await self._finish(utterance_id)
            finally:
                working.cancel()
        except asyncio.CancelledError:
            await self._cut_off(recorder)
            raise

    async def _keep_waiting(self, utterance_id: str, text: str) -> None:
        """A language model may need half a minute to load: the satellite would give the hub up before."""
        while True:
            await asyncio.sleep(STILL_WORKING_S)
            await self.send(Transcribed(utterance_id, text))

    async def _say(self, answer: Answer, recorder: TraceRecorder) -> None:
        """Speak each sentence while the next is being made."""
        try:
            await self._say_all(answer, recorder)
        finally:
            await answer.close()  # in the task that iterated

    async def _say_all(self, answer: Answer, recorder: TraceRecorder) -> None:
        utterance_id = recorder.utterance_id
        spoke = False
        async for sentence in answer.sentences:
            spoke = await self._mouth.speak(recorder, sentence, self._context.language, begun=spoke) or spoke
        if spoke:
            await self.send(SpeechEnded(utterance_id, answer.text, follow_up=answer.follow_up))
        else:
            cue = answer.cue if not answer.text else "error"
            await self.send(NoReply(utterance_id, cue))
            await self._finish(utterance_id)

    # ---- tasks and traces

    def _start(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an utterance failed", exc_info=error)

    def _cancel_current(self) -> None:
        for task in self._current:
            task.cancel()
        self._current = ()
        self._utterance = None

    def _keep(self, recorder: TraceRecorder) -> None:
        self._recorders[recorder.utterance_id] = recorder
        self._began_at = asyncio.get_running_loop().time()
        if len(self._recorders) > MAX_OPEN_TRACES:
            self._start(self._finish(next(iter(self._recorders))))

    async def _cut_off(self, recorder: TraceRecorder) -> None:
        """Nothing more comes of this utterance; what it came to before stays said."""
        if not recorder.trace().outcome:
            recorder.note(outcome="cancelled")
        await self._finish(recorder.utterance_id)

    async def _finish(self, utterance_id: str) -> None:
        recorder = self._recorders.pop(utterance_id, None)
        if recorder is not None:
            await self._parts.finished(recorder.trace())
            if self.hello.traces:
                await self.send(Traced(recorder.trace()))
