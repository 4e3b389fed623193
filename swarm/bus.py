"""The node's connection to the MQTT broker (version 3.1.1), which outlives the broker's absences.

Subscriptions are registered once and renewed at every connection. `mycoswarm/node/<name>/presence` (retained) says
`online` while connected and `offline` after, by the node itself or by its Last Will; in a swarm it says more
(`swarm.presence`), and the broker may be another one from one connection to the next (`swarm.swarm_bus`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import islice
from typing import Any, Literal, Protocol, cast

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from swarm.broker import MAX_MESSAGE_BYTES, BrokerAddress, resolve_on_lan
from swarm.brokers import Brokers, OneBroker
from swarm.errors import BusError
from swarm.mqtt_client import Inbox, MqttClient, OnMessage, tls_for

_log = logging.getLogger(__name__)

OnConnection = Callable[[bool], None]
"""Gets True after each connection, False after each loss."""

CONNECT_TIMEOUT_S = 1.5
"""For TCP; a broker of the LAN answers in milliseconds. Bounds shutdown too: the attempt blocks a thread."""
CALL_TIMEOUT_S = 5.0
"""For the broker's answer to anything we ask of it."""
KEEPALIVE_S = 15
"""A broker that vanished without a word (pulled plug) is noticed after at most 1.5 times this."""
REFUSED_PAUSE_S = (1.0, 60.0)
"""Before a subscription that the broker refused is tried again: a cluster that lost a server refuses some until its
rest agreed on who does what."""
FAREWELL_TIMEOUT_S = 0.5
"""For saying `offline` at the end."""
MAX_UNSENT_MESSAGES = 10_000
"""Enough to switch everything in the largest home at once; more fail at once."""
SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3000),  # ms; the broker's machine acknowledges nothing any more
)
UNFIT_FOR_A_LEVEL = re.compile(r"[/+#\x00-\x1f]")
MAX_LOGGED = 200
"""Characters of a topic in the log."""
FILTERS_A_PACKET = 200
"""Topic filters in one SUBSCRIBE packet: thousands of single ones would take seconds."""


class Presence(Protocol):
    """What this node says on `topic`, retained."""

    @property
    def topic(self) -> str:
        """Where."""

    def last_will(self) -> bytes:
        """For a connection that begins now: what is true when it has ended."""

    def here(self) -> bytes:
        """What is true now."""


class OnlineOrOffline:
    """`Presence` in one word."""

    def __init__(self, node: str) -> None:
        self.topic = f"mycoswarm/node/{UNFIT_FOR_A_LEVEL.sub('_', node) or 'node'}/presence"

    def last_will(self) -> bytes:
        """The node is gone."""
        return b"offline"

    def here(self) -> bytes:
        """The node is there."""
        return b"online"


class _OnlyNew:
    """A callback that is not called with what the broker kept; that goes to `kept`."""

    def __init__(self, callback: OnMessage, kept: OnMessage | None) -> None:
        self.kept = kept or (lambda topic, payload: None)
        self._callback = callback

    def __call__(self, topic: str, payload: bytes) -> None:
        self._callback(topic, payload)


