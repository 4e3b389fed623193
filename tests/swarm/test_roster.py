"""Who belongs to the swarm: found by what a person types, kept in the ledger, changed by those who may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from swarm.certificates import AuthorityCertificate, BadCertificate, new_authority
from swarm.errors import MycoswarmError
from swarm.identity import Identity, open_identity
from swarm.ledger.errors import LedgerError, NotEntitled
from swarm.ledger.ledger import Ledger
from swarm.roster import LEDGER, Roster, find_member, introduce, introduced, is_enroller, open_roster
from swarm.roster_upkeep import SETTLE_S, RosterUpkeep
from tests.swarm.ledger.nodes import meet

MEMBERS = {
    "abcd" + "a" * 22: "attic",
    "abcd" + "b" * 22: "cellar",
    "efgh" + "a" * 22: "twin",
    "efgh" + "b" * 22: "twin",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [("attic", "abcd" + "a" * 22), (" cellar ", "abcd" + "b" * 22), ("abcda", "abcd" + "a" * 22),
     ("EFGHB", "efgh" + "b" * 22)],
)  # fmt: skip
def test_member_is_found_by_name_or_by_the_beginning_of_its_id(text: str, found: str) -> None:
    assert find_member(MEMBERS, text) == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("twin", "2 nodes are called twin"), ("abcd", "2 nodes are called abcd"), ("abc", "no node"), ("", "no node"),
     ("Attic", "no node of this swarm is called Attic")],
)  # fmt: skip
def test_who_is_not_meant_by_it_is_not_found(text: str, complaint: str) -> None:
    with pytest.raises(MycoswarmError, match=complaint):
        find_member(MEMBERS, text)


# ---- in the ledger


@asynccontextmanager
async def founding(folder: Path) -> AsyncIterator[tuple[Identity, Roster]]:
    identity = open_identity(folder)
    authority = identity.found_swarm(now=time.time()).certificate
    async with Ledger(folder / LEDGER, identity, authority.swarm_id) as ledger:
        await ledger.found(authority.pem, name=folder.name)
    introduce(folder, (authority,))
    async with open_roster(identity) as roster:
        yield identity, roster


@asynccontextmanager
async def joining(
    folder: Path, by: Identity, *, also: tuple[AuthorityCertificate, ...] = ()
) -> AsyncIterator[tuple[Identity, Roster]]:
    """A node that has a certificate and an introduction, and no ledger."""
    identity = open_identity(folder)
    assert by.authority is not None
    identity.install(by.authority.issue(identity.public_key, now=time.time()))
    introduce(folder, (by.authority.certificate, *also))
    async with open_roster(identity) as roster:
        yield identity, roster


def authority_of(identity: Identity) -> AuthorityCertificate:
    return identity.become_enroller(now=time.time()).certificate


def test_machine_that_belongs_to_no_swarm_was_not_introduced(tmp_path: Path) -> None:
    assert introduced(tmp_path) == ()


def test_introduction_of_several_swarms_is_none(tmp_path: Path) -> None:
    introduce(tmp_path, [new_authority(letter * 26, None, now=1e9).certificate for letter in "ab"])
    with pytest.raises(BadCertificate, match="no authorities of one swarm"):
        introduced(tmp_path)


def test_joiner_believes_its_enroller_until_the_ledger_has_come_and_then_the_ledger(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            founding(tmp_path / "first") as (first, one),
            joining(tmp_path / "second", first) as (second, two),
        ):
            assert two.is_member(first.node_id) and two.is_member(second.node_id)
            assert is_enroller(two, first.node_id) and two.members() == {}
            await one.admit(second.node_id, "second", ("worker",))
            hub = open_identity(tmp_path / "hub")
            assert first.authority is not None
            hub.install(first.authority.issue(hub.public_key, now=time.time()))
            await one.admit(hub.node_id, "hub", ("hub",))
            await one.grant(authority_of(hub))
            await one.revoke(hub.node_id)
            await meet(one.ledger, two.ledger)
            assert two.members() == {first.node_id: "first", second.node_id: "second"}
            assert two.bundle() == one.bundle() and len(two.bundle().retired) == 1
            assert two.is_revoked(hub.node_id) and not two.is_member(hub.node_id)

    asyncio.run(scenario())


def test_authority_of_the_introduction_that_the_ledger_does_not_know_counts_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with founding(tmp_path / "first") as (first, one):
            unknown = new_authority("z" * 26, one.swarm_id, now=time.time()).certificate
            async with joining(tmp_path / "second", first, also=(unknown,)) as (second, two):
                assert is_enroller(two, "z" * 26) and two.is_member("z" * 26)
                await one.admit(second.node_id, "second", ("worker",))
                await meet(one.ledger, two.ledger)
                assert not is_enroller(two, "z" * 26) and not two.is_member("z" * 26)

    asyncio.run(scenario())


def test_revocation_is_in_force_and_told_here_and_wherever_the_ledger_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            founding(tmp_path / "first") as (first, one),
            joining(tmp_path / "second", first) as (second, two),
            joining(tmp_path / "third", first) as (third, three),
        ):
            for identity, name in ((second, "second"), (third, "third")):
                await one.admit(identity.node_id, name, ("worker",))
            for each in (two, three):
                await meet(one.ledger, each.ledger)
            seen: list[bool] = []
            for each in (one, three):
                each.subscribe(lambda each=each: seen.append(each.is_revoked(second.node_id)))  # type: ignore[misc]
            before = three.bundle()
            await one.revoke(second.node_id)
            await meet(one.ledger, three.ledger)
            assert seen == [True, True]
            assert three.bundle() is before
            with pytest.raises(NotEntitled):
                await three.revoke(first.node_id)
            with pytest.raises(LedgerError, match="revoked"):
                await one.admit(second.node_id, "again", ())
        async with open_roster(open_identity(tmp_path / "third")) as again:
            assert again.is_revoked(second.node_id)

    asyncio.run(scenario())


def test_member_that_asks_again_is_not_written_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with founding(tmp_path / "first") as (_, one):
            node = "c" * 26
            written: list[int] = []
            one.subscribe(lambda: written.append(1))
            await one.admit(node, "cellar", ("worker",))
            await one.admit(node, "cellar", ("worker",))
            assert len(written) == 1
            await one.admit(node, "kitchen", ("hub",))
            assert (one.members()[node], one.roles(node)) == ("kitchen", ("hub",))

    asyncio.run(scenario())


def test_right_to_admit_is_for_hubs_of_this_swarm(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            founding(tmp_path / "first") as (first, one),
            joining(tmp_path / "second", first) as (second, _),
        ):
            await one.admit(second.node_id, "second", ("worker",))
            with pytest.raises(NotEntitled, match="no hub"):
                await one.grant(authority_of(second))
            with pytest.raises(BadCertificate, match="another swarm"):
                await one.grant(new_authority(second.node_id, None, now=1e9).certificate)
            await one.admit(second.node_id, "second", ("hub",))
            await one.grant(authority_of(second))
            assert is_enroller(one, second.node_id)
            await one.admit(second.node_id, "second", ("worker",))
            assert "hub" in one.roles(second.node_id) and is_enroller(one, second.node_id)

    asyncio.run(scenario())


def test_who_has_left_is_believed_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            founding(tmp_path / "first") as (first, one),
            joining(tmp_path / "second", first) as (second, two),
        ):
            await one.admit(second.node_id, "second", ("worker",))
            await meet(one.ledger, two.ledger)
            await two.leave()
            await meet(two.ledger, one.ledger)
            assert one.is_revoked(second.node_id) and second.node_id not in one.members()

    asyncio.run(scenario())


# ---- what members say of themselves


def test_name_and_roles_that_a_member_goes_on_saying_are_written_down_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with founding(tmp_path / "first") as (_, one):
            node, now = "c" * 26, 100.0
            await one.admit(node, "cellar", ("hub", "edge"))
            upkeep = RosterUpkeep(one, lambda: [node], lambda: now)
            changed = asyncio.Event()
            one.subscribe(changed.set)
            upkeep.said("d" * 26, "stranger", ("hub",))
            for _ in range(3):
                assert not upkeep._writing
                upkeep.said(node, "kitchen\x1b", ("hub", "king"))
                now += SETTLE_S / 2
            async with asyncio.timeout(5):
                await changed.wait()
            assert (one.members()[node], one.roles(node)) == ("kitchen?", ("hub",))
            changed.clear()
            for _ in range(5):
                upkeep.said(node, "kitchen\x1b", ("hub",))
                upkeep.said(node, "only for a moment", ("hub",))
                now += SETTLE_S / 5
            await one.admit("e" * 26, "attic", ())
            assert one.members()[node] == "kitchen?"

    asyncio.run(scenario())


def test_only_an_enroller_writes_down_what_members_say(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            founding(tmp_path / "first") as (first, one),
            joining(tmp_path / "second", first) as (second, two),
        ):
            await one.admit(second.node_id, "second", ("hub",))
            await meet(one.ledger, two.ledger)
            now = 0.0
            upkeep = RosterUpkeep(two, lambda: [first.node_id], lambda: now)
            upkeep.said(first.node_id, "renamed", ("hub",))
            now = SETTLE_S
            upkeep.said(first.node_id, "renamed", ("hub",))
            assert not upkeep._writing

    asyncio.run(scenario())
