"""A house with one of every kind of device, each with topics of its own on a real broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hub.home.virtual_devices import Message, VirtualDevice

Obey = Callable[[str], Mapping[str, str]]
"""From a command's payload to the states that change."""


class Appliance(VirtualDevice):
    """A device that does what `obeys` says for the last level of each command topic, and keeps what it was told."""

    def __init__(
        self,
        component: str,
        name: str,
        area: str,
        options: Mapping[str, Any],
        states: Mapping[str, str],
        obeys: Mapping[str, Obey],
        *,
        device_class: str = "",
    ) -> None:
        extra = {"device_class": device_class} if device_class else {}
        super().__init__(name.lower().replace(" ", "_"), name, area, **extra)
        self.component = component
        self.commands = tuple(obeys)
        self.received: list[tuple[str, str]] = []
        self._options, self._states, self._obeys = options, dict(states), obeys

    def options(self) -> Mapping[str, Any]:
        return self._options

    def states(self) -> Mapping[str, str]:
        return self._states

    def receive(self, command: str, payload: str) -> Sequence[Message]:
        self.received.append((command, payload))
        self._states.update(self._obeys[command](payload))
        return ()


def _sets(state: str) -> Obey:
    return lambda payload: {state: payload}


def _means(state: str, **meanings: str) -> Obey:
    return lambda payload: {state: meanings[payload]}


def _both(topic: str) -> dict[str, str]:
    return {f"{topic}_command_topic": f"~/{topic}/set", f"{topic}_state_topic": f"~/{topic}"}


_SWITCHED = {"command_topic": "~/set", "state_topic": "~/state"}
_MOVES = _means("state", OPEN="open", CLOSE="closed")
_POSITION = {"set_position_topic": "~/position/set", "position_topic": "~/position"}
_TILT = {"tilt_command_topic": "~/tilt/set", "tilt_status_topic": "~/tilt"}


def _brightness(payload: str) -> Mapping[str, str]:
    return {"state": "ON", "brightness": payload}


def _moved(payload: str) -> Mapping[str, str]:
    return {"position": payload, "state": "open" if int(payload) else "closed"}


def _vacuum(payload: str) -> Mapping[str, str]:
    states = {"start": "cleaning", "return_to_base": "docked", "pause": "paused", "locate": "docked", "stop": "idle"}
    return {"state": json.dumps({"state": states[payload]})}


