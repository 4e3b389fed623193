"""The ladder without a network: bus, static peers and addresses of before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from swarm.candidate import Candidate, Change, Found, Gone
from swarm.discovery import FILE_NAME, MAX_ON_BUS, Discovery
from swarm.static_peers import StaticPeer
from tests.buses import until

A, B, SWARM = "a" * 26, "b" * 26, "s" * 26
NOW = 1.8e9


def run(
    state_dir: Path,
    work: Callable[[Discovery, list[Change]], Awaitable[None]],
    *,
    static_peers: tuple[StaticPeer, ...] = (),
    multicast: bool = False,
) -> list[Change]:
    """Do `work` with a running discovery; returns everything it told."""
    told: list[Change] = []

    async def all_of_it() -> None:
        discovery = Discovery(
            swarm_id=SWARM,
            state_dir=state_dir,
            on_change=told.append,
            static_peers=static_peers,
            multicast=multicast,
            interfaces=lambda: (),
            wall_clock=lambda: NOW,
        )
        await discovery.start()
        try:
            await work(discovery, told)
        finally:
            await discovery.close()
            await discovery.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(all_of_it())
    return told


def test_proved_address_is_there_after_a_restart(tmp_path: Path) -> None:
    async def prove(discovery: Discovery, told: list[Change]) -> None:
        discovery.proved(A, "10.0.0.1", 7334)

    async def nothing(discovery: Discovery, told: list[Change]) -> None:
        assert discovery.candidates(A) == (Candidate(A, SWARM, ("10.0.0.1",), 7334, "learned"),)

    assert run(tmp_path, prove) == []
    assert run(tmp_path, nothing) == [Found(Candidate(A, SWARM, ("10.0.0.1",), 7334, "learned"))]


def test_presence_on_the_bus_comes_moves_and_goes(tmp_path: Path) -> None:
    async def work(discovery: Discovery, told: list[Change]) -> None:
        discovery.seen_on_bus(A, ["10.0.0.1"], 7334, ("hub",))
        discovery.seen_on_bus(A, ["10.0.0.1"], 7334, ("hub",))
        discovery.seen_on_bus(A, ["10.0.0.2"], 7334, ("hub",))
        discovery.left_bus(A)
        discovery.left_bus(A)

    first, second = (Candidate(A, SWARM, (f"10.0.0.{n}",), 7334, "bus", ("hub",)) for n in (1, 2))
    assert run(tmp_path, work) == [Found(first), Found(second), Gone(second)]


def test_presence_that_cannot_be_right_is_ignored_and_the_rest_bounded(tmp_path: Path) -> None:
    async def work(discovery: Discovery, told: list[Change]) -> None:
        discovery.seen_on_bus("x", ["10.0.0.1"], 7334)
        discovery.seen_on_bus(A, ["8.8.8.8"], 7334)
        discovery.seen_on_bus(A, ["10.0.0.1"], 0)
        assert told == []
        for number in range(MAX_ON_BUS + 10):
            name = "".join("abcdefghij"[int(digit)] for digit in f"{number:026d}")
            discovery.seen_on_bus(name, ["10.0.0.1"], 7334)
        assert len(discovery.candidates()) == MAX_ON_BUS

    run(tmp_path, work)


def test_candidates_come_in_the_order_of_the_ladder(tmp_path: Path) -> None:
    async def work(discovery: Discovery, told: list[Change]) -> None:
        discovery.proved(A, "10.0.0.9", 7334)
        discovery.seen_on_bus(A, ["10.0.0.1"], 7334)
        await until(lambda: len(discovery.candidates()) == 3)
        assert [one.source for one in discovery.candidates()] == ["bus", "static", "learned"]
        assert [one.source for one in discovery.candidates(A)] == ["bus", "learned"]

    told = run(tmp_path, work, static_peers=(StaticPeer("10.0.0.5", 7334),))
    assert Found(Candidate("", "", ("10.0.0.5",), 7334, "static")) in told


def test_revoked_node_is_forgotten_everywhere(tmp_path: Path) -> None:
    async def work(discovery: Discovery, told: list[Change]) -> None:
        discovery.proved(A, "10.0.0.9", 7334)
        discovery.proved(B, "10.0.0.8", 7334)
        discovery.seen_on_bus(A, ["10.0.0.1"], 7334)
        discovery.forget(A)
        assert [one.node_id for one in discovery.candidates()] == [B]

    run(tmp_path, work)
    assert A not in (tmp_path / FILE_NAME).read_text()


def test_state_folder_that_cannot_be_written_does_not_end_the_node(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def work(discovery: Discovery, told: list[Change]) -> None:
        discovery.proved(A, "10.0.0.9", 7334)

    assert run(tmp_path / "file", work) == []


def test_machine_without_any_network_starts_and_ends(tmp_path: Path) -> None:
    async def work(discovery: Discovery, told: list[Change]) -> None:
        assert discovery.interfaces == ()
        await discovery.announce(None)

    assert run(tmp_path, work, multicast=True) == []
