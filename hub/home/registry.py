"""The home as the hub knows it: which devices there are, how they are, and having them do things."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec

from hub.home.announcement import Announcement, parse_announcement
from hub.home.carrying_out import carry_out
from hub.home.complaints import Complaints
from hub.home.component import Unsupported
from hub.home.device import Device, Line
from hub.home.discovery import DiscoveredEntity
from hub.home.entity import Command, Entity, Outcome, Result, State
from hub.home.listening import Listening
from swarm.broker import BrokerAddress
from swarm.bus import Bus
from swarm.config import BusSection
from swarm.errors import BusError, MalformedMessage

_log = logging.getLogger(__name__)

MAX_ENTITIES = 5000
MAX_OF_ONE = 500
"""Entities of one device, in however many announcements: what is wrong with it must not cost the others their place."""
MAX_REFUSED = 1000
"""Ids of which it is remembered that another device wants them."""
ANNOUNCED_S = 3.0
"""After the bus moved to another broker, devices that are there too have been announced by then."""
REPEATED_S = 1.0
"""So long after the last news announcements may still be coming."""


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
        self._announced: dict[str, _Announced] = {}
        self._owned: Counter[str] = Counter()
        self._refused: dict[str, str] = {}
        """By entity id the topic of another device that would have it."""
        self._complain = Complaints(_log)
        self._listening = Listening(bus, clock, self._complain)
        self._area_names: dict[str, str] = {}
        self._from_sources: dict[str, dict[str, Device]] = {}
        self._dressers: list[Callable[[Entity], Entity]] = []
        self._listeners: list[Callable[[], None]] = []
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
            self._snapshot = MappingProxyType({key: self._dressed(each) for key, each in self._devices.items()})
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
        return tuple(sorted({entity.area for entity in self.entities.values()} - {""}))

    def state(self, entity_id: str) -> State:
        """How an entity is now, as far as it said; not available when it is unknown or the bus is down."""
        device = self._devices.get(entity_id)
        if device is None:
            return State(available=False)
        available = self._reaches(device) and self._is_there(device) and not device.is_stale(self._clock())
        return msgspec.structs.replace(device.state_at(self._clock()), available=available)

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

    # ---- other sources than discovery

    def set_source(self, source: str, found: Mapping[str, DiscoveredEntity], line: Line | None = None) -> None:
        """All that `source` knows of, by entity id, in place of what it knew before; with the same object under an id
        nothing changes there. `line`: how they are reached, None for the bus. An id that is taken is left out, but
        what devices announce by discovery themselves goes before any source, and the bus before a line."""
        before = self._from_sources.setdefault(source, {})
        for entity_id, device in list(before.items()):
            if entity_id not in found:
                self._remove(device)
        for entity_id, each in found.items():
            known = before.get(entity_id)
            if known is None or known.discovered is not each:
                self._add(each, known, source, line)

    def hear_line(self, line: Line, topic: str, payload: bytes, *, just_now: bool) -> None:
        """What a source's line says on one of its devices' topics; `just_now`: it may be an event."""
        self._listening.hear_line(line, topic, payload, just_now=just_now)

    def line_lost(self, line: Line) -> None:
        """Nobody waits any longer for devices that are reached by this line."""
        self._give_up_waiting(line, "the connection was lost before the device answered")

    def dress(self, dresser: Callable[[Entity], Entity]) -> None:
        """Have entities shown as `dresser` changes them (area, aliases), after those that came before it; `redress`
        when it would change them otherwise than before."""
        self._dressers.append(dresser)

    def redress(self) -> None:
        """What a dresser makes of entities has changed."""
        self._has_changed()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever `version` has grown. It must not change the home itself."""
        self._listeners.append(listener)

    def on_state(self, listener: Callable[[str, State, State], None]) -> None:
        """Have `listener` called with id, state before and state after whenever an entity told another state."""
        self._listening.told.append(listener)

    def announced(self) -> frozenset[str]:
        """Ids of the entities that announced themselves by discovery."""
        return frozenset(device.entity.id for device in self._devices.values() if not device.source)

    def known_beside(self, source: str) -> frozenset[str]:
        """Ids of the entities that are known otherwise than from this source."""
        return frozenset(device.entity.id for device in self._devices.values() if device.source != source)

    def _dressed(self, device: Device) -> Entity:
        entity = device.entity
        for dresser in self._dressers:
            entity = dresser(entity)
        if entity is device.entity:
            return entity
        return msgspec.structs.replace(entity, area=self._spelled(entity.area))

    def _spelled(self, area: str) -> str:
        """As the home first wrote it: one room is not two for a capital letter."""
        if len(self._area_names) >= MAX_ENTITIES:
            return self._area_names.get(area.casefold(), area)
        return self._area_names.setdefault(area.casefold(), area)

    def _reaches(self, device: Device) -> bool:
        return self._bus.connected if device.line is None else device.line.connected

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
        device = self._devices.get(command.entity_id)
        if not self._bus.connected and (device is None or device.line is None):
            return "bus_down"
        if device is None or not self._reaches(device) or not self._is_there(device):
            return "unavailable"
        try:
            plan = device.discovered.component.plan(command.verb, command.value, device.state)
        except Unsupported as error:
            _log.info("%s of %s is not possible: %s", command.verb, command.entity_id, error)
            return "unsupported"
        try:
            async with asyncio.timeout(timeout_s):
                await carry_out(plan, device, self._bus)
        except TimeoutError:
            return "unconfirmed"
        except BusError as error:
            _log.warning("%s of %s failed: %s", command.verb, command.entity_id, error)
            return "bus_down" if device.line is None else "unconfirmed"
        device.assume(plan)
        return "confirmed"

    def _is_there(self, device: Device) -> bool:
        if not device.is_available():
            return False
        topic = device.discovered.topic
        return topic not in self._left_behind or self._clock() < max(self._judged_at, self._announced_at + REPEATED_S)

    # ---- what the bus says

    def _on_connection(self, connected: bool) -> None:
        if connected:
            if self._broker != self._bus.broker:
                self._left_behind = set(self._announced)
                self._judged_at = self._clock() + ANNOUNCED_S
            self._broker = self._bus.broker
            return
        self._give_up_waiting(None, "the connection to the broker was lost before the device answered")

    def _give_up_waiting(self, line: Line | None, why: str) -> None:
        for device in self._devices.values():
            for wait in device.waits:
                if device.line is line and not wait.done.done():
                    wait.done.set_exception(BusError(why))

    def _on_discovery(self, topic: str, payload: bytes) -> None:
        known = self._announced.get(topic)
        self._left_behind.discard(topic)
        if known is not None and known.payload == payload:
            return
        self._announced_at = self._clock()
        try:
            found = parse_announcement(topic, payload, self._prefix)
        except MalformedMessage as error:
            self._complain(topic, f"the device's announcement on {topic} is not usable: {error}")
            return
        for key, fault in found.faults.items():
            self._complain(f"{topic} {key}", f"{key!r:.100} of the device announced on {topic} is not usable: {fault}")
        if known is None and found.entities:
            known = self._announced[topic] = _Announced()
        if known is not None:
            known.payload, known.gives_up = payload, found.gives_up
            if not found.gives_up:
                self._follow(known, found)
            if not known.devices:
                del self._announced[topic]

    def _follow(self, known: _Announced, found: Announcement) -> None:
        """Have the topic stand for what it announces now. Of a component that makes no sense any more stays what it
        was before."""
        for key, device in list(known.devices.items()):
            new = found.entities.get(key)
            if key not in found.faults and (new is None or new.entity.id != device.entity.id):
                self._remove(device)
        for key, each in found.entities.items():
            self._add(each, known.devices.get(key), key=key)

    def _add(
        self,
        found: DiscoveredEntity,
        known: Device | None,
        source: str = "",
        line: Line | None = None,
        *,
        key: str = "",
    ) -> None:
        """`known`: the same as it was before, None for a new one; `key`: which component of its announcement."""
        entity = msgspec.structs.replace(found.entity, area=self._spelled(found.entity.area))
        other = self._devices.get(entity.id)
        if known is None and other is not None and source and (line is not None or other.line is None):
            return
        if known is None and other is not None and other.source:
            self._remove(other)
            other = None
        if known is None and other is not None and self._announced[other.discovered.topic].gives_up:
            self._announced[other.discovered.topic].devices.pop(other.key)
            known = other
        if known is None and other is not None:
            if len(self._refused) < MAX_REFUSED:
                self._refused[entity.id] = found.topic
            self._complain(
                f"{found.topic} {key}",
                f"the device on {found.topic} has the unique_id of the one on {other.discovered.topic}; it is ignored",
            )
            return
        if known is None and not self._has_room(found):
            return
        device = Device(found, entity, source, line, key)
        if known is not None:
            self._listening.remove(known)
            device.take_over(known)
            self._owned[known.discovered.owner] -= 1
        self._devices[entity.id] = device
        self._owned[found.owner] += 1
        if source:
            self._from_sources[source][entity.id] = device
        else:
            self._announced[found.topic].devices[key] = device
        self._listening.add(device)
        if known is None or known.entity != entity:
            self._has_changed()

    def _has_room(self, found: DiscoveredEntity) -> bool:
        if found.owner and self._owned[found.owner] >= MAX_OF_ONE:
            self._complain(
                f"device {found.owner}",
                f"the device {found.owner!r:.100} has {MAX_OF_ONE} entities already; further ones are ignored",
            )
            return False
        if len(self._devices) >= MAX_ENTITIES:
            if not self._full:
                _log.warning(
                    "there are %d entities already; %s and further ones are ignored", MAX_ENTITIES, found.entity.id
                )
            self._full = True
            return False
        return True

    def _remove(self, device: Device) -> None:
        self._listening.remove(device)
        entity_id, topic = device.entity.id, device.discovered.topic
        del self._devices[entity_id]
        self._owned[device.discovered.owner] -= 1
        if device.source:
            del self._from_sources[device.source][entity_id]
        else:
            del self._announced[topic].devices[device.key]
        self._full = False
        self._has_changed()
        self._let_in(entity_id)

    def _let_in(self, entity_id: str) -> None:
        """The device that was refused this id may come now: have the broker repeat what it announced."""
        topic = self._refused.pop(entity_id, "")
        if not topic:
            return
        if topic in self._announced:
            self._announced[topic].payload = b""
        ends: list[Callable[[], None]] = []

        def once(topic: str, payload: bytes) -> None:
            ends.pop()()
            self._on_discovery(topic, payload)

        ends.append(self._bus.subscribe(topic, once, qos=0))

    def _has_changed(self) -> None:
        self._snapshot = None
        self._version += 1
        self._news.set()
        self._news = asyncio.Event()
        for listener in self._listeners:
            listener()


@dataclass(eq=False)
class _Announced:
    """A discovery topic."""

    payload: bytes = b""
    """To know a repetition by."""
    devices: dict[str, Device] = field(default_factory=dict)
    """By their keys in the message."""
    gives_up: bool = False
