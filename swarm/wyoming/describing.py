"""What `describe` answers: the programs of each service, who made them, and what they can do."""

from __future__ import annotations

from collections.abc import Sequence

from wyoming.info import (
    AsrModel,
    AsrProgram,
    Attribution,
    HandleModel,
    HandleProgram,
    Info,
    Satellite,
    TtsProgram,
    TtsVoice,
    WakeModel,
    WakeProgram,
)

from swarm import __version__

US = Attribution("mycoswarm", "")
_MADE_BY = {
    "espeak-ng": Attribution("eSpeak NG", "https://github.com/espeak-ng/espeak-ng"),
    "piper": Attribution("Open Home Foundation", "https://github.com/OHF-Voice/piper1-gpl"),
    "pocketsphinx": Attribution("CMU Sphinx", "https://github.com/cmusphinx/pocketsphinx"),
    "faster-whisper": Attribution("SYSTRAN", "https://github.com/SYSTRAN/faster-whisper"),
}
_WAKE_MODELS = Attribution("Kevin Ahrendt", "https://github.com/kahrendt/microWakeWord")


def asr_info(engine: str, languages: Sequence[str]) -> Info:
    """Of speech to text by the engine of this name."""
    model = AsrModel(
        name=engine,
        attribution=_made_by(engine),
        installed=True,
        description=None,
        version=__version__,
        languages=list(languages),
    )
    program = AsrProgram(
        name="mycoswarm",
        attribution=US,
        installed=True,
        description="the ears of this home",
        version=__version__,
        models=[model],
        supports_transcript_streaming=True,
        prefers_auto_gain_enabled=False,
        prefers_noise_reduction_enabled=False,
    )
    return Info(asr=[program])


def tts_info(engine: str, languages: Sequence[str]) -> Info:
    """Of text to speech by the engine of this name."""
    voice = TtsVoice(
        name=engine,
        attribution=_made_by(engine),
        installed=True,
        description=None,
        version=__version__,
        languages=list(languages),
    )
    program = TtsProgram(
        name="mycoswarm",
        attribution=US,
        installed=True,
        description="the voice of this home",
        version=__version__,
        voices=[voice],
        supports_synthesize_streaming=True,
    )
    return Info(tts=[program])


def wake_info(words: Sequence[str]) -> Info:
    """Of listening for these wake words (ids)."""
    models = [
        WakeModel(
            name=word,
            attribution=_WAKE_MODELS,
            installed=True,
            description=word.replace("_", " "),
            version=__version__,
            languages=["en"],
            phrase=word.replace("_", " "),
        )
        for word in words
    ]
    program = WakeProgram(
        name="mycoswarm",
        attribution=US,
        installed=True,
        description="wake words by microWakeWord",
        version=__version__,
        models=models,
    )
    return Info(wake=[program])


def handle_info(languages: Sequence[str]) -> Info:
    """Of doing and answering what is said."""
    model = HandleModel(
        name="mycoswarm",
        attribution=US,
        installed=True,
        description="commands for the devices of this home, timers, questions",
        version=__version__,
        languages=list(languages),
    )
    program = HandleProgram(
        name="mycoswarm",
        attribution=US,
        installed=True,
        description="does and answers what is said",
        version=__version__,
        models=[model],
        supports_handled_streaming=True,
        supports_home_control=True,
    )
    return Info(handle=[program])


def satellite_info(name: str, area: str, wake_words: Sequence[str]) -> Info:
    """Of a satellite that listens for these wake words (ids) by itself, and finds the end of what is said, too."""
    satellite = Satellite(
        name=name,
        attribution=US,
        installed=True,
        description="microphone and speaker of a mycoswarm node",
        version=__version__,
        area=area or None,
        has_vad=True,
        active_wake_words=list(wake_words),
        max_active_wake_words=len(wake_words),
        supports_trigger=False,
    )
    return Info(wake=wake_info(wake_words).wake, satellite=satellite)


def _made_by(engine: str) -> Attribution:
    return _MADE_BY.get(engine.partition(":")[0], US)
