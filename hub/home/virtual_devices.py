"""The insides of pretended devices: what each announces, how it takes a command and what it tells of itself.

Nothing here knows the hub: they are devices as a maker would build them, to Home Assistant's MQTT discovery.
"""
# ruff: noqa: D102 - what the methods are for is said once, in VirtualDevice

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = tuple[str, str]
"""Topic and payload."""


class VirtualDevice:
    """One device. Topics are below `base`; `commands` and the keys of `states()` are the last levels of them."""

    component = ""
    commands: tuple[str, ...] = ()
    moving = False
    """While true, `step()` is to be called every now and then."""

    def __init__(self, object_id: str, name: str, area: str, **extra: Any) -> None:
        self.object_id, self.name, self.area = object_id, name, area
        self.base = f"flat/{object_id}"
        self._extra = extra

    def announcement(self) -> dict[str, Any]:
        """The discovery message."""
        return {
            "~": self.base,
            "name": None,
            "unique_id": f"flat_{self.object_id}",
            "availability_topic": "~/availability",
            "device": {
                "identifiers": [f"flat_{self.object_id}"],
                "name": self.name,
                "manufacturer": "mycoswarm",
                "model": f"virtual {self.component}",
                "suggested_area": self.area,
            },
            **self.options(),
            **self._extra,
        }

    def options(self) -> Mapping[str, Any]:
        """What is special about this kind of device in the discovery message."""
        raise NotImplementedError

    def states(self) -> Mapping[str, str]:
        """All it tells of itself."""
        return {}

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        """Obey; returns what to send to other devices. Raises ValueError or KeyError at what it does not understand."""
        raise KeyError(command)

    def step(self) -> None:
        """Move on a little."""


class Switch(VirtualDevice):
    """On or off, by plain payloads."""

    component = "switch"
    commands: tuple[str, ...] = ("set",)

    def __init__(self, object_id: str, name: str, area: str, **extra: Any) -> None:
        super().__init__(object_id, name, area, **extra)
        self.on = False

    def options(self) -> Mapping[str, Any]:
        return {"command_topic": "~/set", "state_topic": "~/state"}

    def states(self) -> Mapping[str, str]:
        return {"state": "ON" if self.on else "OFF"}

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        self.on = {"ON": True, "OFF": False}[payload]
        return ()


class Light(Switch):
    """A light that is on or off."""

    component = "light"


class Dimmer(Light):
    """A topic for each property, brightness in the 256 steps of most chips."""

    commands: tuple[str, ...] = ("set", "brightness/set")

    def __init__(self, object_id: str, name: str, area: str) -> None:
        super().__init__(object_id, name, area)
        self.brightness = 255

    def options(self) -> Mapping[str, Any]:
        topics = {"brightness_command_topic": "~/brightness/set", "brightness_state_topic": "~/brightness"}
        return {**super().options(), **topics}

    def states(self) -> Mapping[str, str]:
        return {**super().states(), "brightness": str(self.brightness)}

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        if command == "set":
            return super().receive(command, payload)
        self.brightness, self.on = _within(int(payload), 1, 255), True
        return ()


class WhiteLamp(Dimmer):
    """Brightness and colour temperature; tells everything in one JSON message and has templates to find it there."""

    commands: tuple[str, ...] = ("set", "brightness/set", "color_temp/set")

    def __init__(self, object_id: str, name: str, area: str) -> None:
        super().__init__(object_id, name, area)
        self.mired = 370

    def options(self) -> Mapping[str, Any]:
        return {
            "cmd_t": "~/set",
            "stat_t": "~/state",
            "stat_val_tpl": "{{ value_json.power }}",
            "bri_cmd_t": "~/brightness/set",
            "bri_stat_t": "~/state",
            "bri_val_tpl": "{{ value_json.level }}",
            "bri_scl": 100,
            "clr_temp_cmd_t": "~/color_temp/set",
            "clr_temp_stat_t": "~/state",
            "clr_temp_val_tpl": "{{ value_json['white'] | int }}",
            "min_mirs": 153,
            "max_mirs": 454,
        }

    def states(self) -> Mapping[str, str]:
        level = round(self.brightness / 2.55)
        return {"state": json.dumps({"power": "ON" if self.on else "OFF", "level": level, "white": self.mired})}

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        if command == "brightness/set":
            self.brightness, self.on = round(_within(int(payload), 1, 100) * 2.55), True
            return ()
        if command == "color_temp/set":
            self.mired = _within(int(payload), 153, 454)
            return ()
        return super().receive(command, payload)


class ColorLamp(VirtualDevice):
    """Brightness and colour, in JSON."""

    component = "light"
    commands: tuple[str, ...] = ("set",)

    def __init__(self, object_id: str, name: str, area: str) -> None:
        super().__init__(object_id, name, area)
        self.on, self.brightness, self.color = False, 200, {"r": 255, "g": 255, "b": 255}

    def options(self) -> Mapping[str, Any]:
        return {
            "schema": "json",
            "command_topic": "~/set",
            "state_topic": "~/state",
            "brightness": True,
            "color_mode": True,  # Home Assistant before 2024.4 refuses the next line without it
            "supported_color_modes": ["rgb"],
        }

    def states(self) -> Mapping[str, str]:
        state = {"state": "ON" if self.on else "OFF", "brightness": self.brightness, "color": self.color}
        return {"state": json.dumps({**state, "color_mode": "rgb"})}

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        wanted = json.loads(payload)
        self.on = {"ON": True, "OFF": False}[wanted["state"]]
        self.brightness = _within(int(wanted.get("brightness", self.brightness)), 1, 255)
        self.color = {part: _within(int(wanted.get("color", self.color)[part]), 0, 255) for part in "rgb"}
        return ()


