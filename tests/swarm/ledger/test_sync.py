"""Nodes pull from each other over real aiohttp."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from swarm.certificates import id_of
from swarm.errors import MalformedMessage
from swarm.ledger import sync
from swarm.ledger.errors import NotEntitled, SyncError
from swarm.ledger.ledger import Ledger
from swarm.ledger.operation import LogId, chain, encode_body, encode_payload, first_hash, signed_bytes
from swarm.ledger.outgoing import Heads, Runs, Want, WantProof, Wants
from swarm.ledger.roster import Enrol
from swarm.ledger.run import Run
from swarm.node_api import asking_node
from swarm.peer_session import PeerRefused
from tests.swarm import enrolled
from tests.swarm.ledger.nodes import Key, Session, Swarm, meet, meet_all, serving, with_swarm

EPOCH = b"epoch678"


def a_run(swarm: Swarm, key: Key, values: list[object], *, lane: Any = "home", kind: str = "jobs.put") -> Run:
    """The beginning of a log of `key` that no ledger wrote."""
    log = LogId(key.node_id, EPOCH, lane)
    bodies = tuple(encode_body(number, kind, encode_payload(value)) for number, value in enumerate(values))
    first = first_hash(swarm.id, log)
    return Run(key.public_key, EPOCH, lane, 1, first, bodies, key.sign(signed_bytes(len(bodies), chain(first, bodies))))


def asked(*runs: Run) -> frozenset[LogId]:
    return frozenset(LogId(id_of(run.key), run.epoch, run.lane) for run in runs)


def test_all_nodes_get_all_that_any_wrote(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        hub = await swarm.hub(first)
        worker = await swarm.join(hub)
        await first.put("settings", "volume", 1)
        await hub.put("settings", "volume", 2)
        await worker.put("jobs", "j", {"state": "waiting"})
        await meet_all(first, hub, worker)
        for each in (first, hub, worker):
            assert each.roster == first.roster
            assert each.jobs.get("j") == {"state": "waiting"}
            assert each.settings.snapshot() == first.settings.snapshot()
            assert await each.verify() == await first.verify()
        assert {member.may_enrol for member in first.roster.members.values()} == {True, False}
        assert len(worker.roster.bundle.current) == 2

    with_swarm(tmp_path, test)


def test_who_knows_the_same_is_told_so_in_one_answer(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        other = await swarm.join(first, accepts=("private", "home", "shared"))
        async with serving(first, other.node) as session:
            assert (await sync.pull(other, session, first.node)).operations == 0
            assert session.asked == [sync.HEADS_PATH]
            await first.put("jobs", "j", 1)
            assert (await sync.pull(other, session, first.node)).operations == 1
            assert session.asked == [sync.HEADS_PATH, sync.HEADS_PATH, sync.RUNS_PATH]

    with_swarm(tmp_path, test)


def test_a_lane_goes_only_to_those_marked_for_it(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        home = await swarm.join(first)
        guest = await swarm.join(first, accepts=("shared",))
        nobody = await swarm.join(first, accepts=())
        trusted = await swarm.join(first, accepts=("private", "home"))
        for lane in ("private", "home", "shared"):
            await first.put("jobs", lane, 1, lane=lane)
        every = (home, guest, nobody, trusted)
        for each in every:
            await meet(first, each)
        names = [sorted(key for key, _ in each.jobs.items()) for each in every]
        assert names == [["home", "shared"], ["shared"], [], ["home", "private"]]

        secret = LogId(first.node, (await heads_of(first))["private"], "private")
        async with serving(first, home.node) as session:
            status, data = await ask(session, sync.RUNS_PATH, Wants((Want(secret, 0),)))
            assert (status, msgspec.msgpack.decode(data, type=Runs)) == (200, Runs(()))
            assert (await ask(session, sync.PROOF_PATH, WantProof(secret, 1)))[0] == 404
            _, data = await ask(session, sync.HEADS_PATH, None)
            assert {each.lane for each in msgspec.msgpack.decode(data, type=Heads).heads} == {
                "roster",
                "home",
                "shared",
            }

    with_swarm(tmp_path, test)


async def heads_of(ledger: Ledger) -> dict[str, bytes]:
    return await ledger.read(lambda storage: {log.lane: log.epoch for log in storage.heads()})


async def ask(session: Session, path: str, message: object) -> tuple[int, bytes]:
    data = None if message is None else msgspec.msgpack.encode(message)
    async with session.request("GET" if data is None else "POST", path, data=data) as response:
        return response.status, await response.read()


def test_strangers_and_revoked_nodes_are_not_served(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        gone = await swarm.join(first)
        await first.revoke(gone.node)
        log = LogId(first.node, EPOCH, "roster")
        for asker in (gone.node, Key().node_id, "", first.node[:-1]):
            async with serving(first, asker) as session:
                for path, message in (
                    (sync.HEADS_PATH, None),
                    (sync.RUNS_PATH, Wants((Want(log, 0),))),
                    (sync.PROOF_PATH, WantProof(log, 1)),
                ):
                    status, data = await ask(session, path, message)
                    assert status == 403
                    assert b"roster" in data
        with pytest.raises(PeerRefused, match="not in the roster"):
            await meet(first, gone)
        with pytest.raises(SyncError, match="not believed"):
            await meet(gone, first)

    with_swarm(tmp_path, test)


def test_questions_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        log = LogId(first.node, EPOCH, "home")
        async with serving(first, first.node) as session:
            for path in (sync.RUNS_PATH, sync.PROOF_PATH):
                for data in (b"", b"\xc1", b"x" * 70_000, msgspec.msgpack.encode({"wants": []}), b"\x91" * 5000):
                    async with session.request("POST", path, data=data) as response:
                        assert response.status == 400
            assert (await ask(session, sync.RUNS_PATH, {"wants": [(log, 0)] * 300}))[0] == 400
            assert (await ask(session, sync.PROOF_PATH, WantProof(log, 1_000_000)))[0] == 404
            for after in (0, 1_000_000):
                _, data = await ask(session, sync.RUNS_PATH, Wants((Want(log, after),)))
                assert msgspec.msgpack.decode(data, type=Runs).runs == ()

    with_swarm(tmp_path, test)


def test_a_pull_that_is_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        other = await swarm.join(first)
        value = "x" * 4000
        await asyncio.gather(*(first.append("jobs.put", {"key": f"{n}", "value": value}) for n in range(1000)))
        lengths = [len(other.jobs)]
        async with serving(first, other.node) as session:
            while lengths[-1] < 1000:
                answers = 0

                class CutOff(Session):
                    @contextlib.asynccontextmanager
                    async def request(self, method: str, path: str, **more: Any) -> AsyncIterator[Any]:
                        nonlocal answers
                        answers += path == sync.RUNS_PATH
                        if answers > 1:
                            raise ConnectionResetError
                        async with session.request(method, path, **more) as response:
                            yield response

                with contextlib.suppress(ConnectionResetError):
                    await sync.pull(other, CutOff(session._http, "", ""), first.node)
                lengths.append(len(other.jobs))
        assert len(lengths) > 3
        assert lengths == sorted(set(lengths))
        assert await other.verify() == await first.verify()

    with_swarm(tmp_path, test)


def test_only_what_its_author_signed_and_the_roster_allows_is_stored(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        member, stranger = Key(), Key()
        await first.enrol(member.node_id, name="m")
        good = a_run(swarm, member, [{"key": "a", "value": 1}])
        before = await first.verify()
        forged = msgspec.structs.replace(good, key=stranger.public_key)
        tampered = msgspec.structs.replace(good, bodies=(good.bodies[0].replace(b"a", b"b"),))
        later = msgspec.structs.replace(
            good, first=2, signature=member.sign(signed_bytes(2, chain(good.previous, good.bodies)))
        )
        wrong_kind = a_run(swarm, member, [1], kind="roster.enrol")
        with pytest.raises(MalformedMessage, match="leaves out 1 to 1"):
            await first.take([later], asked(later))
        for bad in (forged, tampered, wrong_kind):
            with pytest.raises(MalformedMessage):
                await first.take([good, bad], asked(good, bad))
            assert await first.verify() == before, "the good one before it is not stored either"
        with pytest.raises(MalformedMessage, match="not asked for"):
            await first.take([good], frozenset())

        foreign = a_run(swarm, stranger, [{"key": "b", "value": 1}])
        unknown = a_run(swarm, stranger, [Enrol(stranger.node_id)], lane="roster", kind="roster.enrol")
        pretender = a_run(
            swarm,
            stranger,
            [Enrol(stranger.node_id, "", ("hub",), (), swarm.founding.pem)],
            lane="roster",
            kind="roster.found",
        )
        for run in (foreign, unknown, pretender):
            taken = await first.take([run], asked(run))
            assert (taken.operations, list(taken.refused.values())) == (0, ["its origin is not in the roster"])
        assert (await first.take([good, good], asked(good))).operations == 1
        assert first.jobs.get("a") == 1
        assert await first.verify() == before + 1

    with_swarm(tmp_path, test)


def test_a_log_of_another_swarm_is_taken_for_a_fork_and_not_stored(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        member = Key()
        await first.enrol(member.node_id, name="m")
        other = Swarm(tmp_path)
        run = a_run(other, member, [{"key": "a", "value": 1}])
        taken = await first.take([run], asked(run))
        assert (taken.operations, taken.forked) == (0, dict.fromkeys(asked(run), 0))
        assert "a" not in first.jobs

    with_swarm(tmp_path, test)


def test_what_a_revoked_node_wrote_later_is_ignored_on_every_node(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        quick, slow = await swarm.join(first), await swarm.join(first)
        revoked = await swarm.join(first)
        await meet_all(first, quick, slow)
        await revoked.put("jobs", "before", 1)
        await meet(revoked, first) if first.node in revoked.roster.members else None
        await first.revoke(revoked.node)
        await revoked.put("jobs", "after", 1)
        await meet(revoked, slow)  # it has not heard yet
        assert slow.jobs.get("after") == 1
        await meet_all(first, quick, slow)
        for each in (first, quick, slow):
            assert [key for key, _ in each.jobs.items()] == ["before"]
            assert each.roster.is_revoked(revoked.node)
            assert each.jobs.snapshot() == first.jobs.snapshot()

    with_swarm(tmp_path, test)


class Liar:
    """Answers as it likes."""

    def __init__(self, answers: dict[str, tuple[int, bytes]]) -> None:
        self._answers = answers

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        async def answer(request: web.Request) -> web.Response:
            status, body = self._answers[request.path]
            return web.Response(status=status, body=body)

        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", answer)
        async with TestServer(app) as server, aiohttp.ClientSession() as http:
            yield Session(http, str(server.make_url("")).rstrip("/"), "me")


def test_a_peer_that_lies_ends_the_pull_and_nothing_else(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        member = Key()
        await first.enrol(member.node_id, name="m")
        run = a_run(swarm, member, [{"key": "a", "value": 1}])
        hash_ = chain(run.previous, run.bodies)
        heads = msgspec.msgpack.encode({"heads": [(run.key, run.epoch, run.lane, 5, hash_)]})
        forged = msgspec.msgpack.encode(Runs((msgspec.structs.replace(run, signature=b"s" * 64),)))
        once = msgspec.msgpack.encode(Runs((run,)))
        elsewhere = a_run(Swarm(tmp_path), member, [1])
        foreign = msgspec.msgpack.encode(
            {"heads": [(run.key, run.epoch, "shared", 5, chain(elsewhere.previous, elsewhere.bodies))]}
        )
        begins_elsewhere = msgspec.msgpack.encode(Runs((a_run(Swarm(tmp_path), member, [1], lane="shared"),)))
        cases: list[tuple[dict[str, tuple[int, bytes]], type[Exception], str]] = [
            ({sync.HEADS_PATH: (200, b"\xc1")}, SyncError, "not a Heads"),
            ({sync.HEADS_PATH: (200, b"x" * 5_000_000)}, PeerRefused, "more than"),
            ({sync.HEADS_PATH: (500, b"")}, PeerRefused, "500"),
            ({sync.HEADS_PATH: (200, heads), sync.RUNS_PATH: (200, b"\x81\xa4runs\x90")}, SyncError, "does not give"),
            ({sync.HEADS_PATH: (200, heads), sync.RUNS_PATH: (200, forged)}, SyncError, "signature"),
            (
                {sync.HEADS_PATH: (200, foreign), sync.RUNS_PATH: (200, begins_elsewhere)},
                SyncError,
                "does not begin as logs of this swarm do",
            ),
            ({sync.HEADS_PATH: (200, heads), sync.RUNS_PATH: (304, b"")}, SyncError, "not a Runs"),
            ({sync.HEADS_PATH: (200, heads), sync.RUNS_PATH: (200, once)}, SyncError, "does not give"),
        ]
        for answers, error, said in cases:
            async with Liar(answers).session() as session:
                with pytest.raises(error, match=said):
                    await sync.pull(first, session, member.node_id)
        assert first.jobs.get("a") == 1
        await first.verify()

    with_swarm(tmp_path, test)


def test_a_member_far_ahead_in_time_does_not_win_for_good(tmp_path: Path) -> None:
    async def test(swarm: Swarm) -> None:
        first = await swarm.found()
        swarm.clock = lambda: 4e9
        future = await swarm.join(first)
        await future.put("settings", "x", "from the future")
        await meet(future, first)
        assert first.settings.get("x") == "from the future"
        await first.put("settings", "x", "now")
        await meet(first, future)
        assert first.settings.get("x") == future.settings.get("x") == "now"

    with_swarm(tmp_path, test)


def test_ledgers_sync_over_the_nodes_port_with_certificates(tmp_path: Path) -> None:
    async def main() -> None:
        one = enrolled.founder(tmp_path / "one")
        other = await enrolled.member(one, tmp_path / "other")
        authority = one.identity.authority
        assert authority is not None
        async with (
            Ledger(tmp_path / "one.db", one.identity, one.trust.swarm_id) as ledger,
            Ledger(tmp_path / "other.db", other.identity, one.trust.swarm_id) as joining,
        ):
            await ledger.found(authority.certificate.pem, name="one")
            await ledger.put("settings", "x", 1)
            routes = sync.routes(ledger, lambda request: asking_node(request).node_id)
            async with one.serving(routes) as port, other.asking() as peers:
                other.knows(one, port)
                with pytest.raises(PeerRefused, match="not in the roster"):
                    await sync.pull(joining, peers[one.node_id], one.node_id)
                with pytest.raises(NotEntitled):
                    await joining.put("settings", "y", 1)
                await ledger.enrol(other.node_id, name="other")
                assert (await sync.pull(joining, peers[one.node_id], one.node_id)).operations == 3
            assert joining.settings.get("x") == 1
            assert joining.roster == ledger.roster

    asyncio.run(main())
