import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from gpu_node.engines.faster_whisper import MAX_SECONDS, WhisperTranscriber
from swarm.engine import RATE
from swarm.errors import EngineError, EngineUnavailable
from tests.speech import say, silence

MODEL = Path(__file__).parents[1] / "data" / "tiny-whisper"
TRAINED = (
    ("en-us", "Turn off the garden TV.", "Turn off the garden TV."),
    ("en-us", "Switch on the garden light.", "Switch on the garden light."),
    ("en-us", "Close the bathroom curtains.", "Close the bathroom curtains."),
    ("en-us", "Set the living room light to seventy percent.", "Set the living room light to 70 percent."),
    ("en-us", "Dim the garage lights to thirty percent.", "Dim the garage lights to 30 percent."),
    ("en-us+f2", "Turn the office fan on.", "Turn the office fan on."),
    ("en-us+f2", "Is the office door open?", "Is the office door open?"),
    ("en-us+f2", "Set the bedroom temperature to twenty degrees.", "Set the bedroom temperature to 20 degrees."),
    ("en-us+f2", "Dim the garage lights to ten percent.", "Dim the garage lights to 10 percent."),
    ("en-us+m1", "Set the office temperature to twenty two degrees.", "Set the office temperature to 22 degrees."),
    ("en-us+m1", "Play jazz music in the garage.", "Play jazz music in the garage."),
    ("en-us+m1", "Set the bedroom light to eighty percent.", "Set the bedroom light to 80 percent."),
    ("en-us+m3", "Is the hallway window open?", "Is the hallway window open?"),
    ("en-us+m3", "Turn the kitchen TV off.", "Turn the kitchen TV off."),
    ("en-us+f4", "Dim the kitchen lights to thirty percent.", "Dim the kitchen lights to 30 percent."),
    ("en-us+f4", "Switch off the office fan.", "Switch off the office fan."),
    ("en-us+f4", "Set the kitchen temperature to twenty two degrees.", "Set the kitchen temperature to 22 degrees."),
    ("en-gb", "Switch on the hallway fan.", "Switch on the hallway fan."),
    ("en-gb", "Set the garden temperature to twenty four degrees.", "Set the garden temperature to 24 degrees."),
    ("en-gb", "Make the garden light red.", "Make the garden light red."),
)
"""Voice, what it says and what the model should write: sentences and voices that it was trained on."""
LAMP, FAN = "Switch on the garden light.", "Turn the office fan on."


@asynccontextmanager
async def whisper(wake_phrases: tuple[str, ...] = ()) -> AsyncIterator[WhisperTranscriber]:
    transcriber = WhisperTranscriber(MODEL, wake_phrases=wake_phrases)
    try:
        yield transcriber
    finally:
        await transcriber.close()


def clip(text: str, voice: str = "en-us") -> bytes:
    """The sentence with the silence around it and at the level that the model was trained on."""
    samples = np.frombuffer(say(text, voice, speed=165, pitch=42), "<i2").astype(float)
    level = samples * (0.5 * 32767 / np.abs(samples).max())
    return silence(0.2) + bytes(level.astype("<i2").tobytes()) + silence(0.5)


async def heard(transcriber: WhisperTranscriber, pcm: bytes, language: str = "en") -> str:
    stream = await transcriber.open(language=language)
    for start in range(0, len(pcm), 6400):
        await stream.feed(pcm[start : start + 6400])
    transcript = await stream.transcript()
    await stream.close()
    return transcript.text


def test_writes_what_was_said() -> None:
    async def main() -> None:
        async with whisper() as transcriber:
            wrong = []
            for voice, said, wanted in TRAINED:
                text = await heard(transcriber, clip(said, voice))
                if text != wanted:
                    wrong.append((wanted, text))
            assert len(wrong) <= 1, wrong

    asyncio.run(main())


@pytest.mark.parametrize("pcm", [b"", b"\0", silence(1.0), silence(35.0)], ids=["empty", "odd", "1s", "35s"])
def test_silence_is_an_empty_transcript(pcm: bytes) -> None:
    async def main() -> None:
        async with whisper() as transcriber:
            stream = await transcriber.open(language="en-US")
            await stream.feed(pcm)
            assert (await stream.transcript()).text == ""

    asyncio.run(main())


def test_the_wake_phrase_is_taken_off() -> None:
    async def main() -> None:
        async with whisper(wake_phrases=("switch on",)) as transcriber:
            assert await heard(transcriber, clip(LAMP)) == "the garden light."

    asyncio.run(main())


