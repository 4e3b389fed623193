"""What first boot does next, by what is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from provisioning.first_boot.plan import Seen, Step, next_step

FRESH = Seen(
    partition_can_grow=True,
    file_system_can_grow=False,
    settings_wait=True,
    people_have_keys=False,
    has_host_keys=False,
    unit_fits=False,
    board_fits=False,
    is_done=False,
)
SETTLED = Seen(
    partition_can_grow=False,
    file_system_can_grow=False,
    settings_wait=False,
    people_have_keys=True,
    has_host_keys=True,
    unit_fits=True,
    board_fits=True,
    is_done=True,
)
RESULT: dict[Step, Callable[[Seen], Seen]] = {
    "grow_partition": lambda s: dataclasses.replace(s, partition_can_grow=False, file_system_can_grow=True),
    "grow_file_system": lambda s: dataclasses.replace(s, file_system_can_grow=False),
    "apply_settings": lambda s: dataclasses.replace(s, settings_wait=False, people_have_keys=True),
    "make_host_keys": lambda s: dataclasses.replace(s, has_host_keys=True),
    "choose_unit": lambda s: dataclasses.replace(s, unit_fits=True),
    "fit_board": lambda s: dataclasses.replace(s, board_fits=True),
    "finish": lambda s: dataclasses.replace(s, is_done=True),
}


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({}, None),
        ({"is_done": False}, "finish"),
        ({"settings_wait": True}, "apply_settings"),
        ({"has_host_keys": False}, "make_host_keys"),
        ({"has_host_keys": False, "people_have_keys": False}, None),
        ({"partition_can_grow": True, "settings_wait": True}, "grow_partition"),
        ({"file_system_can_grow": True, "settings_wait": True}, "grow_file_system"),
        ({"unit_fits": False, "settings_wait": True}, "apply_settings"),
        ({"unit_fits": False}, "choose_unit"),
    ],
)
def test_the_first_missing_result_is_next(change: dict[str, bool], step: Step | None) -> None:
    assert next_step(dataclasses.replace(SETTLED, **change)) == step


def test_fresh_machine_does_everything_once_in_order() -> None:
    seen, done = FRESH, []
    while (step := next_step(seen)) is not None:
        done.append(step)
        seen = RESULT[step](seen)
    assert done == list(RESULT)


@pytest.mark.parametrize("lost", list(RESULT))
def test_power_cut_costs_the_step_that_it_interrupted(lost: Step) -> None:
    seen, cut = FRESH, False
    for _ in range(20):
        step = next_step(seen)
        if step is None:
            break
        if step == lost and not cut:
            cut = True
            continue
        seen = RESULT[step](seen)
    assert cut
    assert next_step(seen) is None
    assert seen.is_done


def test_failed_step_is_left_for_the_next_boot_and_the_rest_is_done() -> None:
    seen, done = FRESH, []
    while (step := next_step(seen, ["grow_partition", "make_host_keys"])) is not None:
        done.append(step)
        seen = RESULT[step](seen)
    assert done == ["apply_settings", "choose_unit", "fit_board"]
    assert not seen.is_done
