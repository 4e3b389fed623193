"""The kinds of devices that are no lights.

Options, states and commands are those of Home Assistant's MQTT integration (home-assistant.io/integrations/mqtt).
"""

from __future__ import annotations

import math

import msgspec

from hub.home.component import (
    SAME_PERCENT,
    Component,
    Plan,
    Publication,
    Reached,
    Reader,
    Unsupported,
    number,
    number_in,
    on_scale,
    one_of,
    percent_of,
    percentage,
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


class Cover(Component):
    """Blinds, curtains, garage doors: open, close, stop, and perhaps a position."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        required(options, "command_topic", "set_position_topic")
        self._topic = options.topic("command_topic")
        self._template = options.template("command_template")
        self._payloads = {
            verb: None if options.is_null(key) else options.text(key, default)
            for verb, key, default in (
                ("open", "payload_open", "OPEN"),
                ("close", "payload_close", "CLOSE"),
                ("stop", "payload_stop", "STOP"),
            )
        }
        self._closed_at, self._open_at = options.number("position_closed", 0), options.number("position_open", 100)
        if self._closed_at == self._open_at:
            raise MalformedMessage("position_open and position_closed are the same")
        self._set_topic, self._set_template = (
            options.topic("set_position_topic"),
            options.template("set_position_template"),
        )
        state_topic, position_topic = options.topic("state_topic"), options.topic("position_topic")
        if state_topic:
            self.readers.append(self._state_reader(options, state_topic))
        if position_topic:
            self.readers.append(self._position_reader(options, position_topic, alone=not state_topic))
        self.features.add("open_close")
        if self._set_topic:
            self.features.add("position")

    def _state_reader(self, options: Options, topic: str) -> Reader:
        template = options.template("value_template")
        words = ("open", "closed", "opening", "closing", "stopped")
        parse = one_of({options.text(f"state_{word}", word): word for word in reversed(words)})

        def read(state: State, message: Message) -> State:
            value = parse(read_text(message, template))
            if value == "stopped":
                shut = state.position == 0 if state.position is not None else state.value in ("closing", "closed")
                value = "closed" if shut else "open"
            return msgspec.structs.replace(state, value=value)

        return Reader(topic, frozenset({"value"}), read)

    def _position_reader(self, options: Options, topic: str, *, alone: bool) -> Reader:
        template = options.template("position_template")
        parse = percent_of(self._closed_at, self._open_at)

        def read(state: State, message: Message) -> State:
            try:
                position = parse(read_text(message, template))
            except ValueError as error:
                raise NoValue("no position") from error
            value = ("open" if position else "closed") if alone else state.value
            return msgspec.structs.replace(state, position=position, value=value)

        return Reader(topic, frozenset({"position", "value"} if alone else {"position"}), read)

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb == "stop":
            stopped: Reached = lambda _, now: now.value not in ("opening", "closing")  # noqa: E731
            return self._plan(self._press("stop"), reached=stopped if self.readers else None)
        if verb == "set_position":
            position = round(percentage(value))
        elif verb in ("open", "close"):
            position = 100 if verb == "open" else 0
        else:
            return super()._planned(verb, value, state)
        verb = "open" if position == 100 else "close" if position == 0 else verb
        if verb in ("open", "close") and self._topic and self._payloads[verb] is not None:
            sent = self._press(verb)
        else:
            raw = on_scale(position, self._closed_at, self._open_at)
            variables = {"position": position, "position_open": self._open_at, "position_closed": self._closed_at}
            sent = self._send(self._set_topic, self._set_template, raw, **variables)
        return self._plan(
            sent,
            reached=self._on_its_way(position) if self.readers else None,
            position=position,
            value="closed" if position == 0 else "open",
        )

    def _on_its_way(self, position: int) -> Reached:
        """Whether the cover is there or moves there: a blind takes half a minute, and nobody waits for that."""
        measures = "position" in self.reported

        def reached(before: State, now: State) -> bool:
            if measures and now.position is not None:
                if abs(now.position - position) <= SAME_PERCENT:
                    return True
                if before.position is not None and abs(now.position - position) < abs(before.position - position):
                    return True
                return now.value == ("opening" if position > now.position else "closing")
            return now.value in (("closed", "closing") if position == 0 else ("open", "opening"))

        return reached

    def _press(self, verb: str) -> Publication:
        payload = self._payloads[verb]
        if payload is None:
            raise Unsupported(f"it cannot {verb}")
        return self._send(self._topic, self._template, payload)


class Climate(Component):
    """Thermostats: target temperature and mode."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        required(options, "temperature_command_topic", "mode_command_topic", "power_command_topic")
        self._temperature_topic = options.topic("temperature_command_topic")
        self._temperature_template = options.template("temperature_command_template")
        self._mode_topic = options.topic("mode_command_topic")
        self._mode_template = options.template("mode_command_template")
        self._power_topic = options.topic("power_command_topic")
        self._power_template = options.template("power_command_template")
        self._on, self._off = options.text("payload_on", "ON"), options.text("payload_off", "OFF")
        self._modes = options.texts("modes") or ("auto", "off", "cool", "heat", "dry", "fan_only")
        fahrenheit = options.text("temperature_unit").upper() == "F"
        self._low = options.number("min_temp", 45.0 if fahrenheit else 7.0)
        self._high = options.number("max_temp", 95.0 if fahrenheit else 35.0)
        self._step = options.number("temp_step", 0.0, low=0.0)
        for field, name in (
            ("current_temperature", "current_temperature"),
            ("target_temperature", "temperature_state"),
            ("current_humidity", "current_humidity"),
        ):
            self._reads(options.topic(f"{name}_topic"), options.template(f"{name}_template"), field, number)
        mode_topic = options.topic("mode_state_topic")
        if mode_topic:
            self.readers.append(self._mode_reader(options, mode_topic))
        if self._temperature_topic:
            self.features.add("target_temperature")
        if self._mode_topic:
            self.features.add("mode")
        if self._power_topic or (self._mode_topic and "off" in self._modes and len(self._modes) > 1):
            self.features.add("on_off")

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
        if verb == "set_temperature":
            return self._set_temperature(number_in(value))
        if verb == "set_mode":
            return self._set_mode(str(value).lower())
        if verb in ("turn_on", "turn_off") and "on_off" in self.features:
            if self._power_topic:
                payload = self._on if verb == "turn_on" else self._off
                sent = self._send(self._power_topic, self._power_template, payload)
                return self._plan(sent, value="on" if verb == "turn_on" else "off")
            if verb == "turn_off":
                return self._set_mode("off")
            usual: list[str] = [mode for mode in ("heat_cool", "auto", "heat", "cool") if mode in self._modes]
            return self._set_mode((usual or [mode for mode in self._modes if mode != "off"])[0])
        return super()._planned(verb, value, state)

    def _set_temperature(self, degrees: float) -> Plan:
        if not self._low <= degrees <= self._high:
            raise Unsupported(f"{degrees:g} is outside {self._low:g} to {self._high:g}")
        if self._step:
            degrees = round(round(degrees / self._step) * self._step, 2)
        sent = self._send(self._temperature_topic, self._temperature_template, degrees)
        return self._plan(sent, target_temperature=degrees)

    def _set_mode(self, mode: str) -> Plan:
        if mode not in self._modes:
            raise Unsupported(f"its modes are {', '.join(self._modes)}")
        sent = self._send(self._mode_topic, self._mode_template, mode)
        return self._plan(sent, mode=mode, value="off" if mode == "off" else "on")


class Lock(Component):
    """Locked or unlocked."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._topic = required(options, "command_topic")
        self._template = options.template("command_template")
        self._lock, self._unlock = options.text("payload_lock", "LOCK"), options.text("payload_unlock", "UNLOCK")
        meanings = {
            options.text(f"state_{word}", word.upper()): word
            for word in ("jammed", "unlocking", "locking", "unlocked", "locked")
        }
        self._reads(options.topic("state_topic"), options.template("value_template"), "value", one_of(meanings))
        self._needs_code = bool(options.text("code_format"))
        self.features.add("lock")

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb not in ("lock", "unlock"):
            return super()._planned(verb, value, state)
        if self._needs_code:
            raise Unsupported("it wants a code")
        payload, wanted = (self._lock, "locked") if verb == "lock" else (self._unlock, "unlocked")
        return self._plan(self._send(self._topic, self._template, payload), value=wanted)


class Sensor(Component):
    """A reading."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        topic = required(options, "state_topic")
        self._reads(topic, options.template("value_template"), "value", lambda text: text[:MAX_READING])


class BinarySensor(Component):
    """Something that is or is not: `on` is open, wet, moving, … as the device class says."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        topic = required(options, "state_topic")
        meanings = {options.text("payload_off", "OFF"): "off", options.text("payload_on", "ON"): "on"}
        self._reads(topic, options.template("value_template"), "value", one_of(meanings))


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
