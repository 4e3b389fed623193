"""`mycoswarm package` builds the Debian package; `mycoswarm role` says what the machine that has it is to be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from swarm.cli_common import Sentences

Command = TypeVar("Command", bound=Callable[..., Any])

_ROLE = click.Choice(["edge", "hub", "worker", "gpu"])
_WANTED = click.Choice([*_ROLE.choices, "auto", "configured"])


@click.group(cls=Sentences)
def package() -> None:
    """Build the Debian package that every node runs.

    \b
    mycoswarm package build --python 3.13 --arch arm64
    """


def _target_options(command: Command) -> Command:
    for option in (
        click.option(
            "--role", type=_ROLE, default="hub", help="gpu: with the libraries for models; else all the same."
        ),
        click.option("--arch", required=True, metavar="ARCH", help="The target's architecture: amd64 or arm64."),
        click.option("--python", required=True, metavar="X.Y", help="The target's Python: 3.11, 3.12 or 3.13."),
    ):
        command = option(command)
    return command


@package.command()
@_target_options
@click.option("--out", type=click.Path(path_type=Path), default=Path("dist"), show_default=True, help="Folder for it.")
def build(python: str, arch: str, role: str, out: Path) -> None:
    """Build the package and print its path.

    Nothing of the target is run, so any machine builds for any other. The same source gives the same bytes.

    \b
    mycoswarm package build --python 3.13 --arch amd64 --out dist
    mycoswarm package build --python 3.13 --arch amd64 --role gpu
    """
    from provisioning.package.build import build_package
    from provisioning.package.target import Target

    click.echo(build_package(Target(python, arch, role == "gpu"), out=out))


@package.command("id")
@_target_options
def show_id(python: str, arch: str, role: str) -> None:
    """Print what changes with anything that the package is made of; an installed one has it in
    /usr/lib/mycoswarm/build-id.

    \b
    mycoswarm package id --python 3.13 --arch amd64
    """
    from provisioning.package.build import SOURCE_ROOT
    from provisioning.package.source import Source
    from provisioning.package.target import Target

    click.echo(Source(SOURCE_ROOT).build_id(Target(python, arch, role == "gpu")))


@click.command()
@click.argument("wanted", metavar="[ROLE]", type=_WANTED, required=False)
def role(wanted: str | None) -> None:
    """Show what this machine is in the swarm, or make it something else; needs root and the Debian package.

    edge is a satellite of others, hub hears and does everything, worker has no voice, gpu serves models; auto looks at
    the machine. It is written to /etc/mycoswarm/config.toml, and that role's unit starts, now and at each boot.
    configured is for a configuration that was written by hand: it starts the unit that fits.

    \b
    mycoswarm role
    sudo mycoswarm role edge
    """
    from provisioning.package.role import detected_role, enable_unit, is_raspberry_pi, unit_of, write_role
    from swarm.config import load_config
    from swarm.packaged import CONFIG

    if wanted is None:
        roles = load_config(CONFIG).swarm.roles
        click.echo(f"{', '.join(roles) or 'whatever it finds'} ({unit_of(roles, on_board=is_raspberry_pi())})")
        return
    chosen = detected_role() if wanted == "auto" else wanted
    if chosen != "configured":
        write_role(chosen)
    unit = unit_of(load_config(CONFIG).swarm.roles, on_board=is_raspberry_pi())
    enable_unit(unit)
    if Path("/run/systemd/system").is_dir() and "DPKG_MAINTSCRIPT_PACKAGE" not in os.environ:
        subprocess.run(["systemctl", "restart", unit], check=True, timeout=300)
    click.echo(f"{chosen} ({unit})")


COMMANDS = (package, role)
