"""Vacuum cleaners and lawn mowers.

Options, states and commands are those of Home Assistant's MQTT integration (home-assistant.io/integrations/mqtt).
"""

from __future__ import annotations

import msgspec

from hub.home.component import Component, Plan, Reached, Reader, Setting, one_of
from hub.home.components import required
from hub.home.entity import Feature, State, Verb
from hub.home.options import Options
from hub.home.templates import Message, NoValue

VACUUM_STATES = ("cleaning", "docked", "paused", "idle", "returning", "error")
MOWER_STATES = ("mowing", "docked", "paused", "returning", "error")
GOALS: dict[Verb, tuple[str, ...]] = {
    "start": ("cleaning", "mowing"),
    "pause": ("paused", "idle"),
    "stop": ("idle", "paused", "docked", "returning"),
    "return_to_base": ("returning", "docked"),
}


def _gets_to(verb: Verb) -> Reached | None:
    goals = GOALS.get(verb)
    return None if goals is None else lambda _, now: now.value in goals


class Vacuum(Component):
    """Starts, stops, pauses, goes home and calls."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._topic = options.topic("command_topic")
        default = ("start", "stop", "return_home")
        able = options.texts("supported_features") if "supported_features" in options else default
        spoken: dict[str, tuple[Verb, Feature]] = {
            "start": ("start", "start"),
            "pause": ("pause", "pause"),
            "stop": ("stop", "stop"),
            "return_home": ("return_to_base", "return_to_base"),
            "locate": ("locate", "locate"),
        }
        self._payloads: dict[Verb, str] = {}
        for word, (verb, feature) in spoken.items():
            if word in able and self._topic:
                self._payloads[verb] = options.text(f"payload_{verb}", verb)
                self.features.add(feature)
        speed_topic, speeds = options.topic("set_fan_speed_topic"), options.texts("fan_speed_list")
        if speed_topic and speeds and "fan_speed" in able:
            self.settings["set_fan_mode"] = Setting("fan_mode", speed_topic, None, {speed: speed for speed in speeds})
            self.features.add("fan_mode")
        topic = options.topic("state_topic")
        if topic:
            self.readers.append(Reader(topic, frozenset({"value", "fan_mode"}), _vacuum_state))

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        payload = self._payloads.get(verb)
        if payload is None:
            return super()._planned(verb, value, state)
        return self._plan(self._send(self._topic, None, payload), reached=_gets_to(verb) if self.readers else None)


def _vacuum_state(state: State, message: Message) -> State:
    told = message.json
    if not isinstance(told, dict):
        raise NoValue("no JSON object")
    news = {"value": told["state"]} if told.get("state") in VACUUM_STATES else {}
    if isinstance(told.get("fan_speed"), str):
        news["fan_mode"] = told["fan_speed"][:80]
    if not news:
        raise NoValue("nothing about the vacuum")
    return msgspec.structs.replace(state, **news)


class LawnMower(Component):
    """Starts, pauses and goes home."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        words: dict[Verb, tuple[str, Feature]] = {
            "start": ("start_mowing", "start"),
            "pause": ("pause", "pause"),
            "return_to_base": ("dock", "return_to_base"),
        }
        required(options, *(f"{word}_command_topic" for word, _ in words.values()))
        self._commands = {
            verb: (topic, options.template(f"{word}_command_template"), word)
            for verb, (word, _) in words.items()
            if (topic := options.topic(f"{word}_command_topic"))
        }
        self.features |= {feature for verb, (_, feature) in words.items() if verb in self._commands}
        states = {state: state for state in MOWER_STATES}
        self._reads(
            options.topic("activity_state_topic"), options.template("activity_value_template"), "value", one_of(states)
        )

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb not in self._commands:
            return super()._planned(verb, value, state)
        topic, template, payload = self._commands[verb]
        return self._plan(self._send(topic, template, payload), reached=_gets_to(verb) if self.readers else None)
