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
from edge.echo import EchoCanceller
from edge.endpointing import Ended, EndpointEvent, EndpointSettings, Paused, Resumed, SpeechBegan
from edge.kept_utterance import KeptUtterance
from edge.line import Connector
from edge.playback import Player, Speech, milliseconds_since
from edge.sinks import AudioSink, NoSink, Speaker
from edge.sources import FRAME_BYTES, FRAME_S, AudioSource, Microphone
from edge.utterance import Utterance
from edge.voice_session import VoiceSession
from edge.wake_word import MicroWakeDetector
from edge.wyoming_wake import WyomingWakeDetector
from swarm.audio import SAMPLE_BYTES
from swarm.config import Config
from swarm.engine import VoiceActivityDetector, WakeDetector
from swarm.errors import AudioDeviceError, AudioError
from swarm.messages import (
    HeardSoFar,
    Hello,
    HubMessage,
    Listen,
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
    VolumeChanged,
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

Happening = machine.Event | machine.Action | HubMessage | SpeechBegan | bytes
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
        may_follow_up: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_follow_up`: whether the microphone can be listened to without a wake word, after a question."""
        self._source = source
        self._detector = detector
        self._vad = vad
        self._endpointing = endpointing or EndpointSettings()
        self._watch = watch
        self._may_follow_up = may_follow_up
        self._session = VoiceSession(hub, Hello(name, area=area, language=language, traces=traces), self)
        self._has_speaker = not isinstance(sink, NoSink)
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
        self._muted_by: set[str] = set()
        self._unmuted = asyncio.Event()
        self._unmuted.set()
        self._on_change: Callable[[], None] = lambda: None
        self._on_wake: Callable[[str], None] = lambda wake_word: None

    def follow(self, *, changed: Callable[[], None], woken: Callable[[str], None]) -> None:
        """Have `changed` called after each change of phase and volume, and `woken` with the id of each wake word that
        was heard and obeyed."""
        self._on_change, self._on_wake = changed, woken

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
                if isinstance(self._detector, WyomingWakeDetector):
                    group.create_task(self._detector.run())
                group.create_task(self._keep_hearing())
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def listen(self) -> None:
        """Push to talk: start an utterance without a wake word."""
        self._handle(machine.ListenRequested(_new_id()))

    def set_muted(self, muted: bool, *, by: str = "person") -> None:
        """Stop, or start again, to hear; it hears when nobody wants it muted any more. A microphone is closed until
        then: nothing of what is said comes into this process."""
        (self._muted_by.add if muted else self._muted_by.discard)(by)
        if self._muted_by:
            self._unmuted.clear()
        else:
            self._unmuted.set()
        self._handle(machine.MuteChanged(bool(self._muted_by)))
        self._on_change()

    @property
    def muted(self) -> bool:
        """Whether a person wants it so."""
        return "person" in self._muted_by

    @property
    def volume(self) -> int:
        """Of playback, 0 to 100."""
        return self._player.volume

    def set_volume(self, percent: int) -> None:
        """As a person set it here; the hub hears of it."""
        self._player.volume = min(max(percent, 0), 100)
        self._session.send(VolumeChanged(self._player.volume))
        self._on_change()

    def listen_for(self, detector: WakeDetector) -> None:
        """Be woken by these words from now on."""
        if isinstance(self._detector, WyomingWakeDetector):
            self._detector.own = detector
        else:
            self._detector = detector

    @property
    def has_microphone(self) -> bool:
        """Whether it is meant to hear, whether or not it does now."""
        return self._source is not None

    @property
    def has_speaker(self) -> bool:
        """Whether it is meant to be heard."""
        return self._has_speaker

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
            if self._source.is_device:
                await self._unmuted.wait()
            try:
                await self._hear(self._source)
                if not (self._source.is_device and self._muted_by):
                    return
                log.info("the microphone is closed until it is unmuted")
                continue
            except AudioError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.warning("nothing can be listened to: %s", error.for_log())
            finally:
                if self._state.hearing and not self._muted_by:
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
                if source.is_device and self._muted_by:
                    self._ring.clear()
                    return
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
                case SpeechBegan():
                    self._show(event)
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
                self._on_change()
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
                self._player.speak(speech, chime=action.chime and speech.chime)
                if speech.complete:
                    self._handle(machine.SpeechKnown(speech.utterance_id, speech.text, speech.follow_up))
            case machine.DropSpeech():
                if (dropped := self._speeches.pop(action.utterance_id, None)) is not None:
                    dropped.end(complete=False)
                    self._session.send(PlaybackFinished(action.utterance_id, interrupted=True))
            case machine.StopPlayback():
                self._player.stop()

    def _begin_utterance(self, begin: machine.BeginUtterance) -> None:
        if begin.wake_word:
            self._on_wake(begin.wake_word)
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
                if self._utterance is not None and self._utterance.utterance_id == message.utterance_id:
                    self._handle(machine.UtteranceOver("silence"))  # a hub that finds the end itself heard it first
                self._handle(machine.HubWorking(message.utterance_id))
            case SpeechStarted():
                self._speech_started(message)
            case SpeechEnded():
                self._speech_ended(message)
            case NoReply():
                self._handle(machine.ReplyWithheld(message.utterance_id, message.cue))
            case Listen():
                self._handle(machine.ListenRequested(_new_id(), cue=True))
            case StopSpeaking():
                self._handle(machine.StopRequested())
            case SetVolume():
                self._player.volume = min(max(message.percent, 0), 100)
                self._on_change()

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
            if message.utterance_id not in self._speeches:
                self._session.send(PlaybackFinished(message.utterance_id, interrupted=True))
            return
        volume = None if message.volume is None else min(max(message.volume, 0), 100)
        speech = self._arriving = Speech(message.utterance_id, message.rate, chime=message.chime, volume=volume)
        self._speeches[message.utterance_id] = speech
        self._handle(machine.SpeechArrived(message.utterance_id, message.announcement, message.interrupt))

    def _speech_ended(self, message: SpeechEnded) -> None:
        if self._arriving is None or self._arriving.utterance_id != message.utterance_id:
            return
        follow_up = message.follow_up and self._may_follow_up()
        self._arriving.text, self._arriving.follow_up = message.text, follow_up
        self._finish_arriving(complete=True)
        self._handle(machine.SpeechKnown(message.utterance_id, message.text, follow_up))

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
    detector: WakeDetector = MicroWakeDetector(section.wake_words, section.sensitivity)
    if section.wyoming_wake:
        detector = WyomingWakeDetector(section.wyoming_wake, detector)
    microphone, speaker, echo = section.microphone, section.speaker, None
    if section.board != "none":
        # Its card is called as it is; `auto` would be the first card, which on a Pi may be a television's.
        microphone, speaker = (section.board if each == "auto" else each for each in (microphone, speaker))
        echo = _echo_canceller()
    return Satellite(
        hub=hub,
        name=config.node.name,
        source=None if microphone == "none" else Microphone(microphone, echo=echo),
        sink=NoSink() if speaker == "none" else Speaker(speaker, echo=echo),
        detector=detector,
        vad=SileroVoiceActivity(),
        area=section.area or None,
        language=config.node.language,
        volume=section.volume,
        traces=keep_trace is not None,
        watch=watch,
    )


def _echo_canceller() -> EchoCanceller | None:
    try:
        return EchoCanceller()
    except AudioDeviceError as error:
        log.warning("the wake word is not heard while something is spoken: %s", error.for_log())
        return None


def _new_id() -> str:
    return uuid.uuid4().hex
