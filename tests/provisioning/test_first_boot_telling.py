"""Console and LED: what root does for the node's user, and what it does not do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from provisioning.first_boot.asking import ask
from provisioning.first_boot.machine import Machine
from provisioning.first_boot.showing import Shown, show
from provisioning.first_boot.telling import Telling, spoken_digits
from swarm.errors import MalformedMessage


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    for folder in (machine.ask, machine.issue.parent, machine.etc):
        folder.mkdir(parents=True)
    return machine


@pytest.mark.parametrize("content", [b"", b"ready", b'{"state": "on fire", "text": ""}', b"\xff" * 9000, b"[" * 5000])
def test_wish_that_makes_no_sense_is_gone_too(machine: Machine, content: bytes) -> None:
    (machine.ask / "show").write_bytes(content)
    with pytest.raises(MalformedMessage):
        show(machine, consoles=())
    assert not (machine.ask / "show").exists()
    assert not machine.issue.exists()


def test_link_in_the_users_folder_leads_root_nowhere(machine: Machine, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"state": "ready", "text": "the secret"}')
    (machine.ask / "show").symlink_to(secret)
    with pytest.raises(MalformedMessage):
        show(machine, consoles=())
    assert secret.exists()
    assert not machine.issue.exists()


def test_console_shows_it_without_what_could_steer_it(machine: Machine, tmp_path: Path) -> None:
    console = tmp_path / "tty1"
    console.touch()
    (machine.etc / "hostname").write_text("kitchen-pi\n")
    ask(machine, "show", Shown("code", "The code is 123 456.\x1b[2J \\d"))
    show(machine, consoles=(console, tmp_path / "no/such/console"))
    assert "kitchen-pi: The code is 123 456.?[2J" in console.read_text()
    assert "kitchen-pi: The code is 123 456.?[2J \\\\d" in machine.issue.read_text()
    assert not (machine.ask / "show").exists()


@pytest.mark.parametrize(
    ("state", "trigger", "ms"), [("code", "timer", "100"), ("problem", "heartbeat", ""), ("ready", "mmc0", "")]
)
def test_led_blinks_as_the_machine_is(machine: Machine, state: str, trigger: str, ms: str) -> None:
    led = machine.leds / "ACT"
    led.mkdir(parents=True)
    (led / "trigger").write_text("none timer heartbeat [default-on] mmc0\n")
    (machine.ask / "show").write_text(f'{{"state": "{state}", "text": "x"}}')
    show(machine, consoles=())
    assert (led / "trigger").read_text() == trigger
    assert ((led / "delay_on").read_text() if ms else "") == ms


def test_the_same_is_told_once(machine: Machine) -> None:
    async def scenario() -> None:
        async with Telling(machine, machine.state, satellite="") as telling:
            telling.tell("searching", "one")
            (machine.ask / "show").unlink()
            telling.tell("searching", "one")
            assert not (machine.ask / "show").exists()
            telling.tell("ready", "one")
            assert (machine.ask / "show").exists()

    asyncio.run(scenario())


def test_code_is_spoken_digit_by_digit() -> None:
    assert spoken_digits("123 456") == "1 2 3, 4 5 6"
