"""aiomqtt's client without its flaws, and what it needs for TLS and for received messages."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar, cast

import aiomqtt
from paho.mqtt import client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from swarm.broker import BrokerAddress
from swarm.errors import BusError, MycoswarmError

T = TypeVar("T")
OnMessage = Callable[[str, bytes], None]
"""Gets topic and payload of each message; must not block."""


class MqttClient(aiomqtt.Client):
    """aiomqtt's client with a better way to wait for the broker's answers.

    The original waits on after the connection is lost, and by `asyncio.wait_for`, which before Python 3.12 forgets a
    cancellation that comes together with the result (bugs.python.org/issue42130): a service would go on after it was
    told to end. It also keeps a connection that its thread made after it was cancelled, and logs as an error an answer
    that comes after the question was given up.
    """

    _is_given_up = False

    async def __aenter__(self) -> Self:
        self._leave_no_failure_unseen()
        try:
            entered = await super().__aenter__()
        except asyncio.CancelledError:
            self._is_given_up = True
            self._client.disconnect()
            raise
        self._leave_no_failure_unseen()  # it may have made itself another future
        return entered

    def _leave_no_failure_unseen(self) -> None:
        for future in (self._connected, self._disconnected):
            # Nobody may be left to ask why: who waited was cancelled.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _client_connect(self) -> None:
        super()._client_connect()
        if self._is_given_up:
            self._client.disconnect()

    def _on_subscribe(
        self,
        client: mqtt.Client,
        userdata: Any,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        if mid in self._pending_subscribes:
            super()._on_subscribe(client, userdata, mid, reason_codes, properties)

    def _on_unsubscribe(
        self,
        client: mqtt.Client,
        userdata: Any,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        if mid in self._pending_unsubscribes:
            super()._on_unsubscribe(client, userdata, mid, reason_codes, properties)

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:
        answer = asyncio.ensure_future(fut)
        try:
            await asyncio.wait(
                (answer, self._disconnected),
                timeout=self.timeout if timeout is None else timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if answer.done():
                return answer.result()
            if self._disconnected.done():
                raise aiomqtt.MqttError("the connection was lost") from self._disconnected.exception()
            raise aiomqtt.MqttError("the broker did not answer in time")
        finally:
            if answer not in (self._connected, self._disconnected):  # aiomqtt asks these two later how they ended
                answer.cancel()


class Inbox(asyncio.Queue[aiomqtt.Message]):
    """What aiomqtt takes for its queue of received messages: it keeps none, but has them dispatched at once.

    So nothing has to be bounded or dropped: while we are busy the broker waits, held back by TCP.
    """

    def __init__(self, dispatch: Callable[[str, bytes, bool], None], maxsize: int = 0) -> None:
        """`dispatch` gets topic, payload, and whether the broker had kept it from before the subscription."""
        super().__init__(maxsize)
        self._pass_on = dispatch

    def put_nowait(self, item: aiomqtt.Message) -> None:
        """Pass it on."""
        self._pass_on(item.topic.value, item.payload if isinstance(item.payload, bytes) else b"", item.retain)


class _ContextFor:
    """What paho takes for a TLS context, which would have the server's address proved instead of its name."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self.check_hostname = context.check_hostname
        self._context = context
        self._server_name = server_name

    def wrap_socket(self, sock: socket.socket, *, server_hostname: str, **options: Any) -> ssl.SSLSocket:
        return self._context.wrap_socket(sock, server_hostname=self._server_name, **options)


def tls_for(address: BrokerAddress) -> ssl.SSLContext | None:
    """Raises `BusError` when there is no certificate to show, or no authority to check by."""
    if address.tls is None:
        return None
    try:
        context = address.tls()
    except (MycoswarmError, OSError) as error:
        raise BusError(f"no TLS to the broker {address}: {error}") from error
    return cast("ssl.SSLContext", _ContextFor(context, address.server_name or address.host))
