"""A machine comes to belong to a swarm: it begins one, or another machine lets it in. Then it is on the disk.

The running node reads it from there at its next beginning (`POST /api/swarm/begin`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from swarm.candidate import Candidate, Change, Found, usable_addresses
from swarm.certificates import NodeId
from swarm.config import Config, wanted_roles
from swarm.discovery import FILE_NAME, Discovery
from swarm.errors import MycoswarmError, StorageError
from swarm.identity import FOLDER, Identity, forget_identity, open_identity
from swarm.joining import Admission, Confirm, JoinFailed, join_by_code, join_by_token, settle
from swarm.learned_addresses import LearnedAddresses, write_whole
from swarm.ledger import sync
from swarm.ledger.ledger import Ledger
from swarm.peer_session import Address, PeerRefused, Peers
from swarm.private_file import claimed, make_private_folder
from swarm.roster import INTRODUCTION, LEDGER, introduce, introduced, open_roster
from swarm.static_peers import parse_peers, resolve
from swarm.tls import TlsContexts
from swarm.tokens import JoinToken

SEARCH_S = 2.0
"""How long it is listened for enrollers by multicast; they answer within milliseconds, a switch may need a second."""
CONNECT_S = 1.5
FIRST_PULL_S = 10.0
"""For the swarm's ledger, right after joining; what is not here by then comes when the node runs."""

CLOCK_OFF_S = 600.0
"""A clock that is wrong by more is told; certificates bear a year behind and three days ahead."""

_log = logging.getLogger(__name__)

SetClock = Callable[[float], Awaitable[None]]
"""Has this machine's clock set to what the enroller's says, seconds since 1970, or decides not to."""


class Member(msgspec.Struct, frozen=True):
    """What this machine is from now on."""

    node_id: NodeId
    swarm_id: str


async def found_swarm(config: Config) -> Member:
    """Begin a swarm with this machine as its first enroller. Raises `MycoswarmError`."""
    with _free_identity(config) as identity:
        authority = await asyncio.to_thread(identity.found_swarm, now=time.time())
        swarm_id = authority.certificate.swarm_id
        roles = dict.fromkeys(("hub", *wanted_roles(config)))  # whoever admits others is one
        async with Ledger(identity.folder / LEDGER, identity, swarm_id) as ledger:
            await ledger.found(authority.certificate.pem, name=config.node.name, roles=tuple(roles))
        introduce(identity.folder, (authority.certificate,))
        return Member(identity.node_id, swarm_id)


async def join_with_token(
    config: Config, token: JoinToken, *, address: Address | None = None, set_clock: SetClock | None = None
) -> Member:
    """Join with a token, at `address` or wherever its enroller is found. Raises `MycoswarmError`."""
    with _free_identity(config) as identity:
        found = asyncio.ensure_future(_search(config, token.swarm_id, at_first=True))
        try:
            places = [address] if address else await _answering(token.addresses)
            bare = msgspec.structs.replace(token, addresses=())
            try:
                admission = await join_by_token(
                    identity, bare, name=config.node.name, roles=wanted_roles(config), addresses=places
                )
            except JoinFailed as error:
                if address is not None or isinstance(error.__cause__, PeerRefused):
                    raise
                elsewhere = [place for place in enrolment_places(await found) if place not in places]
                if not elsewhere:
                    raise
                admission = await join_by_token(
                    identity, bare, name=config.node.name, roles=wanted_roles(config), addresses=elsewhere
                )
        finally:
            found.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await found
        return await _settled(config, identity, admission, set_clock)


async def join_with_code(
    config: Config, address: Address, confirm: Confirm, *, set_clock: SetClock | None = None
) -> Member:
    """Ask the enroller at `address`; a person compares codes. Raises `MycoswarmError`."""
    with _free_identity(config) as identity:
        admission = await join_by_code(
            identity, address, name=config.node.name, roles=wanted_roles(config), confirm=confirm
        )
        return await _settled(config, identity, admission, set_clock)


async def find_enrollers(config: Config) -> list[Candidate]:
    """Every machine of the LAN that takes machines in now, of whichever swarm. Nothing of it is proved."""
    return await _search(config, "", at_first=False)


def enrolment_places(candidates: Sequence[Candidate]) -> list[Address]:
    """Where their enrolment ports are."""
    return list(
        dict.fromkeys((host, each.enrol_port) for each in candidates if each.enrol_port for host in each.addresses)
    )


def require_no_swarm(config: Config) -> None:
    """Raises `MycoswarmError` when this machine belongs to a swarm, before anything is asked of a person."""
    folder = config.state_dir / FOLDER
    if folder.is_dir():
        with claimed(folder):
            _clear_what_was_cut_off(folder)
            _require_free(open_identity(folder))


def forget_swarm(config: Config) -> str:
    """Belong to no swarm any more; returns the id of the former one. No node may run here. Raises `MycoswarmError`."""
    folder = config.state_dir / FOLDER
    identity = open_identity(folder) if folder.is_dir() else None
    authorities = introduced(folder) if identity else ()
    if identity is None or (identity.certificate is None and not authorities):
        raise MycoswarmError(
            "this machine belongs to no swarm", hint="mycoswarm init begins one, mycoswarm join joins one"
        )
    with claimed(config.state_dir):
        forget_identity(folder)
        (config.state_dir / FILE_NAME).unlink(missing_ok=True)
    return authorities[0].swarm_id if authorities else identity.certificate.swarm_id if identity.certificate else ""


