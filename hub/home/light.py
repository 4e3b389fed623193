"""What a light can be asked, whatever words it speaks."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hub.home.color import RGB, color_name, kelvin_to_mired, mired_to_kelvin, parse_color
from hub.home.component import Component, Plan, Publication, Unsupported, number_in, percent_of, percentage
from hub.home.components import required
from hub.home.entity import State, Verb
from hub.home.options import Options

DIM_STEP_FROM_UNKNOWN = 50
"""Percent that a light is taken to shine with when it never said."""
COLOR_MODES = ("hs", "xy", "rgb", "rgbw", "rgbww")


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
            return self._plan(*self._switch_on(state), value="on")
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

    def _switch_on(self, state: State) -> tuple[Publication, ...]:
        """Messages that switch it on as it was."""
        return self._on()

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


def clamped(rgb: RGB) -> RGB:
    """Each part within 0 to 255."""
    red, green, blue = (min(max(part, 0), 255) for part in rgb)
    return (red, green, blue)
