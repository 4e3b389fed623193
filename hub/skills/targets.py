"""Which entities an intent means: decides from its slots, the room it was said in and what was spoken of last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.dialogue import ENTITIES_S
from hub.home.entity import Entity
from hub.intent import Intent
from hub.skills.skill import Request

IT = "it"
"""A `name` slot of this value means what was spoken of last."""
SWITCHABLE = ("light", "switch", "fan")
"""What "everything" means. Never locks, covers or heating: turning everything off opens and freezes nothing."""
SILENCED = ("siren", "humidifier")
"""What is turned off with everything, and on only by name."""
SENSOR_KINDS = ("sensor", "binary_sensor")


@dataclass(frozen=True)
class Targets:
    """The entities meant; or why there are none."""

    entities: tuple[Entity, ...] = ()
    group: str = ""
    """The kind (component or device class) when all of a kind are meant; `device` for several kinds."""
    area: str = ""
    """The room whose entities are meant, as the home calls it."""
    missing: str = ""
    """One sentence why nothing is meant; empty otherwise."""
    rooms: tuple[str, ...] = ()
    """Ask which of these rooms is meant; empty otherwise."""


def find_targets(intent: Intent, request: Request, *, domain: str = "", anywhere: bool = False) -> Targets:
    """The entities that `intent` means.

    `domain` is meant when the intent names none. `anywhere`: no room means the whole home (questions), not the room
    in which it was said (commands).
    """
    slots, words = intent.slots, request.words.deeds
    entities = request.home.entities
    if "name" in slots:
        ids = _spoken_of(request) if slots["name"] == IT else (str(slots["name"]),)
        named = tuple(entities[entity_id] for entity_id in ids if entity_id in entities)
        if named:
            return Targets(named)
        return Targets(missing=words.unknown_device() if ids and slots["name"] != IT else words.which_device())
    domain = str(slots.get("domain", domain))
    device_class = str(slots.get("device_class", ""))
    kind = device_class or (domain if domain not in ("", "everything") else "device")
    candidates = _of_kind(tuple(entities.values()), domain, device_class, off=intent.name == "HassTurnOff")
    candidates = tuple(entity for entity in candidates if not _excepted(entity, intent))
    if not candidates:
        return Targets(group=kind, missing=words.none_here(kind, ""))
    area = str(slots.get("area", ""))
    here_only = area.casefold() == request.context.area.casefold()
    if (
        domain == "climate"
        and here_only
        and not any(entity.area.casefold() == area.casefold() for entity in candidates)
    ):
        area = ""  # "set the temperature" means the heating there is, though it is not controlled from this room
    if area:
        return _in_area(candidates, area, kind, request)
    if anywhere or slots.get("all"):
        return Targets(candidates, kind)
    here = _named_area(request.context.area, request)
    if here and any(entity.area == here for entity in candidates):
        return _in_area(candidates, here, kind, request)
    rooms = tuple(dict.fromkeys(entity.area for entity in candidates if entity.area))
    if len(rooms) == 1:
        return _in_area(candidates, rooms[0], kind, request)
    # Not the whole home: a light switched on in a room where somebody sleeps is worse than a question.
    return Targets(group=kind, rooms=rooms) if rooms else Targets(candidates, kind)


def _spoken_of(request: Request) -> tuple[str, ...]:
    """What "it" is: what was spoken of, else what a rule or a program did in this room just now."""
    ids = request.dialogue.spoken_of(request.now)
    done = None if ids else request.deeds.last(request.context.place, request.context.area, ENTITIES_S)
    return ids or tuple(dict.fromkeys(each.command.entity_id for each in done.outcomes) if done else ())


def _in_area(candidates: Sequence[Entity], area: str, kind: str, request: Request) -> Targets:
    words = request.words.deeds
    known = _named_area(area, request)
    if not known:
        return Targets(missing=words.unknown_area(area))
    there = tuple(entity for entity in candidates if entity.area == known)
    if not there:
        return Targets(group=kind, area=known, missing=words.none_here(kind, known))
    return Targets(there, kind, known)


def _excepted(entity: Entity, intent: Intent) -> bool:
    slots = intent.slots
    area = str(slots.get("except_area", "")).casefold()
    named = entity.id in (slots.get("except_name"), slots.get("except_also"))
    return named or bool(area and entity.area.casefold() == area)


def _of_kind(entities: Sequence[Entity], domain: str, device_class: str, *, off: bool) -> tuple[Entity, ...]:
    components: tuple[str, ...] = SWITCHABLE if domain in ("", "everything") else (domain,)
    if off and domain == "everything":
        components += SILENCED
    if domain == "" and device_class:
        components = ("cover", *SENSOR_KINDS)
    found = tuple(entity for entity in entities if entity.component in components and not entity.category)
    if not device_class:
        return found
    exact = tuple(entity for entity in found if entity.device_class == device_class)
    if exact or not all(component == "cover" for component in components):
        return exact
    # People say "blinds" to what a device calls a shade, or does not name at all; but never to a door.
    return tuple(entity for entity in found if entity.device_class in _SOFT_COVERS and device_class in _SOFT_COVERS)


_SOFT_COVERS = ("", "blind", "curtain", "shade", "shutter", "awning")


def _named_area(area: str, request: Request) -> str:
    """The room as the home writes it; empty when there is none of that name."""
    wanted = area.casefold()
    return next((known for known in request.home.areas() if known.casefold() == wanted), "") if wanted else ""
