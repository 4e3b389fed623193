"""Root's part of telling: the console and the board's LED. Imports little: a small board starts it for each change."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from provisioning.first_boot.asking import take
from provisioning.first_boot.machine import Machine
from swarm.durable import write_file

State = Literal["searching", "code", "access_point", "problem", "ready"]
MAX_TEXT = 1_000

BLINK: dict[State, tuple[tuple[str, ...], int]] = {
    "searching": (("timer",), 500),
    "code": (("timer",), 100),
    "access_point": (("timer",), 1_500),
    "problem": (("heartbeat",), 0),
    "ready": (("mmc0", "disk-activity", "default-on"), 0),
}
"""Triggers of the kernel, the first that the LED knows, and for `timer` how long on and off, in ms."""
LEDS = ("ACT", "led0", "PWR")

_log = logging.getLogger(__name__)


class Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the machine is, and what to do about it."""

    state: State
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


def show(machine: Machine, *, consoles: tuple[Path, ...] = (Path("/dev/tty1"),)) -> None:
    """Put what was asked for on the consoles, before their login prompt and now, and on the LED. As root.

    Raises `MalformedMessage`.
    """
    shown = take(machine, "show", Shown)
    if shown is None:
        return
    name = (machine.etc / "hostname").read_text().strip() if (machine.etc / "hostname").is_file() else "mycoswarm"
    text = "".join(each if each.isprintable() or each == "\n" else "?" for each in shown.text)
    # A backslash is agetty's own sign in an issue file (agetty(8)).
    write_file(machine.issue, f"\n{name}: {text}\n\n".replace("\\", "\\\\"))
    for console in consoles:
        _write_on(console, f"\r\n\r\n  {name}: {text}\r\n\r\n".replace("\n", "\r\n"))
    set_led(machine, shown.state)


def set_led(machine: Machine, state: State) -> None:
    """The board's own LED, if it has one."""
    led = next((machine.leds / name for name in LEDS if (machine.leds / name / "trigger").is_file()), None)
    if led is None:
        return
    triggers, ms = BLINK[state]
    try:
        known = (led / "trigger").read_text().replace("[", " ").replace("]", " ").split()
        chosen = next((each for each in triggers if each in known), None)
        if chosen is None:
            return
        (led / "trigger").write_text(chosen)
        for file in ("delay_on", "delay_off") if ms else ():
            (led / file).write_text(str(ms))
    except OSError as error:
        _log.info("the LED cannot be set: %s", error)


def _write_on(console: Path, text: str) -> None:
    try:
        descriptor = os.open(console, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(descriptor, text.encode(errors="replace"))
        finally:
            os.close(descriptor)
    except OSError as error:
        _log.info("%s cannot show it: %s", console, error)
