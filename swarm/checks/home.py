"""Checks of the way to the home's devices: the MQTT broker."""

from __future__ import annotations

import asyncio
import importlib.util

from swarm.broker import choose_port, find_mosquitto, parse_broker_url, resolve_on_lan
from swarm.checks import Examined, Finding
from swarm.client import BrokerStatus
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
            return Finding("broker", "ok", f"{_of(running)}, the running node is connected")
        if running.kind == "none":
            return Finding("broker", "ok", "this node has none and needs none")
        if bus.broker:
            asyncio.run(_connect(bus.broker, bus.authority))  # says what is wrong with it
        why = f": {running.why}" if running.why else ""
        return Finding(
            "broker", "fail", f"{_of(running)}, the running node is not connected{why}", "see the node's log"
        )
    if bus.broker:
        where = asyncio.run(_connect(bus.broker, bus.authority))
        return Finding("broker", "ok", f"the one at {where} answers")
    port = choose_port(bus.port)
    if program := find_mosquitto():
        return Finding("broker", "ok", f"the node will start {program} on port {port}")
    if importlib.util.find_spec("amqtt"):
        return Finding("broker", "ok", f"the node will start amqtt on port {port}; mosquitto would be faster")
    return Finding("broker", "fail", "none is configured, and none can be started", "apt install mosquitto")


def _of(running: BrokerStatus) -> str:
    if running.kind != "swarm":
        return running.kind
    return f"the bus of the swarm, at {running.hub}" if running.hub else "the bus of the swarm"


async def _connect(url: str, authority: str) -> str:
    import aiomqtt

    from swarm.mqtt_client import MqttClient, tls_for

    address = parse_broker_url(url, authority=authority)
    host = await resolve_on_lan(address.host, address.port)
    where = f"{address.host}:{address.port}"
    client = MqttClient(
        host,
        address.port,
        username=address.username,
        password=address.password,
        timeout=CONNECT_TIMEOUT_S,
        tls_context=tls_for(address),
    )
    client._client.connect_timeout = CONNECT_TIMEOUT_S
    try:
        async with client:
            return where
    except aiomqtt.MqttError as error:
        raise BusError(
            f"the home's broker at {where} does not answer: {error}",
            hint="is it running, and are bus.broker's user and password right?",
        ) from error
