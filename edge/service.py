"""A running satellite: microphone, wake word, endpointing and playback around the pure state machine.

While idle only the wake word detector works, and the last 1.5 s of audio are kept in memory. From the wake word to the
end of the utterance audio goes to the hub, and the voice activity detector runs.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import aclosing

from edge import satellite as machine
from edge.audio_clock import AudioClock
from edge.endpointing import Ended, EndpointEvent, EndpointSettings, Paused, Resumed
from edge.kept_utterance import KeptUtterance
from edge.line import Connector
from edge.playback import Player, Speech, milliseconds_since
from edge.sinks import AudioSink, NoSink, Speaker
from edge.sources import FRAME_BYTES, FRAME_S, AudioSource, Microphone
from edge.utterance import Utterance
from edge.voice_session import VoiceSession
from edge.wake_word import MicroWakeDetector
from swarm.audio import SAMPLE_BYTES
from swarm.config import Config
from swarm.engine import VoiceActivityDetector, WakeDetector
from swarm.errors import AudioError
from swarm.messages import (
    HeardSoFar,
    Hello,
    HubMessage,
    NoReply,
    PlaybackFinished,
    PlaybackStarted,
    SatelliteState,
    SetVolume,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    StopSpeaking,
    Trace,
    Traced,
    Transcribed,
)

PREROLL_S = 1.5
"""Longest slow "okay nabu" (1.2 s) and the detector's delay (0.26 s)."""
MICROPHONE_RETRY_S = 3.0
MIN_RATE, MAX_RATE = 4_000, 192_000
MAX_SPEECHES = 8
"""Speeches that are arriving, waiting or playing."""
IDLE_BURST_FRAMES = 4
"""While idle, 80 ms of audio are taken at a time: half the processor time, and a wake word is recognised that later."""

log = logging.getLogger(__name__)

Happening = machine.Event | machine.Action | HubMessage | bytes
"""All that a watcher of a satellite is shown; bytes are speech of the hub."""


