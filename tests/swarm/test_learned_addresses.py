from __future__ import annotations

import json
from pathlib import Path

import pytest

from swarm.candidate import Candidate
from swarm.learned_addresses import (
    FRESH_S,
    KEEP_S,
    MAX_FILE_BYTES,
    MAX_NODES,
    MAX_PLACES,
    LearnedAddresses,
    write_whole,
)

A, B, SWARM = "a" * 26, "b" * 26, "s" * 26
NOW = 1.8e9


def name(number: int) -> str:
    return "".join("abcdefghij"[int(digit)] for digit in f"{number:026d}")


def reloaded(learned: LearnedAddresses, path: Path, *, now: float = NOW, swarm: str = SWARM) -> LearnedAddresses:
    write_whole(path, learned.to_json(now))
    again = LearnedAddresses(swarm)
    again.load(path, now)
    return again


def test_proved_places_survive_a_restart_latest_first(tmp_path: Path) -> None:
    learned = LearnedAddresses(SWARM)
    learned.proved(A, "10.0.0.1", 7334, NOW - 2)
    learned.proved(B, "fd00::2", 7334, NOW - 1)
    learned.proved(A, "10.0.0.9", 7335, NOW)
    again = reloaded(learned, tmp_path / "state" / "addresses.json")
    assert again.candidates(NOW) == learned.candidates(NOW)
    assert again.candidates(NOW) == (
        Candidate(A, SWARM, ("10.0.0.9",), 7335, "learned"),
        Candidate(A, SWARM, ("10.0.0.1",), 7334, "learned"),
        Candidate(B, SWARM, ("fd00::2",), 7334, "learned"),
    )


def test_writing_is_asked_for_only_when_something_changed() -> None:
    learned = LearnedAddresses(SWARM)
    assert learned.proved(A, "10.0.0.1", 1, NOW)
    assert not learned.proved(A, "10.0.0.1", 1, NOW + FRESH_S)
    assert learned.proved(A, "10.0.0.1", 2, NOW + FRESH_S)
    assert learned.proved(A, "10.0.0.1", 2, NOW + 3 * FRESH_S)


def test_everything_is_bounded_and_the_latest_stays(tmp_path: Path) -> None:
    learned = LearnedAddresses(SWARM)
    for number in range(MAX_NODES + 50):
        for place in range(MAX_PLACES + 2):
            learned.proved(name(number), f"10.0.0.{place}", 1, NOW + number)
    kept = learned.candidates(NOW)
    assert len(kept) == MAX_NODES * MAX_PLACES
    assert kept[0].node_id == name(MAX_NODES + 49)
    assert len(learned.to_json(NOW)) < MAX_FILE_BYTES
    assert len(reloaded(learned, tmp_path / "f").candidates(NOW)) == len(kept)


def test_old_places_end_and_a_clock_that_was_wrong_does_no_harm(tmp_path: Path) -> None:
    learned = LearnedAddresses(SWARM)
    learned.proved(A, "10.0.0.1", 1, NOW)
    assert reloaded(learned, tmp_path / "f", now=0.0).candidates(0.0)  # a Pi that woke in 1970
    assert learned.candidates(NOW + KEEP_S - 1)
    assert learned.candidates(NOW + KEEP_S) == ()
    assert json.loads(learned.to_json(NOW + KEEP_S))["nodes"] == {}


def test_revoked_node_is_forgotten() -> None:
    learned = LearnedAddresses(SWARM)
    learned.proved(A, "10.0.0.1", 1, NOW)
    assert learned.forget(A)
    assert not learned.forget(A)
    assert learned.candidates(NOW) == ()


@pytest.mark.parametrize(
    ("node", "address", "port"),
    [("short", "10.0.0.1", 1), (A, "8.8.8.8", 1), (A, "fe80::1", 1), (A, "10.0.0.1", 0), (A, "10.0.0.1", 65536)],
)
def test_what_cannot_be_right_is_not_kept(node: str, address: str, port: int) -> None:
    learned = LearnedAddresses(SWARM)
    assert not learned.proved(node, address, port, NOW)
    assert learned.candidates(NOW) == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"swarm_id": 1, "nodes": {}}',
        b'{"swarm_id": "' + SWARM.encode() + b'", "nodes": {"a": [{"address": 1}]}}',
        b"[" * 100_000,
        b" " * (MAX_FILE_BYTES + 1),
        b"\xff\xfe",
    ],
)
def test_broken_file_is_as_none(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "addresses.json"
    path.write_bytes(content)
    learned = LearnedAddresses(SWARM)
    learned.load(path, NOW)
    assert learned.candidates(NOW) == ()
    assert str(path) in caplog.text


def test_missing_file_and_file_of_another_swarm_are_as_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LearnedAddresses(SWARM).load(tmp_path / "none", NOW)
    learned = LearnedAddresses("t" * 26)
    learned.proved(A, "10.0.0.1", 1, NOW)
    assert reloaded(learned, tmp_path / "f").candidates(NOW) == ()
    assert caplog.text == ""


def test_file_is_for_its_owner_only_and_no_part_is_left(tmp_path: Path) -> None:
    path = tmp_path / "addresses.json"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["addresses.json"]
