"""The flat of pretended devices on the bus of a swarm: it goes with the bus from one hub to the next.

All devices share the node's own connection, since a node has one name there. So the node's presence, which has a Last
Will, says for all of them whether they are there.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from hub.home.virtual_devices import VirtualDevice
from hub.home.virtual_flat import STEP_S, flat
from swarm.bus import Bus
from swarm.errors import BusError

_log = logging.getLogger(__name__)

IS_THERE = "{{ 'online' if value_json.document else 'offline' }}"
"""Of a node's presence (`swarm.presence.Presence`)."""
MAX_WAITING = 1000
"""Commands that were not obeyed yet; more are dropped."""


class FlatOnBus:
    """The flat; `run()` it."""

    def __init__(
        self, bus: Bus, *, prefix: str = "homeassistant", devices: Iterable[VirtualDevice] | None = None
    ) -> None:
        """`devices`: others than the usual ones."""
        self._bus = bus
        self._prefix = prefix
        self.devices = tuple(flat() if devices is None else devices)
        self._commands: asyncio.Queue[tuple[VirtualDevice, str, str]] = asyncio.Queue(MAX_WAITING)
        self._connected = asyncio.Event()
        self.ready = asyncio.Event()
        """Set once every device has told its state."""

    async def run(self) -> None:
        """Run all devices until cancelled."""
        self._bus.on_connection(lambda connected: self._connected.set() if connected else None)
        if self._bus.connected:
            self._connected.set()
        ends = [
            self._bus.subscribe(f"{device.base}/{command}", self._hears(device, command))
            for device in self.devices
            for command in device.commands
        ]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._announce(), name="announcing the flat")
                tasks.create_task(self._obey(), name="virtual flat")
                tasks.create_task(self._move(), name="what moves in the flat")
        finally:
            for end in ends:
                end()

    async def _announce(self) -> None:
        """On every connection: the broker may be another one, which knows nothing of this flat."""
        while True:
            await self._connected.wait()
            self._connected.clear()
            try:
                await self._bus.wait_subscribed()
                for device in self.devices:
                    told = device.announcement() | {
                        "availability_topic": self._bus.presence_topic,
                        "availability_template": IS_THERE,
                    }
                    topic = f"{self._prefix}/{device.component}/flat/{device.object_id}/config"
                    await self._bus.publish(topic, json.dumps(told, ensure_ascii=False), retain=True)
                    await self._tell(device)
                self.ready.set()
            except BusError as error:
                _log.debug("the flat could not announce itself: %s", error)
                if self._bus.connected:
                    self._connected.set()
                    await asyncio.sleep(1.0)

    async def _obey(self) -> None:
        while True:
            device, command, payload = await self._commands.get()
            try:
                orders = device.receive(command, payload)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                _log.info("virtual %s does not understand %.100r: %r", device.object_id, payload, error)
                continue
            try:
                await self._tell(device)
                for topic, order in orders:
                    await self._bus.publish(topic, order)
            except BusError as error:
                _log.debug("virtual %s lost the bus: %s", device.object_id, error)

    async def _move(self) -> None:
        while True:
            await asyncio.sleep(STEP_S if any(device.moving for device in self.devices) else 10 * STEP_S)
            for device in self.devices:
                if device.moving:
                    device.step()
                    try:
                        await self._tell(device)
                    except BusError:  # a blind does not stop for the want of a broker
                        continue

    async def _tell(self, device: VirtualDevice) -> None:
        for level, payload in device.states().items():
            await self._bus.publish(f"{device.base}/{level}", payload, retain=True)

    def _hears(self, device: VirtualDevice, command: str) -> Callable[[str, bytes], None]:
        def heard(topic: str, payload: bytes) -> None:
            with suppress(asyncio.QueueFull):
                self._commands.put_nowait((device, command, payload.decode(errors="replace")))

        return heard
