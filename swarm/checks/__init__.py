"""What `mycoswarm doctor` looks at. To add a check: a function in one of these files, a line in `swarm.doctor`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from swarm.client import Status
from swarm.config import Config
from swarm.engines import EngineManifest
from swarm.errors import ConfigError

Severity = Literal["ok", "warn", "fail", "skip"]


class Finding(msgspec.Struct, frozen=True):
    """What one check found."""

    check: str
    status: Severity
    """`warn`: something does not work that one can do without. `fail`: the node cannot do its work.
    `skip`: it was not looked at, and `found` says why."""
    found: str
    to_do: str = ""


class MicrophoneSample(msgspec.Struct, frozen=True):
    """A second of the microphone."""

    device: str
    rate: int
    """What the device itself delivers, in samples per second."""
    pcm: bytes
    """At 16 kHz."""


class Speaker(msgspec.Struct, frozen=True):
    """The speaker that would play."""

    device: str
    rate: int


@dataclass(frozen=True)
class Senses:
    """The parts of other packages that are looked at. Each raises `MycoswarmError` with what is wrong."""

    microphone: Callable[[str], MicrophoneSample]
    """Opens the device of that name (or `auto`) and listens for a second."""
    speaker: Callable[[str], Speaker]
    """Finds the device of that name (or `auto`) without playing anything."""
    wake_words: Callable[[Config], None]
    """Loads the models that listen all the time."""
    engines: Sequence[tuple[EngineManifest, Mapping[str, Any]]]
    """The engines that this configuration uses, with their settings."""


@dataclass(frozen=True)
class Examined:
    """The machine and configuration that are looked at."""

    config: Config
    config_path: str
    config_error: ConfigError | None
    """Set when the file is wrong: `config` is then the default one."""
    node: Status | None
    """The running node; None when there is none."""
    senses: Senses


Check = Callable[[Examined], list[Finding]]
"""Runs in a thread of its own. May raise `MycoswarmError`: that is a `fail`."""
