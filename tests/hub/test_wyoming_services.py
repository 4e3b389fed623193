from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk, NotHandled
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeVoice
from wyoming.wake import Detect, Detection

from edge.wake_word import MicroWakeDetector
from hub.conversation import Conversation
from hub.intent import Context, Intent
from hub.timers import Timers
from hub.wyoming import asr as asr_module
from hub.wyoming.asr import AsrTalk
from hub.wyoming.handle import HandleTalk
from hub.wyoming.tts import TtsTalk
from hub.wyoming.wake import WakeTalk
from swarm.engine import CommandGrammar
from swarm.engine import Transcript as Heard
from swarm.engines.espeak import EspeakSynthesizer
from swarm.errors import EngineError, MycoswarmError
from swarm.messages import Trace
from swarm.wyoming import listener as listener_module
from swarm.wyoming.describing import asr_info, handle_info, tts_info, wake_info
from swarm.wyoming.listener import AllowList, Client, Open, WyomingListener
from tests.hub.memory_home import flat
from tests.hub.scripted_engines import ScriptedGenerator, ScriptedSynthesizer, ScriptedTranscriber
from tests.hub.test_conversation import Speakers
from tests.hub.test_timers import MemoryStore
from tests.speech import say, silence
from tests.wyoming_peers import PATIENCE_S, answers, client, tell

CLIP = b"\x07\x00" * 1600


@asynccontextmanager
async def listening(
    talk: Open, info: Info | None = None, *, allow: AllowList | None = None
) -> AsyncIterator[WyomingListener]:
    listener = WyomingListener("test", allow=allow or AllowList(), info=info or Info(), talk=talk)
    await listener.start("127.0.0.1", 0)
    try:
        yield listener
    finally:
        await listener.close()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def audio(pcm: bytes, rate: int = 16_000, width: int = 2, channels: int = 1, *, size: int = 2_048) -> list[Event]:
    pieces = [pcm[start : start + size] for start in range(0, len(pcm), size)]
    return [
        AudioStart(rate, width, channels).event(),
        *(AudioChunk(rate, width, channels, piece).event() for piece in pieces),
        AudioStop().event(),
    ]


# ---- speech to text


def test_a_client_is_told_what_was_said_as_a_stream_and_whole() -> None:
    async def test() -> None:
        ears = ScriptedTranscriber({CLIP: "turn on the lamp"})
        async with listening(lambda who: AsrTalk(who, ears, "en")) as port, client(port.port) as peer:
            for _ in range(2):  # one connection, any number of times
                await tell(peer, Transcribe(language="en").event(), *audio(CLIP))
                heard = await answers(peer, last="transcript-stop")
                assert [event.type for event in heard] == [
                    "transcript-start",
                    "transcript-chunk",
                    "transcript",
                    "transcript-stop",
                ]
                assert TranscriptChunk.from_event(heard[1]).text == "turn on the lamp"
                assert Transcript.from_event(heard[2]) == Transcript("turn on the lamp", language="en")
        assert ears.closed == 2

    run(test())


@pytest.mark.parametrize(("rate", "width", "channels"), [(48_000, 2, 2), (22_050, 4, 1), (44_100, 3, 2), (8_000, 1, 1)])
def test_audio_of_any_format_is_heard_as_16_khz_mono(rate: int, width: int, channels: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate) * 0.5
    if width == 1:
        samples = ((tone * 127) + 128).astype(np.uint8)[:, None].repeat(channels, axis=1).tobytes()
    else:
        wide = (tone * (2**31 - 1)).astype("<i4").view(np.uint8).reshape(-1, 4)[:, 4 - width :]
        samples = wide[:, None, :].repeat(channels, axis=1).tobytes()

    async def test() -> None:
        taken = Taken()
        async with listening(lambda who: AsrTalk(who, taken, "en")) as port, client(port.port) as peer:
            await tell(peer, *audio(samples, rate, width, channels, size=1_001))
            await answers(peer, last="transcript-stop")
        pcm = np.frombuffer(bytes(taken.pcm), dtype="<i2")
        assert abs(len(pcm) - 16_000) < 100
        spectrum = np.abs(np.fft.rfft(pcm[2_000:14_000]))
        assert abs(int(spectrum.argmax()) * 16_000 / 12_000 - 440) < 3
        assert 14_000 < int(np.abs(pcm[2_000:14_000]).max()) < 18_000

    run(test())