# ---- this machine's identity


@contextmanager
def _free_identity(config: Config) -> Iterator[Identity]:
    """This machine's identity, which belongs to no swarm yet; nobody else changes it meanwhile."""
    try:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make the state folder {config.state_dir}: {error.strerror}",
            hint="set node.state_dir in the configuration to a folder that this user can write",
        ) from error
    folder = config.state_dir / FOLDER
    make_private_folder(folder)
    with claimed(folder):
        _clear_what_was_cut_off(folder)
        identity = open_identity(folder)
        _require_free(identity)
        yield identity


def _clear_what_was_cut_off(folder: Path) -> None:
    """After a power cut in the midst of `settle` or `found_swarm`, which write one file after the other.

    A joiner keeps its key: its enroller knows it by that, and gives it its certificate again. A founder that nobody
    ever heard of begins anew.
    """
    has_roster, certificate = bool(introduced(folder)), (folder / "node.crt").exists()
    if has_roster and not certificate and not (folder / LEDGER).exists():
        (folder / INTRODUCTION).unlink()
        _log.info("joining was interrupted before: this machine asks again")
    elif not has_roster and (folder / "authority.key").exists():
        forget_identity(folder)
        _log.info("beginning a swarm was interrupted before: it begins anew")


def _require_free(identity: Identity) -> None:
    if identity.certificate is not None or introduced(identity.folder):
        swarm_id = identity.certificate.swarm_id if identity.certificate else "one that it lost its certificate of"
        raise MycoswarmError(
            f"this machine belongs to a swarm already: {swarm_id}", hint="take it out of that first: mycoswarm leave"
        )


async def _settled(config: Config, identity: Identity, admission: Admission, set_clock: SetClock | None) -> Member:
    settle(identity, admission)
    if set_clock is not None:
        await set_clock(admission.told_time)
    ahead_s = time.time() - admission.told_time
    if abs(ahead_s) > CLOCK_OFF_S:
        _log.warning(
            "this machine's clock is %s by %.1f hours, compared with the machine that let it in: set it, or the others "
            "take its certificate for none",
            "fast" if ahead_s > 0 else "slow",
            abs(ahead_s) / 3600,
        )
    await _pull_first(identity, admission)
    now = time.time()
    swarm_id = admission.certificate.swarm_id
    learned = LearnedAddresses(swarm_id)
    for host, port in admission.nodes:
        learned.proved(admission.enroller, host, port, now)
    with contextlib.suppress(OSError):  # a hint only: discovery has others
        write_whole(config.state_dir / FILE_NAME, learned.to_json(now))
    return Member(identity.node_id, swarm_id)


async def _pull_first(identity: Identity, admission: Admission) -> None:
    """Learn from the enroller who else belongs to the swarm: at first nobody else knows this node."""
    if not admission.nodes:
        return
    try:
        async with open_roster(identity) as roster:
            peers = Peers(TlsContexts(identity, roster), roster, lambda _: admission.nodes)
            try:
                async with asyncio.timeout(FIRST_PULL_S):
                    await sync.pull(roster.ledger, peers[admission.enroller], admission.enroller)
            finally:
                await peers.close()
    except (MycoswarmError, TimeoutError) as error:
        _log.warning("the swarm's ledger comes later: %s", error or f"no answer within {FIRST_PULL_S:g} s")


# ---- finding an enroller


async def _search(config: Config, swarm_id: str, *, at_first: bool) -> list[Candidate]:
    """Enrollers of a swarm, or of any; `at_first` returns as soon as there is one."""
    found: dict[tuple[str, tuple[str, ...]], Candidate] = {}
    some = asyncio.Event()

    def changed(change: Change) -> None:
        if isinstance(change, Found) and change.candidate.enrol_port:
            found[change.candidate.node_id, change.candidate.addresses] = change.candidate
            some.set()

    section = config.swarm
    for peer in parse_peers(section.peers, default_port=section.port):
        candidate = await resolve(peer)
        if candidate is not None:
            changed(Found(msgspec.structs.replace(candidate, enrol_port=section.enrolment_port)))
    if section.multicast:
        discovery = Discovery(swarm_id=swarm_id, state_dir=config.state_dir, on_change=changed)
        await discovery.start()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEARCH_S):
                    await (some.wait() if at_first else asyncio.Event().wait())
        finally:
            await discovery.close()
    return list(found.values())


async def _answering(addresses: Sequence[Address]) -> list[Address]:
    """Those where somebody listens, in their order: a token may name places that are no more."""

    async def answers(address: Address) -> bool:
        try:
            if not usable_addresses([address[0]], loopback=True):
                return False
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(*address)
        except (OSError, TimeoutError):
            return False
        writer.transport.abort()
        return True

    tried = await asyncio.gather(*(answers(each) for each in addresses))
    return [address for address, there in zip(addresses, tried, strict=True) if there]
