"""A satellite's ears and a hub's understanding, fed in audio time: as fast as this machine can.

The parts are those of a running node; what is left out is the line between them and the clock. The hub's opinion is
therefore there at the very moment of a pause, which ends utterances as early as a node could ever end them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from edge.endpointing import Ended, EndpointEvent, EndpointSettings, Paused, Resumed
from edge.service import PREROLL_S
from edge.sources import FRAME_BYTES
from edge.utterance import Utterance
from edge.voice_activity import SileroVoiceActivity
from edge.wake_word import MicroWakeDetector
from hub.grammar import build_grammar
from hub.home.announcement import parse_announcement
from hub.home.entity import Entity
from hub.home.virtual_devices import VirtualDevice
from hub.home.virtual_flat import flat
from hub.intent import Context, Intent, SlotValue
from hub.sentences import load_templates
from hub.understanding import Understanding, Verdict
from hub.utterance import IncomingUtterance
from swarm.bench.speech import Recording
from swarm.engine import RATE, Transcriber, Transcript
from swarm.engines.arpabet import pronounce
from swarm.engines.espeak import EspeakSynthesizer
from swarm.engines.pocketsphinx import PocketsphinxTranscriber
from swarm.errors import EngineError
from swarm.messages import EndReason

LANGUAGE = "en"
_ALIVE_S = 1.0
HINT_S = 30.0
"""Longest wait for the hub's opinion of a pause, which takes milliseconds."""
WAKE_DELAY = round(0.15 * RATE)
"""Samples from the end of a wake word to its detection, for speakers whom the model does not hear."""

Meaning = list[tuple[str, dict[str, SlotValue]]]


@dataclass(frozen=True)
class Heard:
    """What became of one recording."""

    transcript: Transcript
    """Empty and refused when nothing was said."""
    reason: EndReason | None
    """None: the recording was over before the utterance was."""
    waited_ms: float
    """From the true end of speech to the end of the utterance, in audio."""
    woke: bool
    """Whether the wake model heard its word."""

    @property
    def cut_short(self) -> bool:
        """The utterance was ended while its speaker still spoke."""
        return self.waited_ms < 0.0


def virtual_home(devices: Iterable[VirtualDevice] | None = None) -> Understanding:
    """The understanding of the virtual flat, or of a home with these `devices`."""
    entities: dict[str, Entity] = {}
    for device in flat() if devices is None else devices:
        topic = f"homeassistant/{device.component}/flat/{device.object_id}/config"
        found = parse_announcement(topic, json.dumps(device.announcement()).encode(), "homeassistant")
        entities |= {each.entity.id: each.entity for each in found.entities.values()}
    return Understanding(entities, sorted({entity.area for entity in entities.values()} - {""}), language=LANGUAGE)


class Ears:
    """One room: its own engine, which adapts to it with each command that it hears."""

    def __init__(self, understanding: Understanding, *, wake_word: str) -> None:
        self.context = Context("bench", "Kitchen", LANGUAGE)
        self._understanding = understanding
        self._wake_word = wake_word
        self._espeak = EspeakSynthesizer()
        self._transcriber: Transcriber = PocketsphinxTranscriber(
            lambda words, _language: pronounce(self._espeak, words, language="en-us")
        )
        self._detector = MicroWakeDetector((wake_word,))
        self._vad = SileroVoiceActivity()

    async def start(self) -> None:
        """Build the grammar as a node does; raises `EngineError`."""
        vocabulary = self._understanding.vocabulary((self._wake_word.replace("_", " "),))
        await self._transcriber.set_grammar(build_grammar(load_templates(LANGUAGE), vocabulary))

    async def close(self) -> None:
        """End the engines."""
        await self._transcriber.close()
        await self._espeak.close()

    def meaning(self, text: str) -> Meaning:
        """The intents of a text and their slots."""
        return _meaning(self._understanding.understand(text, self.context))

    async def hear(self, recording: Recording) -> Heard:
        """Listen to `recording` from its wake word on, or all of it when it has none. Raises `EngineError`."""
        hints: asyncio.Queue[tuple[Verdict, str]] = asyncio.Queue()

        async def hint(verdict: Verdict, text: str) -> None:
            hints.put_nowait((verdict, text))

        incoming = IncomingUtterance(
            self._transcriber, context=self.context, judge=self._understanding.judge, hint=hint
        )
        running = asyncio.create_task(incoming.run())
        try:
            return await self._listen(recording, incoming, hints)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def _listen(
        self, recording: Recording, incoming: IncomingUtterance, hints: asyncio.Queue[tuple[Verdict, str]]
    ) -> Heard:
        pcm, start, woke = recording.pcm, 0, False
        if recording.wake_end:
            start, woke = self._woken_at(recording)
        preroll = pcm[max(0, start - round(PREROLL_S * RATE)) * 2 : start * 2]
        utterance = Utterance("bench", self._vad, EndpointSettings(), preroll=preroll, position=start)
        incoming.feed(preroll)
        reason: EndReason | None = None
        position = start
        while reason is None and (frame := pcm[position * 2 : position * 2 + FRAME_BYTES]):
            incoming.feed(frame)
            position += FRAME_BYTES // 2
            reason = await self._follow(utterance, utterance.feed(frame), incoming, hints)
        heard = Transcript("", accepted=False)
        if reason not in ("nothing_said", "cancelled"):
            heard = await incoming.transcript()
        waited_ms = (position - recording.speech_end) / RATE * 1000
        return Heard(heard, reason, waited_ms, woke)

    async def _follow(
        self,
        utterance: Utterance,
        events: list[EndpointEvent],
        incoming: IncomingUtterance,
        hints: asyncio.Queue[tuple[Verdict, str]],
    ) -> EndReason | None:
        """Do what a satellite and a hub do at each of `events`; the reason if the utterance is over."""
        for event in events:
            match event:
                case Paused():
                    incoming.pause()
                    verdict, text = await self._opinion(incoming, hints)
                    events += utterance.hint(verdict, text)
                case Resumed():
                    incoming.resume()
                case Ended():
                    return event.reason
        return None

    async def _opinion(
        self, incoming: IncomingUtterance, hints: asyncio.Queue[tuple[Verdict, str]]
    ) -> tuple[Verdict, str]:
        """What the hub thinks of the words so far, once the engine has caught up with the audio."""
        for _ in range(round(HINT_S / _ALIVE_S)):
            try:
                return await asyncio.wait_for(hints.get(), _ALIVE_S)
            except TimeoutError:
                incoming.feed(b"")  # a satellite that hangs would be given up
        raise EngineError(f"the transcriber said nothing for {HINT_S:g} s")

    def _woken_at(self, recording: Recording) -> tuple[int, bool]:
        """The sample at which the wake word is recognised, and whether it was."""
        self._detector.reset()
        for offset in range(0, recording.speech_end * 2, FRAME_BYTES):
            if self._detector.process(recording.pcm[offset : offset + FRAME_BYTES]):
                return (offset + FRAME_BYTES) // 2, True
        return recording.wake_end + WAKE_DELAY, False


def _meaning(intents: tuple[Intent, ...]) -> Meaning:
    return [(intent.name, intent.slots) for intent in intents]
