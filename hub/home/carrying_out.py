"""Has one device do something, and waits until its own state says that it did."""

from __future__ import annotations

import asyncio
import contextlib

from hub.home.component import Plan
from hub.home.device import Device, Line, Wait
from swarm.bus import Bus

SUBSCRIBED_S = 0.5
"""How long a command waits for the broker to have taken the subscriptions that are under way."""
ALREADY_SO_S = 0.25
"""How long a device that already is as wanted gets to answer; some answer only to what changes something."""


async def carry_out(plan: Plan, device: Device, bus: Bus) -> None:
    """Tell the device, by its line or on the bus, and return once it is done. Raises `BusError`; the limit of time is
    the caller's."""
    if device.line is None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SUBSCRIBED_S):
                # An answer before that would be missed; but a home of thousands is no reason not to act.
                await bus.wait_subscribed()
    wait = Wait(plan, device.state, asyncio.get_running_loop().create_future())
    device.waits.append(wait)
    try:
        if device.line is None:
            for each in plan.publications:
                await bus.publish(each.topic, each.payload, retain=each.retain)
        else:
            await _send(device.line, plan, wait)
        if plan.reached is None:
            return
        if plan.reached(wait.before, device.state):
            if device.line is None:  # a line has said already that it is done
                await asyncio.wait([wait.done], timeout=ALREADY_SO_S)
            if not wait.done.done() and plan.reached(wait.before, device.state):
                return
        await wait.done
    finally:
        device.waits.remove(wait)
        if wait.done.done() and not wait.done.cancelled():
            wait.done.exception()  # seen, even if publishing failed first
        wait.done.cancel()


async def _send(line: Line, plan: Plan, wait: Wait) -> None:
    """Returns when the line has done it, or earlier when the device says so: some lines wait for a blind to be up."""

    async def send_all() -> None:
        for each in plan.publications:
            await line.send(each)

    sending = asyncio.ensure_future(send_all())
    try:
        await asyncio.wait([sending, wait.done], return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        sending.cancel()
