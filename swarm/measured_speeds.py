"""How fast this node's models were on real runs, kept over a restart: a node that was updated has not to show anew
what it can."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from swarm.capability import Speed
from swarm.learned_addresses import write_whole

MAX_FILE_BYTES = 256 * 1024

_log = logging.getLogger(__name__)

Speeds = Mapping[tuple[str, str], Speed]
"""By kind of task and model."""


def read_speeds(path: Path) -> Speeds:
    """What a former run wrote; a file that is missing or broken is as none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
        entries = msgspec.json.decode(data, type=list[_Entry])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        _log.warning("speeds measured before are lost: %s cannot be read: %s", path, error)
        return {}
    return {(entry.kind, entry.model): entry.speed for entry in entries}


def write_speeds(path: Path, speeds: Speeds) -> None:
    """Keep those that rest on runs. A disk that is full costs nothing but them."""
    entries = [_Entry(kind, model, speed) for (kind, model), speed in speeds.items() if speed.runs]
    try:
        write_whole(path, msgspec.json.format(msgspec.json.encode(entries), indent=1))
    except OSError as error:
        _log.warning("measured speeds cannot be kept in %s: %s", path, error)


class _Entry(msgspec.Struct, frozen=True):
    kind: str
    model: str
    speed: Speed
