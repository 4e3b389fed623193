"""Lights that get one message with all that is wanted, in JSON or in a form of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from hub.home.color import RGB, color_name, hs_to_rgb, rgb_to_hs, rgb_to_xy, xy_to_rgb
from hub.home.component import Publication, Read, Reader, number, one_of, percent_of, read_text
from hub.home.entity import State
from hub.home.light import COLOR_MODES, Light, clamped
from hub.home.options import Options
from hub.home.templates import Message, NoValue, Template
from swarm.errors import MalformedMessage


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
                news |= {"color": color_name(clamped(_rgb_in(content["color"]))), "color_temperature": None}
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
    if "x" not in color and "hue" in color:  # Zigbee2MQTT's own words
        return hs_to_rgb(number(str(color["hue"])), number(str(color["saturation"])))
    return xy_to_rgb(number(str(color["x"])), number(str(color["y"])))


class TemplateLight(Light):
    """One message in a form of its own (`schema: template`)."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._scale = 255
        self._commands = options.template("command_on_template"), options.template("command_off_template")
        if None in self._commands:
            raise MalformedMessage("no command_on_template or command_off_template")
        topic = options.topic("state_topic")
        templates = {name: options.template(f"{name}_template") for name in ("brightness", "color_temp", *_RGB)}
        colored = all(templates[part] for part in _RGB)
        self._reads(topic, options.template("state_template"), "value", one_of({"on": "on", "off": "off"}))
        if templates["brightness"]:
            self.features.add("brightness")
            self._reads(topic, templates["brightness"], "brightness", percent_of(0, 255))
        if templates["color_temp"]:
            self.features.add("color_temperature")
            self._reads(
                topic, templates["color_temp"], "color_temperature", lambda text: self._temperature_in(number(text))
            )
        if colored:
            self.features.add("color")
            if topic:
                self.readers.append(
                    Reader(topic, frozenset({"color"}), _color_reader([templates[each] for each in _RGB]))
                )

    def _on(
        self, *, brightness: int | None = None, rgb: RGB | None = None, kelvin: int | None = None
    ) -> tuple[Publication, ...]:
        given: dict[str, object] = {"state": "on"}
        if brightness is not None:
            given["brightness"] = brightness
        if kelvin is not None:
            given["color_temp"] = self._temperature_out(kelvin)
        if rgb is not None:
            hue, saturation = rgb_to_hs(rgb)
            given |= {"red": rgb[0], "green": rgb[1], "blue": rgb[2], "hue": hue, "sat": saturation}
        return (self._send(self._topic, self._commands[0], None, **given),)

    def _switch_off(self) -> tuple[Publication, ...]:
        return (self._send(self._topic, self._commands[1], None, state="off"),)


_RGB = ("red", "green", "blue")


def _color_reader(templates: Sequence[Template | None]) -> Read:
    def read(state: State, message: Message) -> State:
        try:
            red, green, blue = (round(number(read_text(message, template))) for template in templates)
        except ValueError as error:
            raise NoValue("no colour") from error
        return msgspec.structs.replace(state, color=color_name(clamped((red, green, blue))))

    return read
