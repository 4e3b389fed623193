from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import numpy as np
import pytest
from wyoming.asr import Transcript as Said
from wyoming.asr import TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop, NotHandled
from wyoming.tts import Synthesize

from swarm import preferred
from swarm.checks import Examined, Finding, Senses
from swarm.checks.wyoming import wyoming as check_wyoming
from swarm.config import parse_config
from swarm.engine import ChatMessage
from swarm.engine import Transcript as Heard
from swarm.errors import ConfigError, EngineError
from swarm.preferred import PreferredGenerator, PreferredSynthesizer, PreferredTranscriber
from swarm.wyoming import engines as engines_module
from swarm.wyoming.describing import handle_info, tts_info
from swarm.wyoming.engines import WyomingGenerator, WyomingSynthesizer, WyomingTranscriber
from swarm.wyoming.others import OtherService
from tests.buses import free_port
from tests.hub.scripted_engines import ScriptedGenerator, ScriptedSynthesizer, ScriptedTranscriber
from tests.wyoming_peers import Service, service

Send = Callable[[Event], Awaitable[None]]
CLIP = b"\x07\x00" * 1600


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


class Ears:
    """A speech to text service that says how much it heard."""

    def __init__(self, *, streams: bool = False) -> None:
        self.bytes = 0
        self.languages: list[str] = []
        self.streams = streams

    async def __call__(self, event: Event, send: Send) -> bool:
        match event.type:
            case "transcribe":
                self.bytes = 0
                self.languages.append(event.data["language"])
            case "audio-chunk":
                self.bytes += len(event.payload or b"")
            case "audio-stop" if self.streams:
                for said in (TranscriptStart(), TranscriptChunk("dim "), TranscriptChunk("it"), TranscriptStop()):
                    await send(said.event())
            case "audio-stop":
                await send(Said(f"heard {self.bytes} bytes").event())
        return True


async def refuses(event: Event, send: Send) -> bool:
    return False


def test_a_service_of_others_hears_an_utterance_and_its_pauses() -> None:
    async def test() -> None:
        ears = Ears()
        async with service(ears) as other:
            stream = await WyomingTranscriber(other.url).open(language="de")
            await stream.feed(CLIP)
            assert await stream.so_far() == Heard("heard 3200 bytes")
            assert await stream.transcript() == Heard("heard 3200 bytes")
            assert other.connections == 1  # nothing was said after the pause: it was not asked again
            await stream.feed(CLIP)
            assert await stream.transcript() == Heard("heard 6400 bytes")
            assert set(ears.languages) == {"de"}
            await stream.close()

    run(test())


def test_a_transcript_that_only_streams_is_put_together() -> None:
    async def test() -> None:
        async with service(Ears(streams=True)) as other:
            stream = await WyomingTranscriber(other.url).open(language="en")
            await stream.feed(CLIP)
            assert await stream.transcript() == Heard("dim it")

    run(test())


def test_a_sure_command_is_taken_at_once_and_everything_else_from_the_service() -> None:
    async def test() -> None:
        async with service(Ears()) as other:
            own = ScriptedTranscriber({CLIP: "stop"})  # its score is 0: never sure
            ears = PreferredTranscriber(WyomingTranscriber(other.url), own)
            stream = await ears.open(language="en")
            await stream.feed(CLIP)
            assert await stream.so_far() == Heard("stop")
            assert await stream.transcript() == Heard("heard 3200 bytes")
            await stream.close()

    run(test())


@pytest.mark.parametrize("commands_only", [True, False])
def test_the_own_ears_hear_while_the_service_is_away_and_it_is_asked_again_when_it_is_back(
    commands_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def said(ears: PreferredTranscriber) -> str:
        stream = await ears.open(language="en")
        await stream.feed(CLIP)
        try:
            return (await stream.transcript()).text
        finally:
            await stream.close()

    async def test() -> None:
        other = Service(Ears())
        own = ScriptedTranscriber({CLIP: "stop"})
        own.commands_only = commands_only
        ears = PreferredTranscriber(WyomingTranscriber(other.url), own)
        assert await said(ears) == "stop"
        await other.start()
        try:
            assert await said(ears) == "stop"  # it failed a moment ago: nobody waits for it
            monkeypatch.setattr(ears._rest, "_until", 0.0)
            assert await said(ears) == "heard 3200 bytes"
            other.answer = refuses
            assert await said(ears) == "stop"
        finally:
            await other.stop()

    run(test())


def test_a_service_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferred, "HEAR_S", 0.1)

    async def hangs(event: Event, send: Send) -> bool:
        return True

    async def test() -> None:
        async with service(hangs) as other:
            ears = PreferredTranscriber(WyomingTranscriber(other.url), ScriptedTranscriber({CLIP: "stop"}))
            stream = await ears.open(language="en")
            await stream.feed(CLIP)
            assert (await stream.transcript()).text == "stop"

    run(test())


class Voice:
    """Speaks a second of tone at 48 kHz stereo with 32 bits; `breaks` hangs up in the middle."""

    def __init__(self) -> None:
        self.breaks = False
        self.asked: list[Synthesize] = []

    async def __call__(self, event: Event, send: Send) -> bool:
        if event.type == "describe":
            await send(tts_info("alba", ["en_GB"]).event())
        if event.type == "synthesize":
            self.asked.append(Synthesize.from_event(event))
            tone = (np.sin(np.arange(48_000) / 20) * 2**30).astype("<i4").repeat(2).tobytes()
            await send(AudioStart(48_000, 4, 2).event())
            for start in range(0, len(tone), 8_000):
                await send(AudioChunk(48_000, 4, 2, tone[start : start + 8_000]).event())
                if self.breaks and start > 200_000:
                    return False
            await send(AudioStop().event())
        return True


