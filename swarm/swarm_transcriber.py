"""Hears with the best ears of the swarm: this node's command mode, and beside it another machine's recognizer.

Command mode hears the audio as it comes, costs little and has its answer 5 ms after the end. A command that it is sure
of is taken at once; everything else is what a recognizer of everything that is said, on another machine, says it was.
That one gets the audio at the first short silence, on speculation; when speech goes on, its task is cancelled. When it
fails or is too late, what command mode heard counts after all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Protocol, TypeVar

import msgspec

from swarm.audio import duration_s
from swarm.capability import Member
from swarm.dispatch import Dispatcher
from swarm.engine import RATE, CommandGrammar, Transcriber, Transcript, TranscriptionStream
from swarm.errors import EngineError, MycoswarmError
from swarm.task import Piece, TaskRequest
from swarm.task_engines import TranscribePayload
from swarm.task_record import TaskRecord
from swarm.task_stream import LATE_S, answer_of, name_of, promised_s
from swarm.trace import done_by

SURE_SCORE = 1.0
"""Of command mode's score (`swarm.engines.confidence`), from which on nobody else is asked. Of 256 commands 243 are
above it and right, 208 at 20 dB; 5 and 7 are above it and taken for another one. A bound of 2.0 would have 2 and 3 of
these asked for, and 19 and 20 right ones. Of 100 other sentences none is above it, clean or at 20 dB; one is above the
bound that command mode has when it hears alone."""
DEADLINE_S = 10.0
"""Of the task; nobody waits so long for it."""
TOKENS_PER_SECOND = 3.0
"""Of speech, roughly."""
MAX_BYTES = round(30.0 * RATE) * 2
"""What is kept of one utterance; a hub takes less."""
MAX_CHARS = 1_000
"""More than half a minute of speech; what another node says beyond it was not spoken."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Asked(Protocol):
    """An utterance that somebody else is asked about."""

    @property
    def node(self) -> str:
        """Name of who has it; empty while nobody has."""

    async def wait(self) -> str:
        """What was said. Raises `MycoswarmError`, also when it takes too long."""

    def cancel(self) -> None:
        """Nobody wants to know any more."""


class Elsewhere(Protocol):
    """Ears that hear everything, beside the own ones."""

    @property
    def elsewhere(self) -> bool:
        """Whether there are any now."""

    def ask(self, pcm: bytes, language: str) -> Asked:
        """Begin to ask what was said."""


class SwarmTranscriber:
    """`swarm.engine.Transcriber` by this node's command mode and the recognizers of other nodes."""

    name = "swarm"
    commands_only = False
    """As long as another node hears more."""

    def __init__(self, dispatcher: Dispatcher, members: Callable[[], Sequence[Member]], own: Transcriber) -> None:
        """`own` hears commands only, belongs to the caller, and hears alone while no other node hears more."""
        self.dispatcher = dispatcher
        self.members = members
        self._own = own

    @property
    def elsewhere(self) -> bool:
        """Whether another node that lives hears everything that is said."""
        return any(
            capability.kind == "transcribe" and capability.slots
            for member in self.members()
            if member.state == "alive" and not member.here and "home" in member.accepts
            for capability in member.capabilities
        )

    async def open(self, *, language: str) -> TranscriptionStream:
        """Begin an utterance; raises `EngineError` when neither this node nor another one can hear it."""
        try:
            own = await self._own.open(language=language)
        except EngineError as error:
            if not self.elsewhere:
                raise
            _log.warning("command mode cannot hear, another machine has to: %s", error)
            return Hearing(self, None, language)
        return Hearing(self, own, language)

    def ask(self, pcm: bytes, language: str) -> Asked:
        """See `Elsewhere`."""
        return _AskedNode(self, pcm, language)

    async def set_grammar(self, grammar: CommandGrammar) -> None:
        """For command mode."""
        await self._own.set_grammar(grammar)

    async def close(self) -> None:
        """Nothing: its parts belong to others."""


