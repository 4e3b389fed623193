"""The clock, on boards that have none while they are off, and on PCs whose battery is empty.

systemd starts no clock before the image was built (`/usr/lib/clock-epoch`) nor before the last known time (timesyncd).
After that time servers set it, if the network names some. Joining asks no clock, and tells the joiner the time: the
node's user asks for it to be set, by a file. `systemd/image/usr/lib/mycoswarm/set-clock` does that, if the time is sane
and no time server has set it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from provisioning.first_boot.machine import Machine
from swarm.durable import write_file

CLOSE_ENOUGH_S = 3.0
"""Whole seconds are asked for, and it takes one to fulfil the wish."""
PATIENCE_S = 30.0
_LOOK_S = 0.1

_log = logging.getLogger(__name__)


def clock_setter(machine: Machine) -> Callable[[float], Awaitable[None]]:
    """For `swarm.admission.SetClock`: asks, and waits until the clock is right or the wish was refused."""
    wish = machine.ask / "clock"

    async def set_clock(told: float) -> None:
        at = uptime()

        def off_s() -> float:
            return abs(told + uptime() - at - time.time())

        if off_s() < CLOSE_ENOUGH_S:
            return
        try:
            write_file(wish, f"{round(told)}\n")
        except OSError as error:
            _log.warning("nobody can be asked to set the clock: %s", error)
            return
        _log.info("the clock is wrong by %.0f s: asked for it to be set as the swarm has it", off_s())
        ends = at + PATIENCE_S
        while off_s() >= CLOSE_ENOUGH_S:
            await asyncio.sleep(_LOOK_S)
            if uptime() > ends or (machine.root / "run/systemd/timesync/synchronized").exists():
                _log.warning("the clock was not set: a time server says otherwise, or the hub's time cannot be right")
                return

    return set_clock


def uptime() -> float:
    """Seconds since the machine was switched on, whatever its clock says."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
