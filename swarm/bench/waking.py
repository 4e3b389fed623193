"""Wake models: how often they hear their word, and how often they hear it in an hour of other talk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from edge.wake_word import MicroWakeDetector
from swarm.audio import duration_s
from swarm.bench.corpus import COMMANDS, NEWS, NOT_COMMANDS, WAKE_PHRASES, WAKE_VOICES
from swarm.bench.report import Measurement, Section, share
from swarm.bench.sound import mixed, silence, white_noise
from swarm.bench.speech import LEAD_S, Speech
from swarm.engines.espeak import WORDS_PER_MINUTE

TAIL_S = 0.7
"""Recognition takes up to 255 ms."""
BETWEEN_SENTENCES_S = 0.25
NOISY_DB = 10.0
SPEEDS = (WORDS_PER_MINUTE, 130, 200)
"""Words per minute."""
OTHER_TALK = (*NOT_COMMANDS, *COMMANDS, *NEWS)


async def measure_detection(speech: Speech, voices: Sequence[str]) -> Section:
    """Have each voice say each wake word, clean and in noise. Raises `EngineError`."""
    rows: list[Measurement] = []
    for model, phrase in WAKE_PHRASES.items():
        detector = MicroWakeDetector((model,))
        clean = noisy = 0
        for voice in voices:
            pcm = (
                silence(LEAD_S) + await speech.speak(phrase, voice, words_per_minute=WORDS_PER_MINUTE) + silence(TAIL_S)
            )
            clean += _hears(detector, pcm)
            noisy += _hears(detector, mixed(pcm, white_noise(duration_s(pcm)), NOISY_DB))
        rows += [
            Measurement(f"{model}, clean", share(clean, len(voices)), "%", of=len(voices)),
            Measurement(f"{model}, {NOISY_DB:g} dB", share(noisy, len(voices)), "%", of=len(voices)),
        ]
    return Section("Wake word heard", tuple(rows), ("Each voice of eSpeak NG says it once.",))


async def measure_false_wakes(
    speech: Speech, *, seconds: float, tell: Callable[[str], None], talk: Sequence[str] = OTHER_TALK
) -> Section:
    """Say sentences of `talk` for `seconds`, and ask each model how often it heard its word. Raises `EngineError`."""
    detectors = {model: MicroWakeDetector((model,)) for model in WAKE_PHRASES}
    wakes = dict.fromkeys(WAKE_PHRASES, 0)
    heard_s, told_s, sentences = 0.0, 0.0, 0
    async for pcm in _said(speech, talk):
        if heard_s >= seconds:
            break
        heard_s += duration_s(pcm)
        sentences += 1
        for model, detector in detectors.items():
            wakes[model] += detector.process(pcm) is not None
        if heard_s - told_s >= 600.0:
            told_s = heard_s
            tell(f"{heard_s / 60:.0f} min of talk without a wake word")
        await asyncio.sleep(0)
    hours = heard_s / 3600
    return Section(
        "Woken by other talk",
        tuple(Measurement(model, count / hours, "an hour") for model, count in wakes.items()),
        (
            f"{heard_s / 60:.3g} minutes: {min(sentences, len(talk))} sentences, {len(WAKE_VOICES)} voices, "
            f"{len(SPEEDS)} speeds, {sentences} recordings of which no two are alike.",
        ),
    )


async def _said(speech: Speech, talk: Sequence[str]) -> AsyncIterator[bytes]:
    """Every sentence by every voice; neighbours differ in both."""
    for turn in range(len(WAKE_VOICES)):
        for number, sentence in enumerate(talk):
            voice = WAKE_VOICES[(number + turn) % len(WAKE_VOICES)]
            pcm = await speech.speak(sentence, voice, words_per_minute=SPEEDS[turn % len(SPEEDS)])
            yield pcm + silence(BETWEEN_SENTENCES_S)


def _hears(detector: MicroWakeDetector, pcm: bytes) -> bool:
    detector.reset()
    return detector.process(pcm) is not None
