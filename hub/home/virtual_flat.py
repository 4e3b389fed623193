"""A flat of pretended devices, for a home that has none yet: each a client of the broker by itself, as real ones are.

They announce themselves by MQTT discovery, obey commands, tell their state, and have a Last Will.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Iterable

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
    Scene,
    Switch,
    Thermostat,
    VirtualDevice,
    WhiteLamp,
)
from swarm.broker import BrokerAddress, resolve_on_lan
from swarm.errors import BusError
from swarm.mqtt_client import MqttClient

_log = logging.getLogger(__name__)

STEP_S = 0.05
"""Time between two steps of a device that moves."""
BACKOFF_S = (0.2, 2.0)
"""First and longest pause between attempts to connect."""
TIMEOUT_S = 5.0
FAREWELL_TIMEOUT_S = 0.5


class VirtualFlat:
    """The flat; `run()` it."""

    def __init__(
        self,
        address: BrokerAddress,
        *,
        prefix: str = "homeassistant",
        silent: frozenset[str] = frozenset(),
        devices: Iterable[VirtualDevice] | None = None,
    ) -> None:
        """`silent`: object ids of devices that take commands and do nothing; `devices`: others than the usual ones."""
        self._address = address
        self._prefix = prefix
        self._silent = silent
        self.devices = tuple(flat() if devices is None else devices)
        self._up: set[str] = set()
        self.ready = asyncio.Event()
        """Set once every device has told its state."""

    async def run(self) -> None:
        """Run all devices until cancelled; they say goodbye then."""
        async with asyncio.TaskGroup() as tasks:
            for device in self.devices:
                tasks.create_task(self._live(device), name=f"virtual {device.object_id}")

    async def _live(self, device: VirtualDevice) -> None:
        pause, longest = BACKOFF_S
        while True:
            try:
                await self._serve(device)
            except (aiomqtt.MqttError, BusError) as error:
                _log.debug("virtual %s lost the broker: %s", device.object_id, error)
                if device.object_id in self._up:
                    pause = BACKOFF_S[0]
            self._up.discard(device.object_id)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _serve(self, device: VirtualDevice) -> None:
        presence = f"{device.base}/availability"
        client = MqttClient(
            await resolve_on_lan(self._address.host, self._address.port),
            self._address.port,
            username=self._address.username,
            password=self._address.password,
            will=aiomqtt.Will(presence, "offline", qos=1, retain=True),
            timeout=TIMEOUT_S,
            max_queued_incoming_messages=100,
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )
        async with client:
            try:
                if device.commands:
                    await client.subscribe([(f"{device.base}/{command}", 1) for command in device.commands])
                announcement = json.dumps(device.announcement(), ensure_ascii=False)
                topic = f"{self._prefix}/{device.component}/flat/{device.object_id}/config"
                await client.publish(topic, announcement, qos=1, retain=True)
                await _tell(client, device)
                await client.publish(presence, "online", qos=1, retain=True)
                self._up.add(device.object_id)
                if len(self._up) == len(self.devices):
                    self.ready.set()
                await self._obey(client, device)
            except asyncio.CancelledError:
                client.timeout = FAREWELL_TIMEOUT_S
                with contextlib.suppress(aiomqtt.MqttError):
                    await client.publish(presence, "offline", qos=1, retain=True)
                raise

    async def _obey(self, client: aiomqtt.Client, device: VirtualDevice) -> None:
        movement: asyncio.Task[None] | None = None
        try:
            async for message in client.messages:
                if device.object_id in self._silent:
                    continue
                payload = message.payload if isinstance(message.payload, bytes) else b""
                try:
                    orders = device.receive(message.topic.value.removeprefix(f"{device.base}/"), payload.decode())
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    _log.info("virtual %s does not understand %r: %r", device.object_id, payload[:100], error)
                    continue
                await _tell(client, device)
                for topic, order in orders:
                    await client.publish(topic, order, qos=1)
                if device.moving and (movement is None or movement.done()):
                    movement = asyncio.create_task(_move(client, device))
        finally:
            if movement is not None:
                movement.cancel()


async def _move(client: aiomqtt.Client, device: VirtualDevice) -> None:
    while device.moving:
        await asyncio.sleep(STEP_S)
        device.step()
        with contextlib.suppress(aiomqtt.MqttError):  # a blind does not stop for the want of a broker
            await _tell(client, device)


async def _tell(client: aiomqtt.Client, device: VirtualDevice) -> None:
    for level, payload in device.states().items():
        await client.publish(f"{device.base}/{level}", payload, qos=1, retain=True)


def flat() -> tuple[VirtualDevice, ...]:
    """Four rooms of devices, in the state in which people leave a flat in the morning."""
    movie_night = (
        (
            "flat/living_room_lamp/set",
            json.dumps({"state": "ON", "brightness": 51, "color": {"r": 255, "g": 165, "b": 0}}),
        ),
        ("flat/living_room_blinds/set", "CLOSE"),
        ("flat/kitchen_lamp/set", "OFF"),
        ("flat/hallway_light/set", "OFF"),
    )
    living_room, kitchen, bedroom, hallway = "Living room", "Kitchen", "Bedroom", "Hallway"
    celsius = {"device_class": "temperature", "unit_of_measurement": "°C", "state_class": "measurement"}
    percent = {"device_class": "humidity", "unit_of_measurement": "%", "state_class": "measurement"}
    return (
        Dimmer("kitchen_lamp", "Kitchen lamp", kitchen),
        Switch("coffee_machine", "Coffee machine", kitchen),
        Contact("kitchen_window", "Kitchen window", kitchen, "OFF", device_class="window"),
        ColorLamp("living_room_lamp", "Living room lamp", living_room),
        Blinds("living_room_blinds", "Living room blinds", living_room),
        Thermostat("living_room_thermostat", "Living room thermostat", living_room),
        Reading("living_room_temperature", "Living room temperature", living_room, "20.5", **celsius),
        Reading("living_room_humidity", "Living room humidity", living_room, "45", **percent),
        Scene("movie_night", "Movie night", living_room, movie_night),
        WhiteLamp("bedroom_lamp", "Bedroom lamp", bedroom),
        Fan("bedroom_fan", "Bedroom fan", bedroom),
        Reading("bedroom_temperature", "Bedroom temperature", bedroom, "18.9", **celsius),
        Light("hallway_light", "Hallway light", hallway),
        Lock("front_door_lock", "Front door", hallway),
    )
