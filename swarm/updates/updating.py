"""This node's own part in an update: fetch what is offered for it, check it, wait for its go and for quiet, install,
start anew, and say how that went.

::

    idle ─ bundle here, signature good ─► ready ─ go, quiet ─► installing ─► restarting ─ runs it, and it proved
      │                                     │                     │              │        itself ──► good
      └───────── refused ───────────────────┴──── failed ◄────────┴──────────────┘ it went back

What it said last is in the ledger, so a node that loses power anywhere in this goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from swarm.certificates import NodeId
from swarm.errors import MalformedMessage, MycoswarmError, StorageError
from swarm.ledger.errors import LedgerError
from swarm.peer_session import PeerSession
from swarm.transfer.fetching import Fetching
from swarm.transfer.folder import ContentFolder
from swarm.transfer.pace import Pace
from swarm.updates.patience import Patience
from swarm.updates.shared import Offer, Report, SharedUpdates, State, report_of
from swarm.updates.slots import Slots, SlotState, UpdateRefused

RETRY_S = 60.0
"""After a disk that was full, or a ledger that could not be written."""
MAX_ATTEMPTS = 3
"""Installations that were cut off (power) before the offer is given up."""

_log = logging.getLogger(__name__)


class Updating:
    """`run` until cancelled. Waits for nothing but changes of the ledger as long as nothing is offered."""

    def __init__(
        self,
        node: NodeId,
        shared: SharedUpdates,
        slots: Slots,
        folder: ContentFolder,
        pace: Pace,
        *,
        sources: Callable[[], Sequence[NodeId]],
        session: Callable[[NodeId], PeerSession],
        busy: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        patience: Patience,
    ) -> None:
        """`sources` and `session` as for `Fetching`; `busy` says why this node should not be taken away now, empty when
        nothing speaks against it."""
        self.node = node
        self.slots = slots
        self.system: SlotState | None = None
        """As of the last look; None before the first."""
        self._shared = shared
        self._folder = folder
        self._pace = pace
        self._sources = sources
        self._session = session
        self._busy = busy
        self._clock = clock
        self._patience = patience
        self._news = asyncio.Event()
        self._fetching: Fetching | None = None
        self._installed_percent: int | None = None
        self._trouble = ""
        self._busy_at = clock()
        self._restarting: asyncio.Task[None] | None = None

    # ---- what it says

    @property
    def percent(self) -> int | None:
        """How much is here, or how much is written; None when neither is under way."""
        if self._installed_percent is not None:
            return self._installed_percent
        if self._fetching is not None:
            return self._fetching.position * 100 // self._fetching.content.size
        return None

    @property
    def fetching(self) -> bool:
        """The bundle is on its way here."""
        return self._fetching is not None

    @property
    def installing(self) -> bool:
        """It is being written, and that is not broken off."""
        return self._installed_percent is not None

    @property
    def trouble(self) -> str:
        """What is in the way and may pass (a full disk); empty when nothing is."""
        return self._trouble

    def busy(self) -> str:
        """Why this node should not be taken away now; empty when it has been quiet for a while."""
        why, now = self._busy(), self._clock()
        if why:
            self._busy_at = now
        return why or ("it was busy a moment ago" if now - self._busy_at < self._patience.quiet_s else "")

    # ---- what it does

    async def run(self) -> None:
        """Follow what is offered."""
        await asyncio.to_thread(self._folder.forget_uploads)
        unsubscribe = self._shared.subscribe(self._news.set)
        work: asyncio.Task[None] | None = None
        followed: Offer | None = None
        try:
            while True:
                self._news.clear()
                self.system = self.system or await self._look()
                if self.system is not None:
                    offer = self._shared.offer_for(self.node, self.system.compatible)
                    if work is None or (offer != followed and not self.installing):
                        await _stopped(work)
                        followed, work = offer, asyncio.create_task(self._follow(offer), name="update")
                        work.add_done_callback(_say_fault)
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if self.system else self._patience.look_every_s):
                        await self._news.wait()
        finally:
            unsubscribe()
            await _stopped(work)
            await _stopped(self._restarting)

    async def _look(self) -> SlotState | None:
        try:
            return await self.slots.state()
        except MycoswarmError as error:  # at the start of the machine root says it some seconds later
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.info("which system runs is not known yet: %s", error.for_log())
            return None

    async def _follow(self, offer: Offer | None) -> None:
        """Everything about one offer, again when something is in the way that may pass."""
        try:
            while True:
                try:
                    self._trouble = ""
                    await self._keep_only_wanted()
                    await self._update(offer)
                    return
                except MycoswarmError as error:
                    self._trouble = str(error)
                    _log.warning("the update waits: %s", error.for_log())
                    await asyncio.sleep(RETRY_S)
        finally:
            self._fetching = self._installed_percent = None

    async def _update(self, offer: Offer | None) -> None:
        system = self.system = await self.slots.state()
        report = report_of(system, self._shared.report(self.node)).about(offer)
        await self._shared.tell(report)
        if offer is not None and report.state == "good" and system.version != offer.version:
            await self._say(report, "failed", f"{system.version} was started again")  # by hand, past us
            return
        if offer is None or report.state in ("good", "failed"):
            return
        if report.state == "restarting" or system.version == offer.version:
            await self._prove(offer, report)
            return
        while not system.good:  # the other slot holds the only system that is known to work
            await asyncio.sleep(self._patience.look_every_s)
            system = self.system = await self.slots.state()
        if report.attempts >= MAX_ATTEMPTS:
            await self._say(report, "failed", f"it was cut off {MAX_ATTEMPTS} times while it was installed")
            return
        try:
            path = await self._fetched(offer)
            bundle = await self.slots.check(path)
            if bundle.version != offer.version:
                raise UpdateRefused(f"the bundle has version {bundle.version}, and {offer.version} was offered")
            report = await self._say(report, "ready")
            await self._until(lambda: self._may_go(offer))
            report = await self._say(report, "installing", attempts=report.attempts + 1)
            self._written(0)
            await self.slots.install(path, self._written)
        except (UpdateRefused, MalformedMessage) as error:
            await self._say(report, "failed", str(error))
            return
        except (LedgerError, StorageError):
            raise
        except MycoswarmError as error:
            await self._say(report, "failed", f"it could not be installed: {error}")
            return
        finally:
            self._installed_percent = None
            self._news.set()  # what was offered meanwhile had to wait
        report = await self._say(report, "restarting", boot=system.boot)
        await self._restart(offer.version)

    async def _fetched(self, offer: Offer) -> Path:
        self._fetching = Fetching(offer.content, self._folder, self._pace, self._sources, self._session)
        try:
            return await self._fetching.run()
        finally:
            self._fetching = None

    async def _prove(self, offer: Offer, report: Report) -> None:
        """It was installed: it runs and proves itself, or the machine went back."""
        while True:
            system = self.system = await self.slots.state()
            if system.version != offer.version:
                break
            if system.good:
                await self._say(report_of(system, report), "good")
                _log.info("version %s proved itself", offer.version)
                return
            await asyncio.sleep(self._patience.look_every_s)
        if report.boot == system.boot:  # only this program was started anew, not the machine
            await self._restart(offer.version)
            return
        why = system.reason or f"it started with {system.version} again"
        await self._say(report_of(system, report), "failed", why)
        _log.warning("version %s is not what runs: %s", offer.version, why)

    async def _restart(self, version: str) -> None:
        await self._until(lambda: not self.busy())
        _log.warning("starting anew, into version %s", version)
        await self.slots.restart()

    async def roll_back(self) -> None:
        """Go back to the other system, as a person wants. What is offered now is not installed here after that.

        Raises `MycoswarmError` when there is no other one that works.
        """
        await self.slots.rollback()
        system = await self.slots.state()
        report = report_of(system, self._shared.report(self.node))
        await self._say(report, "failed", "a person wanted the version before")
        self._restarting = asyncio.create_task(self._restart("of before"), name="roll back")

    # ---- below

    async def _say(
        self, report: Report, state: State, reason: str = "", *, attempts: int | None = None, boot: str = ""
    ) -> Report:
        said = msgspec.structs.replace(
            report,
            state=state,
            reason=reason[:1000],
            attempts=report.attempts if attempts is None else attempts,
            boot=boot,
        )
        await self._shared.tell(said)
        return said

    def _may_go(self, offer: Offer) -> bool:
        go = self._shared.go(self.node)
        return go is not None and go.offer == offer.id and not self.busy()

    def _written(self, percent: int) -> None:
        self._installed_percent = percent

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 quiet is a time in which nothing happens: there is no event for it
            await asyncio.sleep(self._patience.look_every_s)

    async def _keep_only_wanted(self) -> None:
        wanted = [offer.content.sha256 for offer in self._shared.offers()]
        await asyncio.to_thread(self._folder.keep_only, wanted)


async def _stopped(work: asyncio.Task[None] | None) -> None:
    if work is not None:
        work.cancel()
        await asyncio.wait({work})


def _say_fault(work: asyncio.Task[None]) -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        _log.error("an update failed", exc_info=error)
