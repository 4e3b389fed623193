"""Lights, in the three ways that devices describe and control them: a topic for each property, one JSON message, or one
message in a form of their own, made and read by templates."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from hub.home.color import RGB, color_name, hs_to_rgb, rgb_to_hs, rgb_to_xy, xy_to_rgb
from hub.home.component import Component, Publication, Reader, number, one_of, percent_of
from hub.home.entity import State
from hub.home.light import COLOR_MODES, Light, clamped
from hub.home.message_lights import JsonLight, TemplateLight
from hub.home.options import Options
from hub.home.templates import Message, Template


def light(options: Options) -> Component:
    """The light that these options describe; raises `MalformedMessage`."""
    schema = options.choice("schema", ("basic", "default", "json", "template"))
    if schema == "template":
        return TemplateLight(options)
    return JsonLight(options) if schema == "json" else TopicLight(options)


class TopicLight(Light):
    """A topic for each property (`schema: basic`)."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._first = options.choice("on_command_type", ("last", "first", "brightness"))
        self._payloads = options.text("payload_on", "ON"), options.text("payload_off", "OFF")
        names = ("brightness", *COLOR_MODES, "color_temp")
        self._topics = {name: options.topic(f"{name}_command_topic") for name in names}
        self._templates = {name: options.template(f"{name}_command_template") for name in names}
        meanings = {self._payloads[1]: "off", self._payloads[0]: "on"}
        self._reads(options.topic("state_topic"), options.template("state_value_template"), "value", one_of(meanings))
        self._reads_property(options, "brightness", "brightness", percent_of(0, self._scale))
        self._reads_color(options, "rgb", 3, lambda parts: (round(parts[0]), round(parts[1]), round(parts[2])))
        for name, whites in (("rgbw", 1), ("rgbww", 2)):
            self._reads_color(
                options, name, 3 + whites, lambda parts: (round(parts[0]), round(parts[1]), round(parts[2]))
            )
        self._reads_color(options, "hs", 2, lambda parts: hs_to_rgb(parts[0], parts[1]))
        self._reads_color(options, "xy", 2, lambda parts: xy_to_rgb(parts[0], parts[1]))
        self._reads_property(
            options, "color_temp", "color_temperature", lambda text: self._temperature_in(number(text))
        )
        self._forget_other_mode(options)
        if self._topics["brightness"]:
            self.features.add("brightness")
        if any(self._topics[mode] for mode in COLOR_MODES):
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
            return color_name(clamped(to_rgb(parts)))

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

    def _switch_on(self, state: State) -> tuple[Publication, ...]:
        if self._first != "brightness" or not self._topics["brightness"]:
            return self._on()
        # Such a lamp has no other word for on.
        return self._on(brightness=max(1, round((state.brightness or 100) / 100.0 * self._scale)))

    def _switch_off(self) -> tuple[Publication, ...]:
        return (Publication(self._topic, self._payloads[1], self._retain),)

    def _color(self, rgb: RGB) -> Publication:
        if self._topics["rgb"]:
            red, green, blue = rgb
            return self._property("rgb", f"{red},{green},{blue}", red=red, green=green, blue=blue)
        if self._topics["hs"]:
            hue, saturation = rgb_to_hs(rgb)
            return self._property("hs", f"{hue:g},{saturation:g}", hue=hue, sat=saturation)
        if self._topics["xy"]:
            x, y = rgb_to_xy(rgb)
            return self._property("xy", f"{x:g},{y:g}", x=x, y=y)
        red, green, blue = rgb
        parts = {"red": red, "green": green, "blue": blue}
        if self._topics["rgbw"]:
            return self._property("rgbw", f"{red},{green},{blue},0", **parts, white=0)
        return self._property("rgbww", f"{red},{green},{blue},0,0", **parts, cold_white=0, warm_white=0)

    def _property(self, name: str, value: object, **variables: object) -> Publication:
        template: Template | None = self._templates[name]
        return self._send(self._topics[name], template, value, **variables)