class Taken:
    """Keeps what it is fed; its utterances never end by themselves."""

    name = "taken"
    commands_only = False

    def __init__(self) -> None:
        self.pcm = bytearray()
        self.closed = 0
        self.opened = 0

    async def open(self, *, language: str) -> Taken:
        self.opened += 1
        return self

    async def feed(self, pcm: bytes) -> None:
        self.pcm += pcm

    async def so_far(self) -> Heard:
        return Heard("")

    async def transcript(self) -> Heard:
        return Heard("")

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        pass

    async def close(self) -> None:
        self.closed += 1


def test_what_was_no_command_is_an_empty_transcript() -> None:
    async def test() -> None:
        async with (
            listening(lambda who: AsrTalk(who, ScriptedTranscriber({}), "en")) as port,
            client(port.port) as peer,
        ):
            await tell(peer, *audio(CLIP))
            heard = await answers(peer, last="transcript-stop")
            assert [event.type for event in heard] == ["transcript-start", "transcript", "transcript-stop"]
            assert heard[1].data["text"] == ""

    run(test())


def test_a_client_that_falls_silent_gives_the_engine_back_and_may_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr_module, "QUIET_S", 0.05)

    async def test() -> None:
        ears = ScriptedTranscriber({CLIP: "stop"})
        async with listening(lambda who: AsrTalk(who, ears, "en")) as port, client(port.port) as peer:
            await tell(peer, AudioStart(16_000, 2, 1).event())
            (told,) = await answers(peer, last="error")
            assert "no audio and no end" in told.data["text"]
            await until(lambda: ears.closed == 1)
            await tell(peer, *audio(CLIP))
            assert (await answers(peer, last="transcript-stop"))[2].data["text"] == "stop"

    run(test())


def test_an_utterance_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr_module, "MAX_S", 0.05)

    async def test() -> None:
        taken = Taken()
        async with listening(lambda who: AsrTalk(who, taken, "en")) as port, client(port.port) as peer:
            await tell(peer, *audio(CLIP))
            (told,) = await answers(peer, last="error")
            assert "at most" in told.data["text"]
            assert len(taken.pcm) <= 1_600
            await tell(peer, Ping("there?").event())
            assert (await answers(peer, last="pong"))[-1].data["text"] == "there?"

    run(test())


def test_an_engine_that_fails_is_told_and_the_next_utterance_is_heard() -> None:
    async def test() -> None:
        ears = ScriptedTranscriber({CLIP: "stop"})
        ears.failure = EngineError("the ears are away")
        async with listening(lambda who: AsrTalk(who, ears, "en")) as port, client(port.port) as peer:
            await tell(peer, *audio(CLIP))
            assert (await answers(peer, last="error"))[-1].data == {"text": "the ears are away", "code": "EngineError"}
            ears.failure = None
            await tell(peer, *audio(CLIP))
            assert (await answers(peer, last="transcript-stop"))[2].data["text"] == "stop"

    run(test())


def test_a_client_that_goes_in_the_middle_frees_the_engine() -> None:
    async def test() -> None:
        taken = Taken()
        async with listening(lambda who: AsrTalk(who, taken, "en")) as port:
            async with client(port.port) as peer:
                await tell(peer, *audio(CLIP)[:2])
                await until(lambda: taken.opened == 1)
            await until(lambda: taken.closed == 1)

    run(test())


# ---- text to speech


def test_text_is_spoken_by_the_own_voice() -> None:
    async def test() -> None:
        voice = EspeakSynthesizer()
        try:
            async with listening(lambda who: TtsTalk(who, voice, "en")) as port, client(port.port) as peer:
                await tell(peer, Synthesize("It is 3:05. The lamp is on.", SynthesizeVoice(language="en")).event())
                heard = await answers(peer, last="audio-stop")
                start = AudioStart.from_event(heard[0])
                assert (start.rate, start.width, start.channels) == (voice.rate, 2, 1)
                chunks = [AudioChunk.from_event(event) for event in heard[1:-1]]
                seconds = sum(chunk.seconds for chunk in chunks)
                assert 1.0 < seconds < 6.0
                assert [chunk.timestamp for chunk in chunks] == sorted(chunk.timestamp or 0 for chunk in chunks)
        finally:
            await voice.close()

    run(test())


