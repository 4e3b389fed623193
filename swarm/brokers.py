"""Which broker a bus connects to next: always the same one, or whichever a swarm agrees on (`swarm.swarm_bus`)."""

from __future__ import annotations

import asyncio
from typing import Protocol

from swarm.broker import BrokerAddress

BACKOFF_S = (0.2, 5.0)
"""First and longest pause between attempts to connect; doubled each time."""


class Brokers(Protocol):
    """Knows which broker to use: the bus asks before each attempt to connect, and tells what came of it."""

    async def next(self) -> BrokerAddress:
        """The one to try now; waits while there is none, and between attempts."""

    def connected(self, address: BrokerAddress) -> None:
        """The broker took the connection."""

    def lost(self, address: BrokerAddress, *, was_connected: bool) -> None:
        """The connection ended, or never was."""

    async def until_another(self, address: BrokerAddress) -> bool:
        """Return when the connection to `address` is to be given up for another broker; whether it can still hear a
        goodbye."""


class OneBroker:
    """`Brokers` of a node that has one, and tries it for ever."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._wait_s = 0.0
        self._pause_s = BACKOFF_S[0]

    async def next(self) -> BrokerAddress:
        """That one, after a pause when it failed."""
        await asyncio.sleep(self._wait_s)
        return self._address

    def connected(self, address: BrokerAddress) -> None:
        """Nothing: only a loss counts."""

    def lost(self, address: BrokerAddress, *, was_connected: bool) -> None:
        """Wait longer each time, and from anew after a connection."""
        self._wait_s = BACKOFF_S[0] if was_connected else self._pause_s
        self._pause_s = min(self._wait_s * 2, BACKOFF_S[1])

    async def until_another(self, address: BrokerAddress) -> bool:
        """Never."""
        await asyncio.Event().wait()
        return True
