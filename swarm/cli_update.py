"""The commands about updates of nodes that run an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm.cli_common import clean, config_option, load, print_json

if TYPE_CHECKING:
    from swarm.updates_client import UpdatesClient

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
@config_option
@click.pass_context
def update(context: click.Context, config_path: Path | None) -> None:
    """Update the machines that run an image: all of one kind, one first, and back again where it is no good.

    Machines that have mycoswarm as a package are updated by apt.

    \b
    mycoswarm update apply edge-rpi4.raucb
    mycoswarm update status
    """
    context.obj = config_path


@update.command()
@_json_option
@config_option
@click.pass_context
def status(context: click.Context, as_json: bool, config_path: Path | None) -> None:
    """Show what each machine runs, and how far its update is.

    \b
    mycoswarm update status
    """
    from swarm.updates_table import updates_table

    found = _node(context, config_path).updates()
    print_json(found) if as_json else click.echo(updates_table(found))


@update.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="BUNDLE")
@click.option("--only", multiple=True, metavar="NODE", help="Only this machine; may be given more than once.")
@click.option(
    "--allow-downgrade",
    is_flag=True,
    help="Install an older version too, on this machine alone, at once; as root. It starts at the next reboot.",
)
@config_option
@click.pass_context
def apply(
    context: click.Context, file: Path, only: tuple[str, ...], allow_downgrade: bool, config_path: Path | None
) -> None:
    """Offer BUNDLE to all machines of its kind.

    This node checks its signature, then the machines get it from each other. One of them installs it first; the others
    follow when it has proved itself, hubs one after the other, and none while somebody speaks or a task is under way.
    Those that are off get it when they are back.

    \b
    mycoswarm update apply edge-rpi4.raucb
    mycoswarm update apply worker.raucb --only attic
    """
    if allow_downgrade:
        if only:
            raise click.UsageError("--allow-downgrade is about this machine alone: run it on the other one")
        from swarm.node.updating import install_here

        for line in install_here(file):
            click.echo(line)
        return
    with file.open("rb") as opened:  # before root becomes the node's user, who may not read it
        offered = _node(context, config_path).offer(opened, only=only)
    click.echo(clean(f"{offered.version} for {offered.compatible}: {offered.size / 1e6:.0f} MB, its signature is good"))
    names = ", ".join(offered.nodes)
    click.echo(clean(f"offered to {names}" if names else "no machine of this swarm is of that kind yet"))
    click.echo("mycoswarm update status shows how far each is", err=True)


@update.command()
@click.argument("node")
@config_option
@click.pass_context
def rollback(context: click.Context, node: str, config_path: Path | None) -> None:
    """Have a machine go back to the version before, as soon as nobody speaks there.

    It must be on. What is offered now is not installed there again, nor on those that do not have it yet, until you
    apply a bundle. NODE is its name, its id, or the beginning of the id.

    \b
    mycoswarm update rollback kitchen
    """
    back = _node(context, config_path).roll_back(node)
    click.echo(clean(f"{back.name} goes back from {back.version} to the version before"))


def _node(context: click.Context, config_path: Path | None) -> UpdatesClient:
    """The running node's client; `--config` may stand before the command or behind it. Raises `NodeUnreachable`,
    `MycoswarmError`."""
    from swarm.errors import MycoswarmError
    from swarm.identity import FOLDER
    from swarm.roster import introduced
    from swarm.updates_client import find_updates

    config = load(config_path or context.obj)
    if not introduced(config.state_dir / FOLDER):
        raise MycoswarmError(
            "this machine belongs to no swarm, and updates are offered in one",
            hint="mycoswarm init begins one, mycoswarm join joins one",
        )
    return find_updates(config.state_dir)
