from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from swarm.certificates import Authority, BadCertificate, new_authority, public_der
from swarm.errors import StorageError
from swarm.trust import FileTrust, create_trust, judge, load_trust

NOW = 1_800_000_000.0
FOUNDER, SECOND, NODE = "a" * 26, "b" * 26, "c" * 26


def swarm_of(folder: Path) -> tuple[Authority, Authority, FileTrust]:
    first = new_authority(FOUNDER, None, now=NOW)
    second = new_authority(SECOND, first.certificate.swarm_id, now=NOW)
    return first, second, create_trust(folder, first.certificate.swarm_id, (first.certificate,))


def test_revocation_is_in_force_before_it_is_on_disk_and_still_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        _, _, trust = swarm_of(tmp_path)
        await trust.admit(NODE, "attic")
        seen: list[bool] = []
        trust.subscribe(lambda: seen.append(trust.is_revoked(NODE)))
        revoking = asyncio.create_task(trust.revoke(NODE))
        await asyncio.sleep(0)
        assert seen == [True] and not trust.is_member(NODE)
        await revoking
        again = load_trust(tmp_path)
        assert again is not None and again.is_revoked(NODE) and not again.is_member(NODE)
        await again.admit(NODE, "attic")  # a later entry in the roster does not undo it
        assert again.is_revoked(NODE) and not again.is_member(NODE) and NODE not in again.members()

    asyncio.run(scenario())


def test_changes_made_at_once_are_all_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        _, second, trust = swarm_of(tmp_path)
        names = {letter * 26: letter for letter in "defghijk"}
        await asyncio.gather(
            *(trust.admit(node_id, name) for node_id, name in names.items()),
            trust.revoke(NODE),
            trust.add_authority(second.certificate),
        )
        again = load_trust(tmp_path)
        assert again is not None
        assert again.members() == names and again.is_revoked(NODE) and len(again.bundle().current) == 2

    asyncio.run(scenario())
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_revoked_enroller_admits_nobody_more_and_those_it_admitted_remain_if_they_are_in_the_roster(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        first, second, trust = swarm_of(tmp_path)
        await trust.add_authority(second.certificate)
        known, stranger = (
            first.issue(public_der(Ed25519PrivateKey.generate().public_key()), now=NOW) for _ in range(2)
        )
        await trust.admit(known.node_id, "cellar")
        await trust.revoke(FOUNDER)
        for each in (trust, load_trust(tmp_path)):
            assert each is not None
            assert set(each.bundle().current) == {second.certificate.authority_id}
            assert judge(known, each, NOW) == "admitted"
            assert judge(stranger, each, NOW) == "unknown_authority"
        await trust.add_authority(first.certificate)  # retired is for good
        assert judge(stranger, trust, NOW) == "unknown_authority"

    asyncio.run(scenario())


def test_authority_of_another_swarm_is_not_taken(tmp_path: Path) -> None:
    _, _, trust = swarm_of(tmp_path)
    other = new_authority(SECOND, None, now=NOW).certificate
    with pytest.raises(BadCertificate, match="another swarm"):
        asyncio.run(trust.add_authority(other))
    with pytest.raises(BadCertificate, match="another swarm"):
        create_trust(tmp_path / "x", trust.swarm_id, (other,))


def test_roster_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    swarm_of(tmp_path)
    (tmp_path / "roster.json").write_text('{"swarm_id": "x", "revoked": 3}')
    with pytest.raises(StorageError, match=r"roster\.json"):
        load_trust(tmp_path)


def test_node_that_never_joined_has_no_trust(tmp_path: Path) -> None:
    assert load_trust(tmp_path) is None


def test_subscription_ends_when_asked_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        _, _, trust = swarm_of(tmp_path)
        calls: list[int] = []
        end = trust.subscribe(lambda: calls.append(1))
        await trust.admit(NODE, "attic")
        end()
        end()
        await trust.revoke(NODE)
        assert calls == [1]

    asyncio.run(scenario())
