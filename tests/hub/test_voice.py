from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
import pytest
from aiohttp import web

from hub import mouth as mouth_module
from hub import session as session_module
from hub import voice as voice_module
from hub.conversation import Conversation
from hub.intent import Context, Intent
from hub.timers import Timers
from hub.voice import VoiceHub
from swarm.announcement import Announcement, Outcome, Report, Whom
from swarm.codec import MAX_AUDIO_BYTES, decode_from_hub, encode
from swarm.errors import EngineError
from swarm.messages import (
    HeardSoFar,
    Hello,
    HubMessage,
    Message,
    NoReply,
    PlaybackFinished,
    PlaybackStarted,
    SetVolume,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    StopSpeaking,
    Trace,
    Traced,
    Transcribed,
    UtteranceEnded,
    UtteranceStarted,
    VolumeChanged,
    Welcome,
)
from tests.hub.memory_home import flat
from tests.hub.scripted_engines import ScriptedGenerator, ScriptedSynthesizer, ScriptedTranscriber
from tests.hub.test_timers import MemoryStore, VirtualClock

QUESTION, NEVER_MIND = b"\x07\x00" * 800, b"\x09\x00" * 800
M = TypeVar("M")


class Script:
    """Understands "never mind" and nothing else."""

    def understand(self, text: str, context: Context) -> tuple[Intent, ...]:
        return (Intent("HassNevermind"),) if text == "never mind" else ()


class Hub:
    """A voice hub behind a real server, with scripted engines."""

    def __init__(self) -> None:
        self.transcriber = ScriptedTranscriber({QUESTION: "what is new", NEVER_MIND: "never mind"})
        self.synthesizer = ScriptedSynthesizer()
        self.generator = ScriptedGenerator(["First sentence.", "Second sentence."])
        self.traces: dict[str, Trace] = {}
        self.audio: dict[str, bytes] = {}
        self.volumes: dict[str, int] = {"loud": 90}
        self.voice = VoiceHub(
            node="hub",
            conversation=lambda: self.conversation,
            judge=lambda text, context: "complete" if text else "unclear",
            transcriber=self.transcriber,
            synthesizer=self.synthesizer,
            keep_trace=self._keep_trace,
            keep_audio=self._keep_audio,
            keep_volume=self._keep_volume,
            kept_volume=self._kept_volume,
            wake_words=("okay_nabu",),
        )
        self.conversation = Conversation(
            understanding=Script(),
            home=flat(),
            timers=Timers(MemoryStore(), VirtualClock()),
            satellites=self.voice,
            generator=self.generator,
        )
        self.url = ""

    async def _keep_trace(self, trace: Trace) -> None:
        self.traces[trace.utterance_id] = trace

    async def _keep_audio(self, utterance_id: str, pcm: bytes) -> None:
        self.audio[utterance_id] = pcm

    async def _keep_volume(self, satellite: str, percent: int) -> None:
        self.volumes[satellite] = percent

    async def _kept_volume(self, satellite: str) -> int | None:
        return self.volumes.get(satellite)


