"""Zigbee2MQTT's own topics, for homes where its announcements for Home Assistant are switched off.

`<base>/bridge/devices` and `<base>/bridge/groups` (retained) list all that there is, anew after each change;
`<base>/bridge/state` says whether Zigbee2MQTT runs, `<base>/<friendly name>/availability` whether a device answers,
where that is switched on (zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html). A friendly name may hold `/`:
topics are made from names, never names from topics.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec

from hub.home.discovery import COMPONENTS, Availability, DiscoveredEntity, Watch, described
from hub.home.exposed import Described, Expose
from hub.home.exposes import describe, describe_group, scene
from hub.home.options import Options
from hub.home.registry import Home
from hub.home.templates import Template
from swarm.broker import BrokerAddress
from swarm.bus import Bus
from swarm.errors import MalformedMessage

MAX_DEVICES = 1000
"""Zigbee networks have up to 200 or so."""
MAX_NAME = 200
SETTLE_S = 0.2
"""Quiet on the bus before what came is looked at: devices may be announcing themselves too."""
SAYS_STATE = Template("{{ value_json.state if value_json is defined else value }}")
"""`{"state": "online"}`, or `online` before Zigbee2MQTT 2."""
IEEE_ADDRESS = re.compile(r"0x[0-9a-f]{16}")

_log = logging.getLogger(__name__)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME, pattern=r"^[^+#\x00-\x1f\x7f]+$")]
"""Fit for a topic."""


class _Definition(msgspec.Struct, frozen=True):
    exposes: Annotated[tuple[Expose, ...], msgspec.Meta(max_length=200)] = ()


class _Device(msgspec.Struct, frozen=True):
    ieee_address: Annotated[str, msgspec.Meta(pattern=IEEE_ADDRESS.pattern)]
    friendly_name: Name
    type: str = ""
    disabled: bool = False
    definition: _Definition | None = None


class _Scene(msgspec.Struct, frozen=True):
    id: int
    name: Name


class _Member(msgspec.Struct, frozen=True):
    ieee_address: str


class _Group(msgspec.Struct, frozen=True):
    id: int
    friendly_name: Name
    members: Annotated[tuple[_Member, ...], msgspec.Meta(max_length=MAX_DEVICES)] = ()
    scenes: Annotated[tuple[_Scene, ...], msgspec.Meta(max_length=100)] = ()


class Zigbee2Mqtt:
    """One Zigbee2MQTT as a source of the home's entities; `run` it."""

    def __init__(self, home: Home, bus: Bus, base: str) -> None:
        """`base`: its base topic."""
        self._home = home
        self._bus = bus
        self._base = base
        self._lists: dict[str, bytes] = {}
        self._made: dict[tuple[bytes, ...], tuple[DiscoveredEntity, ...]] = {}
        """By what described them, so that what did not change stays the same object."""
        self._complaints: set[str] = set()
        self._broker: BrokerAddress | None = None
        self._due = asyncio.Event()
        bus.on_connection(self._on_connection)
        home.on_change(self._due.set)
        for which in ("devices", "groups"):
            bus.subscribe(f"{base}/bridge/{which}", self._on_list, qos=0)

    async def run(self) -> None:
        """Keep the home in step, until cancelled."""
        while True:
            await self._due.wait()
            await self._home.settled(SETTLE_S)
            self._due.clear()
            if not self._lists and not self._made:
                continue
            found = await self._all()
            self._home.set_source(self._base, found)

    def _on_connection(self, connected: bool) -> None:
        if connected and self._broker != self._bus.broker:
            self._lists.clear()  # another broker's Zigbee2MQTT is another one
            self._due.set()
            self._broker = self._bus.broker

    def _on_list(self, topic: str, payload: bytes) -> None:
        which = topic.rpartition("/")[2]
        if self._lists.get(which) != payload:
            self._lists[which] = payload
            self._due.set()

    async def _all(self) -> dict[str, DiscoveredEntity]:
        """Everything, but what announced itself by discovery too."""
        announced = self._home.announced()
        elsewhere = {address for each in announced for address in IEEE_ADDRESS.findall(each)}
        made: dict[tuple[bytes, ...], tuple[DiscoveredEntity, ...]] = {}
        entities: list[DiscoveredEntity] = []
        devices: dict[str, tuple[bytes, _Device]] = {}
        for raw in self._entries("devices"):
            device = self._read(raw, _Device)
            if device is None or device.type == "Coordinator" or device.disabled or device.definition is None:
                continue
            devices[device.ieee_address] = (raw, device)
            if device.ieee_address not in elsewhere:
                key: tuple[bytes, ...] = (raw,)
                made[key] = self._made.get(key) or tuple(self._of_device(device, device.definition.exposes))
                entities += made[key]
            await asyncio.sleep(0)  # hundreds of devices: other things happen in this loop
        for raw in self._entries("groups"):
            group = self._read(raw, _Group)
            if group is None:
                continue
            members = [devices[each.ieee_address] for each in group.members if each.ieee_address in devices]
            key = (raw, *(member_raw for member_raw, _ in members))
            made[key] = self._made.get(key) or tuple(self._of_group(group, [device for _, device in members]))
            entities += made[key]
        self._made = made
        return {each.entity.id: each for each in entities if each.entity.id not in announced}

    def _entries(self, which: str) -> list[bytes]:
        payload = self._lists.get(which, b"")
        if not payload.strip():
            return []
        try:
            entries = msgspec.json.decode(payload, type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._complain(f"the list on {self._base}/bridge/{which} is not usable: {error}")
            return []
        if len(entries) > MAX_DEVICES:
            self._complain(
                f"{self._base}/bridge/{which} has {len(entries)} entries; those after {MAX_DEVICES} are left"
            )
        return [bytes(each) for each in entries[:MAX_DEVICES]]

    def _read(self, raw: bytes, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._complain(f"one of Zigbee2MQTT's {kind.__name__[1:].lower()}s is not usable: {error}: {raw[:200]!r}")
            return None

    def _of_device(self, device: _Device, exposes: tuple[Expose, ...]) -> Iterator[DiscoveredEntity]:
        found = describe(exposes, f"{self._base}/{device.friendly_name}")
        return self._entities(device.ieee_address, device.friendly_name, found)

    def _of_group(self, group: _Group, members: list[_Device]) -> Iterator[DiscoveredEntity]:
        topic = f"{self._base}/{group.friendly_name}"
        exposes = [each.definition.exposes for each in members if each.definition is not None]
        found = [*describe_group(exposes, topic), *(scene(each.name, each.id, topic) for each in group.scenes)]
        return self._entities(str(group.id), group.friendly_name, found)

    def _entities(self, owner: str, name: str, found: Iterable[Described]) -> Iterator[DiscoveredEntity]:
        spoken = " ".join(re.split(r"[/_\s]+", name))
        online = ("online", "offline")
        watches = (
            Watch(f"{self._base}/bridge/state", SAYS_STATE, *online),
            Watch(f"{self._base}/{name}/availability", SAYS_STATE, *online, presumed=True),
        )
        for each in found:
            if each.component not in COMPONENTS:
                continue
            unique_id = f"{owner}_{each.object_id}_{self._base}"
            options = Options({**each.options, "unique_id": unique_id, "device": {"name": spoken}})
            try:
                entity = described(f"{self._base}/{name}", each.component, options, unique_id, name)
            except MalformedMessage as error:
                self._complain(f"Zigbee2MQTT's {name}: its {each.object_id} is not usable: {error}")
                continue
            yield dataclasses.replace(entity, availability=Availability(watches, "all"))

    def _complain(self, complaint: str) -> None:
        """Each only once: all is looked at anew after every change."""
        if complaint not in self._complaints and len(self._complaints) < MAX_DEVICES:
            self._complaints.add(complaint)
            _log.warning("%s", complaint)
