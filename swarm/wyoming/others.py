"""Asking a Wyoming service of another program on this machine or the LAN.

Each question has a connection of its own, as Wyoming clients do it, so a service that was started anew is simply there
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from wyoming.event import Event
from wyoming.info import Describe, Info

from swarm.egress import lan_addresses
from swarm.errors import EngineError, MalformedMessage, MycoswarmError
from swarm.wyoming.events import MAX_HEADER_BYTES, read_event, text_of, write_event
from swarm.wyoming.settings import place_of

CONNECT_S = 3.0
"""A machine of the LAN that is up accepts within milliseconds."""
SEND_S = 5.0
DESCRIBE_S = 3.0
DESCRIPTION_S = 60.0
"""So long a description is believed."""
MAX_OTHER_EVENTS = 64
"""Before the one that is waited for."""


class Exchange:
    """One connection. All methods raise `EngineError` when the service fails, hangs or says what is no event."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name = name
        self._reader = reader
        self._writer = writer

    async def send(self, *events: Event) -> None:
        """Write them all."""
        try:
            for event in events:
                await write_event(event, self._writer, timeout_s=SEND_S)
        except OSError as error:
            raise EngineError(f"{self._name} takes nothing: {error or 'it hangs'}") from error

    async def receive(self, *, timeout_s: float) -> Event:
        """The next event. An `error` event is raised."""
        try:
            async with asyncio.timeout(timeout_s):
                event = await read_event(self._reader)
        except TimeoutError:
            raise EngineError(f"{self._name} did not answer within {timeout_s:g} s") from None
        except MalformedMessage as error:
            raise EngineError(f"{self._name} does not speak Wyoming: {error}") from error
        except (OSError, EOFError) as error:
            raise EngineError(f"the connection to {self._name} broke: {error}") from error
        if event is None:
            raise EngineError(f"{self._name} hung up")
        if event.type == "error":
            raise EngineError(f"{self._name}: {event.data.get('text', 'it failed')!r:.300}")
        return event

    async def until(self, *kinds: str, timeout_s: float) -> Event:
        """The next event of one of these types; `timeout_s` for all of it."""
        try:
            async with asyncio.timeout(timeout_s):
                for _ in range(MAX_OTHER_EVENTS):
                    event = await self.receive(timeout_s=timeout_s)
                    if event.type in kinds:
                        return event
        except TimeoutError:
            raise EngineError(f"{self._name} did not answer within {timeout_s:g} s") from None
        raise EngineError(f"{self._name} says much, but not {' or '.join(kinds)}")

    def text(self, event: Event, *, limit: int) -> str:
        """The text of an event; empty when it has none."""
        try:
            return text_of(event.data.get("text"), f"the text of {event.type!r:.24}", limit=limit) or ""
        except MalformedMessage as error:
            raise EngineError(f"{self._name}: {error}") from error


class OtherService:
    """The service at `tcp://host:port`. Raises `ConfigError` for anything else."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._host, self._port = place_of(url)
        self._info: Info | None = None
        self._info_until = 0.0

    @property
    def name(self) -> str:
        """For the log."""
        return f"the Wyoming service {self.url}"

    @asynccontextmanager
    async def exchange(self) -> AsyncIterator[Exchange]:
        """A connection, which is closed at the end. Raises `EngineError`."""
        reader, writer = await self.connect()
        try:
            yield Exchange(self.name, reader, writer)
        finally:
            writer.transport.abort()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that nothing was said on. Raises `EngineError`, also for what is not of the LAN."""
        failure: Exception | None = None
        try:
            async with asyncio.timeout(CONNECT_S):
                for address in await asyncio.to_thread(lan_addresses, self._host):
                    try:
                        return await asyncio.open_connection(address, self._port, limit=MAX_HEADER_BYTES)
                    except OSError as error:
                        failure = error
        except TimeoutError:
            raise EngineError(f"{self.name} cannot be reached within {CONNECT_S:g} s") from None
        except MycoswarmError as error:
            raise EngineError(f"{self.name}: {error}", hint=error.hint) from error
        raise EngineError(f"{self.name} cannot be reached: {failure}", hint="does it run there?")

    async def info(self) -> Info:
        """What it says of itself; asked at most once a minute. Raises `EngineError`."""
        now = asyncio.get_running_loop().time()
        if self._info is None or now >= self._info_until:
            async with self.exchange() as exchange:
                await exchange.send(Describe().event())
                event = await exchange.until("info", timeout_s=DESCRIBE_S)
            self._info, self._info_until = info_of(event, self.name), now + DESCRIPTION_S
        return self._info

    async def known_info(self) -> Info | None:
        """The same; None when it does not say."""
        with suppress(EngineError):
            return await self.info()
        return None


def info_of(event: Event, name: str) -> Info:
    """What an `info` event holds. Raises `EngineError`: the library takes it as it comes, and breaks in many ways."""
    try:
        return Info.from_event(event)
    except (AssertionError, AttributeError, KeyError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise EngineError(f"{name} describes itself wrongly: {error!r}") from error
