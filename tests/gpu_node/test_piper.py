import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from gpu_node.engines.piper import MAX_TEXT, PiperSynthesizer
from swarm.errors import EngineError, EngineUnavailable
from tests.gpu_node.tiny_voice import HERTZ_PER_ID, LETTERS, RATE, make_tiny_voice


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_voice(tmp_path_factory.mktemp("voice"))


@asynccontextmanager
async def piper(voice: Path) -> AsyncIterator[PiperSynthesizer]:
    synthesizer = PiperSynthesizer(voice)
    try:
        yield synthesizer
    finally:
        await synthesizer.close()


async def spoken(synthesizer: PiperSynthesizer, text: str) -> list[bytes]:
    return [chunk async for chunk in synthesizer.synthesize(text, language="en")]


def loudest_hertz(pcm: bytes) -> float:
    samples = np.frombuffer(pcm, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum) * RATE / len(samples))


def test_speaks_the_text_in_the_voices_rate(voice: Path) -> None:
    async def main() -> None:
        async with piper(voice) as synthesizer:
            assert synthesizer.rate == RATE
            for letter in "az":
                pcm = b"".join(await spoken(synthesizer, letter * 50))
                assert loudest_hertz(pcm) == pytest.approx((10 + LETTERS.index(letter)) * HERTZ_PER_ID, abs=60)
                assert np.abs(np.frombuffer(pcm, "<i2").astype(int)).max() > 20_000

    asyncio.run(main())


def test_chunks_are_small(voice: Path) -> None:
    async def main() -> None:
        async with piper(voice) as synthesizer:
            chunks = await spoken(synthesizer, "a long sentence " * 10)
            assert len(chunks) > 5
            assert max(map(len, chunks)) <= 8192

    asyncio.run(main())


def test_a_voice_with_espeak_phonemes_speaks_each_sentence(tmp_path: Path) -> None:
    async def main() -> None:
        async with piper(make_tiny_voice(tmp_path, phoneme_type="espeak")) as synthesizer:
            one = b"".join(await spoken(synthesizer, "See me."))
            two = b"".join(await spoken(synthesizer, "See me. See me."))
            assert len(two) == 2 * len(one)
            brackets = b"".join(await spoken(synthesizer, "[[See me.]]"))
            assert len(brackets) == len(one)

    asyncio.run(main())


def test_odd_text_is_no_error(voice: Path) -> None:
    async def main() -> None:
        async with piper(voice) as synthesizer:
            for text in ("", "\0", "👍", "\ud800", "[[", "]]"):
                await spoken(synthesizer, text)
            with pytest.raises(EngineError, match="too long"):
                await spoken(synthesizer, "x" * (MAX_TEXT + 1))
            assert await spoken(synthesizer, "still here")

    asyncio.run(main())


def test_closing_early_and_a_crash_do_not_harm_the_next_sentence(voice: Path) -> None:
    async def main() -> None:
        async with piper(voice) as synthesizer:
            wanted = await spoken(synthesizer, "hello")
            long = synthesizer.synthesize("hello " * 300, language="en")
            async with aclosing(long) as chunks:
                await anext(chunks)
            assert await spoken(synthesizer, "hello") == wanted
            psutil.Process(synthesizer.pid).kill()
            with pytest.raises(EngineError, match="died of SIGKILL"):
                await spoken(synthesizer, "hello")
            assert await spoken(synthesizer, "hello") == wanted

    asyncio.run(main())


def test_gpl_code_stays_out_of_this_process(voice: Path) -> None:
    async def main() -> None:
        async with piper(voice) as synthesizer:
            await spoken(synthesizer, "hello")
            assert "piper" not in sys.modules

    asyncio.run(main())


def test_a_missing_file_is_named(voice: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"there is no file .*/none\.onnx$"):
        PiperSynthesizer(tmp_path / "none.onnx")
    (tmp_path / "alone.onnx").write_bytes(voice.read_bytes())
    with pytest.raises(EngineUnavailable, match=r"there is no file .*/alone\.onnx\.json$"):
        PiperSynthesizer(tmp_path / "alone.onnx")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("", "does not describe a Piper voice"),
        ("{", "does not describe a Piper voice"),
        ("[]", "does not describe a Piper voice"),
        ("[" * 100_000, "does not describe a Piper voice"),
        ('{"audio": {}}', "does not describe a Piper voice: KeyError: 'sample_rate'"),
        ('{"audio": {"sample_rate": "fast"}}', "a sample rate of fast"),
        ('{"audio": {"sample_rate": 1}}', "a sample rate of 1 "),
        ('{"audio": {"sample_rate": 16000}, "phoneme_type": "pinyin"}', "need files from the internet"),
    ],
)
def test_a_broken_description_is_refused_at_once(voice: Path, tmp_path: Path, config: str, complaint: str) -> None:
    path = tmp_path / "v.onnx"
    path.write_bytes(voice.read_bytes())
    (tmp_path / "v.onnx.json").write_text(config)
    with pytest.raises(EngineUnavailable, match=complaint):
        PiperSynthesizer(path)


@pytest.mark.parametrize("broken", ["model", "description"])
def test_a_voice_that_cannot_be_loaded_is_unavailable(voice: Path, tmp_path: Path, broken: str) -> None:
    path = tmp_path / "v.onnx"
    path.write_bytes(b"no model" if broken == "model" else voice.read_bytes())
    config = json.loads(voice.with_name("tiny.onnx.json").read_text())
    if broken == "description":
        del config["phoneme_id_map"]
    (tmp_path / "v.onnx.json").write_text(json.dumps(config))

    async def main() -> None:
        async with piper(path) as synthesizer:
            with pytest.raises(EngineUnavailable, match="piper: "):
                await synthesizer.start()

    asyncio.run(main())
