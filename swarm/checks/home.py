"""Checks of the way to the home's devices: the MQTT broker."""

from __future__ import annotations

import asyncio
import importlib.util

from swarm.broker import choose_port, find_mosquitto, parse_broker_url, resolve_on_lan
from swarm.checks import Examined, Finding
from swarm.errors import BusError

CONNECT_TIMEOUT_S = 5.0


def broker(examined: Examined) -> list[Finding]:
    """Is there a broker, or can the node start one?"""
    try:
        return [_broker(examined)]
    except BusError as error:
        return [Finding("broker", "fail", str(error), error.hint)]


def _broker(examined: Examined) -> Finding:
    bus = examined.config.bus
    if examined.node is not None:
        running = examined.node.broker
        if running.connected:
            return Finding("broker", "ok", f"{running.kind}, the running node is connected")
        return Finding("broker", "fail", f"{running.kind}, the running node is not connected", "see the node's log")
    if bus.broker:
        where = asyncio.run(_connect(bus.broker))
        return Finding("broker", "ok", f"the one at {where} answers")
    port = choose_port(bus.port)
    if program := find_mosquitto():
        return Finding("broker", "ok", f"the node will start {program} on port {port}")
    if importlib.util.find_spec("amqtt"):
        return Finding("broker", "ok", f"the node will start amqtt on port {port}; mosquitto would be faster")
    return Finding("broker", "fail", "none is configured, and none can be started", "apt install mosquitto")


async def _connect(url: str) -> str:
    import aiomqtt

    address = parse_broker_url(url)
    host = await resolve_on_lan(address.host, address.port)
    where = f"{address.host}:{address.port}"
    client = aiomqtt.Client(
        host, address.port, username=address.username, password=address.password, timeout=CONNECT_TIMEOUT_S
    )
    client._client.connect_timeout = CONNECT_TIMEOUT_S
    try:
        async with client:
            return where
    except aiomqtt.MqttError as error:
        raise BusError(
            f"the broker at {where} does not answer: {error}",
            hint="is it running, and are bus.broker's user and password right?",
        ) from error