def test_streamed_text_is_spoken_sentence_by_sentence_while_it_comes() -> None:
    async def test() -> None:
        voice = ScriptedSynthesizer()
        async with listening(lambda who: TtsTalk(who, voice, "en")) as port, client(port.port) as peer:
            await tell(peer, SynthesizeStart().event(), SynthesizeChunk("The lamp is on. The fa").event())
            heard = await answers(peer, last="audio-chunk")
            assert [event.type for event in heard] == ["audio-start", "audio-chunk"]
            assert voice.said == ["The lamp is on."]
            await tell(
                peer,
                SynthesizeChunk("n is off.").event(),
                Synthesize("The lamp is on. The fan is off.").event(),  # for those who know no streams
                SynthesizeStop().event(),
            )
            heard = await answers(peer, last="synthesize-stopped")
            assert [event.type for event in heard] == ["audio-chunk", "audio-stop", "synthesize-stopped"]
            assert voice.said == ["The lamp is on.", "The fan is off."]

    run(test())


def test_a_voice_that_fails_is_told_and_the_audio_ends_all_the_same() -> None:
    async def test() -> None:
        voice = ScriptedSynthesizer()
        voice.fails = {"No.": False}
        async with listening(lambda who: TtsTalk(who, voice, "en")) as port, client(port.port) as peer:
            await tell(peer, Synthesize("No.").event())
            heard = await answers(peer, last="error")
            assert [event.type for event in heard] == ["audio-start", "audio-stop", "error"]
            await tell(peer, Synthesize("Yes.").event())
            assert len(await answers(peer, last="audio-stop")) == 3

    run(test())


def test_synthesis_stops_when_the_client_goes() -> None:
    ended: list[str] = []

    class Endless(ScriptedSynthesizer):
        async def synthesize(self, text: str, *, language: str) -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(16_000)
                    await asyncio.sleep(0)
            finally:
                ended.append(text)

    async def test() -> None:
        async with listening(lambda who: TtsTalk(who, Endless(), "en")) as port:
            async with client(port.port) as peer:
                await tell(peer, Synthesize("for ever").event())
                await answers(peer, last="audio-chunk")
            await until(lambda: ended == ["for ever"])

    run(test())


# ---- wake words


def test_a_wake_word_is_detected_with_the_time_of_its_chunk() -> None:
    words = ("okay_nabu", "alexa")

    async def test() -> None:
        async with listening(lambda who: WakeTalk(who, MicroWakeDetector, words)) as port, client(port.port) as peer:
            await tell(peer, Detect(names=["okay_nabu"]).event(), AudioStart(16_000, 2, 1).event())
            spoken = silence(0.5) + say("okay nabu") + silence(0.5)
            for start in range(0, len(spoken), 2_048):
                at = start // 32
                await tell(peer, AudioChunk(16_000, 2, 1, spoken[start : start + 2_048], timestamp=at).event())
            detection = Detection.from_event((await answers(peer, last="detection"))[-1])
            assert detection.name == "okay_nabu"
            assert 500 < (detection.timestamp or 0) < 2_500
            await tell(peer, AudioStop().event(), *audio(silence(0.5)))
            assert [event.type for event in await answers(peer, last="not-detected")] == ["not-detected"]
            await tell(peer, Detect(names=["computer"]).event())
            assert "none of these" in (await answers(peer, last="error"))[-1].data["text"]

    run(test())


# ---- handling


class Script:
    def understand(self, text: str, context: Context) -> tuple[Intent, ...]:
        known = {
            "turn on the lamp": (Intent("HassTurnOn", {"name": "light.kitchen"}),),
            "help": (Intent("Help"),),
        }
        return known.get(text, ())


def conversation(generator: ScriptedGenerator | None = None) -> Conversation:
    timers = Timers(MemoryStore())
    return Conversation(understanding=Script(), home=flat(), timers=timers, satellites=Speakers(), generator=generator)


def handling(talked: Conversation, traces: list[Trace]) -> Open:
    async def finished(trace: Trace) -> None:
        traces.append(trace)

    return lambda who: HandleTalk(who, lambda: talked, node="attic", language="en", finished=finished)


