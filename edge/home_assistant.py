"""This machine's microphone and speaker as a Wyoming satellite of Home Assistant.

Home Assistant connects to us and says `run-satellite`; from then on it is the hub of this machine's satellite, and the
messages of a voice session (`swarm.messages`) are Wyoming events. While it is away, the satellite is at the hub that it
would have without it, so a house whose Home Assistant is down still hears.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from wyoming.event import Event
from wyoming.ping import Ping

from edge.home_assistant_line import NAME, Bridge
from edge.line import Connector, Line
from swarm.errors import MalformedMessage
from swarm.wyoming.describing import satellite_info
from swarm.wyoming.listener import AllowList, Client, Talk, WyomingListener

PING_S, SILENT_S = 2.0, 6.0
"""A Home Assistant that answered pings and then says nothing for so long is gone; another one may connect."""

log = logging.getLogger(__name__)


class HomeAssistantHub:
    """A `Connector` that leads to Home Assistant while it is connected, and else where `other` leads."""

    def __init__(
        self,
        *,
        name: str,
        area: str,
        wake_words: Sequence[str],
        allow: AllowList,
        other: Connector,
        paused: Callable[[bool], None],
    ) -> None:
        """`paused` is told when a person mutes, or no longer mutes, this satellite in Home Assistant."""
        info = satellite_info(name, area, wake_words)
        self.listener = WyomingListener("satellite", allow=allow, info=info, talk=self._talk)
        self._other = other
        self._paused = paused
        self._server: _Server | None = None

    @property
    def connected(self) -> bool:
        """Whether Home Assistant is this satellite's hub, or could be at once."""
        return self._server is not None

    @property
    def where(self) -> str:
        """See `Connector`."""
        return NAME if self._server is not None else self._other.where

    @asynccontextmanager
    async def line(self, *, urgent: bool) -> AsyncIterator[Line]:
        """See `Connector`."""
        if self._server is not None:
            bridge = self._server.opened()
            try:
                yield Line(bridge)
            finally:
                bridge.close()
            return
        async with self._other.line(urgent=urgent) as line:
            better = line.better
            yield replace(line, better=lambda: self.connected or (better is not None and better()))

    # ---- what its connections tell

    def _talk(self, client: Client) -> Talk:
        return _Server(self, client)

    def took_over(self, server: _Server) -> bool:
        """This connection wants the satellite; False while another one has it, and lives."""
        if self._server is not None and self._server is not server:
            if self._server.alive:
                return False
            self.parted(self._server)
        if self._server is None:
            log.info("Home Assistant at %s has this machine's microphone and speaker", server.address)
        self._server = server
        self._paused(False)
        return True

    def pause(self, server: _Server) -> None:
        """A person muted it there, or it is about to leave."""
        if self._server is server:
            self._paused(True)

    def parted(self, server: _Server) -> None:
        """This connection is gone."""
        if self._server is server:
            log.info("Home Assistant at %s has left; this machine's own hub answers", server.address)
            self._server = None
            server.end()
            self._paused(False)


class _Server(Talk):
    """One connection of Home Assistant."""

    def __init__(self, hub: HomeAssistantHub, client: Client) -> None:
        self.address = client.address
        self._hub = hub
        self._client = client
        self._bridge: Bridge | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._answers_pings = False
        self._heard_at = asyncio.get_running_loop().time()

    @property
    def patience_s(self) -> float | None:
        """See `Talk`."""
        return SILENT_S if self._answers_pings else None

    @property
    def alive(self) -> bool:
        """Whether it was heard lately, as far as it says anything when nothing happens."""
        return not self._answers_pings or asyncio.get_running_loop().time() - self._heard_at < SILENT_S

    def opened(self) -> Bridge:
        """The satellite's end of this connection."""
        self._bridge = Bridge(self._client)
        return self._bridge

    def end(self) -> None:
        """The satellite has to find another hub."""
        if self._bridge is not None:
            self._bridge.close()

    async def take(self, event: Event) -> None:
        """See `Talk`."""
        self._heard_at = asyncio.get_running_loop().time()
        match event.type:
            case "run-satellite":
                if not self._hub.took_over(self):
                    raise MalformedMessage("this satellite serves another Home Assistant")
                if self._pinging is None:
                    self._pinging = asyncio.create_task(self._ping())
            case "pong":
                self._answers_pings = True
            case "pause-satellite":
                self._hub.pause(self)
            case _ if self._bridge is not None:
                self._bridge.take(event)

    async def silent(self) -> None:
        """See `Talk`."""
        raise MalformedMessage("it went silent")

    async def close(self) -> None:
        """See `Talk`."""
        if self._pinging is not None:
            self._pinging.cancel()
            await asyncio.wait([self._pinging])
        self._hub.parted(self)

    async def _ping(self) -> None:
        with suppress(OSError):  # who reads the connection notices too
            while True:
                await asyncio.sleep(PING_S)
                await self._client.send(Ping().event())
