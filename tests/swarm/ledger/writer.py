"""Appends until it is killed, and says what was acknowledged: run by test_kill.py."""

import asyncio
import sys
from pathlib import Path

from swarm.identity import open_identity
from swarm.ledger.ledger import Ledger


async def main(folder: Path) -> None:
    identity = open_identity(folder / "identity")
    assert identity.authority is not None
    async with Ledger(folder / "ledger.db", identity, identity.authority.certificate.swarm_id) as ledger:

        async def write(who: int) -> None:
            number = 0
            while True:
                key = f"{who}-{ledger.node[:3]}-{number}-{id(ledger)}"
                written = await ledger.append("jobs.put", {"key": key, "value": "x" * (number % 400)})
                sys.stdout.write(f"{written.log.epoch.hex()} {written.log.lane} {written.sequence} {key}\n")
                sys.stdout.flush()
                number += 1

        await asyncio.gather(*(write(who) for who in range(8)))


asyncio.run(main(Path(sys.argv[1])))
