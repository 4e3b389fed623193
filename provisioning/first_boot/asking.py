"""Wishes of the node's user that only root can fulfil: files in a folder of that user, each gone once it was read."""

from __future__ import annotations

import os
from typing import TypeVar

import msgspec

from provisioning.first_boot.machine import Machine
from swarm.durable import write_file
from swarm.errors import MalformedMessage

MAX_BYTES = 8 * 1024
Wish = TypeVar("Wish", bound=msgspec.Struct)


def ask(machine: Machine, name: str, wish: msgspec.Struct) -> None:
    """Root's unit for `name` starts when it sees the file. Raises `OSError` on a machine that takes no wishes."""
    write_file(machine.ask / name, msgspec.json.encode(wish))


def take(machine: Machine, name: str, kind: type[Wish]) -> Wish | None:
    """What is asked for, None for nothing; it is gone when this returns. Raises `MalformedMessage`."""
    path = machine.ask / name
    try:
        # The folder is another user's: a link in it must not make root read something else.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        path.unlink(missing_ok=True)
        raise MalformedMessage(f"{path} is no file that can be read: {error}") from error
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_BYTES)
    path.unlink(missing_ok=True)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"{path} holds no wish that can be fulfilled: {error}") from error