class Bus:
    """One connection, kept up by `run`. All methods belong to the event loop that runs it."""

    def __init__(self, broker: BrokerAddress | Brokers, node: str, *, presence: Presence | None = None) -> None:
        """`node` is this node's name; what a topic cannot hold in it becomes `_`. None for its `presence` says
        `online` and `offline` under that name."""
        self._brokers = OneBroker(broker) if isinstance(broker, BrokerAddress) else broker
        self._presence = presence or OnlineOrOffline(node)
        self.presence_topic = self._presence.topic
        self._where = str(broker) if isinstance(broker, BrokerAddress) else "of this swarm"
        self._broker: BrokerAddress | None = None
        self._client: aiomqtt.Client | None = None
        self._connected = asyncio.Event()
        self._callbacks: dict[str, list[OnMessage]] = {}
        self._qos: dict[str, int] = {}
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._listeners: list[OnConnection] = []
        self._to_subscribe: dict[str, None] = {}  # an ordered set
        self._to_unsubscribe: dict[str, None] = {}
        self._filters_changed = asyncio.Event()
        self._filters_sent = asyncio.Event()
        self._filters_sent.set()
        self._leaves_nothing = False

    @property
    def broker(self) -> BrokerAddress | None:
        """The one that is used, or was last; None before the first attempt."""
        return self._broker

    @property
    def connected(self) -> bool:
        """Whether a message could be published now."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Return once connected."""
        await self._connected.wait()

    async def wait_subscribed(self) -> None:
        """Return once the broker has acknowledged every subscription made so far; waits for a connection too."""
        while not (self.connected and self._filters_sent.is_set()):
            await self._connected.wait()
            await self._filters_sent.wait()

    def on_connection(self, listener: OnConnection) -> None:
        """Have `listener` called at each change of `connected`."""
        self._listeners.append(listener)

    def subscribe(
        self,
        topic_filter: str,
        callback: OnMessage,
        *,
        qos: Literal[0, 1] = 1,
        retained: bool = True,
        kept: OnMessage | None = None,
    ) -> Callable[[], None]:
        """Have `callback` called with each message that matches, from now on and across reconnections.

        The broker sends retained messages again; `retained` False drops those, so that a command that somebody left
        with the broker is not obeyed at every connection; `kept` is called with them instead. Returns what ends this
        subscription. `qos` 0 where a filter brings thousands of retained messages at once: Mosquitto as it comes drops
        all but 1,020 of them with 1.
        """
        if not retained or kept is not None:
            callback = _OnlyNew(callback, kept)
        callbacks = self._callbacks.setdefault(topic_filter, [])
        callbacks.append(callback)
        if "+" in topic_filter or "#" in topic_filter:
            self._patterns[topic_filter] = topic_pattern(topic_filter)
        self._qos[topic_filter] = qos
        self._to_unsubscribe.pop(topic_filter, None)
        self._to_subscribe[topic_filter] = None
        self._filters_have_changed()

        def end() -> None:
            if callback not in callbacks:
                return
            callbacks.remove(callback)
            if not callbacks:
                del self._callbacks[topic_filter]
                del self._qos[topic_filter]
                self._patterns.pop(topic_filter, None)
                self._to_subscribe.pop(topic_filter, None)
                self._to_unsubscribe[topic_filter] = None
                self._filters_have_changed()

        return end

    async def publish(
        self, topic: str, payload: str | bytes, *, retain: bool = False, qos: int = 1, timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        """Publish; with `qos` 1 returns when the broker has it. Raises `BusError` when it has not or may not have."""
        if self._client is None:
            raise BusError(f"cannot publish to {topic}: not connected to the broker {self._where}")
        try:
            await self._client.publish(topic, payload, qos=qos, retain=retain, timeout=timeout_s)
        except (aiomqtt.MqttError, ValueError) as error:
            raise BusError(f"cannot publish to {topic} on the broker {self._where}: {error}") from error

    def leave_nothing(self) -> None:
        """This node will be another one when it comes back: at the end of `run` remove its presence, which would else
        say for good that it is gone."""
        self._leaves_nothing = True

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost; ends only by being cancelled."""
        complained = False
        while True:
            address = await self._brokers.next()
            self._broker, self._where = address, str(address)
            try:
                await self._serve_one_connection(address)
            except (aiomqtt.MqttError, BusError) as error:
                why = error.__cause__ or error
                if self.connected:
                    _log.warning("lost the connection to the broker %s: %s", self._where, why)
                    complained = False
                elif not complained:
                    _log.warning("cannot connect to the broker %s: %s; trying on", self._where, why)
                    complained = True
            finally:
                was_connected = self.connected
                self._forget_connection()
            self._brokers.lost(address, was_connected=was_connected)

    async def _serve_one_connection(self, address: BrokerAddress) -> None:
        """Returns when another broker is to be used."""
        will = self._presence.last_will()
        client = MqttClient(
            await resolve_on_lan(address.host, address.port),
            address.port,
            username=address.username,
            password=address.password,
            identifier=f"mycoswarm-{secrets.token_hex(6)}",  # at most 23 characters, which every broker must accept
            will=aiomqtt.Will(self.presence_topic, will, qos=1, retain=True),
            timeout=CALL_TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            queue_type=cast("type[asyncio.Queue[aiomqtt.Message]]", partial(Inbox, self._dispatch)),
            max_queued_outgoing_messages=MAX_UNSENT_MESSAGES,
            socket_options=SOCKET_OPTIONS,
            tls_context=tls_for(address),
        )
        client.pending_calls_threshold = MAX_UNSENT_MESSAGES  # it warns above this, and many at once are usual here
        client._client.connect_timeout = CONNECT_TIMEOUT_S
        async with client:
            goodbye = True
            try:
                self._client = client
                self._to_unsubscribe.clear()
                self._to_subscribe.update(dict.fromkeys(self._callbacks))
                self._filters_have_changed()
                self._connected.set()
                _log.info("connected to the broker %s", self._where)
                self._brokers.connected(address)
                self._tell(True)
                goodbye = await self._until_another(address, client)
                _log.info("leaving the broker %s for another", self._where)
            except asyncio.CancelledError:
                await self._part(client, will)
                raise
            if goodbye:
                await self._part(client, will)
            client.timeout = FAREWELL_TIMEOUT_S

    async def _until_another(self, address: BrokerAddress, client: aiomqtt.Client) -> bool:
        goodbye = True

        async def wait() -> None:
            nonlocal goodbye
            goodbye = await self._brokers.until_another(address)

        await _while_all_last(self._keep_subscribed(client), _until_disconnected(client), wait())
        return goodbye

    async def _part(self, client: aiomqtt.Client, will: bytes) -> None:
        """A connection that is closed in good order leaves no Last Will."""
        client.timeout = FAREWELL_TIMEOUT_S
        with contextlib.suppress(aiomqtt.MqttError):
            await client.publish(self.presence_topic, b"" if self._leaves_nothing else will, qos=1, retain=True)

    def _forget_connection(self) -> None:
        self._client = None
        if self.connected:
            self._connected.clear()
            self._tell(False)

    async def _keep_subscribed(self, client: aiomqtt.Client) -> None:
        await client.publish(self.presence_topic, self._presence.here(), qos=1, retain=True)
        refused: dict[str, None] = {}
        pause = REFUSED_PAUSE_S[0]
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause if refused else None):
                    await self._filters_changed.wait()
            self._filters_changed.clear()
            self._to_subscribe.update((each, None) for each in refused if each in self._callbacks)
            pause = min(2 * pause, REFUSED_PAUSE_S[1]) if refused else REFUSED_PAUSE_S[0]
            again, refused = refused, {}
            while self._to_unsubscribe:
                await client.unsubscribe(_take(self._to_unsubscribe, FILTERS_A_PACKET))
            while self._to_subscribe:
                filters = _take(self._to_subscribe, FILTERS_A_PACKET)
                granted = await client.subscribe([(each, self._qos[each]) for each in filters])
                for each, code in zip(filters, granted, strict=False):
                    if isinstance(code, ReasonCode) and code.is_failure:
                        refused[each] = None
                        if each not in again:
                            _log.warning("the broker %s refuses the subscription to %s", self._where, each)
            if not self._filters_changed.is_set():
                self._filters_sent.set()

    def _filters_have_changed(self) -> None:
        self._filters_changed.set()
        self._filters_sent.clear()

    def _dispatch(self, topic: str, payload: bytes, retained: bool) -> None:
        if len(payload) > MAX_MESSAGE_BYTES:
            _log.warning("dropped a message of %d bytes on %s: too large", len(payload), topic[:MAX_LOGGED])
            return
        callbacks = list(self._callbacks.get(topic, ()))
        for topic_filter, pattern in self._patterns.items():
            if pattern.fullmatch(topic):
                callbacks += self._callbacks[topic_filter]
        for callback in callbacks:
            call = callback.kept if retained and isinstance(callback, _OnlyNew) else callback
            try:
                call(topic, payload)
            except Exception:  # noqa: BLE001 - one subscriber's mistake must not cost the others the connection
                _log.exception("a subscriber failed at a message on %s", topic[:MAX_LOGGED])

    def _tell(self, connected: bool) -> None:
        for listener in self._listeners:
            try:
                listener(connected)
            except Exception:  # noqa: BLE001 - as in _dispatch
                _log.exception("a listener to the bus's connection failed")


async def _while_all_last(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, and raise what it raised.

    No TaskGroup: before Python 3.13 it forgets the cancellation of its own task when a child fails at that moment.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_disconnected(client: aiomqtt.Client) -> None:
    async for _ in client.messages:
        pass


def topic_pattern(topic_filter: str) -> re.Pattern[str]:
    """A regular expression for the topics that a filter matches (MQTT 3.1.1, section 4.7)."""
    levels = topic_filter.split("/")
    rest = levels[-1] == "#"
    fixed = levels[:-1] if rest else levels
    pattern = "/".join("[^/]*" if level == "+" else re.escape(level) for level in fixed)
    if rest:
        pattern = f"{pattern}(/.*)?" if fixed else ".*"
    if levels[0] in ("+", "#"):
        pattern = rf"(?!\$){pattern}"
    return re.compile(pattern, re.DOTALL)


def _take(filters: dict[str, None], count: int) -> list[str]:
    taken = list(islice(filters, count))
    for each in taken:
        del filters[each]
    return taken
