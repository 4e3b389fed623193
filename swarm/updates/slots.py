"""What this node can do about its own system: the protocol that `provisioning.slots` fulfils on an image, and
`swarm.updates.fake_slots` in tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from swarm.errors import MycoswarmError

Way = Literal["slots", "package", "checkout"]
"""How the node's software is changed: two systems, one of which runs; Debian's package, which is apt's; or a folder of
source code, which is whoever put it there's."""


class UpdateRefused(MycoswarmError):
    """A bundle that this node does not install, whoever asks: wrongly signed, damaged, for other machines, too old."""


class Bundle(msgspec.Struct, frozen=True):
    """A bundle whose signature is good, by this node's own keyring."""

    compatible: str
    """Which machines it is for."""
    version: str
    """What they run then, such as `0.1.0+20251121200000`."""


class SlotState(msgspec.Struct, frozen=True):
    """How the running system is."""

    way: Way
    version: str
    compatible: str = ""
    """Empty on a node without slots."""
    slot: str = ""
    """`A` or `B`."""
    boot: str = ""
    """Another one with each start of the machine."""
    good: bool = True
    """It proved itself. False: it has not decided yet, and may still go back."""
    reason: str = ""
    """Why the update that was tried last is not the one that runs; empty when it is, or there was none."""


class Slots(Protocol):
    """Every method may take long and is a coroutine; nothing blocks the event loop."""

    async def state(self) -> SlotState:
        """How it is now. Raises `MycoswarmError` when that cannot be told."""

    async def inspect(self, path: Path) -> Bundle:
        """Check the signature; the bundle may be for other machines. Raises `UpdateRefused`."""

    async def check(self, path: Path) -> Bundle:
        """As `inspect`, and that it is for a machine like this one and no older than what runs. Raises
        `UpdateRefused`."""

    async def install(self, path: Path, progress: Callable[[int], None]) -> None:
        """Write it over the other slot, which then is the one that starts next; `progress` in percent. Checks all that
        `check` does. Raises `UpdateRefused`, `MycoswarmError`."""

    async def restart(self) -> None:
        """Start the machine anew, in a moment."""

    async def rollback(self) -> None:
        """Have the other slot start next, if it is any good. Raises `MycoswarmError` when there is none."""