class Peer:
    """A satellite by hand."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.seen: list[HubMessage | bytes] = []

    async def say(self, *items: Message | bytes | str) -> None:
        for item in items:
            if isinstance(item, bytes):
                await self.socket.send_bytes(item)
            else:
                await self.socket.send_str(item if isinstance(item, str) else encode(item))

    async def ask(self, utterance_id: str, pcm: bytes = QUESTION) -> None:
        await self.say(UtteranceStarted(utterance_id), pcm, UtteranceEnded(utterance_id, "silence"))

    async def next(self) -> HubMessage | bytes | None:
        """What the hub says next; None at the end."""
        frame = await self.socket.receive(timeout=10)
        if frame.type is aiohttp.WSMsgType.TEXT:
            self.seen.append(decode_from_hub(frame.data))
        elif frame.type is aiohttp.WSMsgType.BINARY:
            self.seen.append(frame.data)
        else:
            return None
        return self.seen[-1]

    async def until(self, kind: type[M]) -> M:
        """The next of a kind."""
        while (said := await self.next()) is not None:
            if isinstance(said, kind):
                return said
        raise AssertionError(f"the session ended with {self.socket.close_code}; no {kind.__name__} in {self.seen}")

    async def ended(self) -> int | None:
        """How the hub closed the session."""
        while await self.next() is not None:
            pass
        return self.socket.close_code

    def kinds(self) -> list[str]:
        return [type(each).__name__ for each in self.seen]


@asynccontextmanager
async def running_hub() -> AsyncIterator[Hub]:
    hub = Hub()
    app = web.Application()

    async def serve(request: web.Request) -> web.WebSocketResponse:
        return await hub.voice.handle(request, node=request.query.get("node", ""))

    app.router.add_get("/api/voice", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hub.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/api/voice"
    try:
        yield hub
    finally:
        await runner.cleanup()


@asynccontextmanager
async def peer(hub: Hub, hello: Message | bytes | str | None = None, *, node: str = "") -> AsyncIterator[Peer]:
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{hub.url}?node={node}") as socket:
        one = Peer(socket)
        await one.say(Hello("kitchen", area="Kitchen") if hello is None else hello)
        yield one


def with_hub(check: Callable[[Hub], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), running_hub() as hub:
            await check(hub)

    asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 nothing tells of what the hub keeps
            await asyncio.sleep(0.005)


# ---- a question and its answer


def test_messages_of_an_answered_question_come_in_their_order() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            assert await one.next() == Welcome("hub", ("okay_nabu",))
            begun = UtteranceStarted("u1", wake_word="okay_nabu", wake_ms_ago=300.0)
            await one.say(begun, QUESTION[:800], SpeechPaused("u1", 100.0), SpeechResumed("u1"), QUESTION[800:])
            await one.say(SpeechPaused("u1", 100.0))
            while await one.until(HeardSoFar) != HeardSoFar("u1", "extendable", "what is new"):
                pass
            await one.say(UtteranceEnded("u1", "silence", 150.0))
            ended = await one.until(SpeechEnded)
            assert ended == SpeechEnded("u1", "First sentence. Second sentence.")
            assert one.kinds() == [
                "Welcome",
                "HeardSoFar",
                "HeardSoFar",
                "Transcribed",
                "SpeechStarted",
                "bytes",
                "bytes",
                "SpeechEnded",
            ]
            assert SpeechStarted("u1", 8_000) in one.seen
            await one.say(PlaybackStarted("u1"), PlaybackFinished("u1"))
            trace = await hub.voice.trace_of("u1", timeout_s=10)
        assert trace == hub.traces["u1"]
        assert trace is not None
        assert [mark.stage for mark in trace.marks] == [
            "wake",
            "speech_end",
            "endpoint",
            "transcript",
            "intent",
            "first_token",
            "first_audio",
            "last_audio",
        ]
        assert [mark.node for mark in trace.marks] == [*["kitchen"] * 3, *["hub"] * 4, "kitchen"]
        assert (trace.source, trace.satellite, trace.wake_word) == ("voice", "kitchen", "okay_nabu")
        assert (trace.transcript, trace.outcome) == ("what is new", "done")
        assert hub.audio == {"u1": QUESTION}

    with_hub(check)


def test_first_sentence_is_sent_while_the_second_is_being_made() -> None:
    async def check(hub: Hub) -> None:
        hub.generator.gate = asyncio.Event()
        async with peer(hub) as one:
            await one.ask("u1")
            await one.until(bytes)
            assert hub.synthesizer.said == ["First sentence."]
            hub.generator.gate.set()
            await one.until(SpeechEnded)
            assert hub.synthesizer.said == ["First sentence.", "Second sentence."]

    with_hub(check)


def test_satellite_is_told_again_and_again_that_its_answer_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "STILL_WORKING_S", 0.01)

    async def check(hub: Hub) -> None:
        hub.generator.gate = asyncio.Event()
        async with peer(hub) as one:
            await one.ask("u1")
            for _ in range(4):
                assert (await one.until(Transcribed)).utterance_id == "u1"
            hub.generator.gate.set()
            await one.until(SpeechEnded)

    with_hub(check)


@pytest.mark.parametrize("reason", ["nothing_said", "cancelled"])
def test_utterance_that_wants_no_answer_gets_none(reason: str) -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            await one.say(UtteranceStarted("u1"), QUESTION, UtteranceEnded("u1", reason))  # type: ignore[arg-type]
            trace = await hub.voice.trace_of("u1", timeout_s=10)
            assert trace is not None
            assert (trace.outcome, trace.transcript) == (reason, "")
            await one.ask("u2")
            assert (await one.until(Transcribed)).utterance_id == "u2"

    with_hub(check)


def test_answer_without_words_is_a_cue() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            await one.ask("u1", NEVER_MIND)
            assert (await one.until(NoReply)).utterance_id == "u1"
            assert hub.traces["u1"].outcome == "cancelled"

    with_hub(check)


def test_recognizer_that_fails_is_a_cue_and_the_next_utterance_is_answered() -> None:
    async def check(hub: Hub) -> None:
        hub.transcriber.failure = EngineError("out of order")
        async with peer(hub) as one:
            await one.ask("u1")
            assert await one.until(NoReply) == NoReply("u1", "error")
            assert hub.traces["u1"].outcome == "failed"
            hub.transcriber.failure = None
            await one.ask("u2")
            await one.until(SpeechEnded)

    with_hub(check)


def test_synthesizer_that_fails_at_a_sentence_speaks_the_next() -> None:
    async def check(hub: Hub) -> None:
        hub.synthesizer.fails = {"First sentence.": False}
        async with peer(hub) as one:
            await one.ask("u1")
            await one.until(SpeechEnded)
            assert one.kinds() == ["Welcome", "Transcribed", "SpeechStarted", "bytes", "SpeechEnded"]

    with_hub(check)


def test_synthesizer_that_fails_in_the_middle_of_a_sentence_leaves_no_speech_without_an_end() -> None:
    async def check(hub: Hub) -> None:
        hub.synthesizer.fails = {"First sentence.": True, "Second sentence.": False}
        async with peer(hub) as one:
            await one.ask("u1")
            await one.until(SpeechEnded)
            assert one.kinds() == ["Welcome", "Transcribed", "SpeechStarted", "bytes", "SpeechEnded"]

    with_hub(check)


def test_synthesizer_that_fails_altogether_is_a_cue() -> None:
    async def check(hub: Hub) -> None:
        hub.synthesizer.fails = {"First sentence.": False, "Second sentence.": False}
        async with peer(hub) as one:
            await one.ask("u1")
            assert await one.until(NoReply) == NoReply("u1", "error")
            assert hub.traces["u1"].answer == "First sentence. Second sentence."

    with_hub(check)


def test_long_speech_is_sent_in_pieces_that_a_satellite_takes() -> None:
    async def check(hub: Hub) -> None:
        hub.synthesizer.seconds = 9.0  # 144 kB
        async with peer(hub) as one:
            await one.ask("u1")
            await one.until(SpeechStarted)
            pieces = [await one.until(bytes) for _ in range(3)]
            assert [len(piece) for piece in pieces] == [MAX_AUDIO_BYTES, MAX_AUDIO_BYTES, 144_000 - 2 * MAX_AUDIO_BYTES]

    with_hub(check)


def test_long_answer_is_sent_little_ahead_of_its_playing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mouth_module, "AHEAD_S", 10.0)

    async def check(hub: Hub) -> None:
        hub.synthesizer.seconds = 4.0
        hub.generator.sentences = [f"This is sentence number {number}." for number in range(30)]
        async with peer(hub) as one:
            await one.ask("u1")
            with pytest.raises(TimeoutError):
                while True:
                    async with asyncio.timeout(0.5):
                        await one.next()
            assert len([each for each in one.seen if isinstance(each, bytes)]) == 3
            await one.ask("u2", NEVER_MIND)
            assert (await one.until(NoReply)).utterance_id == "u2"

    with_hub(check)


# ---- one after the other


def test_new_utterance_cancels_the_answer_under_way() -> None:
    async def check(hub: Hub) -> None:
        hub.generator.gate = asyncio.Event()
        async with peer(hub) as one:
            await one.ask("u1")
            await one.until(bytes)
            await one.ask("u2", NEVER_MIND)
            assert (await one.until(NoReply)).utterance_id == "u2"
            assert hub.traces["u1"].outcome == "cancelled"
            assert hub.generator.stopped == 1
            assert "SpeechEnded" not in one.kinds()

    with_hub(check)


def test_utterance_that_never_ended_is_cut_off_by_the_next() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            await one.say(UtteranceStarted("u1"), QUESTION[:640])
            await one.ask("u2")
            await one.until(SpeechEnded)
            assert hub.traces["u1"].outcome == "cancelled"

    with_hub(check)


def test_hub_is_speaking_from_the_first_word_to_the_last_sound_of_the_answer() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            await one.until(Welcome)
            await until(lambda: not hub.voice.speaking)
            await one.say(UtteranceStarted("u1"), QUESTION)
            await until(lambda: hub.voice.speaking)
            await one.say(UtteranceEnded("u1", "silence"))
            await one.until(SpeechEnded)
            assert hub.voice.speaking  # it is still to be heard
            await one.say(PlaybackStarted("u1"), PlaybackFinished("u1"))
            await until(lambda: not hub.voice.speaking)

    with_hub(check)


def test_satellite_that_leaves_ends_its_utterances() -> None:
    async def check(hub: Hub) -> None:
        hub.generator.gate = asyncio.Event()
        async with peer(hub) as one:
            await one.ask("answered")
            await one.until(bytes)
        async with peer(hub) as one:
            await one.say(UtteranceStarted("begun"), QUESTION[:640])
            await one.until(Welcome)
        await until(lambda: len(hub.traces) == 2)
        assert {name: trace.outcome for name, trace in hub.traces.items()} == {
            "answered": "cancelled",
            "begun": "cancelled",
        }
        await until(lambda: hub.voice.connected == ())

    with_hub(check)


def test_open_traces_are_bounded() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            for number in range(session_module.MAX_OPEN_TRACES + 3):
                await one.ask(f"u{number}")  # and never tells of playback
                await one.until(SpeechEnded)
            await until(lambda: len(hub.traces) == 3)
            assert hub.traces["u0"].outcome == "done"

    with_hub(check)


# ---- announcements and volume


async def told(hub: Hub, satellite: str, text: str) -> bool:
    reports = await hub.voice.announce(Announcement(text), Whom(satellite), until="sent")
    return any(each.told for each in reports)


def test_announcement_is_said_where_it_is_meant() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as kitchen, peer(hub, Hello("bed", area="Bedroom")) as bed:
            await kitchen.until(Welcome)
            await bed.until(Welcome)
            assert hub.voice.connected == ("bed", "kitchen")
            assert hub.voice.in_area("bedroom") == ("bed",)
            assert hub.voice.in_area("") == ()
            assert await told(hub, "bed", "Tea is ready.")
            started = await bed.until(SpeechStarted)
            assert started.announcement
            assert (await bed.until(SpeechEnded)).text == "Tea is ready."
            assert await told(hub, "", "Everybody come.")
            for one in (kitchen, bed):
                assert (await one.until(SpeechEnded)).text == "Everybody come."
            assert not await told(hub, "attic", "Nobody is there.")
            await bed.say(PlaybackStarted(started.utterance_id), PlaybackFinished(started.utterance_id))
            trace = await hub.voice.trace_of(started.utterance_id, timeout_s=10)
            assert trace is not None
            assert (trace.source, trace.answer, trace.outcome) == ("announcement", "Tea is ready.", "done")

    with_hub(check)


def test_announcement_waits_for_the_end_of_the_answer() -> None:
    async def check(hub: Hub) -> None:
        hub.generator.gate = asyncio.Event()
        async with peer(hub) as one:
            await one.ask("u1")
            await one.until(bytes)
            announcing = asyncio.create_task(told(hub, "", "Tea is ready."))
            await asyncio.sleep(0)
            hub.generator.gate.set()
            assert (await one.until(SpeechEnded)).utterance_id == "u1"
            assert (await one.until(SpeechStarted)).announcement
            assert await announcing

    with_hub(check)


def announcing(hub: Hub, announcement: Announcement, whom: Whom | None = None) -> asyncio.Task[tuple[Report, ...]]:
    return asyncio.create_task(hub.voice.announce(announcement, whom or Whom(), until="played"))


def outcomes(reports: tuple[Report, ...]) -> dict[str, Outcome]:
    return {each.satellite: each.outcome for each in reports}


def test_each_satellite_reports_whether_it_was_played() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as kitchen, peer(hub, Hello("bed", area="Bedroom")) as bed:
            await kitchen.until(Welcome)
            await bed.until(Welcome)
            saying = announcing(hub, Announcement("Dinner."))
            for one, stopped in ((kitchen, False), (bed, True)):
                heard = await one.until(SpeechEnded)
                await one.say(PlaybackFinished(heard.utterance_id, interrupted=stopped))
            assert outcomes(await saying) == {"kitchen": "played", "bed": "stopped"}
            gone = announcing(hub, Announcement("Dinner."), Whom(names=("bedroom",)))
            await bed.until(SpeechEnded)
            await bed.socket.close()
            assert outcomes(await gone) == {"bed": "failed"}

    with_hub(check)


def test_sound_is_sent_as_it_is_with_its_volume_and_without_a_chime() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            await one.until(Welcome)
            bell = b"\5\0" * 20_000
            saying = announcing(hub, Announcement("bell.wav", sound=bell, rate=22_050, chime=False, volume=20))
            begun = await one.until(SpeechStarted)
            assert (begun.rate, begun.announcement, begun.chime, begun.volume) == (22_050, True, False, 20)
            ended = await one.until(SpeechEnded)
            assert b"".join(each for each in one.seen if isinstance(each, bytes)) == bell
            await one.say(PlaybackFinished(ended.utterance_id))
            assert outcomes(await saying) == {"kitchen": "played"}
            assert hub.synthesizer.said == []

    with_hub(check)


def test_announcement_that_interrupts_ends_the_answer_and_comes_before_what_waits() -> None:
    async def check(hub: Hub) -> None:
        hub.generator.gate = asyncio.Event()
        async with peer(hub) as one:
            await one.ask("u1")
            await one.until(bytes)
            waiting = announcing(hub, Announcement("Tea is ready."))
            urgent = announcing(hub, Announcement("Fire.", interrupt=True))
            begun = await one.until(SpeechStarted)
            assert begun.interrupt
            assert (await one.until(SpeechEnded)).text == "Fire."
            await one.say(PlaybackFinished("u1", interrupted=True), PlaybackFinished(begun.utterance_id))
            assert outcomes(await urgent) == {"kitchen": "played"}
            tea = await one.until(SpeechEnded)
            assert tea.text == "Tea is ready."
            await one.say(PlaybackFinished(tea.utterance_id))
            assert outcomes(await waiting) == {"kitchen": "played"}
            assert hub.generator.stopped == 1
            assert next(each.utterance_id for each in one.seen if isinstance(each, SpeechEnded)) != "u1"

    with_hub(check)


def test_only_so_many_announcements_wait_at_a_satellite() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            await one.until(Welcome)
            saying = [announcing(hub, Announcement(str(each))) for each in range(session_module.MAX_ANNOUNCEMENTS + 1)]
            assert outcomes(await saying[-1]) == {"kitchen": "full"}
            for _ in saying[:-1]:
                ended = await one.until(SpeechEnded)
                await one.say(PlaybackFinished(ended.utterance_id))
            assert {outcomes(await each)["kitchen"] for each in saying[:-1]} == {"played"}

    with_hub(check)


def test_announcement_that_cannot_be_spoken_is_not_told() -> None:
    async def check(hub: Hub) -> None:
        hub.synthesizer.fails = {"Tea is ready.": False}
        async with peer(hub) as one:
            await one.until(Welcome)
            assert not await told(hub, "", "Tea is ready.")
            (trace,) = hub.traces.values()
            assert (trace.answer, trace.outcome) == ("Tea is ready.", "failed")

    with_hub(check)


def test_volume_is_kept_and_told_to_a_satellite_that_connects() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub, Hello("loud")) as one:
            assert await one.until(SetVolume) == SetVolume(90)
            assert hub.voice.volume("loud") == 90
            assert await hub.voice.set_volume("loud", 20)
            assert await one.until(SetVolume) == SetVolume(20)
            assert hub.volumes["loud"] == 20
            await one.say(VolumeChanged(55))
            await until(lambda: hub.volumes["loud"] == 55)
            assert hub.voice.volume("loud") == 55
            await hub.voice.stop_speaking("loud")
            await one.until(StopSpeaking)
        await until(lambda: hub.voice.connected == ())
        assert hub.voice.volume("loud") is None
        assert not await hub.voice.set_volume("loud", 30)
        await hub.voice.stop_speaking("loud")
        async with peer(hub, Hello("new")) as one:
            await one.until(Welcome)
            assert hub.voice.volume("new") == voice_module.DEFAULT_VOLUME

    with_hub(check)


def test_whoever_waits_for_a_satellite_is_told_when_it_connects() -> None:
    async def check(hub: Hub) -> None:
        await hub.voice.wait_connected("kitchen", timeout_s=0.0)
        waiting = asyncio.create_task(hub.voice.wait_connected("kitchen", timeout_s=20))
        anyone = asyncio.create_task(hub.voice.wait_connected("", timeout_s=20))
        async with peer(hub, Hello("bed")) as bed:
            await bed.until(Welcome)
            await anyone
            assert not waiting.done()
            async with peer(hub):
                await waiting

    with_hub(check)


# ---- who is let in


@pytest.mark.parametrize(
    "hello",
    [
        b"\0\0",
        "{",
        UtteranceStarted("u1"),
        Hello("kitchen", version=2),
        Hello(""),
        Hello("x" * 101),
        Hello("kitchen", area="x" * 101),
        Hello("kitchen", language="x" * 101),
    ],
)
def test_peer_that_says_no_proper_hello_is_refused(hello: Message | bytes | str) -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub, hello) as one:
            assert await one.ended() == aiohttp.WSCloseCode.POLICY_VIOLATION
            assert one.seen == []
        assert hub.voice.connected == ()

    with_hub(check)


def test_peer_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_module, "HELLO_S", 0.05)

    async def check(hub: Hub) -> None:
        async with aiohttp.ClientSession() as http, http.ws_connect(hub.url) as socket:
            assert await Peer(socket).ended() == aiohttp.WSCloseCode.POLICY_VIOLATION

    with_hub(check)


def test_more_satellites_than_there_is_room_for_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_module, "MAX_SESSIONS", 1)

    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            await one.until(Welcome)
            async with peer(hub, Hello("bed")) as bed:
                assert await bed.ended() == aiohttp.WSCloseCode.TRY_AGAIN_LATER
            assert hub.voice.connected == ("kitchen",)

    with_hub(check)


def test_satellite_that_comes_back_takes_the_place_of_its_old_session() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as old, peer(hub) as new:
            await new.until(Welcome)
            await old.ended()
            assert hub.voice.connected == ("kitchen",)
            assert await told(hub, "kitchen", "Tea is ready.")
            assert (await new.until(SpeechEnded)).text == "Tea is ready."

    with_hub(check)


@pytest.mark.parametrize(
    "items",
    [
        ("nonsense",),
        (Hello("kitchen"),),
        (UtteranceStarted(""),),
        (UtteranceStarted("u1"), UtteranceStarted("u1")),
        (UtteranceStarted("u1", wake_word="x" * 101),),
        (b"\0",),
    ],
)
def test_what_is_no_message_ends_the_session(items: tuple[Message | bytes | str, ...]) -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            await one.say(*items)
            assert await one.ended() == aiohttp.WSCloseCode.POLICY_VIOLATION
        await until(lambda: hub.voice.connected == ())

    with_hub(check)


def test_messages_about_other_utterances_are_ignored() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as one:
            strays = (SpeechPaused("x", 1.0), SpeechResumed("x"), UtteranceEnded("x", "silence"), PlaybackFinished("x"))
            await one.say(*strays, b"\0\0", UtteranceStarted("u1"), *strays, QUESTION, b"", *strays)
            await one.say(UtteranceEnded("u1", "silence"), UtteranceEnded("u1", "silence"), *strays)
            assert (await one.until(SpeechEnded)).utterance_id == "u1"

    with_hub(check)


def test_trace_of_what_never_was_is_none() -> None:
    async def check(hub: Hub) -> None:
        assert await hub.voice.trace_of("nothing", timeout_s=0.01) is None

    with_hub(check)


# ---- satellites of other machines


def test_satellites_of_two_machines_with_one_name_are_two_satellites() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub) as own, peer(hub, node="abcdefgh") as far, peer(hub, node="abcdxyz") as farther:
            for one in (own, far, farther):
                await one.until(Welcome)
            await until(lambda: hub.voice.connected == ("kitchen", "kitchen (abcd)", "kitchen (abcdxyz)"))
            assert hub.voice.machine_of("kitchen (abcd)") == "abcdefgh"
            assert hub.voice.machine_of("kitchen") == hub.voice.machine_of("nobody") == ""
            assert await told(hub, "kitchen (abcd)", "Tea is ready.")
            assert (await far.until(SpeechEnded)).text == "Tea is ready."
            async with peer(hub, node="abcdefgh") as again:  # its old line is dead and it noticed first
                await again.until(Welcome)
                assert await far.ended() is not None
                assert hub.voice.connected == ("kitchen", "kitchen (abcd)", "kitchen (abcdxyz)")
                await own.ask("u1")
                await own.until(SpeechEnded)
        await until(lambda: hub.voice.connected == ())

    with_hub(check)


def test_satellite_that_wants_traces_gets_those_of_its_utterances() -> None:
    async def check(hub: Hub) -> None:
        async with peer(hub, Hello("kitchen", traces=True)) as one:
            await one.ask("u1")
            await one.until(SpeechEnded)
            await one.say(PlaybackFinished("u1"))
            assert (await one.until(Traced)).trace == hub.traces["u1"]

    with_hub(check)
