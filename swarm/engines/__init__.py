"""The engines that come with packages, so that every node has a last resort; and how an engine is announced and built.

Reading `ENGINES` imports nothing heavy. To add an engine: one file in this folder, one line in `ENGINES`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any, Literal

import msgspec

from swarm.errors import EngineUnavailable


def _spare_metadata() -> None:
    """wyoming, which every engine speaks, looks up its own version among all installed packages when it is imported:
    0.8 MB in every node, and time at its start, for a text that nobody reads."""
    version = ModuleType("wyoming.version")
    vars(version)["__version__"] = ""
    sys.modules.setdefault(version.__name__, version)


_spare_metadata()


class EngineManifest(msgspec.Struct, frozen=True):
    """What is known of an engine without importing it."""

    name: str
    kind: Literal["transcriber", "synthesizer", "generator"]
    """Which protocol of `swarm.engine` it implements."""
    module: str
    attribute: str
    """The class in `module`; its settings are the arguments of `build`."""
    needs: tuple[str, ...] = ()
    """Import names of the libraries it cannot do without."""
    extra: str = ""
    """The extra of the mycoswarm package that installs them; empty when mycoswarm itself does."""
    note: str = ""
    """For people: what it is good for."""


ENGINES = (
    EngineManifest(
        name="pocketsphinx",
        kind="transcriber",
        module="swarm.engines.pocketsphinx",
        attribute="PocketsphinxTranscriber",
        needs=("pocketsphinx",),
        note="hears the commands of this home and nothing else",
    ),
    EngineManifest(
        name="espeak-ng",
        kind="synthesizer",
        module="swarm.engines.espeak",
        attribute="EspeakSynthesizer",
        needs=("espeakng_loader",),
        note="a plain voice at once, in a hundred languages",
    ),
)


def build(manifest: EngineManifest, **settings: Any) -> Any:
    """The engine that `manifest` announces, built with `settings`.

    Raises `EngineUnavailable`, which names the library that is missing and what installs it.
    """
    missing = [name for name in manifest.needs if importlib.util.find_spec(name) is None]
    if missing:
        package = f"mycoswarm[{manifest.extra}]" if manifest.extra else "mycoswarm"
        raise EngineUnavailable(
            f"{manifest.name} needs {' and '.join(missing)}, not installed here",
            hint=f"pip install '{package}'",
        )
    return getattr(importlib.import_module(manifest.module), manifest.attribute)(**settings)