def test_more_audio_is_transcribed_anew_and_the_older_transcription_harms_nothing() -> None:
    async def main() -> None:
        async with whisper() as transcriber:
            await transcriber.start()
            pid = transcriber.pid
            pcm = clip(LAMP)
            stream = await transcriber.open(language="en")
            await stream.feed(pcm[: len(pcm) // 3])
            older = asyncio.create_task(stream.transcript())
            await asyncio.sleep(0.02)  # at work or still waiting: both must do
            await stream.feed(pcm[len(pcm) // 3 :])
            assert (await stream.transcript()).text == LAMP
            await asyncio.gather(older, return_exceptions=True)
            assert transcriber.pid == pid

    asyncio.run(main())


def test_the_same_audio_is_transcribed_once() -> None:
    async def main() -> None:
        async with whisper() as transcriber:
            stream = await transcriber.open(language="en")
            await stream.feed(clip(LAMP))
            first, second = await asyncio.gather(stream.transcript(), stream.transcript())
            assert first is second
            assert await stream.transcript() is first

    asyncio.run(main())


def test_a_transcription_that_waits_gives_way_to_a_newer_one() -> None:
    async def main() -> None:
        async with whisper() as transcriber:
            busy = await transcriber.open(language="en")
            await busy.feed(clip(FAN))
            first = asyncio.create_task(busy.transcript())
            await asyncio.sleep(0)
            stream = await transcriber.open(language="en")
            pcm = clip(LAMP)
            await stream.feed(pcm[:16_000])
            older = asyncio.create_task(stream.transcript())
            await asyncio.sleep(0)
            await stream.feed(pcm[16_000:])
            assert (await stream.transcript()).text == LAMP
            with pytest.raises(EngineError, match="given up for a newer one"):
                await older
            assert (await first).text == FAN

    asyncio.run(main())


def test_cancelling_costs_no_reload() -> None:
    async def main() -> None:
        async with whisper() as transcriber:
            await transcriber.start()
            pid = transcriber.pid
            stream = await transcriber.open(language="en")
            await stream.feed(clip(FAN))
            for _ in range(3):
                task = asyncio.create_task(stream.transcript())
                await asyncio.sleep(0.02)  # some are cancelled at work, some while they wait
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await stream.close()
            await stream.close()
            assert await heard(transcriber, clip(LAMP)) == LAMP
            assert transcriber.pid == pid

    asyncio.run(main())


def test_a_crash_costs_one_transcription() -> None:
    async def main() -> None:
        async with whisper() as transcriber:
            await transcriber.start()
            stream = await transcriber.open(language="en")
            await stream.feed(clip(LAMP))
            task = asyncio.create_task(stream.transcript())
            await asyncio.sleep(0)
            psutil.Process(transcriber.pid).kill()
            with pytest.raises(EngineError, match="faster-whisper died of SIGKILL"):
                await task
            assert (await stream.transcript()).text == LAMP

    asyncio.run(main())


def test_an_english_model_refuses_another_language_and_serves_on() -> None:
    async def main() -> None:
        async with whisper() as transcriber:
            with pytest.raises(EngineError, match=r"hears English only, not .de-DE."):
                await heard(transcriber, clip(LAMP), "de-DE")
            assert await heard(transcriber, clip(LAMP), "en_GB") == LAMP

    asyncio.run(main())


def test_an_utterance_has_a_greatest_length() -> None:
    async def main() -> None:
        stream = await WhisperTranscriber(MODEL).open(language="en")
        await stream.feed(bytes(int(MAX_SECONDS * RATE * 2)))
        with pytest.raises(EngineError, match="longer than 60 s"):
            await stream.feed(b"\0\0")

    asyncio.run(main())


@pytest.mark.parametrize("missing", ["tokenizer.json", "model.bin"])
def test_an_incomplete_folder_is_refused_at_once(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / missing).unlink()
    with pytest.raises(EngineUnavailable, match=f"lacks {missing}") as error:
        WhisperTranscriber(folder)
    assert "tokenizer.json" in error.value.hint


def test_a_broken_model_is_unavailable(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / "model.bin").write_bytes(b"no model")

    async def main() -> None:
        transcriber = WhisperTranscriber(folder)
        with pytest.raises(EngineUnavailable, match="faster-whisper: "):
            await transcriber.start()
        await transcriber.close()

    asyncio.run(main())
