"""A small home for tests that need entities and no bus."""

from __future__ import annotations

from hub.home.entity import Entity
from hub.intent import Context
from hub.understanding import Understanding

_THINGS = (
    ("light", "Kitchen lamp", "Kitchen"),
    ("light", "Living room lamp", "Living room"),
    ("light", "Bedroom lamp", "Bedroom"),
    ("light", "Hallway light", "Hallway"),
    ("switch", "Coffee machine", "Kitchen"),
    ("cover", "Living room blinds", "Living room"),
    ("climate", "Thermostat", "Living room"),
    ("lock", "Front door", "Hallway"),
    ("sensor", "Living room temperature", "Living room"),
    ("binary_sensor", "Kitchen window", "Kitchen"),
    ("fan", "Bedroom fan", "Bedroom"),
    ("scene", "Movie night", ""),
)
AREAS = ("Bedroom", "Hallway", "Kitchen", "Living room")
ENTITIES = {
    f"{component}.{name.lower().replace(' ', '_')}": Entity(
        f"{component}.{name.lower().replace(' ', '_')}", component, name, area
    )
    for component, name, area in _THINGS
}
IN_THE_KITCHEN = Context("kitchen satellite", "Kitchen")


def an_understanding() -> Understanding:
    """Of this home, in English."""
    return Understanding(ENTITIES, AREAS)
