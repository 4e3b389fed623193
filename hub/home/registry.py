"""The home as the hub knows it: which devices there are, how they are, and having them do things."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from hub.home.component import Plan, Unsupported
from hub.home.device import Device, Wait
from hub.home.discovery import DiscoveredEntity, Removal, parse_discovery
from hub.home.entity import Command, Entity, Outcome, Result, State
from hub.home.templates import Message
from swarm.broker import BrokerAddress
from swarm.bus import Bus
from swarm.config import BusSection
from swarm.errors import BusError, MalformedMessage

_log = logging.getLogger(__name__)

MAX_ENTITIES = 5000
MAX_STATE_BYTES = 64 * 1024
"""Of a state message; longer ones are ignored."""
MAX_COMPLAINTS = 1000
"""Topics of which it is remembered that their fault was logged, so that each is logged once."""
SUBSCRIBED_S = 0.5
"""How long a command waits for the broker to have taken the subscriptions that are under way."""
ANNOUNCED_S = 3.0
"""After the bus moved to another broker, devices that are there too have been announced by then."""
REPEATED_S = 1.0
"""So long after the last news announcements may still be coming."""
ALREADY_SO_S = 0.25
"""How long a device that already is as wanted gets to answer; some answer only to what changes something."""


class Home:
    """All devices that announced themselves on the bus. Belongs to the event loop that runs the bus."""

    def __init__(
        self,
        bus: Bus,
        config: BusSection,
        *,
        clock: Callable[[], float] = time.monotonic,
        why_down: Callable[[], str] = lambda: "",
    ) -> None:
        """Subscribes at once; devices appear as the bus connects. `why_down` says why it is not, without a full
        stop."""
        self._bus = bus
        self._prefix = config.discovery_prefix
        self._timeout_s = config.confirm_timeout_s
        self._clock = clock
        self._devices: dict[str, Device] = {}
        self._by_discovery: dict[str, Device] = {}
        self._topics: dict[str, tuple[list[Device], Callable[[], None]]] = {}
        self._area_names: dict[str, str] = {}
        self._complaints: dict[str, str] = {}
        self._snapshot: Mapping[str, Entity] | None = None
        self._full = False
        self._version = 0
        self._news = asyncio.Event()
        self._announced_at = clock()
        self._why_down = why_down
        self._broker: BrokerAddress | None = None
        self._left_behind: set[str] = set()
        """Topics of announcements that the broker of before had and this one has not repeated."""
        self._judged_at = 0.0
        """From then on what was left behind counts as gone."""
        bus.on_connection(self._on_connection)
        bus.subscribe(f"{self._prefix}/+/+/config", self._on_discovery, qos=0)
        bus.subscribe(f"{self._prefix}/+/+/+/config", self._on_discovery, qos=0)

    # ---- what there is

    @property
    def entities(self) -> Mapping[str, Entity]:
        """All entities by id; a snapshot that does not change."""
        if self._snapshot is None:
            self._snapshot = MappingProxyType({key: device.entity for key, device in self._devices.items()})
        return self._snapshot

    @property
    def version(self) -> int:
        """Grows whenever entities come, go or change what they are called, where they are or what they can do."""
        return self._version

    @property
    def why_down(self) -> str:
        """Why no device can be reached, without a full stop; empty while the bus is up, or when nobody knows."""
        return "" if self._bus.connected else self._why_down()

    def areas(self) -> tuple[str, ...]:
        """The rooms in which there is something, in alphabetical order."""
        return tuple(sorted({device.entity.area for device in self._devices.values()} - {""}))

    def state(self, entity_id: str) -> State:
        """How an entity is now, as far as it said; not available when it is unknown or the bus is down."""
        device = self._devices.get(entity_id)
        if device is None:
            return State(available=False)
        available = self._bus.connected and self._is_there(device) and not device.is_stale(self._clock())
        return msgspec.structs.replace(device.state, available=available)

    async def changed(self, version: int, debounce_s: float = 0.3) -> int:
        """Wait until `version` is no longer the version and nothing changed for `debounce_s`; the new version."""
        while self._version == version:
            await self._news.wait()
        latest = version
        while latest != self._version:
            latest = self._version
            await asyncio.sleep(debounce_s)
        return latest

    async def settled(self, quiet_s: float = 0.3, timeout_s: float = 5.0) -> None:
        """Wait until the devices that are there have announced themselves; at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._bus.wait_subscribed()
                self._announced_at = max(self._announced_at, self._clock())
                while (left := self._announced_at + quiet_s - self._clock()) > 0:
                    await asyncio.sleep(left)
                    await self._bus.wait_subscribed()

    # ---- having things done

    async def perform(self, commands: Sequence[Command], timeout_s: float | None = None) -> tuple[Outcome, ...]:
        """Do all commands at once and wait for each until the device itself confirms it; outcomes in their order.

        `timeout_s`: how long to wait for all this; None for the configured time.
        """
        limit = self._timeout_s if timeout_s is None else timeout_s
        return tuple(await asyncio.gather(*(self._perform(command, limit) for command in commands)))

    async def _perform(self, command: Command, timeout_s: float) -> Outcome:
        result = await self._try(command, timeout_s)
        # The state as it was confirmed: the next message may tell of something else.
        return Outcome(command, result, self.state(command.entity_id))

    async def _try(self, command: Command, timeout_s: float) -> Result:
        if not self._bus.connected:
            return "bus_down"
        device = self._devices.get(command.entity_id)
        if device is None or not self._is_there(device):
            return "unavailable"
        try:
            plan = device.discovered.component.plan(command.verb, command.value, device.state)
        except Unsupported as error:
            _log.info("%s of %s is not possible: %s", command.verb, command.entity_id, error)
            return "unsupported"
        try:
            async with asyncio.timeout(timeout_s):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SUBSCRIBED_S):
                        # An answer before that would be missed; but a home of thousands is no reason not to act.
                        await self._bus.wait_subscribed()
                await self._carry_out(plan, device)
        except TimeoutError:
            return "unconfirmed"
        except BusError as error:
            _log.warning("%s of %s failed: %s", command.verb, command.entity_id, error)
            return "bus_down"
        device.assume(plan)
        return "confirmed"

    def _is_there(self, device: Device) -> bool:
        if not device.is_available():
            return False
        topic = device.discovered.topic
        return topic not in self._left_behind or self._clock() < max(self._judged_at, self._announced_at + REPEATED_S)

    async def _carry_out(self, plan: Plan, device: Device) -> None:
        """Publish, and wait until the device says that it is done."""
        wait = Wait(plan, device.state, asyncio.get_running_loop().create_future())
        device.waits.append(wait)
        try:
            for each in plan.publications:
                await self._bus.publish(each.topic, each.payload, retain=each.retain)
            if plan.reached is None:
                return
            if plan.reached(wait.before, device.state):
                await asyncio.wait([wait.done], timeout=ALREADY_SO_S)
                if not wait.done.done() and plan.reached(wait.before, device.state):
                    return
            await wait.done
        finally:
            device.waits.remove(wait)
            if wait.done.done() and not wait.done.cancelled():
                wait.done.exception()  # seen, even if publishing failed first
            wait.done.cancel()

    # ---- what the bus says

    def _on_connection(self, connected: bool) -> None:
        if connected:
            if self._broker != self._bus.broker:
                self._left_behind = set(self._by_discovery)
                self._judged_at = self._clock() + ANNOUNCED_S
            self._broker = self._bus.broker
            return
        for device in self._devices.values():
            for wait in device.waits:
                if not wait.done.done():
                    wait.done.set_exception(
                        BusError("the connection to the broker was lost before the device answered")
                    )

    def _on_discovery(self, topic: str, payload: bytes) -> None:
        known = self._by_discovery.get(topic)
        self._left_behind.discard(topic)
        if known is not None and known.announcement == payload:
            return
        self._announced_at = self._clock()
        try:
            found = parse_discovery(topic, payload, self._prefix)
        except MalformedMessage as error:
            self._complain(topic, f"the device's announcement on {topic} is not usable: {error}")
            return
        if known is not None and (isinstance(found, Removal) or found.entity.id != known.entity.id):
            self._remove(known)
            known = None
        if isinstance(found, DiscoveredEntity):
            self._add(found, payload, known)

    def _add(self, found: DiscoveredEntity, announcement: bytes, known: Device | None) -> None:
        area = found.entity.area
        spelling = self._area_names.setdefault(area.casefold(), area) if len(self._area_names) < MAX_ENTITIES else area
        entity = msgspec.structs.replace(found.entity, area=spelling)
        other = self._devices.get(entity.id)
        if known is None and other is not None:
            self._complain(
                found.topic,
                f"the device on {found.topic} has the unique_id of the one on {other.discovered.topic}; it is ignored",
            )
            return
        if known is None and len(self._devices) >= MAX_ENTITIES:
            if not self._full:
                _log.warning("there are %d entities already; %s and further ones are ignored", MAX_ENTITIES, entity.id)
            self._full = True
            return
        device = Device(found, entity, announcement)
        if known is not None:
            self._unwire(known)
            device.take_over(known)
        self._devices[entity.id] = self._by_discovery[found.topic] = device
        self._wire(device)
        if known is None or known.entity != entity:
            self._has_changed()

    def _remove(self, device: Device) -> None:
        self._unwire(device)
        del self._devices[device.entity.id]
        del self._by_discovery[device.discovered.topic]
        self._full = False
        self._has_changed()

    def _wire(self, device: Device) -> None:
        for topic in device.topics():
            listeners, previous = self._topics.get(topic, ([], None))
            listeners.append(device)
            # Anew even when another device shares the topic: the broker then repeats what it retains for this one.
            self._topics[topic] = listeners, self._bus.subscribe(topic, self._on_state)
            if previous is not None:
                previous()

    def _unwire(self, device: Device) -> None:
        for topic in device.topics():
            listeners, end = self._topics[topic]
            listeners.remove(device)
            if not listeners:
                end()
                del self._topics[topic]

    def _on_state(self, topic: str, payload: bytes) -> None:
        if len(payload) > MAX_STATE_BYTES:
            self._complain(topic, f"the state on {topic} has {len(payload)} bytes, more than {MAX_STATE_BYTES}")
            return
        try:
            message = Message(payload.decode())
        except UnicodeDecodeError:
            self._complain(topic, f"the state on {topic} is not UTF-8 text")
            return
        listeners, _ = self._topics.get(topic, ([], None))
        for device in listeners:
            device.hear(topic, message, self._clock())

    def _has_changed(self) -> None:
        self._snapshot = None
        self._version += 1
        self._news.set()
        self._news = asyncio.Event()

    def _complain(self, topic: str, complaint: str) -> None:
        if self._complaints.get(topic) == complaint:
            return
        if len(self._complaints) >= MAX_COMPLAINTS:
            self._complaints.pop(next(iter(self._complaints)))
        self._complaints[topic] = complaint
        _log.warning("%s", complaint)