def test_what_is_said_is_done_and_streamed_and_told_whole() -> None:
    async def test() -> None:
        traces: list[Trace] = []
        talked = conversation(ScriptedGenerator(["It is blue.", "Because of the air."]))
        async with listening(handling(talked, traces)) as port, client(port.port) as peer:
            await tell(peer, Transcript("why is the sky blue", {"conversation_id": "7"}, "en").event())
            heard = await answers(peer, last="handled-stop")
            chunks = [HandledChunk.from_event(event).text for event in heard if event.type == "handled-chunk"]
            assert "".join(chunks) == "It is blue. Because of the air."
            handled = next(Handled.from_event(event) for event in heard if event.type == "handled")
            assert handled == Handled("It is blue. Because of the air.", {"conversation_id": "7"})
        assert [(trace.transcript, trace.outcome) for trace in traces] == [("why is the sky blue", "done")]

    run(test())


def test_what_nobody_understands_is_not_handled() -> None:
    async def test() -> None:
        async with listening(handling(conversation(), [])) as port, client(port.port) as peer:
            await tell(peer, Transcript("colourless green ideas").event())
            assert NotHandled.from_event((await answers(peer, last="not-handled"))[-1]).text

    run(test())


# ---- the port


def test_describe_tells_what_is_here_and_ping_is_answered() -> None:
    async def test() -> None:
        whole = Info(
            asr=asr_info("pocketsphinx", ["en"]).asr,
            tts=tts_info("piper:en_GB-alba", ["en"]).tts,
            wake=wake_info(["okay_nabu"]).wake,
            handle=handle_info(["en"]).handle,
        )
        async with (
            listening(lambda who: TtsTalk(who, ScriptedSynthesizer(), "en"), whole) as port,
            client(port.port) as peer,
        ):
            await tell(peer, Ping("7").event(), Describe().event())
            pong, told = await answers(peer, last="info")
            assert Pong.from_event(pong).text == "7"
            info = Info.from_event(told)
            assert info.asr[0].supports_transcript_streaming
            assert info.tts[0].supports_synthesize_streaming
            assert info.handle[0].supports_handled_streaming
            assert info.handle[0].supports_home_control
            assert info.wake[0].models[0].phrase == "okay nabu"
            for program in (*info.asr, *info.tts, *info.handle, *info.wake):
                assert program.installed
                assert program.version
                assert program.attribution.name
            assert info.tts[0].voices[0].languages == ["en"]

    run(test())


def test_pings_are_answered_while_work_goes_on() -> None:
    async def test() -> None:
        generator = ScriptedGenerator(["One.", "Two."])
        generator.gate = asyncio.Event()
        async with listening(handling(conversation(generator), [])) as port, client(port.port) as peer:
            await tell(peer, Transcript("a long story").event(), Ping("now").event())
            assert "handled-stop" not in [event.type for event in await answers(peer, last="pong")]
            generator.gate.set()
            await answers(peer, last="handled-stop")

    run(test())


def test_several_clients_are_served_at_once_and_no_more_than_there_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "MAX_CONNECTIONS", 3)

    async def test() -> None:
        ears = ScriptedTranscriber({CLIP: "stop"})
        async with listening(lambda who: AsrTalk(who, ears, "en")) as port:  # noqa: SIM117
            async with client(port.port) as one, client(port.port) as two, client(port.port) as three:
                for peer in (one, two, three):
                    await tell(peer, *audio(CLIP)[:-1])
                for peer in (three, one, two):
                    await tell(peer, AudioStop().event())
                    assert (await answers(peer, last="transcript-stop"))[2].data["text"] == "stop"
                async with client(port.port) as fourth:
                    with pytest.raises(ConnectionError):
                        while await fourth.read_event() is not None:
                            pass
                        raise ConnectionError("it was parted from")
                await tell(one, Ping().event())
                await answers(one, last="pong")

    run(test())


def test_a_stranger_is_refused_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        allow = AllowList(["192.168.1.0/24"])
        assert allow.allows("192.168.1.7")
        assert allow.allows("::ffff:192.168.1.7")
        assert allow.allows("127.0.0.1")
        assert not allow.allows("192.168.2.7")
        assert not allow.allows("8.8.8.8")
        async with listening(lambda who: AsrTalk(who, Taken(), "en"), allow=Nobody()) as port:
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", port.port), timeout=PATIENCE_S) as sock:
                    sock.settimeout(PATIENCE_S)
                    with suppress(ConnectionError):
                        assert await asyncio.to_thread(sock.recv, 1) == b""
            assert [record.getMessage() for record in caplog.records if "may not" in record.getMessage()] == [
                "127.0.0.1 wanted Wyoming's test and may not: wyoming.allow in the configuration does not name it"
            ]

    run(test())


class Nobody(AllowList):
    def allows(self, address: str) -> bool:
        return False


