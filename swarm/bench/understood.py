"""What is understood, refused and cut short, in silence, in noise and beside a television."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge.endpointing import EndpointSettings
from swarm.bench.corpus import AMBIGUOUS, COMMANDS, HALTING, NOT_COMMANDS, WAKE_PHRASES, Halting, spread
from swarm.bench.hearing import Ears, Heard, virtual_home
from swarm.bench.report import Measurement, Section, percentile, share
from swarm.bench.speech import Speech
from swarm.errors import EngineError, MycoswarmError

WAKE_WORD = "okay_nabu"
TAIL_S = EndpointSettings().max_s + 1.0
"""After it every utterance is over."""
TELEVISION_DB = 15.0
ROOM_S = 1200.0
"""Longest that one room may take."""


@dataclass(frozen=True)
class Room:
    """Where and how things are said."""

    name: str
    wake: bool = True
    """The wake word is said before."""
    everybody: bool = True
    """Every speaker says every command; else they take turns."""
    halting: bool = True
    """Some speak with a stop in the middle."""
    others: bool = True
    """Sentences that are no command are said too."""
    snr_db: float | None = None
    television_db: float | None = None
    least_understood: float | None = None
    """Percent that was promised."""


ROOMS = (
    Room("clean", least_understood=90.0),
    Room("20 dB noise", snr_db=20.0, least_understood=75.0),
    Room("10 dB noise", snr_db=10.0, everybody=False, halting=False),
    Room("clean, no wake word before it", wake=False, everybody=False, halting=False, others=False),
)
TELEVISION = Room("television", everybody=False, halting=False, others=False, television_db=TELEVISION_DB)


@dataclass
class Tally:
    """What came of one room."""

    commands: int = 0
    understood: int = 0
    refused: int = 0
    mistaken: list[str] = field(default_factory=list)
    """Taken for another command."""
    cut_short: list[str] = field(default_factory=list)
    halting: int = 0
    halting_cut_short: list[str] = field(default_factory=list)
    ambiguous: int = 0
    ambiguous_cut_short: int = 0
    others: int = 0
    others_accepted: list[str] = field(default_factory=list)
    held_open: int = 0
    """Ended by the hard cap."""
    waited_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Saying:
    kind: Literal["command", "halting", "ambiguous", "other"]
    parts: tuple[str, ...]
    voice: str
    pause_s: float = 0.0

    @property
    def text(self) -> str:
        return " ".join(self.parts)


async def measure_understanding(
    speech: Speech, *, commands: int, others: int, speakers: int, tell: Callable[[str], None]
) -> list[Section]:
    """Say so many commands and other sentences in every room, by so many speakers. Raises `MycoswarmError`."""
    everybody = speech.speakers[:speakers]
    limit = asyncio.Semaphore(min(4, os.cpu_count() or 1))

    async def listen(room: Room, count: int) -> Tally:
        async with limit:
            try:
                async with asyncio.timeout(ROOM_S):
                    return await _listen(speech, room, _work(room, everybody, count, others), tell)
            except TimeoutError:
                raise EngineError(f"{room.name}: not done within {ROOM_S:g} s") from None

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(listen(room, commands)) for room in ROOMS]
            beside_television = group.create_task(listen(TELEVISION, commands // 2 or 1))
    except* MycoswarmError as failed:
        raise failed.exceptions[0] from None
    told = [(room, task.result()) for room, task in zip(ROOMS, tasks, strict=True)]
    return [_cut_short(told), _understood(told), _accepted(told), _television(beside_television.result())]


def _work(room: Room, everybody: tuple[str, ...], commands: int, others: int) -> list[_Saying]:
    """What is said in a room, in an order that is always the same."""
    work: list[_Saying] = []
    for number, text in enumerate(spread(COMMANDS, commands)):
        voices = everybody if room.everybody else (everybody[number % len(everybody)],)
        work += [_Saying("command", (text,), voice) for voice in voices]
    if room.halting:
        kinds: tuple[tuple[Literal["halting", "ambiguous"], tuple[Halting, ...]], ...] = (
            ("halting", HALTING),
            ("ambiguous", AMBIGUOUS),
        )
        for kind, sayings in kinds:
            for each in spread(sayings, commands):
                work += [_Saying(kind, (each.before, each.after), voice, each.pause_s) for voice in everybody]
    if room.others:
        work += [
            _Saying("other", (text,), everybody[number % len(everybody)])
            for number, text in enumerate(spread(NOT_COMMANDS, others))
        ]
    return random.Random(0).sample(work, len(work))


async def _listen(speech: Speech, room: Room, work: Sequence[_Saying], tell: Callable[[str], None]) -> Tally:
    ears = Ears(virtual_home(), wake_word=WAKE_WORD)
    tally = Tally()
    try:
        await ears.start()
        for number, saying in enumerate(work, start=1):
            recording = await speech.recording(
                saying.parts,
                saying.voice,
                wake=WAKE_PHRASES[WAKE_WORD] if room.wake else "",
                pause_s=saying.pause_s,
                tail_s=TAIL_S,
                snr_db=room.snr_db,
                television_db=room.television_db,
            )
            _count(tally, saying, await ears.hear(recording), ears)
            if number % 50 == 0 or number == len(work):
                tell(f"{room.name}: {number} of {len(work)}")
    finally:
        await ears.close()
    return tally


def _count(tally: Tally, saying: _Saying, heard: Heard, ears: Ears) -> None:
    meaning = ears.meaning(heard.transcript.text) if heard.transcript.accepted else []
    as_heard = f"“{saying.text}” ({saying.voice}) as “{heard.transcript.text}”"
    cut_short = f"“{saying.text}” ({saying.voice}) by {-heard.waited_ms:.0f} ms"
    match saying.kind:
        case "other":
            tally.others += 1
            if meaning:
                tally.others_accepted.append(as_heard)
        case "halting":
            tally.halting += 1
            if heard.cut_short:
                tally.halting_cut_short.append(cut_short)
        case "ambiguous":
            tally.ambiguous += 1
            tally.ambiguous_cut_short += heard.cut_short
        case "command":
            tally.commands += 1
            tally.held_open += heard.reason in ("cap", None)
            tally.waited_ms.append(heard.waited_ms)
            if heard.cut_short:
                tally.cut_short.append(cut_short)
            if meaning == ears.meaning(saying.text):
                tally.understood += 1
            elif meaning:
                tally.mistaken.append(as_heard)
            else:
                tally.refused += 1


def _cut_short(told: Sequence[tuple[Room, Tally]]) -> Section:
    rows: list[Measurement] = []
    for room, tally in told:
        rows.append(_percent(room.name, len(tally.cut_short), tally.commands, most=1.0))
        if room.halting:
            cut = len(tally.halting_cut_short)
            rows.append(_percent(f"{room.name}, with a stop in the middle", cut, tally.halting, most=1.0))
            rows.append(
                _percent(
                    f"{room.name}, with a stop after half of it that is a command too",
                    tally.ambiguous_cut_short,
                    tally.ambiguous,
                )
            )
    examples = [each for _, tally in told for each in (*tally.cut_short, *tally.halting_cut_short)]
    return Section(
        "Commands cut short by endpointing too early",
        tuple(rows),
        ("Stops are 200 or 250 ms long, after a command 100 ms.", *_examples(examples)),
    )


def _understood(told: Sequence[tuple[Room, Tally]]) -> Section:
    rows: list[Measurement] = []
    for room, tally in told:
        count = tally.commands
        rows += [
            _percent(f"{room.name}: understood", tally.understood, count, least=room.least_understood),
            _percent(f"{room.name}: refused", tally.refused, count),
            _percent(f"{room.name}: taken for another", len(tally.mistaken), count),
        ]
    return Section(
        "Commands understood",
        tuple(rows),
        (
            "Understood: accepted, with the intents and slots that the true text has. Whether the wake word was heard "
            "is measured by itself; where it was not, it is taken as heard 150 ms after its end.",
            *_examples([each for _, tally in told for each in tally.mistaken]),
        ),
    )


def _accepted(told: Sequence[tuple[Room, Tally]]) -> Section:
    rows = [
        _percent(room.name, len(tally.others_accepted), tally.others, most=5.0) for room, tally in told if room.others
    ]
    examples = [each for _, tally in told for each in tally.others_accepted]
    return Section("Not a command, accepted as one", tuple(rows), _examples(examples))


def _television(tally: Tally) -> Section:
    waited, count = tally.waited_ms, tally.commands
    return Section(
        f"A television talks on, {TELEVISION_DB:g} dB below the speaker",
        (
            Measurement("end of speech to endpoint, p50", percentile(waited, 50), "ms", of=count),
            Measurement("end of speech to endpoint, p95", percentile(waited, 95), "ms", of=count),
            _percent("held open until the hard cap", tally.held_open, count),
            _percent("cut short", len(tally.cut_short), count),
            _percent("understood", tally.understood, count),
        ),
        ("In audio time: the transcript costs nothing here.",),
    )


def _percent(what: str, part: int, whole: int, *, most: float | None = None, least: float | None = None) -> Measurement:
    return Measurement(what, share(part, whole), "%", most=most, least=least, of=whole)


def _examples(examples: Sequence[str], most: int = 8) -> tuple[str, ...]:
    if not examples:
        return ()
    more = f"; and {len(examples) - most} more" if len(examples) > most else ""
    return (f"{'; '.join(examples[:most])}{more}.",)
