"""The commands about the machines of a swarm: who belongs to it, and who may come."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import click

from swarm.cli_common import clean, config_option, load, print_json, swarm_node
from swarm.errors import NodeUnreachable

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if found is None:
        raise click.BadParameter(f"{text} is no duration: write 30m, 2h or 7d")
    return float(found.group(1)) * _UNITS[found.group(2)]


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.option(
    "--valid", type=_duration, default="1h", show_default=True, metavar="TIME", help="How long, such as 30m, 2h, 7d."
)
@click.option("--list", "list_them", is_flag=True, help="Show the invitations instead.")
@click.option("--withdraw", metavar="ID", help="Withdraw an invitation by its id, or `all`.")
@_json_option
@config_option
def invite(valid: float, list_them: bool, withdraw: str | None, as_json: bool, config_path: Path | None) -> None:
    """Print a token that lets one machine join, once.

    Whoever reads the token can join with it: show it to nobody else. Until it is used, expires or is withdrawn, the
    enrolment port is open.

    \b
    mycoswarm invite
    mycoswarm invite --valid 7d
    mycoswarm invite --withdraw all
    """
    from swarm.swarm_tables import invitations_table

    if list_them and withdraw:
        raise click.UsageError("either --list or --withdraw")
    node = swarm_node(load(config_path))
    if withdraw:
        count = node.withdraw(withdraw)
        click.echo(f"{count} invitation{'' if count == 1 else 's'} withdrawn")
    elif list_them:
        found = node.invitations()
        print_json(found) if as_json else click.echo(invitations_table(found) if found else "no invitations")
    else:
        token = node.invite(valid)
        if as_json:
            print_json(token)
            return
        click.echo(token.token)
        click.echo(f"run this on the other machine within {_for_person(valid)}:", err=True)
        click.echo(f"  mycoswarm join {token.token}", err=True)


@click.command()
@_json_option
@config_option
def nodes(as_json: bool, config_path: Path | None) -> None:
    """List the machines of the swarm, and how each is.

    Who belongs to the swarm is the same on all of them, a moment after it changed. While no node runs here, the list
    says only that, as of when one ran last.

    \b
    mycoswarm nodes
    """
    from swarm.roster_on_disk import kept_nodes
    from swarm.swarm_tables import nodes_table

    config = load(config_path)
    try:
        node = swarm_node(config)
        found, own = node.nodes(), node.swarm()
        note = f"this machine is of the tier {own.tier}: {own.tier_because}" if own.tier else ""
        note += f"; for more it needs {own.tier_missing}" if own.tier_missing else ""
        note += f"\nthere is no bus, so home automation waits: {own.bus_waits}" if own.bus_waits else ""
    except NodeUnreachable:
        found = kept_nodes(config)
        note = "no mycoswarm node is running here: this is who belongs to the swarm"
    if as_json:
        print_json(found)
        return
    click.echo(nodes_table(found))
    if note:
        click.echo(note.lstrip("\n"), err=True)


@click.command()
@click.argument("node")
@config_option
def revoke(node: str, config_path: Path | None) -> None:
    """Take a machine out of the swarm for good, at once: every machine cuts its connections and speaks with it no more.

    Machines that are off now hear of it from the first other one that they meet. Only a machine that admits others
    revokes. NODE is its name, its id, or the beginning of the id.

    \b
    mycoswarm revoke kitchen-pi
    """
    from swarm.roster_on_disk import revoke_on_disk

    config = load(config_path)
    try:
        revoked = swarm_node(config).revoke(node)
        name, node_id = revoked.name, revoked.node
    except NodeUnreachable:
        name, node_id = asyncio.run(revoke_on_disk(config, node))
    click.echo(f"{clean(name)} ({node_id}) is revoked")


@click.command()
@click.argument("node")
@config_option
def grant(node: str, config_path: Path | None) -> None:
    """Let another hub admit and revoke machines too, so that losing this one loses nothing. It must be running.

    It makes an authority of its own, whose key never leaves it; all machines of the swarm learn to honour it.

    \b
    mycoswarm grant living-room-hub
    """
    granted = swarm_node(load(config_path)).grant(node)
    click.echo(f"{clean(granted.name)} ({granted.node}) may admit machines now")


COMMANDS = (invite, nodes, revoke, grant)


def _for_person(seconds: float) -> str:
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            count = int(seconds // unit)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"
