"""Lights, in the two ways that devices describe and control them: a topic for each property, or one JSON message."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec

from hub.home.color import (
    RGB,
    color_name,
    hs_to_rgb,
    kelvin_to_mired,
    mired_to_kelvin,
    parse_color,
    rgb_to_hs,
    rgb_to_xy,
    xy_to_rgb,
)
from hub.home.component import (
    Component,
    Plan,
    Publication,
    Reader,
    Unsupported,
    number,
    number_in,
    one_of,
    percent_of,
    percentage,
)
from hub.home.components import required
from hub.home.entity import State, Verb
from hub.home.options import Options
from hub.home.templates import Message, NoValue, Template
from swarm.errors import MalformedMessage

DIM_STEP_FROM_UNKNOWN = 50
"""Percent that a light is taken to shine with when it never said."""
COLOR_MODES = ("hs", "xy", "rgb", "rgbw", "rgbww")


def light(options: Options) -> Component:
    """The light that these options describe; raises `MalformedMessage`."""
    schema = options.choice("schema", ("basic", "default", "json", "template"))
    if schema == "template":
        raise MalformedMessage("schema template is not supported")
    return JsonLight(options) if schema == "json" else TopicLight(options)


class Light(Component, ABC):
    """What a light can be asked, whatever words it speaks."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._topic = required(options, "command_topic")
        self._scale = options.number("brightness_scale", 255, low=1)
        self._in_kelvin = options.flag("color_temp_kelvin")
        self._coldest = options.number("max_kelvin", mired_to_kelvin(options.number("min_mireds", 153, low=1)))
        self._warmest = options.number("min_kelvin", mired_to_kelvin(options.number("max_mireds", 500, low=1)))
        self.features.add("on_off")

    def _planned(self, verb: Verb, value: float | str | None, state: State) -> Plan:
        if verb == "toggle":
            verb = "turn_off" if state.value == "on" else "turn_on"
        if verb == "turn_on":
            return self._plan(*self._on(), value="on")
        if verb == "turn_off":
            return self._plan(*self._switch_off(), value="off")
        if verb in ("set_brightness", "change_brightness"):
            self._need("brightness" in self.features)
            percent = percentage(value) if verb == "set_brightness" else _changed(state, number_in(value))
            if percent == 0:
                return self._plan(*self._switch_off(), value="off")
            raw = max(1, round(percent / 100.0 * self._scale))
            seen = percent_of(0, self._scale)(str(raw))
            return self._plan(*self._on(brightness=raw), value="on", brightness=seen)
        if verb == "set_color":
            self._need("color" in self.features)
            rgb = parse_color(str(value))
            if rgb is None or max(rgb) == 0:
                raise Unsupported(f"no light shines {value}")
            return self._plan(*self._on(rgb=rgb), value="on", color=color_name(rgb))
        if verb == "set_color_temperature":
            self._need("color_temperature" in self.features)
            kelvin = min(max(number_in(value), self._warmest), self._coldest)
            return self._plan(*self._on(kelvin=round(kelvin)), value="on", color_temperature=round(kelvin))
        return super()._planned(verb, value, state)

    def _need(self, can: bool) -> None:
        if not can:
            raise Unsupported("this light cannot do that")

    @abstractmethod
    def _on(
        self, *, brightness: int | None = None, rgb: RGB | None = None, kelvin: int | None = None
    ) -> tuple[Publication, ...]:
        """Messages that switch it on; `brightness` on the light's own scale."""

    @abstractmethod
    def _switch_off(self) -> tuple[Publication, ...]:
        """Messages that switch it off."""

    def _temperature_out(self, kelvin: int) -> int:
        return kelvin if self._in_kelvin else kelvin_to_mired(kelvin)

    def _temperature_in(self, raw: float) -> int:
        return round(raw) if self._in_kelvin else mired_to_kelvin(raw)


