"""Says on the bus that somebody is there who reads announcements, as Home Assistant does (`homeassistant/status`).

Devices that do not leave their announcement with the broker repeat it then (MQTT discovery, "birth message"). One hub
says it for all: the one that owns the role; a second time does no harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from swarm.bus import Bus
from swarm.errors import BusError

_log = logging.getLogger(__name__)


class Birth:
    """`run` it; `again` makes it say so once more."""

    def __init__(self, bus: Bus, *, prefix: str, speaks: Callable[[], bool]) -> None:
        """`speaks`: whether it is this node that says so."""
        self._bus = bus
        self._topic = f"{prefix}/status"
        self._speaks = speaks
        self._due = asyncio.Event()
        self._echoes = 0
        bus.on_connection(self._on_connection)

    def again(self) -> None:
        """The bus is another one, or it is this node's turn."""
        self._due.set()

    def is_echo(self) -> bool:
        """Asked at each such message that comes in: whether it is the one that this node has just sent."""
        echo = self._echoes > 0
        self._echoes -= echo
        return echo

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._due.wait()
            await self._bus.wait_subscribed()
            self._due.clear()
            if self._speaks():
                self._echoes += 1
                try:
                    await self._bus.publish(self._topic, "online")
                except BusError as error:
                    _log.debug("%s", error)

    def _on_connection(self, connected: bool) -> None:
        self._echoes = 0
        if connected:
            self.again()
