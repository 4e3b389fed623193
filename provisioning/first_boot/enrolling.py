"""The machine comes to belong to a swarm by itself: it begins one, joins by the token, or asks by a code until a
person approves. Whatever goes wrong, it says so and goes on trying.

The node runs meanwhile, as a machine of its own, and can therefore speak; once the machine was let in, it is told to
begin again with what is on the disk then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from provisioning.first_boot.clock import clock_setter
from provisioning.first_boot.machine import Machine
from provisioning.first_boot.telling import Telling, spoken_digits
from swarm.admission import (
    Member,
    enrolment_places,
    find_enrollers,
    found_swarm,
    join_with_code,
    join_with_token,
    require_no_swarm,
)
from swarm.config import Config
from swarm.credentials import JOIN_TOKEN, credential
from swarm.errors import MycoswarmError, NodeUnreachable
from swarm.identity import FOLDER
from swarm.interfaces import lan_interfaces
from swarm.joining import JoinFailed
from swarm.peer_session import Address, PeerRefused
from swarm.roster import introduced
from swarm.swarm_client import find_swarm_node
from swarm.tokens import BadToken, JoinToken, parse_token
from swarm.waiting import Waiting

TOKEN_ALONE_S = 600.0
"""After so long without its enroller, a machine with a token may be let in by a code as well."""
FORBIDDEN = 403
"""The enroller's last word: the token was used, has expired, was withdrawn; the node was revoked."""
BEGIN_S = 180.0
"""The node may be starting just now, on a small board."""


@dataclass(frozen=True)
class Pace:
    """How long to wait, in seconds."""

    first: float = 2.0
    """After the first failure; each next wait is twice as long."""
    longest: float = 60.0
    code: float = 4.0
    """Between the first two looks for somebody who takes machines in by code; each next wait is a tenth longer."""
    longest_code: float = 20.0
    """A person waits for it, within the ten minutes that `mycoswarm approve` lasts."""
    after_no: float = 60.0
    """After a person said no."""
    repeats: tuple[float, ...] = (600.0, 3_600.0)
    """When, after the first time, it is said again that the machine waits; then it is silent."""


_log = logging.getLogger(__name__)


