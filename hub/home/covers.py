"""Blinds, doors and valves.

Options, states and commands are those of Home Assistant's MQTT integration (home-assistant.io/integrations/mqtt).
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from hub.home.component import (
    SAME_PERCENT,
    Component,
    Plan,
    Publication,
    Reached,
    Read,
    Reader,
    Unsupported,
    on_scale,
    one_of,
    percent_of,
    percentage,
    read_text,
)
from hub.home.components import required
from hub.home.entity import State, Verb
from hub.home.options import Options
from hub.home.templates import Message, NoValue
from swarm.errors import MalformedMessage


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
        # First, since whether a cover that stopped is open depends on it, and one message may tell both.
        if position_topic:
            self.readers.append(self._position_reader(options, position_topic, alone=not state_topic))
        if state_topic:
            self.readers.append(self._state_reader(options, state_topic))
        self.features.add("open_close")
        if self._set_topic:
            self.features.add("position")
        self._has_slats(options)

    def _has_slats(self, options: Options) -> None:
        self._tilt_topic = options.topic("tilt_command_topic")
        self._tilt_template = options.template("tilt_command_template")
        self._tilt_range = options.number("tilt_min", 0), options.number("tilt_max", 100)
        if self._tilt_range[0] == self._tilt_range[1]:
            raise MalformedMessage("tilt_min and tilt_max are the same")
        self._tilt_ends = options.number("tilt_closed_value", 0), options.number("tilt_opened_value", 100)
        self._reads(
            options.topic("tilt_status_topic"),
            options.template("tilt_status_template"),
            "tilt",
            percent_of(*self._tilt_range),
        )
        if self._tilt_topic:
            self.features.add("tilt")

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
        if verb in ("open_tilt", "close_tilt", "set_tilt"):
            return self._tilt(verb, value)
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

    def _tilt(self, verb: Verb, value: float | str | None) -> Plan:
        if verb == "set_tilt":
            raw = on_scale(percentage(value), *self._tilt_range)
        else:
            raw = round(self._tilt_ends[verb == "open_tilt"])
        percent = percent_of(*self._tilt_range)(str(raw))
        low, high = self._tilt_range
        variables = {"tilt_position": percent, "position": percent, "tilt_min": low, "tilt_max": high}
        return self._plan(self._send(self._tilt_topic, self._tilt_template, raw, **variables), tilt=percent)

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


class Valve(Component):
    """Water, gas, heating: open, close, and perhaps how far."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._topic = required(options, "command_topic")
        self._template = options.template("command_template")
        self._measures_itself = options.flag("reports_position")
        self._payloads = {
            verb: None if options.is_null(key) else options.text(key, default)
            for verb, key, default in (
                ("open", "payload_open", "OPEN"),
                ("close", "payload_close", "CLOSE"),
                ("stop", "payload_stop", ""),
            )
        }
        self._closed_at, self._open_at = options.number("position_closed", 0), options.number("position_open", 100)
        if self._closed_at == self._open_at:
            raise MalformedMessage("position_open and position_closed are the same")
        topic = options.topic("state_topic")
        if topic:
            fields = {"value", "position"} if self._measures_itself else {"value"}
            self.readers.append(Reader(topic, frozenset(fields), self._read(options)))
        self.features.add("open_close")
        if self._measures_itself:
            self.features.add("position")

    def _read(self, options: Options) -> Read:
        template = options.template("value_template")
        words = ("open", "closed", "opening", "closing")
        moves = one_of({options.text(f"state_{word}", word): word for word in reversed(words)})
        percent = percent_of(self._closed_at, self._open_at)

        def read(state: State, message: Message) -> State:
            text = read_text(message, template)
            told = Message(text).json
            parts = told if isinstance(told, dict) else {"state": text, "position": text}
            news: dict[str, object] = {}
            if self._measures_itself:
                with suppress(ValueError, OverflowError):
                    news["position"] = percent(str(parts.get("position")))
                    news["value"] = "open" if news["position"] else "closed"
            with suppress(NoValue):
                news["value"] = moves(str(parts.get("state")))
            if not news:
                raise NoValue(f"{text!r:.80} is no state of a valve")
            return msgspec.structs.replace(state, **news)

        return read

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb == "stop":
            if not self._payloads["stop"]:
                raise Unsupported("it cannot stop")
            stopped: Reached = lambda _, now: now.value not in ("opening", "closing")  # noqa: E731
            sent = self._send(self._topic, self._template, self._payloads["stop"])
            return self._plan(sent, reached=stopped if self.readers else None)
        if verb == "set_position" and self._measures_itself:
            position = round(percentage(value))
        elif verb in ("open", "close"):
            position = 100 if verb == "open" else 0
        else:
            return super()._planned(verb, value, state)
        if self._measures_itself:
            variables = {"position": position, "position_open": self._open_at, "position_closed": self._closed_at}
            raw = on_scale(position, self._closed_at, self._open_at)
            sent = self._send(self._topic, self._template, raw, **variables)
        elif self._payloads[verb] is None:
            raise Unsupported(f"it cannot {verb}")
        else:
            sent = self._send(self._topic, self._template, self._payloads[verb])
        goals = ("closed", "closing") if position == 0 else ("open", "opening")

        def reached(before: State, now: State) -> bool:
            if self._measures_itself and now.position is not None:
                return abs(now.position - position) <= SAME_PERCENT or now.value in ("opening", "closing")
            return now.value in goals

        return self._plan(
            sent,
            reached=reached if self.readers else None,
            position=position if self._measures_itself else None,
            value=goals[0],
        )
