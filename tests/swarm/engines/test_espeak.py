import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import numpy as np
import psutil
import pytest

from swarm.engines.espeak import MAX_TEXT, RATE, EspeakSynthesizer
from swarm.errors import EngineError


@asynccontextmanager
async def espeak() -> AsyncIterator[EspeakSynthesizer]:
    synthesizer = EspeakSynthesizer()
    try:
        yield synthesizer
    finally:
        await synthesizer.close()


async def spoken(synthesizer: EspeakSynthesizer, text: str, language: str = "en") -> bytes:
    return b"".join([chunk async for chunk in synthesizer.synthesize(text, language=language)])


def seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / RATE


def test_speaks_a_sentence_in_small_chunks_without_silence_before_it() -> None:
    async def main() -> None:
        async with espeak() as synthesizer:
            chunks = [c async for c in synthesizer.synthesize("The kitchen lamp is on.", language="en")]
            assert 0.8 < seconds(b"".join(chunks)) < 2.5
            assert max(seconds(chunk) for chunk in chunks) <= 0.1
            samples = np.abs(np.frombuffer(b"".join(chunks), "<i2").astype(int))
            assert samples.max() > 5000
            assert samples[0] >= 16
            quoted = await spoken(synthesizer, '"Hello" it is.')  # 120 ms of silence for a quotation mark
            assert abs(int.from_bytes(quoted[:2], "little", signed=True)) >= 16

    asyncio.run(main())


def test_each_language_has_its_voice() -> None:
    async def main() -> None:
        async with espeak() as synthesizer:
            said = {
                language: await synthesizer.phonemes(["Die Lampe in der Garage"], language=language)
                for language in ("en", "en-US", "en-GB", "de", "de-AT", "fr", "fr_CA", "zh-CN", "no")
            }
            assert said["en"] == said["en-US"] != said["en-GB"]
            assert said["de"] == said["de-AT"] != said["en"]
            assert said["fr"] == said["fr_CA"] != said["de"]
            german, english = [seconds(await spoken(synthesizer, "97 98 99", language)) for language in ("de", "en")]
            assert german - english > 0.5

    asyncio.run(main())


def test_an_unknown_language_is_an_error_that_names_it_and_harms_nothing() -> None:
    async def main() -> None:
        async with espeak() as synthesizer:
            with pytest.raises(EngineError, match='no voice for the language "xx"'):
                await spoken(synthesizer, "hello", "xx")
            assert await spoken(synthesizer, "hello")

    asyncio.run(main())


def test_markup_and_phoneme_brackets_are_plain_text() -> None:
    async def main() -> None:
        async with espeak() as synthesizer:
            assert seconds(await spoken(synthesizer, '<break time="20s"/> hello')) < 10
            plain = await synthesizer.phonemes(["[[h@l'oU]]"], language="en")
            assert plain != await synthesizer.phonemes(["hello"], language="en")

    asyncio.run(main())


@pytest.mark.parametrize("text", ["", " \n ", "\0", "👍", "...", "\ud800"])
def test_text_without_words_gives_little_or_no_sound_and_no_error(text: str) -> None:
    async def main() -> None:
        async with espeak() as synthesizer:
            assert seconds(await spoken(synthesizer, text)) < 2
            assert await spoken(synthesizer, "hello")

    asyncio.run(main())


def test_a_text_goes_on_after_a_nul_and_a_full_length_text_is_spoken_whole() -> None:
    async def main() -> None:
        async with espeak() as synthesizer:
            assert seconds(await spoken(synthesizer, "one\0two three four")) > 0.8
            assert seconds(await spoken(synthesizer, "lamp " * (MAX_TEXT // 5))) > 60
            with pytest.raises(EngineError, match="too long"):
                await spoken(synthesizer, "x" * (MAX_TEXT + 1))

    asyncio.run(main())


def test_closing_early_does_not_harm_the_next_sentence() -> None:
    async def main() -> None:
        async with espeak() as synthesizer:
            wanted = seconds(await spoken(synthesizer, "It is ten o'clock."))
            for _ in range(3):
                long = synthesizer.synthesize("A very long story. " * 100, language="en")
                async with aclosing(long) as chunks:
                    await anext(chunks)
                again = await spoken(synthesizer, "It is ten o'clock.")
                assert seconds(again) == pytest.approx(wanted, rel=0.02)

    asyncio.run(main())


def test_a_crash_costs_one_sentence() -> None:
    async def main() -> None:
        async with espeak() as synthesizer:
            wanted = seconds(await spoken(synthesizer, "Hello."))
            chunks = synthesizer.synthesize("A very long story. " * 100, language="en")
            await anext(chunks)
            psutil.Process(synthesizer.pid).kill()
            with pytest.raises(EngineError, match="espeak-ng died of SIGKILL"):
                async for _ in chunks:
                    pass
            assert seconds(await spoken(synthesizer, "Hello.")) == pytest.approx(wanted, rel=0.02)

    asyncio.run(main())


def test_tells_the_phonemes_of_more_words_than_fit_one_request() -> None:
    async def main() -> None:
        async with espeak() as synthesizer:
            words = ["lamp", "kitchen"] * 600
            assert await synthesizer.phonemes(words, language="en-us") == ["l_'a_m_p", "k_'I_tS_@_n"] * 600

    asyncio.run(main())