def house() -> tuple[Appliance, ...]:
    """All kinds, in five rooms."""
    dimmable = {**_SWITCHED, "brightness_command_topic": "~/dim/set", "brightness_state_topic": "~/brightness"}
    return (
        Appliance(
            "light",
            "Kitchen lamp",
            "Kitchen",
            {**dimmable, "rgb_command_topic": "~/rgb/set", "rgb_state_topic": "~/rgb"},
            {"state": "OFF", "brightness": "255", "rgb": "255,255,255"},
            {"set": _sets("state"), "dim/set": _brightness, "rgb/set": lambda rgb: {"rgb": rgb, "state": "ON"}},
        ),
        Appliance("light", "Counter light", "Kitchen", _SWITCHED, {"state": "ON"}, {"set": _sets("state")}),
        Appliance("light", "Desk lamp", "Office", _SWITCHED, {"state": "ON"}, {"set": _sets("state")}),
        Appliance("switch", "Coffee machine", "Kitchen", _SWITCHED, {"state": "OFF"}, {"set": _sets("state")}),
        Appliance(
            "fan",
            "Bedroom fan",
            "Bedroom",
            {
                **_SWITCHED,
                "percentage_command_topic": "~/speed/set",
                "percentage_state_topic": "~/speed",
                **_both("oscillation"),
                **_both("preset_mode"),
                "preset_modes": ["breeze", "sleep"],
            },
            {"state": "OFF", "speed": "50", "oscillation": "oscillate_off", "preset_mode": "breeze"},
            {
                "set": _sets("state"),
                "speed/set": lambda speed: {"speed": speed, "state": "ON"},
                "oscillation/set": _sets("oscillation"),
                "preset_mode/set": _sets("preset_mode"),
            },
        ),
        Appliance(
            "cover",
            "Office blinds",
            "Office",
            {**_SWITCHED, **_POSITION, **_TILT},
            {"position": "100", "state": "open", "tilt": "0"},
            {
                "set": lambda word: _moved({"OPEN": "100", "CLOSE": "0", "STOP": "100"}[word]),
                "position/set": _moved,
                "tilt/set": _sets("tilt"),
            },
            device_class="blind",
        ),
        Appliance("cover", "Garage", "Hall", _SWITCHED, {"state": "closed"}, {"set": _MOVES}, device_class="garage"),
        Appliance(
            "valve", "Water valve", "Cellar", {**_SWITCHED}, {"state": "closed"}, {"set": _MOVES}, device_class="water"
        ),
        Appliance(
            "lock",
            "Front door",
            "Hall",
            _SWITCHED,
            {"state": "UNLOCKED"},
            {"set": _means("state", LOCK="LOCKED", UNLOCK="UNLOCKED")},
        ),
        Appliance(
            "climate",
            "Thermostat",
            "Office",
            {
                **_both("temperature"),
                **_both("mode"),
                **_both("preset_mode"),
                **_both("fan_mode"),
                "fan_modes": ["low", "high"],
                "modes": ["off", "heat", "cool"],
                "preset_modes": ["eco", "boost"],
                "min_temp": 5,
                "max_temp": 30,
            },
            {"temperature": "20", "mode": "heat", "preset_mode": "none", "fan_mode": "low"},
            {
                "fan_mode/set": _sets("fan_mode"),
                "temperature/set": _sets("temperature"),
                "mode/set": _sets("mode"),
                "preset_mode/set": _sets("preset_mode"),
            },
        ),
        Appliance(
            "humidifier",
            "Humidifier",
            "Bedroom",
            {
                **_SWITCHED,
                **_both("target_humidity"),
                **_both("mode"),
                "modes": ["quiet", "strong"],
                "min_humidity": 30,
            },
            {"state": "OFF", "target_humidity": "40", "mode": "quiet"},
            {
                "set": _sets("state"),
                "target_humidity/set": _sets("target_humidity"),
                "mode/set": _sets("mode"),
            },
        ),
        Appliance(
            "siren",
            "Siren",
            "Hall",
            {**_SWITCHED, "support_duration": False},
            {"state": json.dumps({"state": "OFF"})},
            {"set": _sets("state")},
        ),
        Appliance(
            "vacuum",
            "Robbie",
            "Hall",
            {**_SWITCHED, "supported_features": ["start", "pause", "stop", "return_home", "locate"]},
            {"state": json.dumps({"state": "docked"})},
            {"set": _vacuum},
        ),
        Appliance(
            "number",
            "Pump speed",
            "Cellar",
            {**_SWITCHED, "min": 0, "max": 80, "step": 5, "unit_of_measurement": "%"},
            {"state": "10"},
            {"set": _sets("state")},
        ),
        Appliance(
            "select",
            "Washing programme",
            "Cellar",
            {**_SWITCHED, "options": ["cotton", "wool", "quick_wash"]},
            {"state": "cotton"},
            {"set": _sets("state")},
        ),
        Appliance("scene", "Movie night", "Office", {"command_topic": "~/set"}, {}, {"set": lambda _: {}}),
        Appliance("button", "Doorbell", "Hall", {"command_topic": "~/set"}, {}, {"set": lambda _: {}}),
        Appliance(
            "alarm_control_panel",
            "Alarm",
            "Hall",
            {**_SWITCHED, "supported_features": ["arm_home", "arm_away", "arm_night"]},
            {"state": "disarmed"},
            {
                "set": _means(
                    "state", DISARM="disarmed", ARM_HOME="armed_home", ARM_AWAY="armed_away", ARM_NIGHT="armed_night"
                )
            },
        ),
        Appliance(
            "sensor",
            "Office temperature",
            "Office",
            {"state_topic": "~/state"},
            {"state": "21.4"},
            {},
            device_class="temperature",
        ),
        Appliance(
            "binary_sensor",
            "Kitchen window",
            "Kitchen",
            {"state_topic": "~/state"},
            {"state": "ON"},
            {},
            device_class="window",
        ),
        Appliance(
            "event",
            "Wall button",
            "Hall",
            {"state_topic": "~/state", "event_types": ["single", "double"]},
            {"state": json.dumps({"event_type": "double"})},  # kept by the broker: nothing that happens now
            {},
        ),
    )