class Blinds(VirtualDevice):
    """Moves from closed to open in a second, telling where it is."""

    component = "cover"
    commands: tuple[str, ...] = ("set", "position/set")

    def __init__(self, object_id: str, name: str, area: str) -> None:
        super().__init__(object_id, name, area, device_class="blind")
        self.position = self._goal = 100

    def options(self) -> Mapping[str, Any]:
        return {
            "command_topic": "~/set",
            "state_topic": "~/state",
            "position_topic": "~/position",
            "set_position_topic": "~/position/set",
        }

    @property
    def moving(self) -> bool:  # type: ignore[override]
        """Until it is where it was told to go."""
        return self.position != self._goal

    def states(self) -> Mapping[str, str]:
        resting = "open" if self.position else "closed"
        state = ("opening" if self._goal > self.position else "closing") if self.moving else resting
        return {"position": str(self.position), "state": state}

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        if command == "position/set":
            self._goal = _within(int(payload), 0, 100)
        else:
            self._goal = {"OPEN": 100, "CLOSE": 0, "STOP": self.position}[payload]
        return ()

    def step(self) -> None:
        self.position += _within(self._goal - self.position, -5, 5)


class Thermostat(VirtualDevice):
    """Heats or is off."""

    component = "climate"
    commands: tuple[str, ...] = ("mode/set", "target/set")

    def __init__(self, object_id: str, name: str, area: str) -> None:
        super().__init__(object_id, name, area)
        self.mode, self.target, self.current = "heat", 21.0, 20.5

    def options(self) -> Mapping[str, Any]:
        return {
            "modes": ["off", "heat", "auto"],
            "mode_command_topic": "~/mode/set",
            "mode_state_topic": "~/mode",
            "temperature_command_topic": "~/target/set",
            "temperature_state_topic": "~/target",
            "current_temperature_topic": "~/current",
            "temperature_unit": "C",
            "min_temp": 5,
            "max_temp": 30,
            "temp_step": 0.5,
        }

    def states(self) -> Mapping[str, str]:
        return {"mode": self.mode, "target": str(self.target), "current": str(self.current)}

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        if command == "mode/set":
            self.mode = {mode: mode for mode in ("off", "heat", "auto")}[payload]
        else:
            self.target = min(max(float(payload), 5.0), 30.0)
        return ()


class Lock(VirtualDevice):
    """A door lock."""

    component = "lock"
    commands: tuple[str, ...] = ("set",)

    def __init__(self, object_id: str, name: str, area: str) -> None:
        super().__init__(object_id, name, area)
        self.state = "LOCKED"

    def options(self) -> Mapping[str, Any]:
        return {"command_topic": "~/set", "state_topic": "~/state"}

    def states(self) -> Mapping[str, str]:
        return {"state": self.state}

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        self.state = {"LOCK": "LOCKED", "UNLOCK": "UNLOCKED"}[payload]
        return ()


class Fan(Switch):
    """On or off, and a speed in percent."""

    component = "fan"
    commands: tuple[str, ...] = ("set", "speed/set")

    def __init__(self, object_id: str, name: str, area: str) -> None:
        super().__init__(object_id, name, area)
        self.speed = 50

    def options(self) -> Mapping[str, Any]:
        topics = {"percentage_command_topic": "~/speed/set", "percentage_state_topic": "~/speed"}
        return {**super().options(), **topics}

    def states(self) -> Mapping[str, str]:
        return {**super().states(), "speed": str(self.speed)}

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        if command == "set":
            return super().receive(command, payload)
        self.speed = _within(int(payload), 0, 100)
        self.on = self.speed > 0
        return ()


class Reading(VirtualDevice):
    """A sensor whose reading never changes."""

    component = "sensor"

    def __init__(self, object_id: str, name: str, area: str, reading: str, **extra: Any) -> None:
        super().__init__(object_id, name, area, **extra)
        self.reading = reading

    def options(self) -> Mapping[str, Any]:
        return {"state_topic": "~/state"}

    def states(self) -> Mapping[str, str]:
        return {"state": self.reading}


class Contact(Reading):
    """A window contact."""

    component = "binary_sensor"


class Scene(VirtualDevice):
    """Sends commands to other devices."""

    component = "scene"
    commands: tuple[str, ...] = ("set",)

    def __init__(self, object_id: str, name: str, area: str, messages: Sequence[Message]) -> None:
        super().__init__(object_id, name, area)
        self._messages = messages

    def options(self) -> Mapping[str, Any]:
        return {"command_topic": "~/set", "payload_on": "GO"}

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        return self._messages if payload == "GO" else ()


def _within(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
