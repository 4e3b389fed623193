"""Decides what may be done by voice: at once, after a yes, or never.

Without a word in the configuration everything is done at once, but for what lets somebody in or lets something run out:
unlocking, opening doors, gates and valves, disarming. Locking, closing and arming never ask.
"""

from __future__ import annotations

from collections.abc import Mapping

from hub.home.entity import Command, Entity, State, Verb
from swarm.voice_policy import PERMISSIONS, Permission, PolicySection

_DOOR_CLASSES = frozenset({"door", "garage", "garage_door", "gate"})
_DOOR_WORDS = frozenset({"door", "gate", "garage"})
"""In the name of a cover that does not say what it is: many garage doors announce themselves as mere covers."""
_OPENING: frozenset[Verb] = frozenset({"open", "set_position", "toggle"})
_RISKY: Mapping[str, frozenset[Verb]] = {
    "lock": frozenset({"unlock", "open", "toggle"}),
    "valve": _OPENING,
    "alarm_control_panel": frozenset({"disarm"}),
}
_DOOR = "door"


class Policy:
    """What a person allowed. Pure: the same question has the same answer."""

    def __init__(self, section: PolicySection | None = None) -> None:
        """None: nothing is configured."""
        section = section or PolicySection()
        self._entities = _folded(section.entities)
        self._kinds = _folded(section.kinds)
        self._areas = _folded(section.areas)

    def permission(self, command: Command, entity: Entity, state: State) -> Permission:
        """Whether `command` may be done to `entity`, which is in `state`.

        What was said of the entity counts first; else the stricter one of what was said of its kind and of its room.
        For what can be secured (locks, doors, valves, alarms) all this is about opening it: securing it is always done.
        """
        risks = _risks(entity)
        risky = command.verb in risks and not _closes(command, state)
        if risks and not risky:
            return "do"
        for key in (entity.id, entity.name, *entity.aliases):
            if (said := self._entities.get(key.casefold())) is not None:
                return said
        usual: Permission = "ask" if risky else "do"
        kind = self._kinds.get(entity.device_class) or self._kinds.get(entity.component) or usual
        return max(kind, self._areas.get(entity.area.casefold(), "do"), key=PERMISSIONS.index)


def _risks(entity: Entity) -> frozenset[Verb]:
    """What opens an entity; empty for what has nothing to open."""
    if entity.component != "cover":
        return _RISKY.get(entity.component, frozenset())
    unnamed = not entity.device_class and _DOOR_WORDS & set(entity.name.casefold().split())
    return _OPENING if entity.device_class in _DOOR_CLASSES or unnamed else frozenset()


def _closes(command: Command, state: State) -> bool:
    """Whether it makes an opening smaller, or closes it."""
    if command.verb == "toggle":
        return state.value in ("open", "unlocked")
    if command.verb != "set_position" or not isinstance(command.value, int | float):
        return False
    return command.value <= 0 or (state.position is not None and command.value <= state.position)


def _folded(entries: Mapping[str, str]) -> dict[str, Permission]:
    return {key.casefold(): word for key, word in entries.items() for word in PERMISSIONS if word == entries[key]}
