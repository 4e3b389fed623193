"""What a person wants, as understood from words."""

from __future__ import annotations

from typing import Literal

import msgspec

SlotValue = str | int | float
Origin = Literal["person", "program", "rule"]


class Intent(msgspec.Struct, frozen=True):
    """One thing a person wants. A sentence can hold several."""

    name: str
    """Home Assistant's name (`HassTurnOn`, …) or one of ours: `Repeat`, `Help`, `Stop`, `Confirm`, `Deny`."""
    slots: dict[str, SlotValue] = {}
    """As Home Assistant's intents name them: `name`, `area`, `domain`, `device_class`, `brightness`, `color`, …

    `name` holds an entity's id (not its spoken name); `area` an area's name as entities have it.
    """
    words: str = ""
    """The part of the sentence that said it."""


class Context(msgspec.Struct, frozen=True):
    """Who asks, and where."""

    satellite: str = ""
    """Empty for typed text."""
    area: str = ""
    """The room the satellite stands in."""
    language: str = "en"
    told_before: bool = False
    """Another hub heard the same and is gone: it may be done already."""
    origin: Origin = "person"
    """Who chose the words. Only a person is asked before something risky is done, and only a person's yes counts: what
    a program wrote (a message on the bus, another service) or a rule holds is never asked and confirms nothing."""
    cause: str = ""
    """What is told to a person who asks why it was done, where nobody spoke: the name of the rule or the program."""
    desk: str = ""
    """Of typed text: where it was typed. Text that comes from another desk answers no question that was asked at this
    one."""

    @property
    def place(self) -> str:
        """Names the conversation that this belongs to: what was asked there can be answered there only."""
        return f"{self.origin} {self.satellite!r} {self.desk!r}"
