"""What may be done by voice, as a person configures it. `hub.policy` decides by it.

::

    [policy.entities]                # by name or id: counts before everything else
    "Back door" = "do"
    "Server plug" = "refuse"
    [policy.kinds]                   # a component or a device class
    lock = "refuse"
    siren = "ask"
    [policy.areas]                   # a room can only be made stricter
    "Nursery" = "ask"
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

Permission = Literal["do", "ask", "refuse"]
"""At once / after a person said yes to a question / never by voice. In this order of strictness."""
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

KINDS = (
    "alarm_control_panel", "button", "climate", "cover", "fan", "humidifier", "lawn_mower", "light", "lock", "number",
    "scene", "select", "siren", "switch", "vacuum", "valve", "water_heater",
    "awning", "blind", "curtain", "damper", "door", "garage", "gate", "shade", "shutter", "window",
    "gas", "outlet", "water",
)  # fmt: skip
"""Components, and device classes of covers, valves and switches."""


class PolicySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[policy]: what may be done by voice without asking. What stands in no table is done at once, but for unlocking,
    opening doors, gates and valves, and disarming, which ask first."""

    entities: dict[str, str] = {}
    """`do`, `ask` or `refuse` by an entity's name or id."""
    kinds: dict[str, str] = {}
    """The same by component or device class; the device class counts before the component."""
    areas: dict[str, str] = {}
    """`ask` or `refuse` by room."""


def complaints(section: PolicySection) -> Iterator[tuple[str, str, str, str]]:
    """What is wrong with a section: table, key, what is wrong and what would be right."""
    for table, entries in (("entities", section.entities), ("kinds", section.kinds), ("areas", section.areas)):
        allowed = PERMISSIONS[1:] if table == "areas" else PERMISSIONS
        for key, word in entries.items():
            if table == "kinds" and key not in KINDS:
                import difflib  # only where there is something to complain about

                near = difflib.get_close_matches(key, KINDS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"kinds are: {', '.join(KINDS)}"
                yield table, key, f'"{key}" is no kind of device', hint
            elif word not in allowed:
                yield table, key, f'"{word}" is no permission', f"write one of: {', '.join(allowed)}"
