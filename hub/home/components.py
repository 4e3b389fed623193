"""Switches, sensors and what else has one property.

Options, states and commands are those of Home Assistant's MQTT integration (home-assistant.io/integrations/mqtt).
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from hub.home.component import (
    Component,
    Plan,
    Reached,
    Reader,
    Setting,
    Unsupported,
    as_text,
    number,
    number_in,
    one_of,
    read_text,
)
from hub.home.entity import State, Verb
from hub.home.options import Options
from hub.home.templates import Message, NoValue
from swarm.errors import MalformedMessage

MAX_READING = 255
"""Characters of a sensor's reading, as in Home Assistant."""


def required(options: Options, *topics: str) -> str:
    """The first of these topics that is given; raises `MalformedMessage` when none is."""
    found = [topic for topic in map(options.topic, topics) if topic]
    if not found:
        raise MalformedMessage(f"no {' or '.join(topics)}")
    return found[0]


class Switch(Component):
    """On or off; also what lights and fans have of it."""

    def __init__(self, options: Options, *, state_template: str = "value_template") -> None:
        super().__init__(options)
        self._topic = required(options, "command_topic")
        self._template = options.template("command_template")
        self._on, self._off = options.text("payload_on", "ON"), options.text("payload_off", "OFF")
        meanings = {options.text("state_off", self._off): "off", options.text("state_on", self._on): "on"}
        self._reads(options.topic("state_topic"), options.template(state_template), "value", one_of(meanings))
        self.features.add("on_off")

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb == "toggle":
            verb = "turn_off" if state.value == "on" else "turn_on"
        if verb == "turn_on":
            return self._plan(self._send(self._topic, self._template, self._on), value="on")
        if verb == "turn_off":
            return self._plan(self._send(self._topic, self._template, self._off), value="off")
        return super()._planned(verb, value, state)


class Siren(Switch):
    """On or off, told in JSON unless it has a template."""

    def __init__(self, options: Options) -> None:
        super().__init__(options, state_template="state_value_template")
        self._off_template = options.template("command_off_template") or self._template
        words = {options.text("state_off", self._off): "off", options.text("state_on", self._on): "on"}
        template = options.template("state_value_template")

        def read(state: State, message: Message) -> State:
            text = read_text(message, template)
            told = Message(text).json
            value = told.get("state") if isinstance(told, dict) else text
            if value not in words:
                raise NoValue(f"{text!r:.80} says neither on nor off")
            return msgspec.structs.replace(state, value=words[value])

        self.readers = [replace(reader, read=read) for reader in self.readers]

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb == "toggle":
            verb = "turn_off" if state.value == "on" else "turn_on"
        if verb not in ("turn_on", "turn_off"):
            return super()._planned(verb, value, state)
        payload, template = (self._on, self._template) if verb == "turn_on" else (self._off, self._off_template)
        sent = payload if template is not None else {"state": payload}
        return self._plan(
            self._send(self._topic, template, sent, state=payload), value="on" if verb == "turn_on" else "off"
        )


class Sensor(Component):
    """A reading."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        topic = required(options, "state_topic")
        measures = bool(options.text("unit_of_measurement"))

        def parse(text: str) -> str:
            if measures:
                number(text)
            return text[:MAX_READING]

        self._reads(topic, options.template("value_template"), "value", parse)


class BinarySensor(Component):
    """Something that is or is not: `on` is open, wet, moving, … as the device class says."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        topic = required(options, "state_topic")
        self.off_after_s = options.number("off_delay", 0.0, low=0.0)
        meanings = {options.text("payload_off", "OFF"): "off", options.text("payload_on", "ON"): "on"}
        self._reads(topic, options.template("value_template"), "value", one_of(meanings))


class Event(Component):
    """Something that happens now and then: a button of a remote control, a bell."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        topic, template = required(options, "state_topic"), options.template("value_template")
        types = options.texts("event_types")
        if not types:
            raise MalformedMessage("no event_types")

        def read(state: State, message: Message) -> State:
            told = Message(read_text(message, template)).json
            kind = told.get("event_type") if isinstance(told, dict) else None
            if kind not in types:
                raise NoValue(f"event_type is none of {', '.join(types)}"[:300])
            return msgspec.structs.replace(state, value=kind, events=(state.events or 0) + 1)

        self.readers.append(Reader(topic, frozenset({"value", "events"}), read, of_events=True))


class Number(Component):
    """Something that is set to a number."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        required(options, "command_topic")
        bounds = options.number("min", 1.0), options.number("max", 100.0)
        if bounds[0] >= bounds[1]:
            raise MalformedMessage("max is not above min")
        self._step = options.number("step", 1.0, low=1e-6)
        reset = options.text("payload_reset", "None")
        self._reads(
            options.topic("state_topic"),
            options.template("value_template"),
            "value",
            lambda text: None if text == reset else as_text(number(text)),
        )
        self._sets(options, "", "set_number", "number", Setting("value", "", None, {}, *bounds))

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb != "set_number":
            return super()._planned(verb, value, state)
        setting = self.settings[verb]
        low, step = setting.low, self._step
        wanted = number_in(value)
        if not low <= wanted <= setting.high:
            raise Unsupported(f"{wanted:g} is outside {low:g} to {setting.high:g}")
        # Steps count from the lowest, as in a slider; the last may be shorter.
        wanted = round(min(low + round((wanted - low) / step) * step, setting.high), 6)
        near: Reached = lambda _, now: now.value is not None and abs(float(now.value) - wanted) <= step / 2  # noqa: E731
        sent = self._send(setting.topic, setting.template, wanted)
        return self._plan(sent, reached=near if self.readers else None, value=as_text(wanted))


class Select(Component):
    """One of several options."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        required(options, "command_topic")
        words = options.texts("options")
        if not words:
            raise MalformedMessage("no options")
        self._chooses(options, "", "select_option", "option", "value", {word: word for word in words})


class Scene(Component):
    """Something that is set off, and has no state."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._topic = required(options, "command_topic")
        self._payload = options.text("payload_on", "ON")
        self.features.add("activate")

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb not in ("activate", "turn_on"):
            return super()._planned(verb, value, state)
        return self._plan(self._send(self._topic, None, self._payload))


class Button(Component):
    """Something that is pressed, and has no state."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._topic = required(options, "command_topic")
        self._template = options.template("command_template")
        self._payload = options.text("payload_press", "PRESS")
        self.features.add("press")

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb not in ("press", "turn_on", "activate"):
            return super()._planned(verb, value, state)
        return self._plan(self._send(self._topic, self._template, self._payload))
