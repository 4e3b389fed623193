"""Which machines a home is to have: what `mycoswarm image fleet` makes, and what other commands can print.

::

    [common]                     # of all: anything of mycoswarm.toml but hostname and token
    country = "DE"

    [[machine]]
    node = "edge"                # edge, worker, gpu: which image
    board = "rpi4"               # for which board
    hostname = "kitchen-pi"
    area = "Kitchen"
    audio = "usb"

    [[machine]]
    node = "worker"
    board = "x86_64"
    hostname = "office"          # office-1, office-2, office-3
    count = 3
    note = "retired office PCs"  # for people

    [machine.settings]           # of these machines: anything of mycoswarm.toml
    roles = ["worker", "hub"]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import tomli_w

from provisioning.settings import HOSTNAME, MEANT, Settings, combined, parse_settings
from swarm.errors import ConfigError
from swarm.toml_file import line_in_table, parse_table, shaped, unknown_key

MAX_MACHINES = 64
"""As many invitations may wait (swarm.tokens)."""
MAX_BYTES = 256 * 1024

Node = Literal["edge", "worker", "gpu"]
_MEANT = {
    "machine.node": f"one of {', '.join(get_args(Node))}",
    "machine.hostname": MEANT["hostname"],
    "machine.count": f"a number from 1 to {MAX_MACHINES}",
    "machine.audio": MEANT["audio.board"],
}


class Machines(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """[[machine]]: one, or several that differ in nothing but their names."""

    node: Node
    """Which image (provisioning.image.recipe)."""
    board: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_-]{1,32}\Z")]
    hostname: Annotated[str, msgspec.Meta(pattern=HOSTNAME, min_length=1)]
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_MACHINES)] = 1
    """More than one are called HOSTNAME-1, HOSTNAME-2 …"""
    area: str = ""
    audio: str = ""
    """As `audio.board` of `Settings`."""
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""
    """Why, for people."""
    settings: dict[str, Any] = {}
    """More of mycoswarm.toml."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The whole file."""

    common: dict[str, Any] = {}
    machine: Annotated[tuple[Machines, ...], msgspec.Meta(max_length=MAX_MACHINES)] = ()


@dataclass(frozen=True)
class PlannedMachine:
    """One machine."""

    node: Node
    board: str
    settings: Settings
    note: str = ""


def read_plan(path: Path) -> tuple[PlannedMachine, ...]:
    """The machines that the file plans. Raises `ConfigError` naming file and line."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8 text: {error}") from error
    return parse_plan(text, origin=str(path))


def parse_plan(text: str, *, origin: str) -> tuple[PlannedMachine, ...]:
    """The machines that the text plans; `origin` is how errors call it. Raises `ConfigError`."""
    data = parse_table(text, origin=origin)
    for key in data:
        if key not in Plan.__struct_fields__:
            raise unknown_key(key, Plan.__struct_fields__, text, origin=origin)
    plan = shaped(data, Plan, text, origin=origin, meant=_MEANT)
    if not plan.machine:
        raise ConfigError(
            f"{origin}: no machine is planned", hint="each is a table [[machine]] with node, board, hostname"
        )
    for key in ("hostname", "token", "first"):
        if key in plan.common:
            raise ConfigError(
                f"{origin}: common.{key} cannot be the same for all", hint="it belongs to one [[machine]]"
            )
    machines: list[PlannedMachine] = []
    for index, each in enumerate(plan.machine):
        where = f"{origin}:{line_in_table(text, 'machine', index, None) or 1}: {each.hostname}"
        machines += _expanded(each, plan.common, where)
        _refuse_duplicates(machines, where)
    return tuple(machines)


def plan_toml(machines: Sequence[Machines], common: dict[str, Any] | None = None) -> str:
    """The file that plans these, for a person to read, change and give to `mycoswarm image fleet`."""
    return tomli_w.dumps(msgspec.to_builtins(Plan(common or {}, tuple(machines))))


def _expanded(each: Machines, common: dict[str, Any], where: str) -> list[PlannedMachine]:
    said: dict[str, Any] = {"satellite": {"area": each.area}} if each.area else {}
    if each.audio:
        said["audio"] = {"board": each.audio}
    settings = combined(
        parse_settings(tomli_w.dumps(said), origin=where),
        combined(
            parse_settings(tomli_w.dumps(each.settings), origin=f"{where}: settings"),
            parse_settings(tomli_w.dumps(common), origin=f"{where}: common"),
        ),
    )
    if each.count > 1 and (settings.token or settings.first):
        raise ConfigError(f"{where}: a token, or being the first, is for one machine", hint="leave count out")
    if settings.hostname:
        raise ConfigError(f"{where}: settings.hostname is said twice", hint="leave it to hostname")
    names = [f"{each.hostname}-{number}" for number in range(1, each.count + 1)] if each.count > 1 else [each.hostname]
    try:
        return [
            PlannedMachine(each.node, each.board, msgspec.structs.replace(settings, hostname=name), each.note)
            for name in names
            if parse_settings(tomli_w.dumps({"hostname": name}), origin=where)
        ]
    except ConfigError as error:
        raise ConfigError(f"{where}: {names[-1]} is too long for a name", hint=error.hint) from error


def _refuse_duplicates(machines: list[PlannedMachine], where: str) -> None:
    if len(machines) > MAX_MACHINES:
        raise ConfigError(f"{where}: more than {MAX_MACHINES} machines", hint="make several plans")
    names = [each.settings.hostname for each in machines]
    tokens = [each.settings.token for each in machines if each.settings.token]
    for what, values in (("name", names), ("token", tokens)):
        if len(set(values)) < len(values):
            twice = f" {values[-1]}" if what == "name" else ""
            raise ConfigError(f"{where}: two machines have the same {what}{twice}", hint="each needs its own")
    if sum(each.settings.first for each in machines) > 1:
        raise ConfigError(f"{where}: two machines are the first", hint="one begins the swarm, the others join it")
