"""A large home on a broker: any number of devices in many rooms, all behind one connection, as a bridge has them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import aiomqtt

from hub.home.virtual_devices import (
    Blinds,
    ColorLamp,
    Contact,
    Dimmer,
    Fan,
    Light,
    Lock,
    Reading,
    Switch,
    Thermostat,
    VirtualDevice,
    WhiteLamp,
)
from swarm.broker import BrokerAddress
from swarm.mqtt_client import Inbox, MqttClient

ROOMS = (
    *("Kitchen", "Living room", "Bedroom", "Hallway", "Bathroom", "Office", "Garage", "Attic", "Cellar", "Pantry"),
    *("Nursery", "Laundry", "Library", "Dining room", "Guest room", "Playroom", "Workshop", "Terrace", "Balcony"),
    *("Garden", "Greenhouse", "Conservatory", "Studio", "Gym", "Sauna", "Wardrobe", "Staircase", "Porch", "Shed"),
    *("Carport", "Driveway", "Corridor"),
)
FLOORS = ("", "Upper ", "Lower ")
"""Before the name of a room: three of each make a house of more than ninety."""
LAMPS = ("lamp", "ceiling light", "reading lamp", "floor lamp", "spotlight", "night light")
OUTLETS = ("heater", "radio", "television", "charger", "humidifier plug", "fountain")
SENSORS = (("temperature", "°C", "20.5"), ("humidity", "%", "45"), ("illuminance", "lx", "120"), ("power", "W", "12"))
CONTACTS = (("window", "window"), ("door", "door"), ("motion", "motion"), ("smoke alarm", "smoke"))
BASE = "house"
ANNOUNCE_S = 120.0


def areas(count: int) -> tuple[str, ...]:
    """Names of rooms; at most 96."""
    names = [f"{floor}{room}".capitalize() for floor in FLOORS for room in ROOMS]
    return tuple(names[:count])


def large_home(entities: int, rooms: int) -> tuple[VirtualDevice, ...]:
    """Devices of the usual kinds, evenly over the rooms; each is one entity."""
    of_each = [_in_room(room) for room in areas(rooms)]
    in_turn = [each for same in itertools.zip_longest(*of_each) for each in same if each is not None]
    if len(in_turn) < entities:
        raise ValueError(f"{rooms} rooms hold {len(in_turn)} devices")
    return tuple(in_turn[:entities])


def _in_room(room: str) -> list[VirtualDevice]:
    def named(thing: str) -> tuple[str, str, str]:
        return f"{room} {thing}".lower().replace(" ", "_"), f"{room} {thing}", room

    lights = itertools.cycle((Dimmer, ColorLamp, WhiteLamp, Light))
    devices: list[VirtualDevice] = [next(lights)(*named(lamp)) for lamp in LAMPS]
    devices += [Switch(*named(outlet)) for outlet in OUTLETS]
    for kind, unit, value in SENSORS:
        devices.append(Reading(*named(kind), value, device_class=kind, unit_of_measurement=unit))
    devices += [Contact(*named(thing), "OFF", device_class=kind) for thing, kind in CONTACTS]
    devices += [Blinds(*named("blinds")), Fan(*named("fan")), Thermostat(*named("thermostat")), Lock(*named("lock"))]
    devices += [Light(*named(f"{color} light")) for color in ("desk", "shelf", "mirror", "wall", "floor", "corner")]
    devices += [Switch(*named(f"{thing} socket")) for thing in ("left", "right", "outer", "spare")]
    for device in devices:
        device.base = f"{BASE}/{device.object_id}"
    return devices


class HomeOnBroker:
    """The devices, which announced themselves and obey. Times are of `time.monotonic`."""

    def __init__(self, client: aiomqtt.Client, devices: Sequence[VirtualDevice]) -> None:
        self.devices = {device.base: device for device in devices}
        self.commanded: dict[str, float] = {}
        """When each device was last told something, by its base."""
        self._client = client
        self._news = asyncio.Event()

    async def was_commanded(self, device: VirtualDevice, *, since: float, timeout_s: float) -> float | None:
        """When it got its first command after `since`; None when none came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.commanded.get(device.base, 0.0) <= since:
                    self._news.clear()
                    await self._news.wait()
                return self.commanded[device.base]
        return None

    async def tell(self, device: VirtualDevice, *, qos: int = 0) -> None:
        """Have it tell its state, retained."""
        for level, payload in device.states().items():
            await self._client.publish(f"{device.base}/{level}", payload, qos=qos, retain=True)

    async def announce(self, prefix: str) -> None:
        """All devices; returns when the broker has everything."""
        for device in self.devices.values():
            topic = f"{prefix}/{device.component}/{BASE}/{device.object_id}/config"
            await self._client.publish(topic, json.dumps(device.announcement()), qos=0, retain=True)
            await self._client.publish(f"{device.base}/availability", "online", qos=0, retain=True)
            await self.tell(device)
        await self._client.publish(f"{BASE}/all", "told", qos=1, timeout=ANNOUNCE_S)

    def hear(self, topic: str, payload: bytes) -> None:
        """A command; its answer goes out at once."""
        base, command = "/".join(topic.split("/")[:2]), "/".join(topic.split("/")[2:])
        device = self.devices.get(base)
        if device is None or command not in device.commands:
            return
        self.commanded[base] = time.monotonic()
        device.receive(command, payload.decode())
        while device.moving:
            device.step()
        for level, state in device.states().items():
            self._client._client.publish(f"{device.base}/{level}", state, qos=0, retain=True)
        self._news.set()


@asynccontextmanager
async def home_on_broker(
    address: BrokerAddress, devices: Sequence[VirtualDevice], *, prefix: str = "homeassistant"
) -> AsyncIterator[HomeOnBroker]:
    """Connect, announce all, obey until the block ends. Raises `aiomqtt.MqttError`."""
    home: HomeOnBroker | None = None

    def heard(topic: str, payload: bytes, _kept: bool) -> None:
        if home is not None:
            home.hear(topic, payload)

    client = MqttClient(
        address.host,
        address.port,
        timeout=ANNOUNCE_S,
        queue_type=cast("type[asyncio.Queue[aiomqtt.Message]]", lambda maxsize=0: Inbox(heard, maxsize)),
        max_queued_outgoing_messages=100_000,
        socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
    )
    client.pending_calls_threshold = 100_000
    async with client:
        home = HomeOnBroker(client, devices)
        await client.subscribe([(f"{BASE}/+/set", 0), (f"{BASE}/+/+/set", 0)])
        await home.announce(prefix)
        yield home
