"""Fans, thermostats and what else changes the air or the water.

Options, states and commands are those of Home Assistant's MQTT integration (home-assistant.io/integrations/mqtt).
"""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec

from hub.home.component import (
    Component,
    Plan,
    Reader,
    Setting,
    number,
    one_of,
    percent_of,
    percentage,
    read_text,
)
from hub.home.components import Switch, required
from hub.home.entity import State, Verb
from hub.home.options import Options
from hub.home.templates import Message
from swarm.errors import MalformedMessage

ACTIONS = {
    word: word
    for word in (
        *("off", "idle", "heating", "cooling", "drying", "fan", "preheating", "defrosting"),
        *("humidifying",),
    )
}
"""What Home Assistant lets a device say of what it does."""


class Fan(Switch):
    """On or off, and a speed."""

    def __init__(self, options: Options) -> None:
        super().__init__(options, state_template="state_value_template")
        self._speed_topic = options.topic("percentage_command_topic")
        self._speed_template = options.template("percentage_command_template")
        # The range holds the speeds of a turning fan: the percent below its lowest is off.
        self._below = options.number("speed_range_min", 1.0) - 1.0
        self._top = options.number("speed_range_max", 100.0)
        if self._top <= self._below + 1.0:
            raise MalformedMessage("speed_range_max is not above speed_range_min")
        reset = options.text("payload_reset_percentage", "None")
        percent = percent_of(self._below, self._top)
        self._reads(
            options.topic("percentage_state_topic"),
            options.template("percentage_value_template"),
            "speed",
            lambda text: None if text == reset else percent(text),
        )
        if self._speed_topic:
            self.features.add("speed")
        swings = {
            "on": options.text("payload_oscillation_on", "oscillate_on"),
            "off": options.text("payload_oscillation_off", "oscillate_off"),
        }
        self._chooses(options, "oscillation_", "oscillate", "oscillation", "oscillation", swings)
        ways = {"forward": "forward", "reverse": "reverse"}
        self._chooses(options, "direction_", "set_direction", "direction", "direction", ways)
        presets = {preset: preset for preset in options.texts("preset_modes")}
        self._chooses(options, "preset_mode_", "set_preset", "preset", "preset", presets)

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb != "set_speed":
            return super()._planned(verb, value, state)
        wanted = percentage(value)
        if wanted == 0:
            return super()._planned("turn_off", None, state)
        raw = math.ceil(self._below + (self._top - self._below) * wanted / 100.0)
        return self._plan(
            *super()._planned("turn_on", None, state).publications,
            self._send(self._speed_topic, self._speed_template, raw),
            value="on",
            speed=percent_of(self._below, self._top)(str(raw)),
        )


class Climate(Component):
    """Thermostats: target temperature and mode."""

    usual_modes: tuple[str, ...] = ("auto", "off", "cool", "heat", "dry", "fan_only")

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        required(options, "temperature_command_topic", "mode_command_topic", "power_command_topic")
        self._power_topic = options.topic("power_command_topic")
        self._power_template = options.template("power_command_template")
        self._on, self._off = options.text("payload_on", "ON"), options.text("payload_off", "OFF")
        self._modes = options.texts("modes") or self.usual_modes
        fahrenheit = options.text("temperature_unit").upper() == "F"
        bounds = (
            options.number("min_temp", 45.0 if fahrenheit else 7.0),
            options.number("max_temp", self._hottest(fahrenheit)),
        )
        step = options.number("temp_step", 0.0, low=0.0)
        self._measures(
            options, "temperature_", "set_temperature", "target_temperature", "target_temperature", (*bounds, step)
        )
        moist = options.number("min_humidity", 30.0), options.number("max_humidity", 99.0)
        self._measures(options, "target_humidity_", "set_humidity", "target_humidity", "target_humidity", (*moist, 0.0))
        for field in ("current_temperature", "current_humidity"):
            self._reads(options.topic(f"{field}_topic"), options.template(f"{field}_template"), field, number)
        self._reads(options.topic("action_topic"), options.template("action_template"), "action", one_of(ACTIONS))
        mode_topic = options.topic("mode_state_topic")
        if mode_topic:
            self.readers.append(self._mode_reader(options, mode_topic))
        self._sets(
            options, "mode_", "set_mode", "mode", Setting("mode", "", None, {mode: mode for mode in self._modes})
        )
        presets = {preset: preset for preset in ("none", *options.texts("preset_modes"))}
        self._chooses(options, "preset_mode_", "set_preset", "preset", "preset", presets)
        winds = {wind: wind for wind in options.texts("fan_modes") or ("auto", "low", "medium", "high")}
        self._chooses(options, "fan_mode_", "set_fan_mode", "fan_mode", "fan_mode", winds)
        if self._power_topic or ("mode" in self.features and "off" in self._modes and len(self._modes) > 1):
            self.features.add("on_off")

    def _hottest(self, fahrenheit: bool) -> float:
        return 95.0 if fahrenheit else 35.0

    def _mode_reader(self, options: Options, topic: str) -> Reader:
        template = options.template("mode_state_template")
        parse = one_of({mode: mode for mode in self._modes})

        def read(state: State, message: Message) -> State:
            mode = parse(read_text(message, template))
            return msgspec.structs.replace(state, mode=mode, value="off" if mode == "off" else "on")

        return Reader(topic, frozenset({"mode", "value"}), read)

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb == "toggle" and "on_off" in self.features:
            verb = "turn_on" if state.value == "off" else "turn_off"
        if verb == "set_mode":
            return self._set_mode(str(value), state)
        if verb in ("turn_on", "turn_off") and "on_off" in self.features:
            if self._power_topic:
                payload = self._on if verb == "turn_on" else self._off
                sent = self._send(self._power_topic, self._power_template, payload)
                return self._plan(sent, value="on" if verb == "turn_on" else "off")
            if verb == "turn_off":
                return self._set_mode("off", state)
            usual: list[str] = [mode for mode in ("heat_cool", "auto", "heat", "cool") if mode in self._modes]
            return self._set_mode((usual or [mode for mode in self._modes if mode != "off"])[0], state)
        return super()._planned(verb, value, state)

    def _set_mode(self, mode: str, state: State) -> Plan:
        plan = super()._planned("set_mode", mode, state)
        off = mode.casefold() == "off"
        told = "value" in self.reported
        return (
            plan if told else replace(plan, assumed=msgspec.structs.replace(plan.assumed, value="off" if off else "on"))
        )


class WaterHeater(Climate):
    """Boilers: what a thermostat has, with modes of their own."""

    usual_modes = ("off", "eco", "electric", "gas", "heat_pump", "high_demand", "performance")

    def _hottest(self, fahrenheit: bool) -> float:
        return 140.0 if fahrenheit else 60.0


class Humidifier(Switch):
    """Humidifiers and dehumidifiers: on or off, a target humidity, perhaps modes."""

    def __init__(self, options: Options) -> None:
        super().__init__(options, state_template="state_value_template")
        required(options, "target_humidity_command_topic")
        bounds = options.number("min_humidity", 0.0), options.number("max_humidity", 100.0)
        self._measures(
            options, "target_humidity_", "set_humidity", "target_humidity", "target_humidity", (*bounds, 1.0)
        )
        self._reads(
            options.topic("current_humidity_topic"),
            options.template("current_humidity_template"),
            "current_humidity",
            number,
        )
        modes = {mode: mode for mode in options.texts("modes")}
        self._chooses(options, "mode_", "set_mode", "mode", "mode", modes)
        self._reads(options.topic("action_topic"), options.template("action_template"), "action", one_of(ACTIONS))
