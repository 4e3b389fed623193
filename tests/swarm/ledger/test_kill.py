import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from swarm.identity import open_identity
from swarm.ledger.ledger import Ledger
from swarm.ledger.operation import LogId


def test_sigkill_at_any_moment_loses_no_acknowledged_operation(tmp_path: Path) -> None:
    identity = open_identity(tmp_path / "identity")
    authority = identity.found_swarm(now=time.time()).certificate
    acknowledged: list[str] = []
    choose = random.Random()

    async def look(*, found: bool = False) -> int:
        async with Ledger(tmp_path / "ledger.db", identity, authority.swarm_id) as ledger:
            if found:
                await ledger.found(authority.pem, name="first")
            for line in acknowledged:
                epoch, lane, sequence, key = line.split()
                assert key in ledger.jobs, line
                write = ledger.jobs.writes(key)[0]
                assert write.tag.log == LogId(identity.node_id, bytes.fromhex(epoch), lane)  # type: ignore[arg-type]
                assert write.tag.sequence == int(sequence)
            return await ledger.verify()

    asyncio.run(look(found=True))
    for _ in range(4):
        # What has not left the process's pipe when it dies was not acknowledged to anybody.
        with subprocess.Popen(
            [sys.executable, "-m", "tests.swarm.ledger.writer", str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            wanted = choose.randrange(1, 400)
            for _ in range(wanted):
                acknowledged.append(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            acknowledged += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        assert acknowledged[-1].endswith("\n")
        assert asyncio.run(look()) > len(acknowledged)
