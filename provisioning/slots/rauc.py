"""Updates on this node, for commands and for the swarm: install a bundle, say how things stand, go back.

Whatever the way in, what is decided is decided by RAUC (signature, kind of machine) and by `__main__` (version, state
of the slots). The node's user may install signed, newer bundles, through D-Bus; only root an older one.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from provisioning.slots import admission
from provisioning.slots.layout import is_slotted
from provisioning.slots.model import Slot, SlotState
from provisioning.slots.node import image_version, this_node
from provisioning.slots.record import Update, read_update, read_versions
from provisioning.slots.version import ImageVersion, parse_version
from swarm.errors import MycoswarmError

INSTALL_S = 3600.0
"""A bundle of 400 MB on the slowest card takes some minutes."""


class UpdateFailed(MycoswarmError):
    """The bundle was not installed; the running version stays."""


@dataclass(frozen=True)
class SlotStatus:
    """One slot, for people and the swarm."""

    slot: str
    state: str
    """A `SlotState`."""
    version: str
    """What is installed there, as far as it is known."""
    running: bool
    next: bool
    """The next reboot starts it."""


@dataclass(frozen=True)
class NodeUpdates:
    """How this node stands with updates."""

    compatible: str
    """What bundles must be made for."""
    version: str
    """What runs."""
    slots: tuple[SlotStatus, ...]
    last: Update | None
    """The last update, and how it ended."""

    @property
    def waits_for_reboot(self) -> bool:
        """Another slot than the running one starts at the next reboot."""
        return any(each.next and not each.running for each in self.slots)

    @property
    def on_trial(self) -> bool:
        """The running version has not proved itself yet."""
        return any(each.running and each.state == SlotState.TRIAL for each in self.slots)


@dataclass(frozen=True)
class BundleInfo:
    """What the signed manifest of a bundle says."""

    compatible: str
    version: ImageVersion


def status() -> NodeUpdates | None:
    """None on a machine without slots. Raises `MycoswarmError`."""
    if not is_slotted():
        return None
    slots = this_node()
    version, seen = str(image_version(slots.root)), slots.seen()
    versions = read_versions(slots.update_folder) | {slots.current: version}
    return NodeUpdates(
        slots.layout.compatible,
        version,
        tuple(
            SlotStatus(
                str(slot), str(seen.states[slot]), versions.get(slot, ""), slot is seen.current, slot is seen.primary
            )
            for slot in Slot
        ),
        read_update(slots.update_folder),
    )


def bundle_info(bundle: Path, *, keyring: Path | None = None) -> BundleInfo:
    """Raises `UpdateFailed` for what is no bundle, or not signed by those whom this machine (or `keyring`) trusts."""
    options = ["--keyring", str(keyring)] if keyring else []
    done = subprocess.run(
        ["rauc", *options, "info", "--output-format=json", str(bundle)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise UpdateFailed(
            f"{bundle.name}: {_last_error(done.stderr)}", hint="it is damaged, or made by somebody else than this image"
        )
    try:
        said = json.loads(done.stdout)
        return BundleInfo(str(said["compatible"]), parse_version(str(said["version"])))
    except (ValueError, KeyError, TypeError) as error:
        raise UpdateFailed(f"{bundle.name} is no update of mycoswarm: {error}") from error


def install(bundle: Path, *, downgrade: bool = False) -> Iterator[str]:
    """Write the bundle over the slot that does not run: lines of progress for a person while it goes on. What is
    installed starts at the next reboot. Blocks: from an event loop, in a thread.

    `downgrade`: also if it is older than what runs; for root only. Raises `UpdateFailed`, or `MycoswarmError`.
    """
    slots = this_node()
    info = bundle_info(bundle)
    if info.compatible != slots.layout.compatible:
        raise UpdateFailed(f"{bundle.name} is for {info.compatible}, and this machine is {slots.layout.compatible}")
    if downgrade:
        admission.allow_downgrade(slots, info.version)
    else:
        # RAUC asks again, and counts: here it only spares an hour's transfer of bytes, and says it better.
        admission.require_fitting(info.version, image_version(slots.root), slots.seen().states[slots.current])
    yield from _installed(["rauc", "install", str(bundle)], str(info.version), slots.update_folder)


def _installed(command: list[str], version: str, update_folder: Path) -> Iterator[str]:
    before = read_update(update_folder)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        said: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            said = [*said[-40:], line.rstrip()]
            progress = re.fullmatch(r"\s*(\d{1,3})% (.*)", line.rstrip())
            if progress:
                yield f"{int(progress[1]):3d} % {progress[2]}"
        code = process.wait(INSTALL_S)
    if code:
        now = read_update(update_folder)
        if now is not None and now != before and now.outcome == "refused":
            raise UpdateFailed(now.reason)
        raise UpdateFailed(f"{version} was not installed: {_last_error(chr(10).join(said))}")
    yield f"{version} is installed and starts at the next reboot"


def rollback() -> str:
    """The version before starts at the next reboot: its slot, as far as it is known. Raises `MycoswarmError` where
    there is none that works."""
    slots = this_node()
    other = slots.current.other
    state = slots.seen().states[other]
    if state is not SlotState.GOOD:
        raise MycoswarmError(
            f"there is nothing to go back to: slot {other} is {state}",
            hint="install the version you want: mycoswarm update apply FILE",
        )
    done = subprocess.run(
        ["rauc", "status", "mark-active", "other"], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise MycoswarmError(f"cannot go back: {_last_error(done.stderr + done.stdout)}", hint="see docs/updates.md")
    return str(other)


def _last_error(text: str) -> str:
    """The line of RAUC's that says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|fail|refus|invalid|mismatch|older", line, re.IGNORECASE)]
    return (telling or lines or ["RAUC said nothing"])[-1][:1000]
