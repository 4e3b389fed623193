"""A pretended Zigbee2MQTT: its topics and how it obeys, without a radio."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiomqtt

from swarm.broker import Broker

Json = dict[str, Any]
ALL = 7
"""`access`: told, settable, readable."""


def binary(name: str, on: object, off: object, access: int = 1, **more: object) -> Json:
    return {
        "type": "binary",
        "name": name,
        "property": name,
        "access": access,
        "value_on": on,
        "value_off": off,
        **more,
    }


def numeric(name: str, access: int = 1, **more: object) -> Json:
    return {"type": "numeric", "name": name, "property": name, "access": access, **more}


def enum(name: str, values: list[str], access: int = 1, **more: object) -> Json:
    return {"type": "enum", "name": name, "property": name, "access": access, "values": values, **more}


STATE = binary("state", "ON", "OFF", ALL, value_toggle="TOGGLE")
BRIGHTNESS = numeric("brightness", ALL, value_min=0, value_max=254)
LINK = numeric("linkquality", unit="lqi", value_min=0, value_max=255, category="diagnostic")
COLOR_BULB: list[Json] = [
    {
        "type": "light",
        "features": [
            STATE,
            BRIGHTNESS,
            numeric("color_temp", ALL, unit="mired", value_min=150, value_max=500),
            {
                "type": "composite",
                "name": "color_xy",
                "property": "color",
                "access": ALL,
                "features": [numeric("x", ALL), numeric("y", ALL)],
            },
        ],
    },
    enum("effect", ["blink", "okay"], 2),
    enum("power_on_behavior", ["off", "previous"], ALL, category="config"),
    LINK,
]
WHITE_BULB: list[Json] = [{"type": "light", "features": [STATE, BRIGHTNESS]}, LINK]
TWO_LIGHTS: list[Json] = [
    {
        "type": "light",
        "endpoint": end,
        "features": [{**each, "property": f"{each['name']}_{end}", "endpoint": end} for each in (STATE, BRIGHTNESS)],
    }
    for end in ("l1", "l2")
]
PLUG: list[Json] = [
    {"type": "switch", "features": [STATE]},
    numeric("power", 5, unit="W"),
    binary("child_lock", True, False, 3),
    LINK,
]
BLIND: list[Json] = [
    {
        "type": "cover",
        "features": [
            enum("state", ["OPEN", "CLOSE", "STOP"], 3),
            numeric("position", ALL, value_min=0, value_max=100),
        ],
    }
]
THERMOSTAT: list[Json] = [
    {
        "type": "climate",
        "features": [
            numeric("occupied_heating_setpoint", ALL, unit="°C", value_min=5, value_max=30, value_step=0.5),
            numeric("local_temperature", 5, unit="°C"),
            enum("system_mode", ["off", "auto", "heat"], ALL),
        ],
    },
    numeric("battery", unit="%", category="diagnostic"),
]
LOCK: list[Json] = [{"type": "lock", "features": [binary("state", "LOCK", "UNLOCK", ALL)]}]
FAN: list[Json] = [
    {
        "type": "fan",
        "features": [
            {**STATE, "property": "fan_state"},
            {**enum("mode", ["low", "medium", "high", "on"], ALL), "property": "fan_mode"},
        ],
    }
]
CONTACT: list[Json] = [binary("contact", False, True), numeric("battery", unit="%"), LINK]
AIR: list[Json] = [
    numeric("temperature", unit="°C"),
    numeric("humidity", unit="%"),
    numeric("calibration", 3, value_min=-5, value_max=5, value_step=0.1),
    enum("sensitivity", ["low", "high"], 3),
]


def device(address: str, name: str, exposes: list[Json], **more: object) -> Json:
    return {
        "ieee_address": address,
        "friendly_name": name,
        "type": "Router",
        "network_address": 1,
        "supported": True,
        "disabled": False,
        "endpoints": {},
        "definition": {"model": "X", "vendor": "Y", "exposes": exposes},
        **more,
    }


COORDINATOR: Json = {
    "ieee_address": "0x00124b0018ed3ddf",
    "friendly_name": "Coordinator",
    "type": "Coordinator",
    "definition": None,
}


class Bridge:
    """Publishes and obeys while `pretended_bridge` lasts."""

    def __init__(self, client: aiomqtt.Client, base: str) -> None:
        self._client = client
        self.base = base
        self.states: dict[str, Json] = {}
        """By friendly name."""
        self.heard: list[tuple[str, str]] = []

    async def has(self, devices: list[Json], groups: list[Json] | None = None, *, running: str = "online") -> None:
        await self.say("bridge/state", {"state": running})
        await self.say("bridge/devices", [COORDINATOR, *devices])
        await self.say("bridge/groups", groups or [])

    async def tell(self, name: str, **state: object) -> None:
        self.states[name] = {**self.states.get(name, {}), **state}
        await self.say(name, self.states[name])

    async def say(self, topic: str, content: object) -> None:
        payload = content if isinstance(content, str) else json.dumps(content)
        await self._client.publish(f"{self.base}/{topic}", payload, qos=1, retain=True)

    async def obey(self) -> None:
        async for message in self._client.messages:
            found = re.fullmatch(rf"{self.base}/(?!bridge)(.+?)/set(?:/(.+))?", str(message.topic))
            if found is None or not isinstance(message.payload, bytes):
                continue
            name, attribute = found.groups()
            text = message.payload.decode()
            self.heard.append((str(message.topic), text))
            try:
                content = json.loads(text)
            except ValueError:
                content = text
            news = {attribute: content} if attribute else content
            if attribute and attribute.startswith("brightness"):
                news[attribute.replace("brightness", "state")] = "ON"
            if name in self.states:
                await self.tell(name, **news)


@contextlib.asynccontextmanager
async def pretended_bridge(broker: Broker, base: str = "zigbee2mqtt") -> AsyncIterator[Bridge]:
    async with aiomqtt.Client("127.0.0.1", broker.address.port) as client:
        bridge = Bridge(client, base)
        await client.subscribe(f"{base}/#")
        obeying = asyncio.create_task(bridge.obey())
        try:
            yield bridge
        finally:
            while not obeying.done():  # before Python 3.12 a publication that ends just now swallows it
                obeying.cancel()
                await asyncio.wait([obeying], timeout=0.2)