async def speech(voice: Any, text: str = "The lamp is on.") -> bytes:
    return b"".join([chunk async for chunk in voice.synthesize(text, language="en")])


def test_a_service_of_others_speaks_in_the_rate_that_is_wanted() -> None:
    async def test() -> None:
        voice = Voice()
        async with service(voice) as other:
            pcm = await speech(WyomingSynthesizer(other.url, rate=22_050))
            assert abs(len(pcm) // 2 - 22_050) < 50
            assert 15_000 < int(np.abs(np.frombuffer(pcm, dtype="<i2")).max()) < 18_000
            assert voice.asked[0].text == "The lamp is on."
            assert voice.asked[0].voice is not None
            assert voice.asked[0].voice.name == "alba"

    run(test())


def test_the_own_voice_says_what_the_service_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        voice = Voice()
        other = Service(voice)
        own = ScriptedSynthesizer()
        both = PreferredSynthesizer(
            WyomingSynthesizer(other.url, rate=own.rate), own, once_more=lambda text, language: f"Again: {text}"
        )
        assert len(await speech(both)) == 1_600
        await other.start()
        try:
            monkeypatch.setattr(both._rest, "_until", 0.0)
            assert len(await speech(both)) > 15_000
            voice.breaks = True
            assert len(await speech(both)) > 3_000
            assert own.said == ["The lamp is on.", "Again: The lamp is on."]
        finally:
            await other.stop()

    run(test())


def test_a_service_of_others_answers_what_is_no_command() -> None:
    async def handles(event: Event, send: Send) -> bool:
        if event.type == "describe":
            await send(handle_info(["en"]).event())
        if event.type == "transcript" and "story" in event.data["text"]:
            for said in (HandledStart(), HandledChunk("Once. "), HandledChunk("Twice."), Handled("Once. Twice.")):
                await send(said.event())
            await send(HandledStop().event())
        elif event.type == "transcript" and "sky" in event.data["text"]:
            await send(Handled("It is blue.").event())
        elif event.type == "transcript":
            await send(NotHandled("what?").event())
        return True

    async def asked(model: Any, text: str) -> list[str]:
        messages = [ChatMessage("system", "be brief"), ChatMessage("user", text)]
        return [piece async for piece in model.generate(messages, timeout_s=10.0)]

    async def test() -> None:
        own = ScriptedGenerator(["I do not know."])
        async with service(handles) as other:
            model = PreferredGenerator(WyomingGenerator(other.url), own)
            assert await model.available() == "mycoswarm"
            assert await asked(model, "a story") == ["Once. ", "Twice."]
            assert await asked(model, "why is the sky blue") == ["It is blue."]
            assert await asked(model, "gibberish") == ["I do not know. "]
        alone = PreferredGenerator(WyomingGenerator(f"tcp://127.0.0.1:{free_port()}"), None)
        assert await alone.available() is None
        with pytest.raises(EngineError, match="cannot be reached"):
            await asked(alone, "hello")

    run(test())


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xfe\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"[" * 9_000 + b"\n",
        b'{"type": "info", "data": {"asr": 7}}\n',
        b'{"type": "info", "data": {"satellite": []}}\n',
        b'{"type": "transcript", "data": {"text": 7}}\n',
    ],
)
def test_a_program_that_speaks_something_else_is_an_error_that_names_it(answer: bytes) -> None:
    async def test() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(EngineError, match="Wyoming"):
                await OtherService(url).info()
            stream = await WyomingTranscriber(url).open(language="en")
            await stream.feed(CLIP)
            with pytest.raises(EngineError, match=r"Wyoming|connection"):
                await stream.transcript()

    run(test())


def test_nothing_leaves_the_lan() -> None:
    async def test() -> None:
        with pytest.raises(EngineError, match="outside the LAN"):
            await OtherService("tcp://8.8.8.8:10300").info()

    run(test())


@pytest.mark.parametrize(
    "url", ["http://nas:10300", "tcp://nas", "tcp://nas:x", "nas:10300", "tcp://nas:1/x", "tcp://"]
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match="no Wyoming service"):
        WyomingTranscriber(url)


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "MAX_SPEECH_S", 0.5)

    async def test() -> None:
        async with service(Voice()) as other:
            with pytest.raises(EngineError, match="speaks for more"):
                await speech(WyomingSynthesizer(other.url))

    run(test())


def test_doctor_tells_whether_the_services_answer_that_are_named() -> None:
    def found(url: str) -> list[Finding]:
        text = f'[swarm]\nmulticast = false\n[speech]\nwyoming_tts = "{url}"\n'
        config = parse_config(text, origin="config.toml")
        return check_wyoming(Examined(config, "config.toml", None, None, cast("Senses", None)))

    async def test() -> None:
        async with service(Voice()) as other:
            (well,) = await asyncio.to_thread(found, other.url)
            assert (well.status, "mycoswarm" in well.found) == ("ok", True)
        async with service(handles_nothing) as other:
            (wrong,) = await asyncio.to_thread(found, other.url)
            assert (wrong.status, "offers handle, and not tts" in wrong.found) == ("warn", True)
            away = other.url
        (gone,) = await asyncio.to_thread(found, away)
        assert (gone.status, "cannot be reached" in gone.found) == ("warn", True)

    run(test())


async def handles_nothing(event: Event, send: Send) -> bool:
    await send(handle_info(["en"]).event())
    return True
