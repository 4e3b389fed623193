"""The engines that need model files or a server which a person adds; a node without a GPU runs small ones too.

To add an engine: one file in this folder, one line in `ENGINES`; `swarm.engines.build` builds it.
"""

from __future__ import annotations

from swarm.engines import EngineManifest

ENGINES = (
    EngineManifest(
        name="faster-whisper",
        kind="transcriber",
        module="gpu_node.engines.faster_whisper",
        attribute="WhisperTranscriber",
        needs=("faster_whisper",),
        extra="gpu",
        note="hears everything that is said; needs the folder of a CTranslate2 Whisper model",
    ),
    EngineManifest(
        name="piper",
        kind="synthesizer",
        module="gpu_node.engines.piper",
        attribute="PiperSynthesizer",
        needs=("piper",),
        extra="gpu",
        note="a natural voice; needs a voice file",
    ),
    EngineManifest(
        name="ollama",
        kind="generator",
        module="gpu_node.engines.ollama",
        attribute="OllamaGenerator",
        note="a language model on an Ollama server of this home",
    ),
)