class Satellite:
    """One satellite. `source` None: no microphone, it only speaks. `detector` None: no wake word, `listen` starts.

    `watch` is called with everything that happens, before it takes effect; with `traces` also with the hub's traces.
    """

    def __init__(
        self,
        *,
        hub: Connector,
        name: str,
        source: AudioSource | None,
        sink: AudioSink,
        detector: WakeDetector | None,
        vad: VoiceActivityDetector,
        area: str | None = None,
        language: str = "en",
        traces: bool = False,
        volume: int = 80,
        endpointing: EndpointSettings | None = None,
        watch: Callable[[Happening], None] | None = None,
    ) -> None:
        self._source = source
        self._detector = detector
        self._vad = vad
        self._endpointing = endpointing or EndpointSettings()
        self._watch = watch
        self._session = VoiceSession(hub, Hello(name, area=area, language=language, traces=traces), self)
        self._player = Player(sink, volume=volume, on_started=self._playback_started, on_done=self._playback_done)
        self._state = machine.State()
        self._events: deque[machine.Event] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._ring: deque[bytes] = deque(maxlen=round(PREROLL_S / FRAME_S))
        self._clock = AudioClock()
        self._position = 0
        self._utterance: Utterance | None = None
        self._kept: KeptUtterance | None = None
        self._wake_position = 0
        self._speeches: dict[str, Speech] = {}
        self._arriving: Speech | None = None

    @property
    def phase(self) -> machine.Phase:
        """What it is doing."""
        return self._state.phase

    @property
    def connected(self) -> bool:
        """Whether a hub is there."""
        return self._state.hub_connected

    @property
    def hearing(self) -> bool:
        """Whether a microphone delivers."""
        return self._state.hearing

    async def run(self) -> None:
        """Serve until cancelled. A missing microphone, speaker or hub is waited for, not an error."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._session.run())
                group.create_task(self._player.run())
                group.create_task(self._keep_hearing())
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def listen(self) -> None:
        """Push to talk: start an utterance without a wake word."""
        self._handle(machine.ListenRequested(_new_id()))

    def set_muted(self, muted: bool) -> None:
        """Stop, or start again, to listen for the wake word."""
        self._handle(machine.MuteChanged(muted))

    def stop_speaking(self) -> None:
        """Be quiet at once."""
        self._handle(machine.StopRequested())

    async def flush(self, *, timeout_s: float) -> None:
        """Wait until the hub was sent everything, at most `timeout_s`."""
        await self._session.flush(timeout_s=timeout_s)

    # ---- audio in

    async def _keep_hearing(self) -> None:
        complaint = ""
        while self._source is not None:
            try:
                await self._hear(self._source)
                return
            except AudioError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.warning("nothing can be listened to: %s", error.for_log())
            finally:
                if self._state.hearing:
                    complaint = ""
                    self._handle(machine.MicrophoneLost())
            await asyncio.sleep(MICROPHONE_RETRY_S)

    async def _hear(self, source: AudioSource) -> None:
        self._clock, self._position = AudioClock(), 0
        self._ring.clear()
        self._set_burst()
        received, lost_before = 0, source.lost_frames
        async with aclosing(source.frames()) as frames:
            async for frame in frames:
                if received == 0:
                    log.info("listening to %s", source.name)
                    self._handle(machine.MicrophoneFound())
                received += 1
                self._position = (received + source.lost_frames - lost_before) * (FRAME_BYTES // SAMPLE_BYTES)
                self._clock.arrived(self._position, time.monotonic())
                self._take(frame)

    def _take(self, frame: bytes) -> None:
        """One frame. The detector hears all of them, so that a wake word is recognised whatever goes on."""
        self._ring.append(frame)
        if self._utterance is not None and self._kept is not None:
            self._session.send(frame)
            self._kept.add(frame)
            self._endpoint(self._utterance.feed(frame))
        detection = self._detector.process(frame) if self._detector is not None else None
        if detection is not None:
            log.debug("heard %s, probability %.2f", detection.wake_word, detection.probability)
            self._wake_position = self._position
            self._handle(machine.WakeWordHeard(detection.wake_word, detection.phrase, _new_id()))

    def _endpoint(self, events: list[EndpointEvent]) -> None:
        for event in events:
            if self._utterance is None:
                return
            utterance_id = self._utterance.utterance_id
            match event:
                case Paused():
                    self._session.send(SpeechPaused(utterance_id, round(event.silence_ms, 1)))
                case Resumed():
                    self._session.send(SpeechResumed(utterance_id))
                case Ended():
                    self._handle(machine.UtteranceOver(event.reason))

    # ---- the state machine and its actions

    def _handle(self, event: machine.Event) -> None:
        """Step the state machine; events that actions cause are handled after those actions."""
        self._events.append(event)
        if len(self._events) > 1:
            return
        while self._events:
            event = self._events[0]
            self._show(event)
            before = self._state
            self._state, actions = machine.step(before, event, time.monotonic())
            for action in actions:
                self._show(action)
                self._act(action)
            if self._state.phase != before.phase:
                self._session.send(SatelliteState(self._state.phase))
                self._set_burst()
            if self._state.wakes_at != before.wakes_at:
                self._set_timer()
            if not self._state.in_hand:
                self._kept = None
            self._session.engage(not self._state.at_rest)
            self._events.popleft()

    def _act(self, action: machine.Action) -> None:
        match action:
            case machine.BeginUtterance():
                self._begin_utterance(action)
            case machine.EndUtterance():
                self._end_utterance(action)
            case machine.SendAgain():
                self._send_again()
            case machine.PlayCue():
                self._player.cue(action.cue)
            case machine.PlaySpeech():
                speech = self._speeches[action.utterance_id]
                self._player.speak(speech, chime=action.chime)
                if speech.complete:
                    self._handle(machine.SpeechKnown(speech.utterance_id, speech.text, speech.follow_up))
            case machine.DropSpeech():
                if (dropped := self._speeches.pop(action.utterance_id, None)) is not None:
                    dropped.end(complete=False)
            case machine.StopPlayback():
                self._player.stop()

    def _begin_utterance(self, begin: machine.BeginUtterance) -> None:
        preroll = b"".join(self._ring) if begin.wake_word else b""
        self._kept = KeptUtterance(begin, wake_position=self._wake_position, preroll=preroll, ms_ago=self._ms_ago)
        for item in self._kept.as_far_as_it_came():
            self._session.send(item)
        self._utterance = Utterance(
            begin.utterance_id, self._vad, self._endpointing, preroll=preroll, position=self._position
        )

    def _end_utterance(self, end: machine.EndUtterance) -> None:
        utterance, self._utterance = self._utterance, None
        speech_end = utterance.speech_end if utterance is not None else float(self._position)
        if self._kept is not None and self._session.send(self._kept.end(end.reason, speech_end)):
            self._kept.was_told()

    def _send_again(self) -> None:
        if self._kept is None:
            return
        log.info("telling this hub what was said, from the beginning")
        told = [self._session.send(item) for item in self._kept.as_far_as_it_came()]
        if self._kept.ended and all(told):
            self._kept.was_told()

    def _set_burst(self) -> None:
        if self._source is not None:
            self._source.burst_frames = 1 if self._state.phase == "listening" else IDLE_BURST_FRAMES

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._state.wakes_at is not None:
            wait_s = max(0.0, self._state.wakes_at - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._handle, machine.TimePassed())

    # ---- the hub (a SessionListener)

    def hub_connected(self, hub: str) -> None:
        """See `SessionListener`."""
        log.info("connected to the hub %s", hub)
        self._handle(machine.HubConnected())
        self._session.send(SatelliteState(self._state.phase))

    def hub_lost(self) -> None:
        """See `SessionListener`."""
        cut_off = self._arriving.utterance_id if self._arriving is not None else ""
        self._arriving = None
        for speech in list(self._speeches.values()):
            speech.end(complete=False)
        self._handle(machine.HubLost(cut_off))

    def hub_said(self, message: HubMessage) -> None:
        """See `SessionListener`."""
        self._show(message)
        match message:
            case HeardSoFar():
                self._handle(machine.HubWorking(message.utterance_id))
                if self._utterance is not None and self._utterance.utterance_id == message.utterance_id:
                    self._endpoint(self._utterance.hint(message.verdict, message.text))
            case Transcribed():
                self._handle(machine.HubWorking(message.utterance_id))
            case SpeechStarted():
                self._speech_started(message)
            case SpeechEnded():
                self._speech_ended(message)
            case NoReply():
                self._handle(machine.ReplyWithheld(message.utterance_id, message.cue))
            case StopSpeaking():
                self._handle(machine.StopRequested())
            case SetVolume():
                self._player.volume = min(max(message.percent, 0), 100)

    async def hub_audio(self, pcm: bytes) -> None:
        """See `SessionListener`."""
        if self._arriving is not None:
            if self._watch is not None:
                self._watch(pcm)
            await self._arriving.add(pcm)

    def _speech_started(self, message: SpeechStarted) -> None:
        self._finish_arriving(complete=False)
        if not MIN_RATE <= message.rate <= MAX_RATE:
            log.warning("ignoring speech at %d samples a second: no such rate", message.rate)
            return
        if len(self._speeches) >= MAX_SPEECHES or message.utterance_id in self._speeches:
            log.warning("ignoring speech: too much waits to be played")
            return
        speech = self._arriving = Speech(message.utterance_id, message.rate)
        self._speeches[message.utterance_id] = speech
        self._handle(machine.SpeechArrived(message.utterance_id, message.announcement))

    def _speech_ended(self, message: SpeechEnded) -> None:
        if self._arriving is None or self._arriving.utterance_id != message.utterance_id:
            return
        self._arriving.text, self._arriving.follow_up = message.text, message.follow_up
        self._finish_arriving(complete=True)
        self._handle(machine.SpeechKnown(message.utterance_id, message.text, message.follow_up))

    def _finish_arriving(self, *, complete: bool) -> None:
        if self._arriving is not None:
            self._arriving.end(complete=complete)
            self._arriving = None

    # ---- playback

    def _playback_started(self, utterance_id: str, at: float) -> None:
        self._session.send(PlaybackStarted(utterance_id, milliseconds_since(at)))

    def _playback_done(self, utterance_id: str, interrupted: bool) -> None:
        self._speeches.pop(utterance_id, None)
        self._session.send(PlaybackFinished(utterance_id, interrupted))
        self._handle(machine.PlaybackDone(utterance_id, interrupted, _new_id()))

    def _ms_ago(self, position: float) -> float:
        return self._clock.ms_ago(position, time.monotonic())

    def _show(self, happening: Happening) -> None:
        if self._watch is not None:
            self._watch(happening)


def satellite_of_this_machine(
    config: Config, hub: Connector, *, keep_trace: Callable[[Trace], None] | None = None
) -> Satellite:
    """The satellite that `[satellite]` of the configuration describes. `keep_trace` gets the traces of hubs elsewhere.
    Raises `EngineUnavailable`."""
    from edge.voice_activity import SileroVoiceActivity

    def watch(happening: Happening) -> None:
        if keep_trace is not None and isinstance(happening, Traced):
            keep_trace(happening.trace)

    section = config.satellite
    return Satellite(
        hub=hub,
        name=config.node.name,
        source=None if section.microphone == "none" else Microphone(section.microphone),
        sink=NoSink() if section.speaker == "none" else Speaker(section.speaker),
        detector=MicroWakeDetector(section.wake_words, section.sensitivity),
        vad=SileroVoiceActivity(),
        area=section.area or None,
        language=config.node.language,
        volume=section.volume,
        traces=keep_trace is not None,
        watch=watch,
    )


def _new_id() -> str:
    return uuid.uuid4().hex
