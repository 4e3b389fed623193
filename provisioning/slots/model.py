"""The words of this package, and what a way of booting must be able to decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from swarm.errors import MycoswarmError

TRIES = 3
"""How often a new system may start without proving itself, where the firmware counts (systemd-boot)."""


class Slot(StrEnum):
    """One of the two systems; the value is RAUC's bootname and `rauc.slot=` of the kernel command line."""

    A = "A"
    B = "B"

    @property
    def other(self) -> Slot:
        """The one that is not this."""
        return Slot.B if self is Slot.A else Slot.A

    @property
    def folder(self) -> str:
        """On the ESP."""
        return f"slot-{self.lower()}"


class SlotState(StrEnum):
    """What is known of a slot."""

    EMPTY = "empty"
    TRIAL = "trial"
    """A new system that may be started, and has not proved itself yet."""
    GOOD = "good"
    BAD = "bad"
    """Failed, or is being written just now."""


@dataclass(frozen=True)
class SlotView:
    """One slot, as its boot partition has it."""

    state: SlotState
    tries_left: int = 0
    """Of a trial."""


@dataclass(frozen=True)
class Write:
    """Replace a file whole, or make it; durable when the next step begins."""

    path: str
    data: bytes


@dataclass(frozen=True)
class Rename:
    """Durable when the next step begins; the new name was free."""

    old: str
    new: str


@dataclass(frozen=True)
class Remove:
    """Durable when the next step begins."""

    path: str


Step = Write | Rename | Remove
Steps = tuple[Step, ...]
Partition = Mapping[str, bytes]
"""The few files that decide, by their path on the boot partition."""


class NothingToFallBackTo(MycoswarmError):
    """Doing what was asked would leave no system that is known to work."""


class BootWay(Protocol):
    """Decides over one kind of boot partition; does nothing itself.

    All steps are safe to be cut off after any of them: what is there then starts a system that was good, and a later
    decision brings the rest in order. `current` is the slot that runs.
    """

    patterns: tuple[str, ...]
    """Which files decide, as globs."""

    def view(self, partition: Partition, slot: Slot, current: Slot) -> SlotView:
        """What is known of a slot."""
        ...

    def primary(self, partition: Partition, current: Slot) -> Slot:
        """The slot that the next reboot starts."""
        ...

    def good(self, partition: Partition, slot: Slot, current: Slot) -> Steps:
        """The slot works: from now on it starts without being counted. A slot that was never written stays so."""
        ...

    def bad(self, partition: Partition, slot: Slot, current: Slot) -> Steps:
        """Do not start the slot any more, unless a person does. Raises `NothingToFallBackTo`."""
        ...

    def written(self, partition: Partition, slot: Slot, *, title: str, options: str) -> Steps:
        """Another system lies in this slot now, with that title and kernel command line. It is bad until it is made
        the first."""
        ...

    def first(self, partition: Partition, slot: Slot, current: Slot) -> Steps:
        """Start this slot at the next reboot: on trial, unless it is known to be good. Raises `MycoswarmError` where
        nothing is installed."""
        ...

    def settle(self, partition: Partition, current: Slot) -> Steps:
        """What an interrupted change, or a trial that did not come up, left behind, put in order. Done at each
        start."""
        ...

    def attempt(self, partition: Partition) -> Steps | None:
        """What to write just before a reboot that must be told to try the other slot; None: a plain reboot does."""
        ...


def require_fallback(way: BootWay, partition: Partition, slot: Slot, current: Slot) -> None:
    """Raises `NothingToFallBackTo` unless the other slot is good."""
    if way.view(partition, slot.other, current).state is not SlotState.GOOD:
        raise NothingToFallBackTo(
            f"slot {slot} cannot be given up: slot {slot.other} is not known to work",
            hint="wait until the running version has proved itself: mycoswarm update status",
        )
