"""`mycoswarm bench home`, on homes so small that it is over in seconds."""

from __future__ import annotations

import asyncio

from hub.intent import Context
from swarm.bench.hearing import virtual_home
from swarm.bench.home import FULL, Size, bench_home
from swarm.bench.home_commands import commands_for
from swarm.bench.home_devices import large_home


def test_every_device_of_the_large_home_has_a_name_of_its_own_and_every_command_is_understood() -> None:
    devices = large_home(*FULL.large)
    assert len({device.name for device in devices}) == len({device.object_id for device in devices}) == 2000
    assert len({device.area for device in devices}) == 65
    home, here = virtual_home(devices), Context("test")
    commands = commands_for(devices, FULL.commands)
    assert [each.text for each in commands if not home.understand(each.text, here)] == []
    assert len({each.text for each in commands}) > 100


def test_everything_that_is_promised_is_measured() -> None:
    size = Size(ordinary=(20, 4), large=(40, 8), commands=6, others=2, minutes=0.02, spoken=0)
    said: list[str] = []
    report = asyncio.run(bench_home(size, said.append))
    assert [section.title for section in report.sections] == [
        "A home of 20 entities in 4 rooms",
        "A home of 40 entities in 8 rooms",
        "200 state changes a second",
    ]
    rows = {row.what: row for section in report.sections for row in section.measurements}
    assert [row.what for row in rows.values() if row.value is None] == []
    assert rows["commands that did not reach their device"].value == 0
    assert rows["states that the hub has wrong afterwards"].value == 0
    assert said
