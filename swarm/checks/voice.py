"""Checks of what hears and speaks: microphone, speaker, wake words, engines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from swarm.audio import duration_s, level_dbfs
from swarm.checks import Examined, Finding
from swarm.engine import RATE, Arc, CommandGrammar, Generator, Synthesizer, Transcriber
from swarm.engines import EngineManifest, build
from swarm.errors import AudioDeviceError, MycoswarmError

SILENT_DBFS = -80.0
"""Below this nothing at all arrives: the quietest room with the poorest microphone is louder."""
CLIPPED_SHARE = 0.001
"""Samples at full scale; more than one in a thousand distorts what is said."""
FULL_SCALE = 32_700
MODEL_TIMEOUT_S = 5.0


def microphone(examined: Examined) -> list[Finding]:
    """Does the microphone hear, neither too little nor too much?"""
    device = examined.config.satellite.microphone
    if device == "none":
        return [Finding("microphone", "ok", "switched off in the configuration")]
    try:
        sample = examined.senses.microphone(device)
    except AudioDeviceError as error:
        held = " (the running node may hold it)" if examined.node is not None else ""
        return [Finding("microphone", "warn", f"{error}{held}", error.hint)]
    level, clipped = level_dbfs(sample.pcm), clipped_share(sample.pcm)
    found = f"{sample.device}, {sample.rate} Hz, level {level:.0f} dBFS, {clipped:.1%} clipped"
    if level < SILENT_DBFS:
        return [Finding("microphone", "warn", found, "it hears nothing: is it muted? alsamixer or pavucontrol show it")]
    if clipped > CLIPPED_SHARE:
        return [Finding("microphone", "warn", found, "it is too loud: turn its gain down in alsamixer or pavucontrol")]
    return [Finding("microphone", "ok", found)]


def clipped_share(pcm: bytes) -> float:
    """Which part of the samples, 0 to 1, is at full scale."""
    import numpy as np

    samples = np.frombuffer(pcm, dtype="<i2").astype(np.int32)
    return float(np.mean(np.abs(samples) >= FULL_SCALE)) if samples.size else 0.0


def speaker(examined: Examined) -> list[Finding]:
    """Is there a speaker?"""
    device = examined.config.satellite.speaker
    if device == "none":
        return [Finding("speaker", "ok", "switched off in the configuration")]
    try:
        found = examined.senses.speaker(device)
    except AudioDeviceError as error:
        return [Finding("speaker", "warn", str(error), error.hint)]
    return [Finding("speaker", "ok", f"{found.device}, {found.rate} Hz")]


def wake_words(examined: Examined) -> list[Finding]:
    """Do the models load that listen all the time?"""
    words = ", ".join(examined.config.satellite.wake_words)
    try:
        examined.senses.wake_words(examined.config)
    except MycoswarmError as error:
        return [Finding("wake words", "fail", str(error), error.hint)]
    return [Finding("wake words", "ok", f"{words} and voice activity load")]


def engines(examined: Examined) -> list[Finding]:
    """Does each engine of this configuration do its work?"""
    return [
        asyncio.run(_try_engine(manifest, settings, examined.config.node.language))
        for manifest, settings in examined.senses.engines
        if manifest.kind != "generator"
    ]


def language_model(examined: Examined) -> list[Finding]:
    """Does a language model answer?"""
    url = examined.config.language_model.url
    if not url:
        return [Finding("language model", "ok", "switched off in the configuration")]
    findings = []
    for manifest, settings in examined.senses.engines:
        if manifest.kind == "generator":
            model = asyncio.run(_model_of(build(manifest, **settings)))
            if model is None:
                to_do = "commands work without; for other questions run Ollama there, or set language_model.url"
                findings.append(Finding("language model", "warn", f"none answers at {url}", to_do))
            else:
                findings.append(Finding("language model", "ok", f"{model} at {url}"))
    return findings


async def _model_of(generator: Generator) -> str | None:
    try:
        async with asyncio.timeout(MODEL_TIMEOUT_S):
            return await generator.available()
    except TimeoutError:
        return None
    finally:
        await generator.close()


async def _try_engine(manifest: EngineManifest, settings: Mapping[str, Any], language: str) -> Finding:
    name = f"engine {manifest.name}"
    try:
        engine = build(manifest, **settings)
        try:
            if manifest.kind == "synthesizer":
                return Finding(name, "ok", await _try_synthesizer(engine, language))
            return Finding(name, "ok", await _try_transcriber(engine, language))
        finally:
            await engine.close()
    except MycoswarmError as error:
        return Finding(name, "fail", str(error), error.hint)


async def _try_synthesizer(synthesizer: Synthesizer, language: str) -> str:
    pcm = b"".join([chunk async for chunk in synthesizer.synthesize("Ready.", language=language)])
    return f"speaks: {duration_s(pcm, synthesizer.rate):.1f} s of audio for one word"


async def _try_transcriber(transcriber: Transcriber, language: str) -> str:
    await transcriber.set_grammar(CommandGrammar(language, (Arc(0, 1, "stop"),), 0, 1))
    stream = await transcriber.open(language=language)
    try:
        await stream.feed(bytes(2 * RATE))
        transcript = await stream.transcript()
    finally:
        await stream.close()
    kind = "hears commands" if transcriber.commands_only else "hears everything"
    return f"{kind}; in a second of silence: {transcript.text!r}"
