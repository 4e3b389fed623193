"""What may be done a second time. A satellite whose hub dies tells the next hub what was said. The first one may have
done it already, and nobody can ask it.

Most commands name the state to reach: a lamp that is on stays on, a question is answered again. What changes with each
time is left undone, and the person is told: a step ("brighter"), a toggle, a timer that would be set twice, a button.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hub.home.entity import Entity
from hub.intent import Intent

CHANGES_EACH_TIME = frozenset(
    {
        "HassToggle",
        "ChangeBrightness",
        "HassSetVolumeRelative",
        "HassStartTimer",
        "HassCancelTimer",
        "HassIncreaseTimer",
        "HassDecreaseTimer",
        "Undo",
    }
)
"""A second "cancel the timer" would take the next one."""
PRESSED = "button"
"""The component that does something each time that it is turned on."""


def may_be_repeated(intents: Collection[Intent], entities: Mapping[str, Entity]) -> bool:
    """Whether doing all of it again comes to the same. Intents of no command, and no intent at all, do."""
    return not any(each.name in CHANGES_EACH_TIME or _presses(each, entities) for each in intents)


def _presses(intent: Intent, entities: Mapping[str, Entity]) -> bool:
    entity = entities.get(str(intent.slots.get("name", "")))
    return entity is not None and entity.component == PRESSED
