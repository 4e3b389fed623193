"""The options of a discovery message: abbreviations expanded, each value checked as it is read.

Names are those of Home Assistant's MQTT integration (home-assistant.io/integrations/mqtt). Every method raises
`MalformedMessage` with the option's name when its value is not what it must be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from hub.home.templates import Template
from swarm.bus_rules import node_of
from swarm.errors import MalformedMessage

MAX_TOPIC = 512
"""Characters."""
MAX_TEXT = 1000
"""Characters of any other text."""
MAX_LIST = 100
"""Entries."""

OWN_TREE = "mycoswarm"
"""First level of the topics by which nodes talk to each other: no device may have us read or write there."""

ABBREVIATIONS = {
    "avty": "availability",
    "avty_mode": "availability_mode",
    "avty_t": "availability_topic",
    "avty_tpl": "availability_template",
    "bri_cmd_t": "brightness_command_topic",
    "bri_cmd_tpl": "brightness_command_template",
    "bri_scl": "brightness_scale",
    "bri_stat_t": "brightness_state_topic",
    "bri_val_tpl": "brightness_value_template",
    "clr_temp_cmd_t": "color_temp_command_topic",
    "clr_temp_cmd_tpl": "color_temp_command_template",
    "clr_temp_k": "color_temp_kelvin",
    "clr_temp_stat_t": "color_temp_state_topic",
    "clr_temp_val_tpl": "color_temp_value_template",
    "clrm": "color_mode",
    "clrm_stat_t": "color_mode_state_topic",
    "clrm_val_tpl": "color_mode_value_template",
    "cmd_t": "command_topic",
    "cmd_tpl": "command_template",
    "cod_form": "code_format",
    "curr_hum_t": "current_humidity_topic",
    "curr_hum_tpl": "current_humidity_template",
    "curr_temp_t": "current_temperature_topic",
    "curr_temp_tpl": "current_temperature_template",
    "dev": "device",
    "dev_cla": "device_class",
    "exp_aft": "expire_after",
    "hs_cmd_t": "hs_command_topic",
    "hs_cmd_tpl": "hs_command_template",
    "hs_stat_t": "hs_state_topic",
    "hs_val_tpl": "hs_value_template",
    "max_k": "max_kelvin",
    "max_mirs": "max_mireds",
    "min_k": "min_kelvin",
    "min_mirs": "min_mireds",
    "mode_cmd_t": "mode_command_topic",
    "mode_cmd_tpl": "mode_command_template",
    "mode_stat_t": "mode_state_topic",
    "mode_stat_tpl": "mode_state_template",
    "obj_id": "object_id",
    "on_cmd_type": "on_command_type",
    "pct_cmd_t": "percentage_command_topic",
    "pct_cmd_tpl": "percentage_command_template",
    "pct_stat_t": "percentage_state_topic",
    "pct_val_tpl": "percentage_value_template",
    "pl_avail": "payload_available",
    "pl_cls": "payload_close",
    "pl_lock": "payload_lock",
    "pl_not_avail": "payload_not_available",
    "pl_off": "payload_off",
    "pl_on": "payload_on",
    "pl_open": "payload_open",
    "pl_prs": "payload_press",
    "pl_rst_pct": "payload_reset_percentage",
    "pl_stop": "payload_stop",
    "pl_unlk": "payload_unlock",
    "pos_clsd": "position_closed",
    "pos_open": "position_open",
    "pos_t": "position_topic",
    "pos_tpl": "position_template",
    "pow_cmd_t": "power_command_topic",
    "pow_cmd_tpl": "power_command_template",
    "ret": "retain",
    "rgb_cmd_t": "rgb_command_topic",
    "rgb_cmd_tpl": "rgb_command_template",
    "rgb_stat_t": "rgb_state_topic",
    "rgb_val_tpl": "rgb_value_template",
    "set_pos_t": "set_position_topic",
    "set_pos_tpl": "set_position_template",
    "spd_rng_max": "speed_range_max",
    "spd_rng_min": "speed_range_min",
    "stat_closing": "state_closing",
    "stat_clsd": "state_closed",
    "stat_jam": "state_jammed",
    "stat_locked": "state_locked",
    "stat_locking": "state_locking",
    "stat_off": "state_off",
    "stat_on": "state_on",
    "stat_open": "state_open",
    "stat_opening": "state_opening",
    "stat_stopped": "state_stopped",
    "stat_t": "state_topic",
    "stat_unlocked": "state_unlocked",
    "stat_unlocking": "state_unlocking",
    "stat_val_tpl": "state_value_template",
    "sup_clrm": "supported_color_modes",
    "t": "topic",
    "temp_cmd_t": "temperature_command_topic",
    "temp_cmd_tpl": "temperature_command_template",
    "temp_stat_t": "temperature_state_topic",
    "temp_stat_tpl": "temperature_state_template",
    "temp_unit": "temperature_unit",
    "uniq_id": "unique_id",
    "unit_of_meas": "unit_of_measurement",
    "val_tpl": "value_template",
    "xy_cmd_t": "xy_command_topic",
    "xy_stat_t": "xy_state_topic",
}
"""The standard abbreviations of every option that is read here; the others' would be read by nobody."""

DEVICE_ABBREVIATIONS = {"ids": "identifiers", "sa": "suggested_area"}


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

    def flag(self, key: str) -> bool:
        """A boolean, False when absent."""
        value = self._values.get(key)
        return value is True or (isinstance(value, str) and value.lower() in ("true", "yes", "on", "1"))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty when absent."""
        value = self._values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > MAX_LIST:
            raise MalformedMessage(f"{key} is no list of at most {MAX_LIST} texts")
        return tuple(Options({key: each}).text(key) for each in value)

    def topic(self, key: str, *, of_nodes: bool = False) -> str:
        """A topic without wildcards, `~` replaced; empty when absent. `of_nodes`: what a node tells of itself
        will do too."""
        topic = self.text(key)
        if topic.startswith("~"):
            topic = self._base + topic[1:]
        elif topic.endswith("~"):
            topic = topic[:-1] + self._base
        if not topic:
            return ""
        if len(topic) > MAX_TOPIC:
            raise MalformedMessage(f"{key} has {len(topic)} characters, more than {MAX_TOPIC}")
        if re.search(r"[+#\x00-\x1f\x7f]", topic):
            raise MalformedMessage(f"{key} {topic!r} has a wildcard or a control character")
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
