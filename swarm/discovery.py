"""Where other nodes may be, from four sources at once: mDNS, presence on the bus, static peers, addresses of before.

All sources run side by side; the ladder (`swarm.candidate.LADDER`) is the order in which their answers are tried, so
that losing one, or all but one, costs nothing but time. What comes out are hints. Whoever connects checks the
certificate, and calls `proved` when it was right: then the address is remembered and the node keeps its place when
somebody floods the LAN with made-up ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm.candidate import LADDER, Candidate, Change, Found, Gone, is_id, usable_addresses
from swarm.interfaces import Interface, InterfaceWatch, lan_interfaces
from swarm.learned_addresses import LearnedAddresses, write_whole
from swarm.mdns_table import LIFETIME_S, MdnsTable
from swarm.static_peers import StaticPeer, resolve

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

    from swarm.mdns import Mdns
    from swarm.mdns_service import Announcement

MAX_ON_BUS = 256
RESOLVE_EVERY_S = 60.0
WRITE_AFTER_S = 5.0
"""Proofs come in bursts when a node starts: one write serves them."""
FILE_NAME = "addresses.json"

log = logging.getLogger(__name__)


class Discovery:
    """`on_change` is called, on the event loop, for everything that appears, changes or goes; it must not wait."""

    def __init__(
        self,
        *,
        swarm_id: str,
        state_dir: Path,
        on_change: Callable[[Change], None],
        static_peers: Sequence[StaticPeer] = (),
        known: Callable[[str], bool] = lambda _: False,
        multicast: bool = True,
        interfaces: Callable[[], tuple[Interface, ...]] = lan_interfaces,
        wall_clock: Callable[[], float] = time.time,
        lifetime_s: float = LIFETIME_S,
    ) -> None:
        """`swarm_id` empty: this node is in no swarm yet, and hears them all. `known` says who is on the roster."""
        self._swarm_id = swarm_id
        self._path = state_dir / FILE_NAME
        self._on_change = on_change
        self._known = known
        self._multicast = multicast
        self._find_interfaces = interfaces
        self._wall_clock = wall_clock
        self._proved: dict[str, None] = {}
        self._table = MdnsTable(known=self._is_known, lifetime_s=lifetime_s)
        self._on_bus: dict[str, Candidate] = {}
        self._static: dict[StaticPeer, Candidate | None] = dict.fromkeys(static_peers)
        self._learned = LearnedAddresses(swarm_id)
        self._unwritten = asyncio.Event()
        self._network_changed = asyncio.Event()
        self._interfaces: tuple[Interface, ...] = ()
        self._mdns: Mdns | None = None
        self._closing = contextlib.AsyncExitStack()

    async def start(self, announcement: Announcement | None = None) -> None:
        """Begin with what is known from before, then listen; `announcement` is what others are told, if anything."""
        self._learned.load(self._path, self._wall_clock())
        for candidate in self._learned.candidates(self._wall_clock()):
            self._on_change(Found(candidate))
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(self._write)
            await self._spawn(closing, self._write_when_told(), "learned addresses")
            if self._static:
                await self._spawn(closing, self._follow_static(), "static peers")
            if self._multicast:
                await self._start_mdns(closing, announcement)
            self._closing = closing.pop_all()

    async def close(self) -> None:
        """Say goodbye, write down what was learned, end; safe to call twice."""
        await self._closing.aclose()

    async def announce(self, announcement: Announcement | None) -> None:
        """Tell the LAN something else from now on (new roles, an enrolment port); None says goodbye."""
        if self._mdns is not None:
            await self._mdns.announce(announcement)

    def candidates(self, node_id: str | None = None) -> tuple[Candidate, ...]:
        """Everybody, or one node's places; those to try first come first."""
        found = [
            *self._table.candidates(),
            *self._on_bus.values(),
            *(candidate for candidate in self._static.values() if candidate),
            *self._learned.candidates(self._wall_clock()),
        ]
        found.sort(key=lambda candidate: LADDER.index(candidate.source))
        return tuple(c for c in found if node_id is None or c.node_id == node_id)

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The interfaces that mDNS uses now."""
        return self._interfaces

    @property
    def zeroconf(self) -> AsyncZeroconf | None:
        """What announces this machine now; None without multicast."""
        return self._mdns.zeroconf if self._mdns is not None else None

    @property
    def refused(self) -> int:
        """How many announcements found no place: above 0 somebody floods the LAN."""
        return self._table.refused

    @property
    def imitations(self) -> int:
        """How often another machine announced itself under this node's id."""
        return self._mdns.imitations if self._mdns is not None else 0

    def seen_on_bus(self, node_id: str, addresses: Sequence[str], port: int, roles: tuple[str, ...] = ()) -> None:
        """A node's presence on the bus says where it is."""
        usable = usable_addresses(addresses)
        if not is_id(node_id) or not usable or not 0 < port < 65536:
            return
        candidate = Candidate(node_id, self._swarm_id, usable, port, "bus", roles)
        if self._on_bus.get(node_id) == candidate:
            return
        if node_id not in self._on_bus and len(self._on_bus) >= MAX_ON_BUS:
            log.warning("more than %d nodes on the bus: %s is not followed there", MAX_ON_BUS, node_id)
            return
        self._on_bus[node_id] = candidate
        self._on_change(Found(candidate))

    def left_bus(self, node_id: str) -> None:
        """A node's presence ended."""
        candidate = self._on_bus.pop(node_id, None)
        if candidate:
            self._on_change(Gone(candidate))

    def proved(self, node_id: str, address: str, port: int) -> None:
        """The node's certificate was seen at this address: remember it."""
        self._proved.pop(node_id, None)
        self._proved[node_id] = None
        while len(self._proved) > MAX_ON_BUS:
            del self._proved[next(iter(self._proved))]
        if self._learned.proved(node_id, address, port, self._wall_clock()):
            self._unwritten.set()

    def forget(self, node_id: str) -> None:
        """The node was revoked or left: keep no address of it."""
        self._proved.pop(node_id, None)
        self.left_bus(node_id)
        if self._learned.forget(node_id):
            self._unwritten.set()

    def _is_known(self, node_id: str) -> bool:
        return node_id in self._proved or self._known(node_id)

    async def _start_mdns(self, closing: contextlib.AsyncExitStack, announcement: Announcement | None) -> None:
        from swarm.mdns import Mdns

        mdns = self._mdns = Mdns(self._table, swarm_id=self._swarm_id, on_changes=self._mdns_changed)
        closing.push_async_callback(mdns.close)
        watch = InterfaceWatch(self._network_changed.set)
        closing.callback(watch.close)
        watch.start()
        self._interfaces = self._find_interfaces()
        if not self._interfaces:
            log.info("no network interface with an address of a LAN: mDNS waits for one")
        await mdns.start(self._interfaces, announcement)
        await self._spawn(closing, self._follow_interfaces(mdns), "interfaces")

    def _mdns_changed(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self._on_change(change)

    async def _follow_interfaces(self, mdns: Mdns) -> None:
        while True:
            await self._network_changed.wait()
            self._network_changed.clear()
            found = self._find_interfaces()
            if found != self._interfaces:
                names = [f"{i.name} ({', '.join(i.addresses)})" for i in found]
                log.info("network changed: %s", ", ".join(names) or "no interface")
            self._interfaces = found
            await mdns.set_interfaces(found)

    async def _follow_static(self) -> None:
        while True:
            for peer, before in list(self._static.items()):
                candidate = await resolve(peer)
                if candidate is None or candidate == before:  # a resolver that fails says nothing about the peer
                    continue
                self._static[peer] = candidate
                self._on_change(Found(candidate))
            if all(peer.is_address for peer in self._static):
                return
            await asyncio.sleep(RESOLVE_EVERY_S)

    async def _write_when_told(self) -> None:
        while True:
            await self._unwritten.wait()
            await asyncio.sleep(WRITE_AFTER_S)
            await self._write()

    async def _write(self) -> None:
        if not self._unwritten.is_set():
            return
        self._unwritten.clear()
        try:
            await asyncio.to_thread(write_whole, self._path, self._learned.to_json(self._wall_clock()))
        except OSError as error:
            log.warning("cannot write %s: %s", self._path, error)

    @staticmethod
    async def _spawn(closing: contextlib.AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        closing.push_async_callback(end)
