"""Announces this node by multicast DNS and hears the others (RFC 6762, RFC 6763).

What is announced is in `swarm.mdns_service`, what is kept of what others announce in `swarm.mdns_table`.

zeroconf answers, announces, parses and keeps records. Its browser is not used: that keeps one timer for every name ever
heard, without a bound, and lets a machine that lost power live for 19 minutes. Its cache is bounded (10,000 records),
but when it is full of records that live long, every new address is the first to be thrown out, and nobody is found for
75 minutes: so records of no use to us are taken out of it packet by packet. A name is not probed for
before it is announced (RFC 6762 section 8.1), which would take 0.8 s: it is made from the node's key, so a second
holder is an imitator or a copied disk, and a probe would let either keep us silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable

from zeroconf import (  # type: ignore[attr-defined] # it offers the DNS types without naming them in __all__
    DNSCache,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSRecord,
    IPVersion,
    NotRunningException,
    RecordUpdate,
    RecordUpdateListener,
    ServiceInfo,
    Zeroconf,
    current_time_millis,
)
from zeroconf.asyncio import AsyncZeroconf

from swarm.candidate import Candidate, Change, usable_addresses
from swarm.interfaces import Interface
from swarm.mdns_service import (
    SERVICE,
    Announcement,
    candidate_of,
    host_name,
    ids_of,
    instance_name,
    service_info,
)
from swarm.mdns_table import MdnsTable, Step

QUERY_AFTER_S = (0.0, 1.0, 3.0, 9.0, 27.0)
"""Questions after the start or a new interface, RFC 6762 section 5.2."""
QUERY_EVERY_S = 60.0
MAX_ASKED = 64
"""Nodes waiting to be asked about; more are forgotten, and heard of again at the next question to all."""
ASK_AT_ONCE = 8
REREAD_AFTER_S = (1.1, 2.0, 3.0)
"""After a change, each from the one before."""
ASK_EVERY_S = 0.25
ANSWER_WITHIN_S = 3.0
MAX_RECORDS = 64
"""Records under one name; an honest one has about ten."""
DEFEND_EVERY_S = 10.0

_PTR, _TXT, _SRV, _IN = 12, 16, 33, 1
_QUERY_FLAGS = 0

log = logging.getLogger(__name__)


class Mdns(RecordUpdateListener):
    """One machine's ear and voice on the LAN. `swarm_id` empty hears every swarm (a node that is in none yet)."""

    def __init__(self, table: MdnsTable, *, swarm_id: str, on_changes: Callable[[tuple[Change, ...]], None]) -> None:
        super().__init__()
        self.imitations = 0
        """Announcements of somebody else under our own name."""
        self._table = table
        self._swarm_id = swarm_id
        self._on_changes = on_changes
        self._announcement: Announcement | None = None
        self._interfaces: tuple[Interface, ...] = ()
        self._own_addresses: dict[str, None] = {}
        self._zeroconf: AsyncZeroconf | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._touched: dict[str, str] = {}
        self._leaving: set[str] = set()
        self._asked: dict[str, str] = {}
        self._awaited: dict[str, tuple[str, float]] = {}
        """Nodes that were asked about: their swarm, and until when an answer is waited for."""
        self._batch: list[DNSRecord] = []
        self._reread: set[str] = set()
        self._repeating: set[asyncio.Future[object]] = set()
        self._queries: list[float] = []
        self._defended_at = -DEFEND_EVERY_S

    async def start(self, interfaces: tuple[Interface, ...], announcement: Announcement | None) -> None:
        """Listen on these interfaces and announce; with no interface, wait for `set_interfaces`."""
        self._announcement = announcement
        await self.set_interfaces(interfaces)
        self._task = asyncio.create_task(self._run(), name="mdns")

    async def announce(self, announcement: Announcement | None) -> None:
        """Say something else from now on; None says goodbye and stays silent."""
        before, self._announcement = self._announcement, announcement
        if self._zeroconf is None:
            return
        if before and (announcement is None or before.instance != announcement.instance):
            await (await self._zeroconf.async_unregister_service(self._info(before)))
            before = None
        if announcement is None:
            return
        if before:
            self._background(await self._zeroconf.async_update_service(self._info(announcement)))
        else:
            await self._register(self._zeroconf, announcement)

    async def set_interfaces(self, interfaces: tuple[Interface, ...]) -> None:
        """Listen and announce on these from now on. Call it at every hint of a change: an address that was not ready
        to be used at the last call (duplicate address detection) may be now."""
        moved = self._addresses(interfaces) != self._addresses(self._interfaces)
        new = set(interfaces) - set(self._interfaces)
        self._interfaces = interfaces
        self._own_addresses.update(dict.fromkeys(self._addresses(interfaces)))
        while len(self._own_addresses) > MAX_ASKED:
            del self._own_addresses[next(iter(self._own_addresses))]
        choice: list[str | int] = [
            *(a for i in interfaces for a in i.ipv4),
            *(i.index for i in interfaces if i.has_ipv6),
        ]
        try:
            if self._zeroconf is None:
                if choice:
                    await self._open(choice)
            else:
                if moved and choice and self._announcement:
                    self._background(await self._zeroconf.async_update_service(self._info(self._announcement)))
                await self._zeroconf.async_update_interfaces(choice, IPVersion.All)
        except OSError as error:
            # Interfaces come and go while we look; the next change tries again.
            log.warning("cannot use multicast on %s: %s", ", ".join(i.name for i in interfaces), error)
        if new:
            now = asyncio.get_running_loop().time()
            first = now + random.uniform(0.02, 0.12)
            self._queries = [first + after for after in QUERY_AFTER_S]
            self._wake.set()

    async def close(self) -> None:
        """Say goodbye and end; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        for repeating in list(self._repeating):
            repeating.cancel()
        if self._repeating:
            await asyncio.wait(self._repeating)
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is not None:
            zeroconf.zeroconf.async_remove_listener(self)
            await zeroconf.async_close()

    @property
    def zeroconf(self) -> AsyncZeroconf | None:
        """For other services of this machine that are announced beside it; None while there is no interface."""
        return self._zeroconf

    # ---- what zeroconf calls

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        """Note which nodes a packet is about; the records are in the cache only when all of it was taken."""
        for update in records:
            record = update.new
            self._batch.append(record)
            if update.old is not None and record.type != _PTR and not record.is_expired(now):
                # Of two contradicting records the cache believes the one that came into it last. Said again is said
                # last: so the old copy makes place, and is put back at the end.
                self._uncache((record,))
            node_id, swarm_id = self._subject(record)
            if swarm_id and self._swarm_id in ("", swarm_id):
                if record.type == _PTR and record.is_expired(now):
                    self._leaving.add(node_id)
                else:
                    self._touched[node_id] = swarm_id

    def async_update_records_complete(self) -> None:
        """Take what the packet said, and let the cache forget what is of no use to us."""
        batch, self._batch = self._batch, []
        touched, self._touched = self._touched, {}
        leaving, self._leaving = self._leaving, set()
        if self._zeroconf is None:
            return
        now = asyncio.get_running_loop().time()
        for node_id in leaving:
            self._take(self._table.said_goodbye(node_id, now))
        for node_id, swarm_id in touched.items():
            if node_id not in leaving:
                self._read(node_id, swarm_id, now)
        if touched or leaving:
            self._wake.set()
        for record in batch:
            node_id, _ = self._subject(record)
            if not (node_id and self._keeps(node_id, now)):
                self._uncache((record,))
            elif len(same := self._cache.async_entries_with_name(record.name)) > MAX_RECORDS and record.type != _PTR:
                self._uncache(same)

    def _subject(self, record: DNSRecord) -> tuple[str, str]:
        """Node id and swarm id of whom a record is about; empty texts where it does not say."""
        name = record.name.lower()
        if record.type == _PTR:
            alias: str = record.alias.lower()  # type: ignore[attr-defined]
            return ids_of(alias) if name == SERVICE else ("", "")
        if not name.endswith(f".{SERVICE}"):
            node_id = name.removesuffix(".local.")
            candidate = self._table.get(node_id)
            return node_id, candidate.swarm_id if candidate else self._awaited.get(node_id, ("", 0.0))[0]
        return ids_of(name)

    def _keeps(self, node_id: str, now: float) -> bool:
        own = self._announcement is not None and self._announcement.node_id == node_id
        return own or self._table.get(node_id) is not None or self._awaited.get(node_id, ("", 0.0))[1] > now

    def _uncache(self, records: Iterable[DNSRecord]) -> None:
        for record in records:
            cached = self._cache.get(record)
            if cached is not None:
                self._cache.async_remove_records((cached,))

    @property
    def _cache(self) -> DNSCache:
        assert self._zeroconf is not None
        return self._zeroconf.zeroconf.cache

    # ---- our side

    def _read(self, node_id: str, swarm_id: str, now: float) -> None:
        assert self._zeroconf is not None
        own = self._announcement is not None and self._announcement.node_id == node_id
        if not own and not self._table.has_place(node_id, now):
            self._table.refused += 1
            return
        candidate = self._read_cache(node_id, swarm_id)
        if own:
            if candidate:
                self._look_at_own(candidate, now)
        elif not candidate:
            self._ask({node_id: swarm_id})
        else:
            before = self._table.get(node_id)
            self._take(self._table.heard(candidate, now))
            if before and before != candidate and node_id not in self._reread:
                # Records that were replaced end one second later (RFC 6762 section 10.2) and nobody tells; an answer
                # with the old ones may still have been on its way.
                self._reread.add(node_id)
                self._read_later(node_id, swarm_id, REREAD_AFTER_S)

    def _read_later(self, node_id: str, swarm_id: str, after: tuple[float, ...]) -> None:
        asyncio.get_running_loop().call_later(after[0], self._read_again, node_id, swarm_id, after[1:])

    def _read_again(self, node_id: str, swarm_id: str, after: tuple[float, ...]) -> None:
        if self._zeroconf is None:
            return
        if after:
            self._read_later(node_id, swarm_id, after)
        else:
            self._reread.discard(node_id)
        candidate = self._read_cache(node_id, swarm_id) if self._table.get(node_id) else None
        if candidate:
            self._take(self._table.read_again(candidate, asyncio.get_running_loop().time()))
            self._wake.set()

    def _read_cache(self, node_id: str, swarm_id: str) -> Candidate | None:
        assert self._zeroconf is not None
        info = ServiceInfo(SERVICE, instance_name(node_id, swarm_id))
        return candidate_of(info, node_id, swarm_id) if info.load_from_cache(self._zeroconf.zeroconf) else None

    def _look_at_own(self, heard: Candidate, now: float) -> None:
        assert self._announcement is not None
        own = {address.partition("%")[0] for address in self._own_addresses}
        strange = [address for address in heard.addresses if address.partition("%")[0] not in own]
        if (heard.port == self._announcement.port and not strange) or now - self._defended_at < DEFEND_EVERY_S:
            return
        self._defended_at = now
        self.imitations += 1
        log.warning(
            "another machine (%s) announces itself as this node: it imitates it, or the disk was copied",
            ", ".join(strange) or f"port {heard.port}",
        )
        self._background(self.announce(self._announcement))

    def _background(self, work: Awaitable[object]) -> None:
        """Announcements are repeated for half a second; nobody waits for that, but `close` ends it."""
        task = asyncio.ensure_future(work)
        self._repeating.add(task)
        task.add_done_callback(self._repeated)

    def _repeated(self, task: asyncio.Future[object]) -> None:
        self._repeating.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("could not announce this node: %s", error)

    def _take(self, step: Step) -> None:
        candidates = (self._table.get(node_id) for node_id in step.ask)
        self._ask({candidate.node_id: candidate.swarm_id for candidate in candidates if candidate})
        for change in step.changes:
            candidate = change.candidate
            if self._table.get(candidate.node_id) is None and self._zeroconf is not None:
                name = instance_name(candidate.node_id, candidate.swarm_id)
                self._uncache([DNSPointer(SERVICE, _PTR, _IN, 0, name)])
                self._uncache(self._cache.async_entries_with_name(name))
                self._uncache(self._cache.async_entries_with_name(host_name(candidate.node_id)))
                if candidate.node_id in step.ask:  # a goodbye
                    self._ask({candidate.node_id: candidate.swarm_id})
        if step.changes:
            self._on_changes(step.changes)

    def _ask(self, nodes: dict[str, str]) -> None:
        for node_id, swarm_id in nodes.items():
            if len(self._asked) < MAX_ASKED:
                self._asked[node_id] = swarm_id
                self._wake.set()

    async def _run(self) -> None:
        """Asks, ends what is old, and sleeps till the next of both."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            self._take(self._table.time_passed(now))
            if self._asked:
                asked = list(self._asked.items())[:ASK_AT_ONCE]
                self._await_answers(asked, now)
                self._send(DNSQuestion(instance_name(n, s), kind, _IN) for n, s in asked for kind in (_SRV, _TXT))
                await asyncio.sleep(ASK_EVERY_S)
                continue
            if self._queries and self._queries[0] <= now:
                self._send([DNSQuestion(SERVICE, _PTR, _IN)], known=self._table.candidates())
                self._queries.pop(0)
                if not self._queries:
                    self._queries = [now + QUERY_EVERY_S * random.uniform(0.9, 1.1)]
                continue
            due = [moment for moment in (*self._queries[:1], self._table.next_due()) if moment is not None]
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                # A little later than due, and apart from others: the first to ask spares the rest their question.
                async with asyncio.timeout(max(0.0, min(due) - now) + random.uniform(0.0, 0.1) if due else None):
                    await self._wake.wait()

    def _await_answers(self, asked: Iterable[tuple[str, str]], now: float) -> None:
        """Answers may come in parts: what is about these nodes stays in the cache for a while."""
        self._awaited = {node: entry for node, entry in self._awaited.items() if entry[1] > now}
        for node_id, swarm_id in asked:
            del self._asked[node_id]
            if len(self._awaited) < MAX_ASKED:
                self._awaited[node_id] = (swarm_id, now + ANSWER_WITHIN_S)

    def _send(self, questions: Iterable[DNSQuestion], known: Iterable[Candidate] = ()) -> None:
        if self._zeroconf is None:
            return
        out = DNSOutgoing(_QUERY_FLAGS)
        for question in questions:
            out.add_question(question)
        now_ms = current_time_millis()
        for candidate in known:
            name = instance_name(candidate.node_id, candidate.swarm_id)
            pointer = self._cache.get(DNSPointer(SERVICE, _PTR, _IN, 0, name))
            if pointer is not None and not pointer.is_stale(now_ms):  # RFC 6762 section 7.1: not in its second half
                out.add_answer_at_time(pointer, now_ms)
        self._zeroconf.zeroconf.async_send(out)

    async def _open(self, choice: list[str | int]) -> None:
        self._zeroconf = AsyncZeroconf(interfaces=choice, ip_version=IPVersion.All)
        try:
            await self._zeroconf.zeroconf.async_wait_for_start()
        except NotRunningException as error:
            self._zeroconf = None
            raise OSError("multicast did not start") from error
        self._zeroconf.zeroconf.async_add_listener(self, None)
        if self._announcement:
            await self._register(self._zeroconf, self._announcement)

    async def _register(self, zeroconf: AsyncZeroconf, announcement: Announcement) -> None:
        self._background(await zeroconf.async_register_service(self._info(announcement), cooperating_responders=True))

    def _info(self, announcement: Announcement) -> ServiceInfo:
        return service_info(announcement, self._addresses(self._interfaces))

    @staticmethod
    def _addresses(interfaces: tuple[Interface, ...]) -> tuple[str, ...]:
        return usable_addresses(address for interface in interfaces for address in interface.addresses)
