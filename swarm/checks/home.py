"""Checks of the way to the home's devices: the MQTT broker, Home Assistant."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import ssl
from urllib.parse import urlsplit

from swarm.access_token import access_token
from swarm.broker import choose_port, find_mosquitto, parse_broker_url, resolve_on_lan
from swarm.checks import Examined, Finding
from swarm.client import BrokerStatus
from swarm.egress import require_lan
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


def home_assistant(examined: Examined) -> list[Finding]:
    """Does the configured Home Assistant answer, and take the token?"""
    section = examined.config.home_assistant
    if not section.url:
        return [Finding("home assistant", "ok", "none is configured, and none is needed")]
    token = access_token(section)
    where = urlsplit(section.url)
    host = where.hostname or ""
    require_lan(host)
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, where.port, timeout=CONNECT_TIMEOUT_S)
    try:
        connection.request("GET", "/api/", headers={"Authorization": f"Bearer {token}"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        to_do = "is it running, and is home_assistant.url right?"
        return [Finding("home assistant", "warn", f"nothing answers at {section.url}: {error}", to_do)]
    finally:
        connection.close()
    if status in (401, 403):
        to_do = "make a long-lived access token in Home Assistant: your profile, Security"
        return [Finding("home assistant", "warn", f"the one at {section.url} does not take the token", to_do)]
    if status != http.client.OK:
        to_do = "home_assistant.url is its address as in the browser, without anything behind it"
        return [Finding("home assistant", "warn", f"what answers at {section.url} is none (status {status})", to_do)]
    return [Finding("home assistant", "ok", f"the one at {section.url} takes the token")]


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
