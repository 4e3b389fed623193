"""What the commands share. Imports nothing heavy: `mycoswarm ask` should be over before an HTTP server is imported."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from swarm.errors import ConfigError, MycoswarmError, NodeUnreachable

if TYPE_CHECKING:
    from swarm.client import NodeClient
    from swarm.config import Config
    from swarm.swarm_client import SwarmClient

PATIENCE_S = 60.0
"""How much longer than the language model may take the node may be silent before it is given up."""

SWARM_ANSWER_S = 30.0

Command = TypeVar("Command", bound=Callable[..., Any])


class Sentences(click.Group):
    """Commands in the order in which people meet them; errors as a person can read them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """For click."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """For click."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal without "°" shows "?"
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            _fail(error, 2)
        except MycoswarmError as error:
            _fail(error, 1)
        except KeyboardInterrupt:
            click.echo(err=True)
            raise SystemExit(130) from None


class Deferred(click.Group):
    """A group of commands that is imported when one of them, or its help, is wanted: a node that runs does without."""

    def __init__(self, name: str, load: Callable[[], click.Group], *, help: str) -> None:  # noqa: A002 click's word
        super().__init__(name, help=help)
        self._load = load

    def list_commands(self, ctx: click.Context) -> list[str]:
        """For click."""
        return self._load().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """For click."""
        return self._load().get_command(ctx, cmd_name)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """For click."""
        self._load().format_help(ctx, formatter)


def _fail(error: MycoswarmError, code: int) -> NoReturn:
    click.echo(f"error: {error.for_person()}", err=True)
    raise SystemExit(code) from None


def config_option(command: Command) -> Command:
    """`--config FILE`, as the argument `config_path`."""
    path = click.Path(path_type=Path)
    note = "Configuration file, instead of ~/.config/mycoswarm/config.toml."
    return click.option("--config", "config_path", type=path, metavar="FILE", help=note)(command)


def load(config_path: Path | None) -> Config:
    """The configuration; from here on root is the user whose node it is, who may not read and write what root may:
    see `read` for commands on a person's files. Raises `ConfigError`."""
    from swarm.packaged import act_as_owner

    config = read(config_path)
    act_as_owner(config.state_dir)
    return config


def read(config_path: Path | None) -> Config:
    """The configuration, for a command that asks the running node and writes nothing of its own in the state folder.

    Raises `ConfigError`.
    """
    from swarm.config import load_config

    return load_config(config_path)


def running_node(config: Config, *, timeout_s: float | None = None) -> NodeClient:
    """The running node's client. Raises `NodeUnreachable`."""
    from swarm.client import find_node

    return find_node(config.state_dir, timeout_s=timeout_s or patience_s(config))


def swarm_node(config: Config) -> SwarmClient:
    """The running node's client for what concerns the swarm.

    Raises `NodeUnreachable`, or `MycoswarmError` when this machine belongs to no swarm either, which is said first.
    """
    from swarm.swarm_client import find_swarm_node

    try:
        return find_swarm_node(config.state_dir, timeout_s=SWARM_ANSWER_S)
    except NodeUnreachable:
        from swarm.identity import FOLDER
        from swarm.roster import introduced

        if introduced(config.state_dir / FOLDER):
            raise
        raise MycoswarmError(
            "this machine belongs to no swarm", hint="mycoswarm init begins one, mycoswarm join joins one"
        ) from None


def clean(text: str) -> str:
    """A name from another machine, without what could steer a terminal."""
    from swarm.tables import printable

    return printable(text)


def patience_s(config: Config) -> float:
    """How long the node may be silent while it answers."""
    return config.language_model.timeout_s + PATIENCE_S


def print_json(value: Any) -> None:
    """For programs that read the output."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value).decode(), indent=2))
