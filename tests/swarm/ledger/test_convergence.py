"""Whatever a network does to what nodes tell each other, all ledgers become equal, and equal to themselves rebuilt."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.ledger import sync
from swarm.ledger.errors import LedgerError
from swarm.ledger.ledger import VIEWS, Ledger
from swarm.ledger.operation import Lane
from swarm.ledger.outgoing import Runs, WantProof, Wants, heads_for, proof_for, runs_for
from swarm.ledger.roster import Member
from swarm.ledger.snapshot import make_snapshot, replay
from tests.swarm.ledger.nodes import Key, Swarm

RELAY = Key().node_id
"""Everybody speaks through somebody of no account: who still speaks to whom is another question."""
ANYTHING = Member(RELAY, "", (), ("private", "home", "shared"))
NODES = 4
VIEW_LANES: tuple[Lane, ...] = ("home", "shared", "private")


class _Answer:
    host = "relay"
    reason = ""
    headers: Mapping[str, str] = {}

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self._body = body
        self.content = self

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._body

    def close(self) -> None:
        pass


class Relay:
    """Brings what one ledger knows, if it arrives: lost before or after it was asked for, in pieces, repeated, or in
    another order."""

    def __init__(self, source: Ledger, chaos: Random | None) -> None:
        self._source = source
        self._chaos = chaos
        self._old: list[Any] = []

    @contextlib.asynccontextmanager
    async def request(self, method: str, path: str, *, data: Any = None, **_: Any) -> AsyncIterator[Any]:
        roster = self._source.roster
        if path == sync.HEADS_PATH:
            answer: Any = await self._source.read(lambda storage: heads_for(ANYTHING, storage, roster))
        elif path == sync.RUNS_PATH:
            wants = msgspec.msgpack.decode(data, type=Wants).wants
            answer = await self._source.read(lambda storage: runs_for(ANYTHING, storage, roster, wants))
            answer = self._disturbed(answer)
        else:
            want = msgspec.msgpack.decode(data, type=WantProof)
            answer = await self._source.read(lambda storage: proof_for(ANYTHING, storage, want))
        yield _Answer(200, msgspec.msgpack.encode(answer))

    def _disturbed(self, answer: Runs) -> Runs:
        if self._chaos is None:
            return answer
        runs = list(answer.runs)
        what = self._chaos.choice(("whole", "lost", "part", "twice", "shuffled"))
        if what == "lost":
            raise ConnectionResetError
        if what == "part":
            runs = self._chaos.sample(runs, self._chaos.randint(0, len(runs)))
        elif what == "twice":
            runs += runs
        elif what == "shuffled":
            self._chaos.shuffle(runs)
        return Runs(tuple(runs))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, NODES - 1), st.integers(0, 3), st.sampled_from(VIEW_LANES)),
        st.tuples(st.just("remove"), st.integers(0, NODES - 1), st.integers(0, 3), st.none()),
        st.tuples(st.just("pull"), st.integers(0, NODES - 1), st.integers(0, NODES - 1), st.none()),
        st.tuples(st.just("pull"), st.integers(0, NODES - 1), st.integers(0, NODES - 1), st.none()),
        st.tuples(
            st.sampled_from(["enrol", "grant", "revoke"]),
            st.integers(0, NODES - 1),
            st.integers(0, NODES - 1),
            st.none(),
        ),
        st.tuples(st.just("leave"), st.integers(1, NODES - 1), st.none(), st.none()),
    ),
    max_size=30,
)


async def live_through(folder: Path, steps: list[tuple[Any, ...]], chaos: Random) -> None:
    async with Swarm(folder, clock=lambda: chaos.uniform(1e9, 1e9 + 10)) as swarm:
        keys = [swarm.founder, *(Key() for _ in range(NODES - 1))]
        ledgers = [await swarm.found()]
        for key in keys[1:]:
            ledger = await swarm.open(key)
            await ledgers[0].enrol(key.node_id, name="n", roles=("hub",))
            await sync.pull(ledger, Relay(ledgers[0], None), RELAY)
            ledgers.append(ledger)
        # A second hub, unless the steps take it away: without it nobody would contradict the founder.
        await ledgers[0].grant(keys[1].node_id, keys[1].authority(swarm.id).certificate.pem)
        await sync.pull(ledgers[1], Relay(ledgers[0], None), RELAY)

        for number, (what, who, other, lane) in enumerate(steps):
            ledger = ledgers[who]
            with contextlib.suppress(LedgerError, ConnectionResetError):
                match what:
                    case "put":
                        await ledger.put("jobs", f"k{other}", number, lane=lane)
                    case "remove":
                        await ledger.remove("jobs", f"k{other}")
                    case "pull":
                        await sync.pull(ledger, Relay(ledgers[other], chaos), RELAY)
                    case "enrol":
                        await ledger.enrol(keys[other].node_id, name=f"n{number}", roles=("hub",))
                    case "grant":
                        await ledger.grant(keys[other].node_id, keys[other].authority(swarm.id).certificate.pem)
                    case "revoke":
                        await ledger.revoke(keys[other].node_id)
                    case "leave":
                        await ledger.leave()

        came = True
        while came:
            came = False
            for ledger in ledgers:
                for other in ledgers:
                    pulled = await sync.pull(ledger, Relay(other, None), RELAY)
                    came = came or pulled.operations > 0
                    assert not pulled.forks
        for ledger in ledgers:
            assert ledger.roster == ledgers[0].roster
            assert ledger.jobs.snapshot() == ledgers[0].jobs.snapshot()
            await ledger.verify()
            limits = await ledger.read(
                lambda storage: {
                    log: min(head.position, ledgers[0].roster.limit(log))
                    for log, head in storage.heads().items()
                    if log.lane != "roster"
                }
            )
            rebuilt = await ledger.read(lambda storage, limits=limits: make_snapshot(storage, VIEWS, limits))  # type: ignore[misc]
            assert rebuilt["jobs"][1] == ledger.jobs.snapshot()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, st.integers(0, 2**32))
def test_ledgers_become_equal_after_loss_repetition_reordering_and_partition(
    steps: list[tuple[Any, ...]], seed: int
) -> None:
    memory = Path("/dev/shm")  # many commits, and what a disk makes of them is tested elsewhere
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        asyncio.run(live_through(Path(folder), steps, Random(seed)))


def test_what_is_rebuilt_is_read_from_the_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with Swarm(tmp_path) as swarm:
            ledger = await swarm.found()
            for each in range(5):
                await ledger.put("jobs", f"{each}", each)
            log = ledger.jobs.writes("0")[0].tag.log
            views = [make() for make in VIEWS]
            await ledger.read(lambda storage: replay(storage, views, {log: 2}, {log: 4}))
            by_name = {view.name: view for view in views}
            assert sorted(key for key, _ in by_name["jobs"].items()) == ["2", "3"]  # type: ignore[attr-defined]

    asyncio.run(main())
