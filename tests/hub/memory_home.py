"""A home in memory: the same interface and the same rules as `hub.home.registry.Home`, without a bus."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from hub.home.entity import Command, Entity, Feature, Outcome, Result, State
from hub.skills.commands import is_able

_LIGHT: frozenset[Feature] = frozenset({"on_off", "brightness"})


class MemoryHome:
    """Confirms every command at once, except what `broken` says about an entity."""

    def __init__(self, flat: Mapping[Entity, State]) -> None:
        self.entities: dict[str, Entity] = {entity.id: entity for entity in flat}
        self.states: dict[str, State] = {entity.id: state for entity, state in flat.items()}
        self.broken: dict[str, Result] = {}
        self.performed: list[tuple[Command, ...]] = []
        self.gate: asyncio.Event | None = None
        """When set, commands wait for it."""

        self.why_down = ""

    def state(self, entity_id: str) -> State:
        return self.states[entity_id]

    def areas(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entity.area for entity in self.entities.values() if entity.area))

    async def perform(self, commands: Sequence[Command], timeout_s: float | None = None) -> tuple[Outcome, ...]:
        self.performed.append(tuple(commands))
        if self.gate is not None:
            await self.gate.wait()
        return tuple(self._perform(command) for command in commands)

    def _perform(self, command: Command) -> Outcome:
        entity, state = self.entities[command.entity_id], self.states[command.entity_id]
        result: Result = self.broken.get(entity.id, "confirmed")
        choices, limits = entity.choices_of(command.verb), entity.limits_of(command.verb)
        fits = not limits or limits[0] <= float(command.value or 0) <= limits[1]
        if not is_able(entity, command) or (choices and command.value not in choices) or not fits:
            result = "unsupported"
        elif not state.available:
            result = "unavailable"
        if result == "confirmed":
            self.states[entity.id] = state = _after(command, state)
        return Outcome(command, result, state)


def _after(command: Command, state: State) -> State:
    value = command.value
    whole = round(value) if isinstance(value, (int, float)) else 0
    changes: dict[str, dict[str, object]] = {
        "turn_on": {"value": "on"},
        "turn_off": {"value": "off"},
        "toggle": {"value": "off" if state.value == "on" else "on"},
        "set_brightness": {"value": "on", "brightness": whole},
        "set_color": {"value": "on", "color": value},
        "set_color_temperature": {"value": "on", "color_temperature": whole},
        "open": {"value": "open", "position": 100},
        "close": {"value": "closed", "position": 0},
        "set_speed": {"value": "on", "speed": whole},
        "set_temperature": {"target_temperature": value},
        "set_mode": {"mode": value},
        "lock": {"value": "locked"},
        "unlock": {"value": "unlocked"},
        "set_humidity": {"target_humidity": value},
        "set_preset": {"preset": value},
        "set_fan_mode": {"fan_mode": value},
        "set_tilt": {"tilt": whole},
        "oscillate": {"oscillation": value},
        "set_number": {"value": str(value)},
        "select_option": {"value": value},
        "start": {"value": "cleaning"},
        "return_to_base": {"value": "docked"},
        "arm": {"value": f"armed_{value}"},
        "disarm": {"value": "disarmed"},
    }
    change = changes.get(command.verb, {})
    if command.verb == "change_brightness":
        change = {"value": "on", "brightness": min(100, max(1, (state.brightness or 0) + whole))}
    if command.verb == "set_position":
        change = {"value": "open" if whole else "closed", "position": whole}
    return msgspec.structs.replace(state, **change)


def flat() -> MemoryHome:
    """Four rooms with a bit of everything."""

    def entity(
        entity_id: str, name: str, area: str, *features: Feature, device_class: str = "", unit: str = ""
    ) -> Entity:
        component = entity_id.split(".")[0]
        return Entity(entity_id, component, name, area, (), device_class, unit, frozenset(features))

    return MemoryHome(
        {
            entity("light.kitchen", "Kitchen lamp", "Kitchen", *_LIGHT, "color", "color_temperature"): State(
                value="off"
            ),
            entity("light.counter", "Counter light", "Kitchen", *_LIGHT): State(value="on", brightness=80),
            entity("light.floor", "Floor lamp", "Living room", *_LIGHT, "color"): State(value="on", brightness=40),
            entity("light.ceiling", "Ceiling light", "Living room", "on_off"): State(value="on"),
            entity("light.tv", "TV lamp", "Living room", *_LIGHT): State(value="on", brightness=100),
            entity("light.bedroom", "Bedroom lamp", "Bedroom", *_LIGHT): State(value="off"),
            entity("switch.coffee", "Coffee machine", "Kitchen", "on_off"): State(value="off"),
            entity(
                "cover.blind", "Living room blind", "Living room", "open_close", "position", device_class="blind"
            ): State(value="open", position=100),
            entity("fan.bedroom", "Bedroom fan", "Bedroom", "on_off", "speed"): State(value="off"),
            entity("climate.living", "Thermostat", "Living room", "target_temperature", "mode", unit="°C"): State(
                current_temperature=20.5, target_temperature=21.0, mode="heat"
            ),
            entity("lock.front", "Front door", "Hall", "lock"): State(value="locked"),
            entity("sensor.bath_humidity", "Bathroom humidity", "Bathroom", device_class="humidity", unit="%"): State(
                value="55.2"
            ),
            entity(
                "sensor.bath_temp", "Bathroom temperature", "Bathroom", device_class="temperature", unit="°C"
            ): State(value="23.04"),
            entity("binary_sensor.window", "Bedroom window", "Bedroom", device_class="window"): State(value="off"),
            entity("scene.movie", "Movie night", "Living room", "activate"): State(),
            entity("button.bell", "Doorbell", "Hall", "press"): State(),
        }
    )