GARBAGE = [
    b"\x00\xff\xfe\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"[" * 60_000 + b"\n",
    b"x" * 200_000,
    b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
    b'{"type": "audio-chunk", "payload_length": -1}\n',
    b'{"type": "audio-chunk", "payload_length": 8, "data": {"rate": 1e999, "width": 2, "channels": 1}}\n12345678',
    b'{"type": "audio-chunk", "data": {"rate": 16000, "width": 0, "channels": 0}, "payload_length": 2}\nab',
    b'{"type": "audio-start", "data": [1]}\n',
    b'{"type": 5}\n',
    b'{"type": "transcribe", "data": {"language": {"a": 1}}}\n',
    b'{"type": "detect", "data": {"names": 7}}\n',
    b'{"type": "synthesize"}\n',
    b'{"type": "synthesize", "data": {"text": "a", "voice": 7}}\n',
    b'{"type": "transcript", "data": {"text": "a", "context": 7}}\n',
    b'{"type": "ping", "data": {"text": 7}}\n',
    b'{"type": "ping", "data_length": 3}\n{}',
]


def everything() -> list[Open]:
    return [
        lambda who: AsrTalk(who, ScriptedTranscriber({CLIP: "stop"}), "en"),
        lambda who: TtsTalk(who, ScriptedSynthesizer(), "en"),
        lambda who: WakeTalk(who, MicroWakeDetector, ("okay_nabu",)),
        handling(conversation(), []),
    ]


def test_garbage_ends_a_connection_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        for talk in everything():
            async with listening(talk) as port:
                await asyncio.gather(*(poured(port.port, data) for data in GARBAGE[:12]))
                await asyncio.gather(*(poured(port.port, data) for data in GARBAGE[12:]))
                async with client(port.port) as peer:
                    await tell(peer, Ping().event())
                    await answers(peer, last="pong")

    run(test())
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]


TYPES = st.sampled_from(
    [
        "transcribe",
        "audio-start",
        "audio-chunk",
        "audio-stop",
        "synthesize",
        "synthesize-start",
        "synthesize-chunk",
        "synthesize-stop",
        "detect",
        "transcript",
        "intent",
        "run-satellite",
    ]
)
DATA = st.dictionaries(
    st.sampled_from(["rate", "width", "channels", "text", "voice", "names", "language", "timestamp", "context"]),
    st.sampled_from([16_000, 2, 1, "en", {"language": "de"}, {"language": 7}, ["okay_nabu"]])
    | st.recursive(
        st.none() | st.booleans() | st.integers(-9, 99_999) | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2),
        max_leaves=4,
    ),
)
HEADERS = st.fixed_dictionaries(
    {"type": TYPES},
    optional={
        "data": DATA,
        "data_length": st.integers(-2, 9) | st.none() | st.text(max_size=2),
        "payload_length": st.integers(-2, 9) | st.none() | st.floats(),
    },
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=40) | HEADERS.map(lambda header: json.dumps(header).encode() + b"\n"), max_size=8))
def test_any_bytes_on_the_port_harm_nobody(parts: Sequence[bytes]) -> None:
    async def test() -> None:
        broken: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        for talk in everything():
            async with listening(talk) as port:
                await poured(port.port, b"".join(parts), and_eof=True)
                async with client(port.port) as peer:
                    await tell(peer, Ping().event())
                    await answers(peer, last="pong")
        assert not broken

    run(test())


class Discarding(Client):
    def __init__(self) -> None:
        self.address = "127.0.0.1"

    async def send(self, event: Event) -> None:
        json.dumps(event.data, ensure_ascii=False).encode()  # what writing it does


@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds(Event, TYPES, DATA, st.none() | st.binary(max_size=50)), max_size=6))
def test_any_event_is_taken_or_refused(events: Sequence[Event]) -> None:
    async def test() -> None:
        for opened in everything():
            talk = opened(Discarding())
            for event in events:
                with suppress(MycoswarmError):
                    await talk.take(event)
            await talk.close()

    run(test())


async def poured(port: int, data: bytes, *, and_eof: bool = False) -> None:
    """Send it and a ping, and read until that is answered or the other end parts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(data + b'{"type": "ping"}\n')
            if and_eof:
                writer.write_eof()
            while b'"pong"' not in heard and (some := await reader.read(65_536)):
                heard += some
    except ConnectionError:
        pass
    finally:
        writer.close()
