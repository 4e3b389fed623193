"""The engines of a node, as its configuration names them; where one cannot be used, what comes with the package."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from gpu_node.engines import ENGINES as ADDED_ENGINES
from swarm.config import Config, wanted_roles
from swarm.engine import Generator, Synthesizer, Transcriber
from swarm.engines import ENGINES, build
from swarm.engines.arpabet import pronounce
from swarm.engines.espeak import EspeakSynthesizer
from swarm.errors import EngineError, EngineUnavailable
from swarm.peer import Peer
from swarm.swarm_synthesizer import SwarmSynthesizer
from swarm.swarm_transcriber import SwarmTranscriber
from swarm.task_engines import SynthesizeEngine, TranscribeEngine
from swarm.task_stream import SwarmGenerator
from swarm.worker import TaskEngine

REST_AFTER_S = 30.0
"""A satellite hears by itself only while no hub can be had: so long after that its ears give back their memory, a
quarter of what such a machine uses."""

log = logging.getLogger("swarm.node")


@dataclass(frozen=True)
class Engines:
    """What this machine can do by itself."""

    transcriber: Transcriber | None
    """None only on a node that is no voice assistant."""
    synthesizer: Synthesizer
    generator: Generator | None

    def names(self) -> dict[str, str]:
        """By kind, as a node's status shows them."""
        all_kinds = {"transcriber": self.transcriber, "synthesizer": self.synthesizer, "generator": self.generator}
        return {kind: engine.name for kind, engine in all_kinds.items() if engine is not None}

    def for_tasks(self) -> list[TaskEngine]:
        """What may be offered to other nodes at once. Command mode is not: it hears the sentences of one home. Nor a
        language model, which comes and goes (`swarm.task_engines.ModelOffer`)."""
        offered: list[TaskEngine] = [SynthesizeEngine(self.synthesizer, loaded=_loaded(self.synthesizer))]
        if self.transcriber is not None and not self.transcriber.commands_only:
            offered.append(TranscribeEngine(self.transcriber, loaded=_loaded(self.transcriber)))
        return offered

    async def load(self) -> None:
        """Read the models that a person added into memory: nobody in another room waits for that. What fails is tried
        again when it is needed."""
        for model in (_model_of(self.transcriber), _model_of(self.synthesizer)):
            if model is not None:
                try:
                    await model.start()
                except EngineError as error:
                    log.error("%s cannot be loaded: %s", type(model).__name__, error.for_person())


@runtime_checkable
class LoadsModel(Protocol):
    """An engine with a model, in a process of its own."""

    @property
    def pid(self) -> int | None:
        """Of that process, once the model is in its memory."""

    async def start(self) -> None:
        """Load the model. Raises `EngineError`."""


def _model_of(engine: object) -> LoadsModel | None:
    """None for an engine that can begin at once; eSpeak NG's voices take 20 ms."""
    return engine if isinstance(engine, LoadsModel) and not isinstance(engine, EspeakSynthesizer) else None


def _loaded(engine: object) -> Callable[[], bool]:
    model = _model_of(engine)
    return lambda: model is None or model.pid is not None


def with_swarm(engines: Engines, peer: Peer, *, once_more: Callable[[str, str], str]) -> Engines:
    """The engines as an assistant uses them: where this machine has only what came with the package, those of other
    machines too. `once_more` (sentence, language) announces a sentence that is said again."""
    transcriber, synthesizer, generator = engines.transcriber, engines.synthesizer, engines.generator
    if transcriber is not None and transcriber.commands_only:
        transcriber = SwarmTranscriber(peer.dispatcher, peer.members, transcriber)
    if isinstance(synthesizer, EspeakSynthesizer):
        synthesizer = SwarmSynthesizer(peer.dispatcher, peer.members, synthesizer, once_more=once_more)
    return Engines(transcriber, synthesizer, SwarmGenerator(peer.dispatcher, peer.members, own=generator))


def with_wyoming(engines: Engines, local: Engines, config: Config, *, once_more: Callable[[str, str], str]) -> Engines:
    """The engines as an assistant uses them whose configuration names Wyoming services of others: those come first,
    behind them this machine's (`local`) or, for answers, whatever the assistant has besides."""
    speech, model = config.speech, config.language_model
    if not (speech.wyoming_stt or speech.wyoming_tts or model.wyoming):
        return engines
    from swarm.preferred import PreferredGenerator, PreferredSynthesizer, PreferredTranscriber
    from swarm.wyoming.engines import WyomingGenerator, WyomingSynthesizer, WyomingTranscriber

    transcriber, synthesizer, generator = engines.transcriber, engines.synthesizer, engines.generator
    if speech.wyoming_stt and local.transcriber is not None:
        transcriber = PreferredTranscriber(WyomingTranscriber(speech.wyoming_stt), local.transcriber)
    if speech.wyoming_tts:
        first = WyomingSynthesizer(speech.wyoming_tts, rate=local.synthesizer.rate)
        synthesizer = PreferredSynthesizer(first, local.synthesizer, once_more=once_more)
    if model.wyoming:
        generator = PreferredGenerator(WyomingGenerator(model.wyoming), generator)
    return Engines(transcriber, synthesizer, generator)


@asynccontextmanager
async def engines_of(config: Config, *, hears_commands: bool) -> AsyncIterator[Engines]:
    """The engines, closed at the end. None starts a process before it is needed, or told to load. `hears_commands`:
    the node has a voice assistant, which without a better engine hears in command mode."""
    espeak = EspeakSynthesizer()
    transcriber = _transcriber(config)
    if transcriber is None and hears_commands:
        transcriber = build(
            ENGINES[0],
            pronounce=lambda words, language: pronounce(espeak, words, language="en-us"),
            rest_after_s=None if "hub" in wanted_roles(config) else REST_AFTER_S,
        )
    engines = Engines(
        transcriber=transcriber,
        synthesizer=_synthesizer(config) or espeak,
        generator=_generator(config),
    )
    try:
        yield engines
    finally:
        for engine in (engines.generator, engines.transcriber, engines.synthesizer, espeak):
            if engine is not None:
                await engine.close()


def _synthesizer(config: Config) -> Synthesizer | None:
    return _added("piper", voice_path=config.speech.piper_voice) if config.speech.piper_voice else None


def _transcriber(config: Config) -> Transcriber | None:
    return _added("faster-whisper", model_dir=config.speech.whisper_model) if config.speech.whisper_model else None


def _generator(config: Config) -> Generator | None:
    section = config.language_model
    return _added("ollama", url=section.url, model=section.model) if section.url else None


def _added(name: str, **settings: Any) -> Any:
    """An engine that a person added; without it the node speaks and hears with what came with the package."""
    manifest = next(each for each in ADDED_ENGINES if each.name == name)
    try:
        return build(manifest, **settings)
    except EngineUnavailable as error:
        log.error("%s cannot be used: %s", name, error.for_log())
        return None