class Enrolling:
    """Use `run` once."""

    def __init__(self, machine: Machine, config: Config, telling: Telling, *, pace: Pace = Pace()) -> None:
        self._machine = machine
        self._config = config
        self._telling = telling
        self._pace = pace
        self._set_clock = clock_setter(machine)
        self._token: JoinToken | None = None
        self._why_no_token = ""

    async def run(self) -> None:
        """Until the machine belongs to a swarm and its node takes part."""
        if not self._belongs():
            self._read_token()
            member = await self._enrol()
            _log.info("this machine belongs to the swarm %s as %s", member.swarm_id, member.node_id)
        for used in (self._machine.token, self._machine.founds):
            used.unlink(missing_ok=True)
        if await self._take_part():
            self._tell_ready()
        else:
            self._telling.tell(
                "problem",
                "This machine belongs to a swarm, but its node does not run: journalctl -u 'mycoswarm*' says why",
            )
        await self._telling.spoken()

    def _tell_ready(self) -> None:
        name, wrong = self._config.node.name, self._machine.run / "problems"
        if wrong.exists():
            said = " ".join(wrong.read_text(encoding="utf-8").split())
            self._telling.tell(
                "problem",
                f"{name} is ready, but not all settings could be used: {said}",
                speech=f"{_plain(name)} is ready, but not all settings could be used. The memory card says which.",
            )
        else:
            self._telling.tell("ready", f"{name} is ready.", speech=f"{_plain(name)} is ready.")

    def _belongs(self) -> bool:
        try:
            require_no_swarm(self._config)
        except MycoswarmError:
            return bool(introduced(self._config.state_dir / FOLDER))
        return False

    async def _enrol(self) -> Member:
        if self._machine.founds.exists():
            return await self._until_it_works(lambda: found_swarm(self._config))
        if self._token is not None:
            member = await self._by_token(self._token)
            if member is not None:
                return member
        return await self._by_code()

    async def _until_it_works(self, act: Callable[[], Awaitable[Member]]) -> Member:
        wait_s = self._pace.first
        while True:
            try:
                return await act()
            except MycoswarmError as error:
                self._telling.tell("problem", error.for_log())
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self._pace.longest)

    # ---- by token

    def _read_token(self) -> None:
        """The one of the settings, else the one that systemd was given for this machine (`swarm.credentials`)."""
        try:
            text = self._machine.token.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            text = credential(JOIN_TOKEN) or ""
        if not text:
            return
        try:
            self._token = parse_token(text)
        except BadToken as error:
            self._why_no_token = f"The token cannot be used: {error}."

    async def _by_token(self, token: JoinToken) -> Member | None:
        """Until the enroller let the machine in, or gave its last word; None then."""
        began, wait_s = time.monotonic(), self._pace.first
        while True:
            try:
                return await join_with_token(self._config, token, set_clock=self._set_clock)
            except MycoswarmError as error:
                if _is_final(error):
                    self._why_no_token = f"{_sentence(error)} {_sentence(error.hint)}".strip()
                    self._machine.token.unlink(missing_ok=True)
                    return None
                self._telling.tell(
                    "searching",
                    f"Looking for the machine that made the token: {error}. It tries again and again.",
                    speech="I am looking for my swarm.",
                )
            if time.monotonic() - began > TOKEN_ALONE_S:
                member = await self._code_once()
                if member is not None:
                    return member
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self._pace.longest)

    # ---- by code

    async def _by_code(self) -> Member:
        """Until a person let the machine in."""
        wait_s = self._pace.code
        repeats = asyncio.create_task(self._say_now_and_then(), name="repeating that it waits")
        try:
            async with Waiting(self._config):
                while True:
                    self._tell_that_it_waits()
                    member = await self._code_once()
                    if member is not None:
                        return member
                    await asyncio.sleep(wait_s)
                    wait_s = min(1.1 * wait_s, self._pace.longest_code)
        finally:
            repeats.cancel()
            with suppress(asyncio.CancelledError):
                await repeats

    def _tell_that_it_waits(self) -> None:
        why = f"{self._why_no_token} " if self._why_no_token else ""
        self._telling.tell(
            "problem" if why else "searching",
            f"{why}This machine belongs to no swarm yet. On a machine of the swarm, run: mycoswarm approve",
            speech=f"{why}I belong to no swarm yet. Run my-co-swarm approve on a machine that does.",
        )

    async def _say_now_and_then(self) -> None:
        for wait_s in self._pace.repeats:
            await asyncio.sleep(wait_s)
            self._telling.speak("I still belong to no swarm. Run my-co-swarm approve on a machine that does.")
        await asyncio.Event().wait()

    async def _code_once(self) -> Member | None:
        """Ask whoever takes machines in now; None when nobody does, or nobody let it in."""
        try:
            place = await self._place()
            if place is None:
                return None
            return await join_with_code(self._config, place, self._show_code, set_clock=self._set_clock)
        except JoinFailed as error:
            if _is_final(error) or isinstance(error.__cause__, PeerRefused):
                _log.info("not let in: %s", error.for_log())  # it invites by token, or the ten minutes are over
                return None
            self._telling.tell("problem", f"{_sentence(error)} It asks again in a while.")
            await asyncio.sleep(self._pace.after_no)
        except MycoswarmError as error:
            self._telling.tell("problem", error.for_log())
        return None

    async def _place(self) -> Address | None:
        if not lan_interfaces():
            return None
        found = await find_enrollers(self._config)
        if len({each.swarm_id for each in found if each.swarm_id}) > 1:
            self._telling.tell(
                "problem", "Two swarms take machines in just now. End mycoswarm approve on the one that is not meant."
            )
            return None
        return next(iter(enrolment_places(found)), None)

    async def _show_code(self, code: str, enroller: str) -> bool:
        """The person compares at the enroller, which lets in only who shows the same code; nobody sits here."""
        self._telling.tell(
            "code",
            f"The code is {code}. Approve it on {enroller} if it shows the same.",
            speech=f"The code is {spoken_digits(code)}. Again: {spoken_digits(code)}.",
        )
        return True

    # ---- afterwards

    async def _take_part(self) -> bool:
        """The running node begins again as a member; one that starts later begins so by itself. Whether it does."""
        ends = time.monotonic() + BEGIN_S
        while time.monotonic() < ends:
            try:
                node = await asyncio.to_thread(find_swarm_node, self._config.state_dir, timeout_s=30.0)
                if (await asyncio.to_thread(node.swarm)).swarm_id:
                    return True
                await asyncio.to_thread(node.begin)
            except NodeUnreachable:
                pass
            except MycoswarmError as error:
                _log.info("the node does not take part yet: %s", error.for_log())
            await asyncio.sleep(0.5)
        return False


def _is_final(error: MycoswarmError) -> bool:
    cause = error.__cause__
    return isinstance(cause, PeerRefused) and cause.status == FORBIDDEN


def _sentence(text: object) -> str:
    said = str(text).strip()
    return f"{said[0].upper()}{said[1:]}{'' if said.endswith('.') else '.'}" if said else ""


def _plain(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")