class Hearing:
    """One utterance, heard here and, where that is not enough, elsewhere."""

    def __init__(self, others: Elsewhere, own: TranscriptionStream | None, language: str) -> None:
        """`own` hears commands only; None: it failed."""
        self._others = others
        self._own = own
        self._language = language
        self._pcm = bytearray()
        self._asked: Asked | None = None
        """For all the audio so far."""

    async def feed(self, pcm: bytes) -> None:
        """See `TranscriptionStream`."""
        if len(self._pcm) + len(pcm) > MAX_BYTES:
            raise EngineError(f"the utterance is longer than {duration_s(self._pcm):.0f} s")
        self._pcm += pcm
        self._forget_asked()
        if self._own is not None:
            await self._of_own(self._own.feed(pcm))

    async def so_far(self) -> Transcript:
        """What command mode heard, at once: whoever waits for it decides within milliseconds whether that is all."""
        heard = await self._of_own(self._own.so_far()) if self._own is not None else None
        if heard is None or not _is_sure(heard):
            self._ask()
        return heard or Transcript("", accepted=False)

    async def transcript(self) -> Transcript:
        """See `TranscriptionStream`."""
        heard = await self._of_own(self._own.transcript()) if self._own is not None else None
        await self._close_own()  # others who speak now need not wait for another machine
        if heard is not None and _is_sure(heard):
            self._forget_asked()
            return heard
        self._ask()
        if self._asked is None:
            if heard is None:
                raise EngineError("command mode failed, and no other machine hears", hint="the log says why")
            return heard
        asked = self._asked
        try:
            text = await asked.wait()
        except MycoswarmError as error:
            who = asked.node or "the machine that hears everything"
            _log.warning("%s did not hear an utterance: %s", who, error)
            if heard is None:
                raise
            done_by("", note=f"{who}: {error}; heard in command mode")
            return heard
        finally:
            self._forget_asked()
        done_by(asked.node)
        return Transcript(text)

    async def close(self) -> None:
        """See `TranscriptionStream`."""
        self._forget_asked()
        await self._close_own()

    async def _of_own(self, work: Awaitable[T]) -> T | None:
        """What command mode answers; None when it fails, and is done without from then on."""
        try:
            return await work
        except EngineError as error:
            _log.warning("command mode failed in the middle of an utterance: %s", error)
            await self._close_own()
            return None

    async def _close_own(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            with suppress(EngineError):
                await own.close()

    def _ask(self) -> None:
        if self._asked is None and self._pcm and self._others.elsewhere:
            self._asked = self._others.ask(bytes(self._pcm), self._language)

    def _forget_asked(self) -> None:
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None


class _AskedNode:
    """An utterance that another node transcribes."""

    def __init__(self, swarm: SwarmTranscriber, pcm: bytes, language: str) -> None:
        payload = msgspec.Raw(msgspec.json.encode(TranscribePayload(pcm, language)))
        seconds = duration_s(pcm)
        self._request = TaskRequest(
            "transcribe",
            payload,
            deadline_s=DEADLINE_S,
            input_units=seconds,
            output_units=seconds * TOKENS_PER_SECOND,
        )
        self._swarm = swarm
        self._task: TaskRecord | None = None
        self._reading = asyncio.create_task(self._read())
        # A failure that nobody waits for belongs to audio that went on.
        self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def node(self) -> str:
        """Name of the node that has it; empty while none has."""
        return name_of(self._task.node, self._swarm.members()) if self._task is not None else ""

    async def wait(self) -> str:
        """What was said. Raises `MycoswarmError`, also when it takes `LATE_S` longer than placement foretold."""
        done, _ = await asyncio.wait({self._reading}, timeout=LATE_S)
        if not done and self._task is not None:
            done, _ = await asyncio.wait({self._reading}, timeout=promised_s(self._task))
        if not done:
            raise EngineError("it was too late")
        return self._reading.result()

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        self._reading.cancel()

    async def _read(self) -> str:
        dispatcher = self._swarm.dispatcher
        self._task = dispatcher.submit(self._request)
        words: list[str] = []
        async with aclosing(answer_of(dispatcher, self._task)) as events:
            async for event in events:
                if isinstance(event, Piece):
                    words.append(event.text)
                else:
                    words.clear()
        return "".join(words).strip()[:MAX_CHARS]


def _is_sure(heard: Transcript) -> bool:
    """A whole command, and hardly anything else."""
    return heard.accepted and heard.text != "" and heard.score >= SURE_SCORE and heard.continuation != "needed"
