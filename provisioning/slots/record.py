"""The last update and how it ended: `/data/update/last.json`, written by root, read by everybody."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from provisioning.slots.model import Slot, SlotState, SlotView
from provisioning.slots.partition import replace_file
from swarm.errors import StorageError

MAX_REASON = 2000
MAX_BYTES = 64 * 1024

Outcome = Literal["installing", "installed", "confirmed", "rolled-back", "refused", "failed"]
"""`installed`: it starts at the next reboot, or has not proved itself yet. `rolled-back`: it was started and was no
good. `refused`, `failed`: it was never started."""

Text = Annotated[str, msgspec.Meta(max_length=4 * MAX_REASON)]


class Update(msgspec.Struct, frozen=True, rename={"version_from": "from", "version_to": "to"}):
    """One update."""

    outcome: Outcome
    version_from: Text
    version_to: Text
    slot: Slot
    """Where the new version was to be."""
    at: float
    """When this was written, seconds since 1970 by the node's clock."""
    reason: Text = ""
    """Why it did not end well."""


def read_update(folder: Path) -> Update | None:
    """None when there was none. Raises `StorageError`."""
    path = folder / "last.json"
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=Update)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        return None  # only a note of what was: a damaged one must stop nothing
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}", hint="is /data mounted?") from error


def write_update(folder: Path, update: Update) -> None:
    """Raises `StorageError`."""
    short = msgspec.structs.replace(update, reason=update.reason[:MAX_REASON])
    try:
        replace_file(folder / "last.json", msgspec.json.encode(short) + b"\n")
    except OSError as error:
        raise StorageError(
            f"cannot write {folder / 'last.json'}: {error.strerror or error}", hint="is /data mounted, and has it room?"
        ) from error


def read_versions(folder: Path) -> dict[Slot, str]:
    """What was last seen or written in each slot."""
    with contextlib.suppress(OSError, msgspec.DecodeError), (folder / "versions.json").open("rb") as file:
        return msgspec.json.decode(file.read(MAX_BYTES), type=dict[Slot, Text])
    return {}


def note_version(folder: Path, slot: Slot, version: str) -> None:
    """Raises `StorageError`."""
    known = read_versions(folder)
    if known.get(slot) == version:
        return
    path = folder / "versions.json"
    try:
        replace_file(path, msgspec.json.encode(known | {slot: version}) + b"\n")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}", hint="is /data mounted?") from error


def after_start(update: Update | None, current: Slot, new: SlotView, *, said: str, now: float) -> Update | None:
    """What is to be written about the last update once a system has started in slot `current`; None: nothing new.

    `new`: the slot that the update is in. `said`: what the new version itself left behind about why it gave up, which
    may be nothing: a kernel that panics says nothing.
    """
    if update is None:
        return None
    if update.outcome == "installing":
        return msgspec.structs.replace(
            update, outcome="failed", at=now, reason="the installation was interrupted: power cut or reboot"
        )
    if update.outcome != "installed":
        return None
    if update.slot is current:
        return msgspec.structs.replace(update, outcome="confirmed", at=now) if new.state is SlotState.GOOD else None
    if new.state is SlotState.BAD or new.state is SlotState.EMPTY:
        reason = said or (
            f"expected {update.version_to} in slot {update.slot}, but slot {current} started: the new version did not"
            " come up so far that it could say why (kernel, disk or early start, or the power failed)"
        )
        return msgspec.structs.replace(update, outcome="rolled-back", at=now, reason=reason)
    return None


@dataclass(frozen=True)
class FailureNotes:
    """What a new version that gives up leaves for the old one: a line that says why, and its log."""

    folder: Path

    def read(self) -> str:
        """The reason, or nothing."""
        with contextlib.suppress(OSError), (self.folder / "failed.txt").open("rb") as file:
            return file.read(MAX_REASON).decode(errors="replace").strip()
        return ""

    def write(self, reason: str, log: str) -> None:
        """Raises `StorageError`."""
        try:
            replace_file(self.folder / "failed.txt", reason[:MAX_REASON].encode())
            replace_file(self.folder / "failed.log", log.encode(errors="replace")[-MAX_BYTES:])
        except OSError as error:
            raise StorageError(f"cannot write into {self.folder}: {error.strerror or error}") from error

    def clear(self) -> None:
        """Before another one is tried."""
        for name in ("failed.txt", "failed.log"):
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
