"""Button and lights, with gpiozero's own pins of a machine that has none, and a pipe where the kernel's SPI is."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from gpiozero.pins.mock import MockFactory

from edge import board as board_module
from edge.board import BOARDS, serve_board
from edge.lights import BRIGHTNESS, Face, Ring, apa102, colours, face_of
from edge.satellite import Phase
from swarm.config import SatelliteSection

PATIENCE_S = 20.0


class Seen:
    """A satellite as a board sees it."""

    def __init__(self) -> None:
        self.phase: Phase = "idle"
        self.connected = self.hearing = True
        self.muted = False
        self.did: list[str] = []

    def listen(self) -> None:
        self.did.append("listen")

    def stop_speaking(self) -> None:
        self.did.append("stop")

    async def set_muted(self, muted: bool) -> None:
        self.muted = muted
        self.phase = "muted" if muted else "idle"
        self.did.append("mute" if muted else "unmute")


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def served(board: board_module.Board, seen: Seen, pins: MockFactory) -> AsyncIterator[Any]:
    running = asyncio.create_task(serve_board(board, seen, seen.set_muted, factory=pins))
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.wait({running})


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> MockFactory:
    monkeypatch.setattr(board_module, "HOLD_S", 0.15)
    monkeypatch.setattr(board_module, "BOUNCE_S", None)  # gpiozero's mock pins do not bounce
    return MockFactory()


def test_every_board_of_the_configuration_is_known() -> None:
    assert {*get_args(get_type_hints(SatelliteSection)["board"])} - {"none"} == {*BOARDS}


def test_short_press_listens_or_ends_speech_and_a_held_one_mutes_and_unmutes(pins: MockFactory) -> None:
    async def check() -> None:
        seen = Seen()
        board = replace(BOARDS["respeaker-2mic"], lights=0)
        async with served(board, seen, pins):
            button = pins.pin(17)
            await until(lambda: button.when_changed is not None)
            button.drive_low()
            button.drive_high()
            await until(lambda: seen.did == ["listen"])
            seen.phase = "speaking"
            button.drive_low()
            button.drive_high()
            await until(lambda: seen.did == ["listen", "stop"])
            for wanted in ("mute", "unmute"):
                button.drive_low()
                await until(lambda wanted=wanted: seen.did[-1] == wanted)  # type: ignore[misc]
                button.drive_high()
            await asyncio.sleep(0.05)
            assert seen.did == ["listen", "stop", "mute", "unmute"], "the release of a held button is no press"

    asyncio.run(check())


def test_lights_follow_the_satellite_and_go_dark_at_the_end(pins: MockFactory, tmp_path: Path) -> None:
    async def check() -> None:
        wire = tmp_path / "spi"
        os.mkfifo(wire)
        reader = os.open(wire, os.O_RDONLY | os.O_NONBLOCK)
        seen, sent = Seen(), bytearray()

        def shows(face: Face) -> bool:
            with suppress(BlockingIOError):
                sent.extend(os.read(reader, 65536))
            return apa102(colours(face, 0.0, 3)) in sent

        board = replace(BOARDS["respeaker-2mic"], lights_at=wire, button=None)
        async with served(board, seen, pins):
            await until(lambda: shows("idle"))
            for face in ("listening", "thinking", "muted"):
                seen.phase = face
                await until(lambda face=face: shows(face))  # type: ignore[misc]
            sent.clear()
        await until(lambda: shows("idle"))
        os.close(reader)

    asyncio.run(check())


def test_board_that_is_not_there_is_told_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "lgpio")  # which is not installed here, as the pins are not

    async def check() -> None:
        running = asyncio.create_task(
            serve_board(replace(BOARDS["respeaker-2mic"], lights_at=tmp_path / "none"), Seen(), Seen().set_muted)
        )
        await until(lambda: caplog.text.count("cannot be used") == 2)
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(check())
    assert "the lights" in caplog.text and "the button" in caplog.text


@pytest.mark.parametrize(
    ("phase", "hub", "hears", "face"),
    [
        ("idle", True, True, "idle"),
        ("idle", False, True, "missing"),
        ("idle", True, False, "missing"),
        ("listening", True, True, "listening"),
        ("speaking", False, True, "speaking"),
        ("muted", False, False, "muted"),
    ],
)
def test_face_shows_a_mute_always_and_what_is_missing_at_rest(phase: Phase, hub: bool, hears: bool, face: Face) -> None:
    assert face_of(phase, hub_is_there=hub, hears=hears) == face


def test_faces_can_be_told_apart_and_only_idle_stays_dark() -> None:
    seen = {}
    for face in get_args(Face):
        seen[face] = frozenset(colours(face, tenth / 10, 3) for tenth in range(40))
        assert all(len(lights) == 3 for lights in seen[face])
    assert seen["idle"] == {((0, 0, 0),) * 3}
    assert len(set(seen.values())) == len(seen)
    assert len(seen["muted"]) == len(seen["listening"]) == 1 and len(seen["thinking"]) == 3


def test_wire_carries_what_the_data_sheet_says(tmp_path: Path) -> None:
    head = 0xE0 | BRIGHTNESS
    assert apa102([(1, 2, 3), (255, 0, 9)]) == bytes([0, 0, 0, 0, head, 3, 2, 1, head, 9, 0, 255]) + b"\xff" * 4
    assert len(apa102([(0, 0, 0)] * 64)) == 4 + 4 * 64 + 5

    wire = tmp_path / "spi"
    wire.touch()
    ring = Ring(wire, 1)
    ring.show(((1, 2, 3),))
    ring.show(((1, 2, 3),))
    ring.close()
    assert wire.read_bytes() == apa102([(1, 2, 3)]), "sent once"


def test_node_with_a_board_in_its_configuration_serves_it(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        f'[node]\nstate_dir = "{tmp_path}/state"\n[people]\nport = 0\n[satellite]\nboard = "respeaker-2mic"\n'
    )
    environment = {**os.environ, "GPIOZERO_PIN_FACTORY": "lgpio"}
    node = subprocess.Popen(
        [sys.executable, "-m", "swarm", "up", "--config", str(tmp_path / "config.toml")],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert node.stderr is not None
        seen = ""
        while seen.count("of the sound board cannot be used") < 2:
            line = node.stderr.readline()
            assert line, seen
            seen += line
        node.terminate()
        assert node.wait(PATIENCE_S) == 0
    finally:
        node.kill()
        node.communicate()
