import subprocess
import sys

import pytest

import gpu_node.engines
import swarm.engines
from swarm.engines import EngineManifest, build
from swarm.engines.espeak import EspeakSynthesizer
from swarm.errors import EngineUnavailable

ALL = (*swarm.engines.ENGINES, *gpu_node.engines.ENGINES)


def test_builds_the_announced_engine() -> None:
    (manifest,) = [manifest for manifest in swarm.engines.ENGINES if manifest.name == "espeak-ng"]
    engine = build(manifest)
    assert isinstance(engine, EspeakSynthesizer)
    assert engine.name == manifest.name


def test_a_missing_library_is_named_with_what_installs_it() -> None:
    manifest = EngineManifest(
        name="ghost", kind="generator", module="ghost", attribute="Ghost", needs=("json", "no_such_lib"), extra="gpu"
    )
    with pytest.raises(EngineUnavailable, match="ghost needs no_such_lib, not installed here") as error:
        build(manifest)
    assert error.value.hint == "pip install 'mycoswarm[gpu]'"


def test_reading_the_manifests_imports_no_engine() -> None:
    names = sorted({name for manifest in ALL for name in (*manifest.needs, manifest.module)})
    code = f"import sys, swarm.engines, gpu_node.engines; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", sorted({manifest.module for manifest in ALL}))
def test_an_engine_module_imports_no_heavy_library(module: str) -> None:
    heavy = [
        "pocketsphinx",
        "espeakng_loader",
        "faster_whisper",
        "ctranslate2",
        "piper",
        "onnxruntime",
        "ollama",
        "httpx",
    ]
    code = f"import sys, {module}; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"
