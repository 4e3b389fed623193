from __future__ import annotations

import asyncio
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from swarm.certificates import new_authority, public_der
from swarm.trust import judge
from tests.swarm.held_trust import create_trust

NOW = 1_800_000_000.0
FOUNDER, SECOND = "a" * 26, "b" * 26


def test_revoked_enroller_admits_nobody_more_and_those_it_admitted_remain_if_they_are_in_the_roster(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        first = new_authority(FOUNDER, None, now=NOW)
        second = new_authority(SECOND, first.certificate.swarm_id, now=NOW)
        trust = create_trust(tmp_path, first.certificate.swarm_id, (first.certificate,))
        await trust.add_authority(second.certificate)
        known, stranger = (
            first.issue(public_der(Ed25519PrivateKey.generate().public_key()), now=NOW) for _ in range(2)
        )
        await trust.admit(known.node_id, "cellar")
        await trust.revoke(FOUNDER)
        assert set(trust.bundle().current) == {second.certificate.authority_id}
        assert judge(known, trust, NOW) == "admitted"
        assert judge(stranger, trust, NOW) == "unknown_authority"
        await trust.add_authority(first.certificate)  # retired is for good
        assert judge(stranger, trust, NOW) == "unknown_authority"

    asyncio.run(scenario())