def _changed(state: State, step: float) -> float:
    """Brightness after a step of so many percent; dimming ends at the least light, not in the dark."""
    if state.value == "off":
        return min(max(step, 0.0), 100.0)
    now = DIM_STEP_FROM_UNKNOWN if state.brightness is None else state.brightness
    return min(max(now + step, 1.0), 100.0)


class TopicLight(Light):
    """A topic for each property (`schema: basic`)."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._first = options.choice("on_command_type", ("last", "first", "brightness"))
        self._payloads = options.text("payload_on", "ON"), options.text("payload_off", "OFF")
        names = ("brightness", "rgb", "hs", "xy", "color_temp")
        self._topics = {name: options.topic(f"{name}_command_topic") for name in names}
        self._templates = {name: options.template(f"{name}_command_template") for name in names}
        meanings = {self._payloads[1]: "off", self._payloads[0]: "on"}
        self._reads(options.topic("state_topic"), options.template("state_value_template"), "value", one_of(meanings))
        self._reads_property(options, "brightness", "brightness", percent_of(0, self._scale))
        self._reads_color(options, "rgb", 3, lambda parts: (round(parts[0]), round(parts[1]), round(parts[2])))
        self._reads_color(options, "hs", 2, lambda parts: hs_to_rgb(parts[0], parts[1]))
        self._reads_color(options, "xy", 2, lambda parts: xy_to_rgb(parts[0], parts[1]))
        self._reads_property(
            options, "color_temp", "color_temperature", lambda text: self._temperature_in(number(text))
        )
        self._forget_other_mode(options)
        if self._topics["brightness"]:
            self.features.add("brightness")
        if self._topics["rgb"] or self._topics["hs"] or self._topics["xy"]:
            self.features.add("color")
        if self._topics["color_temp"]:
            self.features.add("color_temperature")

    def _reads_property(self, options: Options, name: str, field: str, parse: Callable[[str], object]) -> None:
        self._reads(options.topic(f"{name}_state_topic"), options.template(f"{name}_value_template"), field, parse)

    def _reads_color(self, options: Options, name: str, count: int, to_rgb: Callable[[list[float]], RGB]) -> None:
        def parse(text: str) -> str:
            parts = [number(part) for part in text.strip("()[] ").split(",")]
            if len(parts) != count:
                raise ValueError(f"not {count} numbers")
            return color_name(_clamped(to_rgb(parts)))

        self._reads_property(options, name, "color", parse)

    def _forget_other_mode(self, options: Options) -> None:
        """A device that says which mode it is in has no colour while it is in white, and the other way round."""
        topic, template = options.topic("color_mode_state_topic"), options.template("color_mode_value_template")
        if not topic:
            return

        def read(state: State, message: Message) -> State:
            mode = template.read(message) if template else message.text.strip()
            if mode == "color_temp":
                return msgspec.structs.replace(state, color=None)
            return msgspec.structs.replace(state, color_temperature=None) if mode in COLOR_MODES else state

        self.readers.append(Reader(topic, frozenset(), read))

    def _on(
        self, *, brightness: int | None = None, rgb: RGB | None = None, kelvin: int | None = None
    ) -> tuple[Publication, ...]:
        switch = Publication(self._topic, self._payloads[0], self._retain)
        properties: list[Publication] = []
        if rgb is not None:
            properties.append(self._color(rgb))
        if kelvin is not None:
            properties.append(self._property("color_temp", self._temperature_out(kelvin)))
        if brightness is not None:
            properties.append(self._property("brightness", brightness))
            if self._first == "brightness":
                return tuple(properties)
        if self._first == "first":
            return (switch, *properties)
        return (*properties, switch)

    def _switch_off(self) -> tuple[Publication, ...]:
        return (Publication(self._topic, self._payloads[1], self._retain),)

    def _color(self, rgb: RGB) -> Publication:
        if self._topics["rgb"]:
            red, green, blue = rgb
            return self._property("rgb", f"{red},{green},{blue}", red=red, green=green, blue=blue)
        if self._topics["hs"]:
            hue, saturation = rgb_to_hs(rgb)
            return self._property("hs", f"{hue:g},{saturation:g}", hue=hue, sat=saturation)
        x, y = rgb_to_xy(rgb)
        return self._property("xy", f"{x:g},{y:g}", x=x, y=y)

    def _property(self, name: str, value: object, **variables: object) -> Publication:
        template: Template | None = self._templates[name]
        return self._send(self._topics[name], template, value, **variables)


class JsonLight(Light):
    """One JSON message (`schema: json`)."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        modes = set(options.texts("supported_color_modes"))
        modes |= {mode for mode in ("rgb", "hs", "xy", "color_temp", "brightness") if options.flag(mode)}  # before 2021
        self._color_mode = next((mode for mode in ("rgb", "hs", "xy", "rgbw", "rgbww") if mode in modes), None)
        reported = {"value"}
        if modes - {"onoff"}:
            self.features.add("brightness")
            reported.add("brightness")
        if self._color_mode:
            self.features.add("color")
            reported.add("color")
        if "color_temp" in modes:
            self.features.add("color_temperature")
            reported.add("color_temperature")
        topic = options.topic("state_topic")
        if topic:
            self.readers.append(Reader(topic, frozenset(reported), self._read))

    def _read(self, state: State, message: Message) -> State:
        content = message.json
        if not isinstance(content, dict):
            raise NoValue("no JSON object")
        news: dict[str, object] = {}
        if content.get("state") in ("ON", "OFF"):
            news["value"] = content["state"].lower()
        try:
            if content.get("brightness") is not None:
                news["brightness"] = percent_of(0, self._scale)(str(content["brightness"]))
            mode = content.get("color_mode")
            if isinstance(content.get("color"), dict) and mode != "color_temp":
                news |= {"color": color_name(_clamped(_rgb_in(content["color"]))), "color_temperature": None}
            elif content.get("color_temp") is not None and mode not in COLOR_MODES:
                news |= {"color_temperature": self._temperature_in(number(str(content["color_temp"]))), "color": None}
        except (ValueError, KeyError, OverflowError) as error:
            raise NoValue(f"not a light's state: {error}") from error
        if not news:
            raise NoValue("nothing about the light")
        return msgspec.structs.replace(state, **news)

    def _on(
        self, *, brightness: int | None = None, rgb: RGB | None = None, kelvin: int | None = None
    ) -> tuple[Publication, ...]:
        content: dict[str, object] = {"state": "ON"}
        if brightness is not None:
            content["brightness"] = brightness
        if rgb is not None:
            content["color"] = self._rgb_out(rgb)
        if kelvin is not None:
            content["color_temp"] = self._temperature_out(kelvin)
        return (Publication(self._topic, json.dumps(content), self._retain),)

    def _switch_off(self) -> tuple[Publication, ...]:
        return (Publication(self._topic, json.dumps({"state": "OFF"}), self._retain),)

    def _rgb_out(self, rgb: RGB) -> dict[str, float]:
        if self._color_mode == "hs":
            hue, saturation = rgb_to_hs(rgb)
            return {"h": hue, "s": saturation}
        if self._color_mode == "xy":
            x, y = rgb_to_xy(rgb)
            return {"x": x, "y": y}
        whites = {"rgbw": {"w": 0}, "rgbww": {"c": 0, "w": 0}}.get(self._color_mode or "", {})
        return {"r": rgb[0], "g": rgb[1], "b": rgb[2], **whites}


def _rgb_in(color: dict[str, object]) -> RGB:
    """Raises KeyError or ValueError."""
    if "r" in color:
        red, green, blue = (round(number(str(color[part]))) for part in "rgb")
        return (red, green, blue)
    if "h" in color:
        return hs_to_rgb(number(str(color["h"])), number(str(color["s"])))
    return xy_to_rgb(number(str(color["x"])), number(str(color["y"])))


def _clamped(rgb: RGB) -> RGB:
    red, green, blue = (min(max(part, 0), 255) for part in rgb)
    return (red, green, blue)
