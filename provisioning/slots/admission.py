"""Whether a bundle may be installed here: asked before anything is written, on each way in (RAUC's pre-install)."""

from __future__ import annotations

import configparser
import contextlib
from pathlib import Path

from provisioning.slots.model import SlotState
from provisioning.slots.node import NodeSlots
from provisioning.slots.version import ImageVersion, parse_version
from swarm.errors import MycoswarmError


class UpdateRefused(MycoswarmError):
    """The bundle is whole and signed, and is not installed all the same."""


def require_fitting(
    new: ImageVersion, running: ImageVersion, state: SlotState, *, allowed: ImageVersion | None = None
) -> None:
    """Raises `UpdateRefused`. `state`: of the slot that runs. `allowed`: the older version that a person asked for."""
    if state is not SlotState.GOOD:
        raise UpdateRefused(
            "the running version has not proved itself yet: the other slot holds the only one that is known to work",
            hint="wait until it has, some minutes after the start: mycoswarm update status",
        )
    if new < running and new != allowed:
        raise UpdateRefused(
            f"{new} is older than {running}, which runs here",
            hint="to go back to the version before: mycoswarm update rollback; to install it all the same, on this"
            " machine: sudo mycoswarm update apply --allow-downgrade FILE",
        )


def bundle_version(mount_point: Path) -> ImageVersion:
    """What the manifest of a mounted bundle says. Raises `MycoswarmError`."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string((mount_point / "manifest.raucm").read_text())
        return parse_version(parser["update"]["version"])
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError) as error:
        raise UpdateRefused(
            f"the bundle says no version: {error}", hint="make it with: mycoswarm update bundle"
        ) from error


def allow_downgrade(slots: NodeSlots, version: ImageVersion) -> None:
    """This older version may be installed, once. Only root may say so. Raises `MycoswarmError`."""
    try:
        slots.runtime.mkdir(mode=0o755, exist_ok=True)
        (slots.runtime / "allow-downgrade").write_text(str(version))
    except OSError as error:
        raise MycoswarmError(
            "an older version may be installed only by root, on the machine itself", hint="say it with sudo"
        ) from error


def take_allowance(slots: NodeSlots) -> ImageVersion | None:
    """The version that may be installed although it is older; from now on it may not any more."""
    path = slots.runtime / "allow-downgrade"
    try:
        text = path.read_text()
        path.unlink()
        return parse_version(text)
    except (OSError, MycoswarmError):
        with contextlib.suppress(OSError):
            path.unlink()
        return None
