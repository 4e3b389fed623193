"""The bus as home automation uses it: of this machine alone, or of the swarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from swarm.broker import Broker, BrokerAddress
from swarm.bus import Bus
from swarm.client import BrokerStatus


class HomeBus(Protocol):
    """`swarm.enrolled_bus.EnrolledBus` is one too."""

    @property
    def bus(self) -> Bus:
        """To speak on."""

    @property
    def why_waiting(self) -> str:
        """Why there is no bus, for people, without a full stop; empty while there is one."""

    @property
    def own_broker(self) -> BrokerAddress | None:
        """The broker that is the bus whatever happens; None where it may be another one in a moment."""

    def owns(self, role: str) -> bool:
        """Whether this node does what only one hub does."""

    def on_gained(self, gained: Callable[[str], None]) -> None:
        """Have `gained` called with each role that comes to this node."""

    def status(self) -> BrokerStatus:
        """For the people's port."""


class LoneBus:
    """Of a machine that belongs to no swarm: its own broker, or the home's. It owns every role."""

    def __init__(self, broker: Broker, name: str) -> None:
        """`broker` has started before anything else is asked."""
        self._broker = broker
        self._name = name
        self._bus: Bus | None = None

    @property
    def bus(self) -> Bus:
        """To speak on."""
        self._bus = self._bus or Bus(self._broker.address, self._name)
        return self._bus

    @property
    def why_waiting(self) -> str:
        """Why there is no bus, for people, without a full stop; empty while there is one."""
        if self.bus.connected:
            return ""
        return (
            "the home's MQTT broker is down" if self._broker.address.kind == "external" else "the MQTT broker is down"
        )

    @property
    def own_broker(self) -> BrokerAddress | None:
        """Always the same."""
        return self._broker.address

    def owns(self, role: str) -> bool:
        """Every one."""
        return True

    def on_gained(self, gained: Callable[[str], None]) -> None:
        """Never: it has them all."""

    def status(self) -> BrokerStatus:
        """For the people's port."""
        return BrokerStatus(self._broker.address.kind, self.bus.connected, why=self.why_waiting)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        await self.bus.run()
