"""`mycoswarm bench voice`: everything that BENCHMARKS.md says of the voice path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from swarm.bench.corpus import COMMANDS, NO_SPOKEN_ANSWER, WAKE_PHRASES, WAKE_VOICES, spread
from swarm.bench.idle import measure_idle
from swarm.bench.latency import measure_latency
from swarm.bench.node import bench_node
from swarm.bench.report import Report, Section, load_now, new_report
from swarm.bench.speech import Speech
from swarm.bench.understood import WAKE_WORD, measure_understanding
from swarm.bench.waking import measure_detection, measure_false_wakes
from swarm.errors import MycoswarmError

TITLE = "Voice"
BOUND_S = 3600.0
"""Of a whole run, which takes a quarter of that on two cores."""
TALK_S = 30.0
"""Talk that an idle satellite hears, again and again."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    answers: int
    """Commands in real time, 4 s each."""
    idle_s: float
    commands: int
    others: int
    speakers: int
    talk_s: float
    """Talk without wake words."""
    voices: int
    """Who say wake words."""


FULL = Size(answers=60, idle_s=20.0, commands=64, others=100, speakers=4, talk_s=3600.0, voices=len(WAKE_VOICES))
QUICK = Size(answers=10, idle_s=10.0, commands=10, others=10, speakers=2, talk_s=300.0, voices=8)


async def bench_voice(size: Size, tell: Callable[[str], None]) -> Report:
    """Measure; `tell` gets progress, a line at a time. Raises `MycoswarmError`.

    What is timed comes first and alone. The rest is fed faster than real time and uses all cores.
    """
    load = load_now()
    speech = Speech()
    try:
        async with asyncio.timeout(BOUND_S):
            await speech.start()
            sections = await _in_real_time(speech, size, tell)
            tell("wake words")
            sections.append(await measure_detection(speech, spread(WAKE_VOICES, size.voices)))
            sections.append(await measure_false_wakes(speech, seconds=size.talk_s, tell=tell))
            sections += await measure_understanding(
                speech, commands=size.commands, others=size.others, speakers=size.speakers, tell=tell
            )
    except TimeoutError:
        raise MycoswarmError(f"the measurement was not done within {BOUND_S / 60:.0f} minutes") from None
    finally:
        await speech.close()
    return new_report(TITLE, sections, load=load)


async def _in_real_time(speech: Speech, size: Size, tell: Callable[[str], None]) -> list[Section]:
    answered = tuple(text for text in COMMANDS if text not in NO_SPOKEN_ANSWER)
    voice = speech.speakers[0]
    recordings = [
        (text, await speech.recording((text,), voice, wake=WAKE_PHRASES[WAKE_WORD]))
        for text in spread(answered, size.answers)
    ]
    talk = await speech.television(TALK_S)
    tell("starting a node")
    async with bench_node() as node:
        latency = await measure_latency(node, recordings, tell)
        tell("an idle satellite")
        return [latency, await measure_idle(node, talk, seconds=size.idle_s)]
