"""Keeps the discovery messages of our nodes as they should be: the hub that speaks to the home does it for all of them.

What the broker holds is read from the broker itself, so a second hub, a restart or another broker needs no memory: only
what differs is published. All is published again when Home Assistant says that it has just started.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from hub.home.birth import Birth
from hub.seen.discovery import OURS, Form, Seen, changes, device_id, device_of_topic, wanted
from swarm.bus import Bus
from swarm.bus_rules import ALL_STATES, swarm_state_topic
from swarm.errors import BusError, MalformedMessage
from swarm.node_state import NodeState, decode_state, lasting

QUIET_S = 0.5
"""After the last retained message of the broker: it has told what it holds."""
AT_MOST_S = 5.0
"""So long it is waited for quiet."""
LOOK_EVERY_S = 2.0
"""How often it is looked who belongs to the swarm, and how it is."""
RETRY_S = 2.0
MAX_NODES = 256
MAX_SWARMS = 16
"""On one broker."""
MAX_HELD = 20_000
"""Discovery messages of ours that are remembered: each of 256 nodes has about 20."""
MAX_MESSAGE_BYTES = 64 * 1024

_log = logging.getLogger(__name__)


class SwarmState(msgspec.Struct, frozen=True):
    """How the swarm is, on `swarm.bus_rules.swarm_state_topic`."""

    nodes: int
    """Alive."""
    running: int
    """Tasks at work on all of them."""
    bus: str
    """The name of the hub whose broker is the bus."""
    home: str
    """The name of the hub that speaks to the home."""
    newest: str
    """The newest version that a node runs."""


class Publisher:
    """`run` it on every node that may speak to the home; those whose turn it is not keep silent."""

    def __init__(
        self,
        bus: Bus,
        birth: Birth,
        *,
        prefix: str,
        form: Form,
        language: str,
        speaks: Callable[[], bool],
        known: Callable[[Mapping[str, NodeState], frozenset[str]], Seen],
        swarm: Callable[[Mapping[str, NodeState]], SwarmState] | None = None,
    ) -> None:
        """`speaks`: whether it is this node's turn. `known` makes of what nodes said, and of the enrolled nodes that
        the broker has devices of, what there is to be seen; it and `swarm` are asked often. Subscribes at once."""
        self._bus = bus
        self._birth = birth
        self._prefix = prefix
        self._form = form
        self._language = language
        self._speaks = speaks
        self._known = known
        self._swarm = swarm
        self._held: dict[str, bytes] = {}
        self._states: dict[str, NodeState] = {}
        self._swarms: dict[str, bytes] = {}
        """What the broker holds of how swarms are."""
        self._due = asyncio.Event()
        self._again = False
        """Everything is to be published once more."""
        self._stale = False
        """The broker holds something else than was published."""
        self._done_for: Seen | None = None
        self._target: dict[str, bytes] = {}
        self._heard_at = 0.0
        self._loop = asyncio.get_running_loop()
        bus.on_connection(self._on_connection)
        for levels in ("+/+", "+/+/+"):
            bus.subscribe(f"{prefix}/{levels}/config", self._heard_config, qos=0)
        bus.subscribe(ALL_STATES, self._heard_state, qos=0)
        bus.subscribe(swarm_state_topic("+"), self._heard_swarm, qos=0)
        bus.subscribe(f"{prefix}/status", self._heard_status, retained=False)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._settled()
                await self._publish()
            except BusError as error:
                _log.debug("%s", error)
                self._due.set()
                await asyncio.sleep(RETRY_S)
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._due.wait()
            except TimeoutError:
                pass

    def look_again(self) -> None:
        """It may be this node's turn now."""
        self._due.set()

    async def forget(self, seen: Seen) -> None:
        """Remove what is no longer to be shown, at once: this node is about to part. Raises `BusError`."""
        target = wanted(seen, self._form, prefix=self._prefix, language=self._language)
        for topic, payload in changes(self._held, seen, target, self._form, prefix=self._prefix):
            await self._bus.publish(topic, payload, retain=True)
        if seen.swarm_id and not seen.hubs:
            await self._remove_swarm(seen.swarm_id)

    async def forget_name(self, node: str) -> None:
        """Remove what this machine was shown as under another name, whoever speaks now. Raises `BusError`."""
        await self._settled()
        for topic in [topic for topic in self._held if device_of_topic(topic, self._prefix) == device_id(node)]:
            await self._bus.publish(topic, b"", retain=True)

    # ---- below

    async def _settled(self) -> None:
        await self._bus.wait_subscribed()
        until = self._loop.time() + AT_MOST_S
        while (left := min(until, self._heard_at + QUIET_S) - self._loop.time()) > 0:  # noqa: ASYNC110 nothing tells that no more comes
            await asyncio.sleep(left)

    async def _publish(self) -> None:
        self._due.clear()
        if not self._speaks():
            self._again, self._done_for = False, None
            return
        devices = (device_of_topic(topic, self._prefix) or "" for topic in self._held)
        shown = frozenset(device.removeprefix(OURS) for device in devices)
        seen = self._known(self._states, shown)
        if self._again or self._stale or seen != self._done_for:
            again, self._again, self._stale, self._done_for = self._again, False, False, None
            self._target = wanted(seen, self._form, prefix=self._prefix, language=self._language)
            held = dict.fromkeys(self._held, b"") if again else self._held
            try:
                for topic, payload in changes(held, seen, self._target, self._form, prefix=self._prefix):
                    await self._bus.publish(topic, payload, retain=True)
            except BusError:
                self._again |= again
                raise
            self._done_for = seen
        if self._swarm is not None and self._form == "off":
            await self._remove_swarm(seen.swarm_id)
        elif self._swarm is not None:
            topic, state = swarm_state_topic(seen.swarm_id), msgspec.json.encode(self._swarm(seen.states))
            if state != self._swarms.get(topic):
                await self._bus.publish(topic, state, retain=True)

    async def _remove_swarm(self, swarm_id: str) -> None:
        topic = swarm_state_topic(swarm_id)
        if topic in self._swarms:
            await self._bus.publish(topic, b"", retain=True)

    def _on_connection(self, connected: bool) -> None:
        self._held.clear()
        self._swarms.clear()
        self._done_for = None
        self._heard_at = self._loop.time()
        self._due.set()

    def _heard_config(self, topic: str, payload: bytes) -> None:
        if device_of_topic(topic, self._prefix) is None or len(payload) > MAX_MESSAGE_BYTES:
            return
        self._heard_at = self._loop.time()
        if not payload:
            self._held.pop(topic, None)
        elif topic in self._held or len(self._held) < MAX_HELD:
            self._held[topic] = payload
            if payload != self._target.get(topic):
                self._stale = True
                self._due.set()

    def _heard_state(self, topic: str, payload: bytes) -> None:
        node = topic.split("/")[2]
        before = self._states.get(node)
        if not payload:
            self._states.pop(node, None)
        elif before is not None or len(self._states) < MAX_NODES:
            try:
                state = lasting(decode_state(payload))
            except MalformedMessage as error:
                _log.debug("%s: %s", topic[:200], error)
                return
            if state == before:
                return
            self._states[node] = state
        self._heard_at = self._loop.time()
        self._due.set()

    def _heard_swarm(self, topic: str, payload: bytes) -> None:
        if not payload:
            self._swarms.pop(topic, None)
        elif len(payload) <= MAX_MESSAGE_BYTES and (topic in self._swarms or len(self._swarms) < MAX_SWARMS):
            self._swarms[topic] = payload

    def _heard_status(self, topic: str, payload: bytes) -> None:
        if payload == b"online" and not self._birth.is_echo():
            self._again = True
            self._due.set()
