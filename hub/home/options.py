"""The options of a discovery message: abbreviations expanded, each value checked as it is read.

Names are those of Home Assistant's MQTT integration (home-assistant.io/integrations/mqtt). Every method raises
`MalformedMessage` with the option's name when its value is not what it must be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from hub.home.abbreviations import ABBREVIATIONS
from hub.home.templates import Template
from swarm.bus_rules import node_of
from swarm.errors import MalformedMessage

MAX_TOPIC = 512
"""Characters."""
MAX_TEXT = 1000
"""Characters of any other text."""
MAX_LIST = 500
"""Entries."""

OWN_TREE = "mycoswarm"
"""First level of the topics by which nodes talk to each other: no device may have us read or write there."""

SHARED = frozenset(
    {
        *("availability", "availability_mode", "availability_template", "availability_topic"),
        *("payload_available", "payload_not_available", "command_topic", "state_topic", "device"),
    }
)
"""What a device says once for all of its components."""


class Options:
    """Read access to the options of one discovery message."""

    def __init__(self, values: Mapping[str, Any], *, base: str = "") -> None:
        """`values` as parsed from JSON; `base` is what `~` in topics stands for."""
        self._values = {ABBREVIATIONS.get(key, key): value for key, value in values.items()}
        own = self._values.get("~")
        if own is not None and not isinstance(own, str):
            raise MalformedMessage("~ is no text")
        self._base = own if own is not None else base

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def is_null(self, key: str) -> bool:
        """Whether the option is there and null, which for some means "has none of it"."""
        return key in self._values and self._values[key] is None

    def text(self, key: str, default: str = "") -> str:
        """A text; numbers and booleans become text as Home Assistant writes them."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, str | int | float):
            raise MalformedMessage(f"{key} is no text")
        try:
            text = str(value)
        except ValueError as error:  # a whole number of thousands of digits
            raise MalformedMessage(f"{key}: {error}") from error
        if len(text) > MAX_TEXT:
            raise MalformedMessage(f"{key} has {len(text)} characters, more than {MAX_TEXT}")
        return text

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of `choices`; the first is the default."""
        value = self.text(key, choices[0])
        if value not in choices:
            raise MalformedMessage(f"{key} is {value!r:.80}, none of {', '.join(choices)}")
        return value

    def number(self, key: str, default: float, *, low: float = -1e6, high: float = 1e6) -> float:
        """A number from `low` to `high`."""
        value = self._values.get(key)
        if value is None:
            return default
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not low <= number <= high:
            raise MalformedMessage(f"{key} is no number from {low:g} to {high:g}")
        return number

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A boolean."""
        value = self._values.get(key)
        if value is None:
            return default
        return value is True or (isinstance(value, str) and value.lower() in ("true", "yes", "on", "1"))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty when absent; a single text may stand for a list of one."""
        value = self._values.get(key)
        if value is None:
            return ()
        entries = value if isinstance(value, list) else [value]
        if len(entries) > MAX_LIST:
            raise MalformedMessage(f"{key} has more than {MAX_LIST} entries")
        return tuple(Options({key: each}).text(key) for each in entries)

    def pairs(self, key: str) -> tuple[tuple[str, ...], ...]:
        """A list of lists of texts, empty when absent."""
        value = self._values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > MAX_LIST:
            raise MalformedMessage(f"{key} is no list of at most {MAX_LIST} entries")
        return tuple(Options({key: each}).texts(key) for each in value)

    def topic(self, key: str, *, of_nodes: bool = False) -> str:
        """A topic, `~` replaced; empty when absent. One that the device tells something on may have `+` for some of
        its levels, one for commands never. `of_nodes`: what a node tells of itself will do too."""
        topic = self.text(key)
        if topic.startswith("~"):
            topic = self._base + topic[1:]
        elif topic.endswith("~"):
            topic = topic[:-1] + self._base
        if not topic:
            return ""
        if len(topic) > MAX_TOPIC:
            raise MalformedMessage(f"{key} has {len(topic)} characters, more than {MAX_TOPIC}")
        if re.search(r"[\x00-\x1f\x7f]", topic):
            raise MalformedMessage(f"{key} {topic!r} has a control character")
        if ("+" in topic or "#" in topic) and not (_is_told(key) and _is_narrow(topic)):
            raise MalformedMessage(f"{key} {topic!r} has a wildcard that is not allowed")
        if of_nodes and node_of(topic) is not None:
            return topic
        if topic.startswith("$") or topic.partition("/")[0] == OWN_TREE:
            raise MalformedMessage(f"{key} {topic!r} is not a device's to use")
        return topic

    def template(self, key: str) -> Template | None:
        """A template, None when absent or empty."""
        value = self._values.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise MalformedMessage(f"{key} is no text")
        try:
            return Template(value)
        except MalformedMessage as error:
            raise MalformedMessage(f"{key}: {error}") from error

    def inner(self, key: str) -> Mapping[str, Any] | None:
        """Groups of options by their names, unchecked; None when absent."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, dict):
            raise MalformedMessage(f"{key} is no group of options")
        return value

    def shared_by(self, device: Options) -> Options:
        """These of one component, with those that all components of `device` share."""
        shared = {key: value for key, value in device._values.items() if key in SHARED}
        return Options({**shared, **self._values}, base=device._base)

    def group(self, key: str, abbreviations: Mapping[str, str] | None = None) -> Options:
        """The options inside an option; empty when absent."""
        value = self._values.get(key)
        if value is None:
            return Options({})
        return self._inner(key, value, abbreviations)

    def groups(self, key: str) -> tuple[Options, ...]:
        """The groups of options in a list; a single group may stand for a list of one."""
        value = self._values.get(key)
        if value is None:
            return ()
        entries = value if isinstance(value, list) else [value]
        if len(entries) > MAX_LIST:
            raise MalformedMessage(f"{key} has more than {MAX_LIST} entries")
        return tuple(self._inner(key, entry, None) for entry in entries)

    def _inner(self, key: str, value: object, abbreviations: Mapping[str, str] | None) -> Options:
        if not isinstance(value, dict):
            raise MalformedMessage(f"{key} is no group of options")
        long = abbreviations or {}
        return Options({long.get(name, name): inner for name, inner in value.items()}, base=self._base)


def _is_told(key: str) -> bool:
    """Whether the device tells something on such a topic; it hears commands on the others."""
    return "command" not in key and not key.startswith("set_")


def _is_narrow(topic: str) -> bool:
    """Whether a topic with wildcards still is about something: gateways have `+/+/BTtoMQTT/A4C138123456`."""
    levels = topic.split("/")
    return all(level == "+" or not set(level) & {"+", "#"} for level in levels) and set(levels) - {"+", ""} != set()
