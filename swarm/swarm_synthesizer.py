"""Speaks with the best voice of the swarm: another machine's where there is one, else this node's own.

Each sentence is a task; its first chunk is passed on as soon as it is there. When it fails or is too late before that,
the own voice says the sentence instead, and the rest of the answer too: a voice that changes with every sentence is
hard to listen to. When it breaks off in the middle, another machine with the same voice goes on where it stopped; where
there is none, the own voice says the sentence once more, from its beginning and after words that announce it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import cast

import msgspec

from swarm.audio import MAX_RATE, MIN_RATE, SAMPLE_BYTES, Resampler
from swarm.capability import Member
from swarm.dispatch import Dispatcher
from swarm.engine import Synthesizer
from swarm.errors import EngineError, MycoswarmError
from swarm.task import Piece, Restarted, TaskRequest
from swarm.task_engines import SynthesizePayload
from swarm.task_record import TaskRecord
from swarm.task_stream import LATE_S, answer_of, name_of, promised_s
from swarm.trace import done_by

DEADLINE_S = 60.0
"""Of the task, which is one sentence."""
REST_S = 15.0
"""So long no other machine is asked after one failed: the rest of the answer comes from one voice, without waiting."""
CHARACTERS_PER_SECOND = 15.0
"""Of speech, roughly."""
PAUSE_S = 0.3
"""Before a sentence is said once more."""
_LOCALE = re.compile(r"\bpiper:([a-z]{2,3})_[A-Z]{2}-")

_log = logging.getLogger(__name__)


class SwarmSynthesizer:
    """`swarm.engine.Synthesizer` by the voices of other nodes and, behind them, this node's own, in whose `rate`."""

    name = "swarm"

    def __init__(
        self,
        dispatcher: Dispatcher,
        members: Callable[[], Sequence[Member]],
        own: Synthesizer,
        *,
        once_more: Callable[[str, str], str] = lambda sentence, language: sentence,
    ) -> None:
        """`own` belongs to the caller. `once_more` (sentence, language) announces a sentence that is said again."""
        self.rate = own.rate
        self._dispatcher = dispatcher
        self._members = members
        self._own = own
        self._once_more = once_more
        self._rests_until = 0.0

    async def synthesize(self, text: str, *, language: str) -> AsyncGenerator[bytes, None]:
        """Speak one sentence. Raises `EngineError` when the own voice fails too."""
        voice = self._voice(language)
        if voice:
            begun, task = False, None
            try:
                task = self._submitted(text, language, voice)
                async with aclosing(self._spoken(task)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
                return
            except MycoswarmError as error:
                who = name_of(task.node, self._members()) if task is not None and task.node else voice
                _log.warning("%s cannot say %.80r: %s; the own voice does", who, text, error)
                self._rests_until = asyncio.get_running_loop().time() + REST_S
                done_by("", note=f"{who}: {error}; said by the own voice")
            if begun:
                yield bytes(round(PAUSE_S * self.rate) * SAMPLE_BYTES)
                text = self._once_more(text, language)
        own = cast("AsyncGenerator[bytes, None]", self._own.synthesize(text, language=language))
        async with aclosing(own) as chunks:
            async for chunk in chunks:
                yield chunk

    async def close(self) -> None:
        """Nothing: its parts belong to others."""

    def _voice(self, language: str) -> str:
        """The one to ask for; empty when no other node has a better one than the own. The first by name, so that all
        hubs of a home speak with the same voice."""
        if asyncio.get_running_loop().time() < self._rests_until:
            return ""
        offered = {
            capability.model
            for member in self._members()
            if member.state == "alive" and not member.here and "home" in member.accepts
            for capability in member.capabilities
            if capability.kind == "synthesize" and capability.slots and capability.model != self._own.name
        }
        return min((voice for voice in offered if _speaks(voice, language)), default="")

    def _submitted(self, text: str, language: str, voice: str) -> TaskRecord:
        payload = msgspec.Raw(msgspec.json.encode(SynthesizePayload(text, language)))
        return self._dispatcher.submit(
            TaskRequest(
                "synthesize",
                payload,
                model=voice,
                deadline_s=DEADLINE_S,
                input_units=float(len(text)),
                output_units=len(text) / CHARACTERS_PER_SECOND,
            )
        )

    async def _spoken(self, task: TaskRecord) -> AsyncGenerator[bytes, None]:
        """The sentence in the own rate. Raises `MycoswarmError`, also when a chunk takes too long."""
        resampler: Resampler | None = None
        passed_on = left_out = 0
        try:
            async with aclosing(answer_of(self._dispatcher, task)) as events:
                while (event := await _in_time(events, task)) is not None:
                    if not isinstance(event, Piece):  # the same voice begins anew elsewhere: up to here it was heard
                        resampler, left_out = None, passed_on
                        continue
                    if resampler is None:
                        resampler = Resampler(_rate_of(event), self.rate)
                        done_by(name_of(task.node, self._members()))
                    pcm = resampler.feed(_whole_samples(event.audio))
                    left_out, pcm = max(0, left_out - len(pcm)), pcm[left_out:]
                    if pcm:
                        passed_on += len(pcm)
                        yield pcm
            if resampler is not None and (rest := resampler.finish()[left_out:]):
                yield rest
        finally:
            if task.ended_at is None:
                self._dispatcher.cancel(task)


async def _in_time(events: AsyncGenerator[Piece | Restarted, None], task: TaskRecord) -> Piece | Restarted | None:
    """The next event, None at the end. Raises `EngineError` when it takes `LATE_S` longer than placement foretold."""
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(LATE_S) as patience:
            if not task.settled.done():
                await asyncio.shield(task.settled)
            patience.reschedule(began + LATE_S + promised_s(task))
            return await anext(events, None)
    except TimeoutError:
        raise EngineError("it was too late") from None


def _rate_of(first: Piece) -> int:
    try:
        rate = int(first.value["rate"])
    except (KeyError, TypeError, ValueError):
        rate = 0
    if not MIN_RATE <= rate <= MAX_RATE:
        raise EngineError("its speech does not say how it is to be played")
    return rate


def _whole_samples(pcm: bytes) -> bytes:
    if len(pcm) % SAMPLE_BYTES:
        raise EngineError("its speech is cut in the middle of a sample")
    return pcm


def _speaks(voice: str, language: str) -> bool:
    """Piper's voices are named for the language that they were made for; another one would be hard to understand."""
    made_for = _LOCALE.search(voice)
    return made_for is None or made_for[1] == re.split("[-_]", language.lower())[0]
