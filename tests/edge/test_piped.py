import asyncio
import os
import threading
from pathlib import Path

import pytest

from edge.piped import run_piped
from edge.sinks import CollectingSink
from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from swarm.errors import AudioError
from swarm.messages import Hello, UtteranceStarted
from tests.edge.fake_hub import answering, fake_hub
from tests.speech import say, silence

REPLY = b"\x01\x00" * 1_600


async def hear(path: Path | int, *, url: str, told: list[tuple[str, str]], sink: CollectingSink) -> None:
    with open(path, "rb") as file:  # noqa: ASYNC230, PTH123 a file descriptor of a pipe is given too
        await run_piped(
            file,
            url=url,
            name="pipe",
            detector=MicroWakeDetector(["okay_nabu"]),
            vad=SileroVoiceActivity(),
            sink=sink,
            area="Kitchen",
            volume=100,
            tell=lambda what, text: told.append((what, text)),
        )


def test_question_at_the_end_of_the_pipe_still_gets_its_answer() -> None:
    question = silence(0.5) + say("okay nabu, turn on the lamp")
    reading, writing = os.pipe()
    told: list[tuple[str, str]] = []
    sink = CollectingSink()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(question)

    async def check() -> None:
        async with fake_hub(answering(REPLY, 16_000, "The lamp is on.")) as hub:
            writer = threading.Thread(target=write)
            hearing = asyncio.create_task(hear(reading, url=hub.url, told=told, sink=sink))
            await hub.until_said(Hello)
            writer.start()
            async with asyncio.timeout(30):
                await hearing
            writer.join()
            assert hub.of(Hello)[0].area == "Kitchen"
            assert hub.of(UtteranceStarted)[0].wake_word == "okay_nabu"

    asyncio.run(check())
    assert told == [("answer", "The lamp is on.")]
    assert REPLY in sink.pcm(16_000)


def test_file_without_a_wake_word_ends_by_itself(tmp_path: Path) -> None:
    (tmp_path / "quiet.raw").write_bytes(silence(0.2))
    told: list[tuple[str, str]] = []

    async def check() -> None:
        async with fake_hub() as hub, asyncio.timeout(20):
            await hear(tmp_path / "quiet.raw", url=hub.url, told=told, sink=CollectingSink())
            assert hub.of(UtteranceStarted) == []

    asyncio.run(check())
    assert told == []


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    async def check() -> None:
        (tmp_path / "closed.raw").touch()
        with (tmp_path / "closed.raw").open("rb") as file:
            pass
        async with fake_hub() as hub, asyncio.timeout(20):
            with pytest.raises(AudioError, match=r"closed\.raw"):
                await run_piped(
                    file,
                    url=hub.url,
                    name="pipe",
                    detector=None,
                    vad=SileroVoiceActivity(),
                    sink=CollectingSink(),
                    tell=lambda what, text: None,
                )

    asyncio.run(check())
