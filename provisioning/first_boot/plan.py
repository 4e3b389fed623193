"""What first boot does next, decided from what is there. Pure.

Nothing is remembered of what was begun: after a power cut the machine looks again, and goes on with the first step
whose result is missing. Every step may therefore be done twice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Step = Literal[
    "grow_partition", "grow_file_system", "apply_settings", "make_host_keys", "choose_unit", "fit_board", "finish"
]


@dataclass(frozen=True)
class Seen:
    """How the machine is."""

    partition_can_grow: bool
    """The disk has room behind the data partition."""
    file_system_can_grow: bool
    """Its partition is larger."""
    settings_wait: bool
    """A person's settings are on the FAT partition, or none were ever applied."""
    people_have_keys: bool
    """Somebody may come by ssh."""
    has_host_keys: bool
    unit_fits: bool
    """The unit that is wanted is the one for the node's roles."""
    board_fits: bool
    """The firmware knows the sound board that the settings name."""
    is_done: bool
    """It was all done before."""


def next_step(seen: Seen, failed: Collection[Step] = ()) -> Step | None:
    """The step to do now; None when nothing is left. What `failed` in this boot is left for the next one.

    The disk comes first: on a small data partition nothing else may fit. Then the settings, which say the rest.
    """
    wanted: list[tuple[Step, bool]] = [
        ("grow_partition", seen.partition_can_grow),
        ("grow_file_system", seen.file_system_can_grow),
        ("apply_settings", seen.settings_wait),
        ("make_host_keys", seen.people_have_keys and not seen.has_host_keys),
        ("choose_unit", not seen.unit_fits),
        ("fit_board", not seen.board_fits),
    ]
    for step, missing in wanted:
        if missing and step not in failed:
            return step
    return None if failed or seen.is_done else "finish"
