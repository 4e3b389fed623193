"""This node as it shows itself on the bus, and what people's programs may set of it there.

::

    mycoswarm/node/<node>/state          retained (`swarm.node_state.NodeState`)
    mycoswarm/node/<node>/event          once (`swarm.node_state.NodeEvent`)
    mycoswarm/node/<node>/health         of a machine without a swarm (`swarm.health.Health`); others tell it anyway
    mycoswarm/node/<node>/set/<what>     a command; one that the broker kept from before is not obeyed

Whoever can publish on the home's broker can give these commands. So they are few, and none of them makes the node say
what others chose, admit a machine, or do something that lasts and cannot be set back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from swarm.bus import Bus
from swarm.bus_rules import command_topic, event_topic, health_topic, state_topic
from swarm.errors import BusError, MycoswarmError
from swarm.health import Health, encode_health
from swarm.node_state import NodeEvent, NodeState, encode_event, encode_state

LOOK_EVERY_S = 2.0
"""How often it is looked for changes that nobody told of, such as a model that was unloaded."""
GATHER_S = 0.05
"""Changes within so short a time are told as one."""
HEALTH_EVERY_S = 5.0
AFTER_DEVICES_S = 4.0
"""The state of a node that is to be seen no more goes after its devices in Home Assistant, which read it."""
MAX_WAITING = 16
"""Commands that were not carried out yet, and events that were not told; more are dropped."""
MAX_COMMAND_BYTES = 200

Do = Callable[[str], Awaitable[None]]
"""Carries out a command; raises `MycoswarmError` on a payload that it cannot use."""

_log = logging.getLogger(__name__)


class OwnState:
    """`run` it. `changed` and `happened` may be called at any time."""

    def __init__(
        self,
        bus: Bus,
        node: str,
        *,
        look: Callable[[], NodeState] | None,
        commands: Mapping[str, Do],
        health: Callable[[], Awaitable[Health]] | None = None,
    ) -> None:
        """`node`: its level in its topics. `look` says how it is, and is asked often; None: nothing is to be seen of
        it, and what the broker kept of it is removed. `health`: given by a node whose health nobody else tells."""
        self._bus = bus
        self._node = node
        self._look = look
        self._commands = commands
        self._health = health
        self._due = asyncio.Event()
        self._told = b""
        self._events: asyncio.Queue[NodeEvent] = asyncio.Queue(MAX_WAITING)
        self._asked: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MAX_WAITING)
        bus.on_connection(self._on_connection)
        if look is None:
            bus.subscribe(state_topic(node), self._heard_own)
        else:
            bus.subscribe(command_topic(node, "+"), self._on_command, retained=False)

    def changed(self) -> None:
        """Look now."""
        self._due.set()

    def happened(self, event: NodeEvent) -> None:
        """Tell it once; what cannot be told now is not told later."""
        if self._look is not None and self._bus.connected:
            with suppress(asyncio.QueueFull):
                self._events.put_nowait(event)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as services:
            services.create_task(self._tell_state(), name="own state on the bus")
            if self._look is not None:
                services.create_task(self._tell_events(), name="events")
                services.create_task(self._obey(), name="commands from the bus")
                if self._health is not None:
                    services.create_task(self._tell_health(self._health), name="health")

    async def forget(self) -> None:
        """Leave nothing with the broker: this node will be another one. Raises `BusError`."""
        self._look = None
        await self._bus.publish(state_topic(self._node), b"", retain=True)
        self._told = b""

    # ---- telling

    async def _tell_state(self) -> None:
        while True:
            await self._bus.wait_subscribed()
            self._due.clear()
            state = encode_state(self._look()) if self._look is not None else b""
            if state != self._told:
                if not state:
                    await asyncio.sleep(AFTER_DEVICES_S)
                try:
                    await self._bus.publish(state_topic(self._node), state, retain=True)
                    self._told = state
                except BusError as error:
                    _log.debug("%s", error)
            await asyncio.sleep(GATHER_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._due.wait()

    async def _tell_events(self) -> None:
        while True:
            event = await self._events.get()
            with suppress(BusError):
                await self._bus.publish(event_topic(self._node), encode_event(event))

    async def _tell_health(self, health: Callable[[], Awaitable[Health]]) -> None:
        while True:
            await self._bus.wait_subscribed()
            with suppress(BusError):
                await self._bus.publish(health_topic(self._node), encode_health(await health()), qos=0)
            await asyncio.sleep(HEALTH_EVERY_S)

    def _on_connection(self, connected: bool) -> None:
        # What another broker keeps is not known; an empty message is only worth sending where there is something.
        self._told = b""
        self._due.set()

    def _heard_own(self, topic: str, payload: bytes) -> None:
        if payload:
            self._told = payload
            self._due.set()

    # ---- obeying

    def _on_command(self, topic: str, payload: bytes) -> None:
        what = topic.rpartition("/")[2]
        if what not in self._commands or len(payload) > MAX_COMMAND_BYTES:
            _log.warning("ignoring %d bytes on %s: no such command", len(payload), topic[:200])
            return
        try:
            self._asked.put_nowait((what, payload))
        except asyncio.QueueFull:
            _log.warning("ignoring %s from the bus: %d commands wait", what, MAX_WAITING)

    async def _obey(self) -> None:
        while True:
            what, payload = await self._asked.get()
            try:
                await self._commands[what](payload.decode().strip())
            except UnicodeDecodeError:
                _log.warning("ignoring %s from the bus: not UTF-8 text", what)
            except MycoswarmError as error:
                _log.warning("%s from the bus: %s", what, error)
            self._due.set()
