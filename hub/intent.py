"""What a person wants, as understood from words."""

from __future__ import annotations

import msgspec

SlotValue = str | int | float


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
