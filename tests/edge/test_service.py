"""The whole satellite over real speech, the real wake word model and voice activity detector, and a real WebSocket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import numpy as np
import pytest

from edge import playback, service
from edge.line import Connector, UrlConnector
from edge.service import PREROLL_S, Satellite
from edge.sinks import AudioSink, CollectingSink
from edge.sources import FRAME_BYTES, AudioSource, RecordingSource
from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from swarm.audio import gain_of_volume, scaled
from swarm.errors import AudioDeviceError
from swarm.messages import (
    Hello,
    NoReply,
    PlaybackFinished,
    PlaybackStarted,
    SatelliteMessage,
    SatelliteState,
    SetVolume,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
    StopSpeaking,
    UtteranceEnded,
    UtteranceStarted,
    VolumeChanged,
)
from tests.edge.fake_hub import FakeHub, answering, fake_hub
from tests.speech import say, silence, trimmed

VOICE = "flite:rms"  # the wake word model is surest of this one, however often it is heard
REPLY = say("The lamp is on.", VOICE)
NABU = trimmed(say("okay nabu", VOICE))
ONE_BREATH = trimmed(say("okay nabu turn on the lamp", VOICE))


def quick_clock() -> float:
    """Audio runs at four times its speed: the tests wait less, the satellite sees the same."""
    return 4 * time.monotonic()


def recording(pcm: bytes) -> RecordingSource:
    return RecordingSource(pcm, then_silence=True, clock=quick_clock)


def satellite_at(
    hub: FakeHub, source: AudioSource | None, sink: AudioSink | None = None, *, wake: bool = True
) -> AbstractAsyncContextManager[Satellite]:
    return satellite_with(UrlConnector(hub.url), source, sink, wake=wake)


@asynccontextmanager
async def satellite_with(
    hub: Connector, source: AudioSource | None, sink: AudioSink | None = None, *, wake: bool = True
) -> AsyncIterator[Satellite]:
    satellite = Satellite(
        hub=hub,
        name="kitchen",
        area="Kitchen",
        source=source,
        sink=sink or CollectingSink(),
        detector=MicroWakeDetector(["okay_nabu"]) if wake else None,
        vad=SileroVoiceActivity(),
    )
    running = asyncio.create_task(satellite.run())
    try:
        yield satellite
    finally:
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()


class Room:
    """A microphone that hears silence until a test speaks into it."""

    name = "room"
    is_device = False

    def __init__(self) -> None:
        self.lost_frames = 0
        self.burst_frames = 1
        self.broken = False
        self._said = bytearray()

    def say(self, pcm: bytes) -> None:
        self._said += pcm

    async def frames(self) -> AsyncGenerator[bytes, None]:
        async for frame in recording(b"").frames():
            if self.broken:
                raise AudioDeviceError("the microphone went away", hint="plug it in")
            heard = bytes(self._said[:FRAME_BYTES]).ljust(FRAME_BYTES, b"\0")
            del self._said[:FRAME_BYTES]
            yield heard if self._said or any(heard) else frame


async def never_complete(hub: FakeHub, message: SatelliteMessage) -> None:
    """A hub that gives no hints, and withholds its reply."""
    if isinstance(message, UtteranceEnded) and message.reason in ("silence", "cap"):
        await hub.say(NoReply(message.utterance_id))


def states(hub: FakeHub) -> list[str]:
    return [message.state for message in hub.of(SatelliteState)]


def heard_in(heard: bytes | bytearray, spoken: bytes) -> bool:
    return spoken in heard


@pytest.mark.parametrize("voice", ["en-us", "en-gb-x-rp+m3", "flite:rms"])
def test_one_breath_reaches_the_hub_with_every_sample_from_the_wake_word_on(voice: str) -> None:
    spoken = trimmed(say("okay nabu turn on the lamp", voice))

    async def check() -> None:
        async with fake_hub(never_complete) as hub:
            async with satellite_at(hub, recording(silence(1.0) + spoken)):
                ended = await hub.until_said(UtteranceEnded)
            started = hub.of(UtteranceStarted)[0]
            assert started.wake_word == "okay_nabu"
            assert not started.follow_up
            assert 0 < started.preroll_ms <= PREROLL_S * 1000
            assert heard_in(hub.audio[started.utterance_id], spoken)
            assert ended == UtteranceEnded(started.utterance_id, "silence", ended.speech_end_ms_ago)
            assert ended.speech_end_ms_ago >= 290

    asyncio.run(check())


@pytest.mark.parametrize("pause_s", [0.3, 1.2])
def test_command_after_a_pause_reaches_the_hub_whole(pause_s: float) -> None:
    command = trimmed(say("turn on the lamp", VOICE))

    async def check() -> None:
        source = recording(silence(0.5) + NABU + silence(pause_s) + command)
        async with fake_hub(never_complete) as hub, satellite_at(hub, source):
            ended = await hub.until_said(UtteranceEnded)
            assert ended.reason == "silence"
            assert heard_in(hub.audio[ended.utterance_id], NABU + silence(pause_s) + command)

    asyncio.run(check())


def test_messages_of_an_answered_command_come_in_their_order() -> None:
    async def check() -> None:
        source = recording(silence(1.0) + ONE_BREATH)
        sink = CollectingSink()
        async with fake_hub(answering(REPLY, 16_000)) as hub, satellite_at(hub, source, sink):
            await hub.until_said(PlaybackFinished)
            await hub.until(lambda: states(hub)[-1] == "idle")
            names = [type(message).__name__ for message in hub.messages if not isinstance(message, SatelliteState)]
            assert names == [
                "Hello",
                "UtteranceStarted",
                "SpeechPaused",
                "UtteranceEnded",
                "PlaybackStarted",
                "PlaybackFinished",
            ]
            assert states(hub) == ["idle", "listening", "thinking", "speaking", "idle"]
            assert len({message.utterance_id for message in hub.of(UtteranceStarted) + hub.of(PlaybackFinished)}) == 1
            assert hub.of(Hello)[0] == Hello("kitchen", area="Kitchen")
            assert not hub.of(PlaybackFinished)[0].interrupted
            # A hub that knows the command ends it sooner than silence alone does.
            assert hub.of(UtteranceEnded)[0].speech_end_ms_ago >= 150
        cue, speech = sink.played
        assert len(speech[1]) == len(REPLY)
        assert np.abs(np.frombuffer(cue[1], dtype="<i2")).max() > 100

    asyncio.run(check())


def test_only_idle_before_the_wake_word_and_nothing_leaves_the_satellite() -> None:
    async def check() -> None:
        source = recording(silence(0.5) + say("good evening and welcome to the programme") + silence(0.5))
        async with fake_hub() as hub, satellite_at(hub, source):
            await source.exhausted.wait()
            assert hub.audio == {}
            assert states(hub) == ["idle"]

    asyncio.run(check())


def test_wake_word_alone_ends_with_nothing_said() -> None:
    async def check() -> None:
        async with fake_hub(never_complete) as hub:
            async with satellite_at(hub, recording(silence(0.5) + NABU)):
                ended = await hub.until_said(UtteranceEnded)
                assert ended.reason == "nothing_said"
                assert ended.speech_end_ms_ago >= 3_000
                await hub.until(lambda: states(hub)[-1] == "idle")
            assert len(hub.of(SpeechPaused)) == 1
            assert "thinking" not in states(hub)

    asyncio.run(check())


def test_question_of_the_hub_is_answered_without_a_wake_word() -> None:
    async def script(hub: FakeHub, message: SatelliteMessage) -> None:
        if isinstance(message, UtteranceEnded):
            follow_up = len(hub.of(UtteranceEnded)) == 1
            await answering(REPLY, 16_000, "Which lamp?", follow_up=follow_up)(hub, message)

    async def check() -> None:
        room = Room()
        async with fake_hub(script) as hub, satellite_at(hub, room):
            await hub.until_said(SatelliteState)
            room.say(silence(0.5) + ONE_BREATH)
            second = await hub.until_said(UtteranceStarted, 2)
            assert (second.follow_up, second.wake_word, second.preroll_ms) == (True, None, 0)
            yes = trimmed(say("yes", VOICE))
            room.say(silence(0.5) + yes)
            ended = await hub.until_said(UtteranceEnded, 2)
            assert (ended.utterance_id, ended.reason) == (second.utterance_id, "silence")
            assert heard_in(hub.audio[second.utterance_id], yes)
            await hub.until_said(PlaybackFinished, 2)

    asyncio.run(check())


def test_wake_word_during_the_answer_stops_it_and_is_listened_to() -> None:
    long_reply = bytes(16_000 * 2 * 30)

    async def check() -> None:
        room = Room()
        sink = CollectingSink(paced=True)
        async with fake_hub(answering(long_reply, 16_000)) as hub, satellite_at(hub, room, sink):
            await hub.until_said(SatelliteState)
            room.say(silence(0.5) + ONE_BREATH)
            first = await hub.until_said(PlaybackStarted)
            room.say(silence(1.5) + NABU)
            second = await hub.until_said(UtteranceStarted, 2)
            finished = await hub.until_said(PlaybackFinished)
            assert finished.utterance_id == first.utterance_id
            assert finished.interrupted
            await hub.until(lambda: heard_in(hub.audio[second.utterance_id], NABU))

    asyncio.run(check())


def test_answer_that_says_the_wake_word_does_not_wake_its_satellite() -> None:
    async def check() -> None:
        room = Room()
        script = answering(bytes(16_000 * 2 * 2), 16_000, "Say okay nabu to wake me.")
        async with fake_hub(script) as hub, satellite_at(hub, room, CollectingSink(paced=True)):
            await hub.until_said(SatelliteState)
            room.say(silence(0.5) + ONE_BREATH)
            await hub.until_said(PlaybackStarted)
            room.say(silence(1.5) + NABU)  # what the microphone hears of the speaker
            finished = await hub.until_said(PlaybackFinished)
            assert not finished.interrupted
            assert len(hub.of(UtteranceStarted)) == 1

    asyncio.run(check())


def test_muted_satellite_hears_nothing_until_it_is_unmuted() -> None:
    async def check() -> None:
        room = Room()
        async with fake_hub(never_complete) as hub, satellite_at(hub, room) as satellite:
            await hub.until_said(SatelliteState)
            satellite.set_muted(True)
            room.say(silence(0.3) + ONE_BREATH + silence(0.5))
            await hub.until(lambda: states(hub)[-1] == "muted")
            await until(lambda: not room._said)
            assert hub.of(UtteranceStarted) == []
            satellite.set_muted(False)
            room.say(silence(2.0) + ONE_BREATH)
            await hub.until_said(UtteranceStarted)

    asyncio.run(check())


class Device(Room):
    """A microphone that is opened and closed."""

    is_device = True

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self.is_open = False

    async def frames(self) -> AsyncGenerator[bytes, None]:
        self.opened += 1
        self.is_open = True
        try:
            async for frame in super().frames():
                yield frame
        finally:
            self.is_open = False


def test_microphone_is_closed_while_muted_and_opened_again_after() -> None:
    async def check() -> None:
        room = Device()
        async with fake_hub(never_complete) as hub, satellite_at(hub, room) as satellite:
            await until(lambda: room.is_open and satellite.hearing)
            satellite.set_muted(True)
            satellite.set_muted(True, by="another")
            await until(lambda: not room.is_open)
            room.say(ONE_BREATH)
            satellite.set_muted(False)
            await asyncio.sleep(0.2)
            assert room.opened == 1, "somebody else wants it muted still"
            assert satellite.hearing, "it is there, and only closed"
            satellite.set_muted(False, by="another")
            await until(lambda: room.is_open)
            await hub.until_said(UtteranceStarted)  # what waits in this microphone is heard only now
            assert room.opened == 2

    asyncio.run(check())


def test_push_to_talk_needs_no_wake_word() -> None:
    async def check() -> None:
        room = Room()
        async with fake_hub(never_complete) as hub, satellite_at(hub, room, wake=False) as satellite:
            await until(lambda: satellite.connected and satellite.hearing)
            satellite.listen()
            command = trimmed(say("stop", VOICE))
            room.say(silence(0.2) + command)
            ended = await hub.until_said(UtteranceEnded)
            assert hub.of(UtteranceStarted)[0].wake_word is None
            assert heard_in(hub.audio[ended.utterance_id], command)

    asyncio.run(check())


def test_announcement_is_chimed_played_in_the_volume_that_was_set_and_stopped() -> None:
    async def check() -> None:
        sink = CollectingSink(paced=True)
        async with fake_hub() as hub, satellite_at(hub, None, sink):
            await hub.until_said(SatelliteState)
            loud = b"\x00\x10" * 16_000
            await hub.say(
                SetVolume(50),
                SpeechStarted("timer", 16_000, announcement=True),
                loud,
                SpeechEnded("timer", "Ten minutes."),
            )
            finished = await hub.until_said(PlaybackFinished)
            assert finished == PlaybackFinished("timer", False, finished.ms_ago)
            played = np.frombuffer(bytes(sink.played[0][1]), dtype="<i2")
            assert len(played) > 16_000 + 1_000
            assert set(played[-16_000:]) == {410}
            await hub.say(SpeechStarted("alarm", 16_000, announcement=True), *[bytes(64_000)] * 10)
            await hub.until_said(PlaybackStarted, 2)
            await hub.say(StopSpeaking())
            assert (await hub.until_said(PlaybackFinished, 2)).interrupted

    asyncio.run(check())


def test_announcement_with_its_own_volume_and_no_chime_interrupts_what_is_played() -> None:
    async def check() -> None:
        sink = CollectingSink(paced=True)
        async with fake_hub() as hub, satellite_at(hub, None, sink):
            await hub.until_said(SatelliteState)
            await hub.say(SpeechStarted("long", 16_000, announcement=True), *[bytes(64_000)] * 10)
            await hub.until_said(PlaybackStarted)
            loud = b"\x00\x10" * 1_600
            await hub.say(
                SetVolume(100),
                SpeechStarted("fire", 16_000, announcement=True, chime=False, volume=50, interrupt=True),
                loud,
                SpeechEnded("fire", "Fire."),
            )
            assert await hub.until_said(PlaybackFinished) == PlaybackFinished("long", True)
            finished = await hub.until_said(PlaybackFinished, 2)
            assert (finished.utterance_id, finished.interrupted) == ("fire", False)
            assert set(np.frombuffer(bytes(sink.played[-1][1]), dtype="<i2")) == {410}

    asyncio.run(check())


def test_hub_that_dies_in_an_utterance_is_served_again_once_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        room, sink = Room(), CollectingSink()
        async with fake_hub() as hub, satellite_at(hub, room, sink) as satellite:
            await hub.until_said(SatelliteState)
            room.say(silence(0.5) + ONE_BREATH)
            await hub.until_said(UtteranceStarted)
            port = hub.port
            await hub.stop()
            await until(lambda: satellite.phase == "idle" and not satellite.connected and len(sink.played) == 2)
            back = FakeHub(never_complete, port=port)
            await back.start()
            try:
                await back.until_said(SatelliteState)
                room.say(silence(2.0) + ONE_BREATH)
                await back.until_said(UtteranceEnded)
            finally:
                await back.stop()

    asyncio.run(check())
    assert caplog.text.count("no voice session with the hub") == 1


def test_answer_that_breaks_off_with_the_hub_is_played_as_far_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playback, "STALLED_S", 1000.0)

    async def check() -> None:
        sink = CollectingSink()
        async with fake_hub() as hub, satellite_at(hub, None, sink) as satellite:
            await hub.until_said(SatelliteState)
            await hub.say(SpeechStarted("timer", 16_000, announcement=True), REPLY)
            await hub.until_said(PlaybackStarted)
            await hub.stop()
            await until(lambda: satellite.phase == "idle")
        assert bytes(sink.played[0][1]).endswith(scaled(REPLY, gain_of_volume(80)))

    asyncio.run(check())


def test_microphone_that_goes_away_ends_the_utterance_and_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "MICROPHONE_RETRY_S", 0.05)

    async def check() -> None:
        room = Room()
        async with fake_hub(never_complete) as hub, satellite_at(hub, room) as satellite:
            await hub.until_said(SatelliteState)
            room.say(silence(0.5) + ONE_BREATH)
            await hub.until_said(UtteranceStarted)
            room.broken = True
            assert (await hub.until_said(UtteranceEnded)).reason == "cancelled"
            await until(lambda: "went away" in caplog.text and satellite.phase == "idle")
            room.broken = False
            room.say(silence(2.0) + ONE_BREATH)
            assert (await hub.until_said(UtteranceEnded, 2)).reason == "silence"

    asyncio.run(check())
    assert caplog.text.count("the microphone went away") == 1


def test_hub_that_sends_nonsense_is_not_believed() -> None:
    async def check() -> None:
        source = recording(silence(1.0) + ONE_BREATH)
        async with fake_hub(answering(REPLY, 16_000)) as hub, satellite_at(hub, source):
            await hub.until_said(SatelliteState)
            await hub.say_raw("not json")
            await hub.say_raw('{"type": "Teleport"}')
            await hub.say(SpeechStarted("x", 7), b"\0\0", SpeechEnded("x"), NoReply("y"), b"odd", SpeechEnded("z"))
            assert not (await hub.until_said(PlaybackFinished)).interrupted

    asyncio.run(check())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nothing tells about."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_who_follows_a_satellite_hears_of_wake_words_phases_and_what_is_set_of_it() -> None:
    async def scenario() -> None:
        async with fake_hub(never_complete) as hub, satellite_at(hub, room := Room()) as satellite:
            seen: list[tuple[str, int, bool]] = []
            woken: list[str] = []
            satellite.follow(
                changed=lambda: seen.append((satellite.phase, satellite.volume, satellite.muted)), woken=woken.append
            )
            await hub.until_said(SatelliteState)
            satellite.listen_for(MicroWakeDetector(["hey_jarvis", "okay_nabu"]))
            room.say(ONE_BREATH + silence(1500))
            await hub.until_said(UtteranceStarted)
            assert woken == ["okay_nabu"]
            await hub.until(lambda: satellite.phase == "idle")
            satellite.set_volume(35)
            assert await hub.until_said(VolumeChanged) == VolumeChanged(35)
            satellite.set_muted(True)
            satellite.set_muted(True, by="another")
            satellite.set_muted(False)
            assert [phase for phase, _, _ in seen][:3] == ["listening", "thinking", "idle"]
            assert seen[3] == ("idle", 35, False)
            assert ("muted", 35, True) in seen
            assert seen[-1] == ("muted", 35, False), "somebody else wants it muted still"
            assert (satellite.has_microphone, satellite.has_speaker) == (True, True)

    asyncio.run(scenario())
