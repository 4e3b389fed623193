"""Speeds over a restart."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from swarm.capability import Speed
from swarm.measured_speeds import MAX_FILE_BYTES, read_speeds, write_speeds
from swarm.worker import REMEMBER_SPEEDS, Worker
from tests.swarm.token_engine import TokenEngine

MEASURED = Speed(input_s=0.002, output_s=0.01, runs=7)


def test_measured_speeds_come_back_and_guesses_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    assert read_speeds(path) == {}
    write_speeds(path, {("generate", "tiny:1b"): MEASURED, ("generate", "new:7b"): Speed()})
    assert read_speeds(path) == {("generate", "tiny:1b"): MEASURED}


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"{}", b'[{"kind": "generate"}]', b"[" * 9999, b'[{"kind":"a","model":"b","speed":{"runs":-1}}]'],
)
def test_broken_file_is_as_none(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "speeds.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert read_speeds(path) == {}
    assert str(path) in caplog.text


def test_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    path.write_bytes(b"[" + b" " * MAX_FILE_BYTES + b"]")
    assert read_speeds(path) == {}


def test_disk_that_takes_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        write_speeds(tmp_path / "file" / "speeds.json", {("generate", "tiny:1b"): MEASURED})
    assert "cannot be kept" in caplog.text


def test_worker_goes_on_from_what_was_measured_before_its_start() -> None:
    async def check() -> None:
        engine = TokenEngine()
        key = (engine.kind, engine.model)
        many = {("generate", f"old:{number}"): MEASURED for number in range(2 * REMEMBER_SPEEDS)}
        worker = Worker("n", [engine], speeds={**many, key: MEASURED})
        assert [each.speed for each in worker.capabilities()] == [MEASURED]
        assert worker.speeds()[key] == MEASURED
        assert len(worker.speeds()) <= REMEMBER_SPEEDS

    asyncio.run(check())
