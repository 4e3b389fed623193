"""What is asked of a large home, and how long each step of it took."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hub.home.virtual_devices import (
    Blinds,
    Contact,
    Dimmer,
    Fan,
    Light,
    Lock,
    Reading,
    Switch,
    Thermostat,
    VirtualDevice,
)
from swarm.bench.home_devices import HomeOnBroker
from swarm.bench.node import BenchNode
from swarm.client import Answer
from swarm.errors import MycoswarmError

REACHED_S = 5.0


@dataclass(frozen=True)
class Command:
    """A sentence."""

    text: str
    device: VirtualDevice | None = None
    """What gets a command by it; None when nothing or several do."""


@dataclass(frozen=True)
class Asked:
    """One sentence that was answered."""

    outcome: str
    wants_command: bool
    intent_ms: float
    """From the transcript to what it means."""
    confirmed_ms: float | None
    """From there to the devices' own word that it is done."""
    commanded_ms: float | None
    """From the question sent to the command at its device."""


def commands_for(devices: Sequence[VirtualDevice], count: int) -> list[Command]:
    """Commands and questions for devices all over the house, the same in each run."""
    chance = random.Random(1)
    usable = [device for device in devices if not isinstance(device, Lock | Contact)]  # a lock asks back
    return [_command(chance.choice(usable), number) for number in range(count)]


def _command(device: VirtualDevice, number: int) -> Command:
    name, room = device.name.lower(), device.area.lower()
    if number % 10 == 9:
        return Command(f"which lights are on in the {room}")
    match device:
        case Dimmer() if number % 2:
            return Command(f"set the {name} to {number % 99 + 1} percent", device)
        case Light() | Switch():
            return Command(f"turn {'on' if number % 3 else 'off'} the {name}", device)
        case Fan():
            return Command(f"turn on the {name}", device)
        case Blinds():
            return Command(f"{'open' if number % 2 else 'close'} the {name}", device)
        case Thermostat():
            return Command(f"set the {name} to {18 + number % 6} degrees", device)
        case Reading():
            return Command(f"what is the {name}")
        case _:
            return Command(f"turn on the {name}", device)


async def ask(node: BenchNode, house: HomeOnBroker, command: Command, *, timeout_s: float = REACHED_S) -> Asked:
    """Ask it by text. Raises `MycoswarmError`."""
    sent, answer = await asyncio.to_thread(_ask, node, command.text)
    at = {mark.stage: mark.at_ms for mark in answer.trace.marks}
    reached = None
    if command.device is not None:
        reached = await house.was_commanded(command.device, since=sent, timeout_s=timeout_s)
    return Asked(
        outcome=answer.outcome,
        wants_command=command.device is not None,
        intent_ms=at["intent"] - at["transcript"],
        confirmed_ms=at["action_confirmed"] - at["intent"] if "action_confirmed" in at else None,
        commanded_ms=(reached - sent) * 1000 if reached is not None else None,
    )


def _ask(node: BenchNode, text: str) -> tuple[float, Answer]:
    client = node.client
    sent = time.monotonic()
    *_, answer = client.ask(text)
    if not isinstance(answer, Answer):
        raise MycoswarmError(f"the node that is measured did not finish its answer to {text!r}")
    return sent, answer
