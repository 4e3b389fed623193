"""The commands that show the home and say where its things are and what they are called."""

from __future__ import annotations

from pathlib import Path

import click

from swarm.cli_common import Sentences, clean, config_option, load, print_json, running_node

ANSWER_S = 10.0


@click.group(cls=Sentences, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
@click.pass_context
def home(context: click.Context, as_json: bool, config_path: Path | None) -> None:
    """List what the home has: where it is, what it is called and how it is. Or say so yourself: your word wins.

    \b
    mycoswarm home
    mycoswarm home area "Kitchen lamp" Kitchen
    mycoswarm home alias "Kitchen lamp" sun "big light"
    """
    from swarm.tables import home_table

    if context.invoked_subcommand is not None:
        context.obj = config_path
        return
    found = running_node(load(config_path), timeout_s=ANSWER_S).entities()
    print_json(found) if as_json else click.echo(home_table(found) if found else "nothing yet")


@home.command()
@click.argument("entity")
@click.argument("area", required=False)
@click.option("--remove", is_flag=True, help="Leave it to the device again.")
@config_option
@click.pass_obj
def area(outer: Path | None, entity: str, area: str | None, remove: bool, config_path: Path | None) -> None:
    """Say in which room a thing is. ENTITY is its name, an alias or its id, as `mycoswarm home --json` lists it.

    \b
    mycoswarm home area "Kitchen lamp" Kitchen
    mycoswarm home area "Kitchen lamp" --remove
    """
    if remove == bool(area):
        raise click.UsageError('name a room or say --remove: mycoswarm home area "Kitchen lamp" Kitchen')
    found = running_node(load(config_path or outer), timeout_s=ANSWER_S).place(entity, None if remove else area)
    where = clean(found.get("area", ""))
    click.echo(f"{clean(found['name'])} is in {where}" if where else f"{clean(found['name'])} is in no room")


@home.command()
@click.argument("entity")
@click.argument("names", nargs=-1)
@click.option("--remove", is_flag=True, help="Take these names away; without NAMES all that were given.")
@config_option
@click.pass_obj
def alias(outer: Path | None, entity: str, names: tuple[str, ...], remove: bool, config_path: Path | None) -> None:
    """Give a thing further names. ENTITY is its name, an alias or its id, as `mycoswarm home --json` lists it.

    \b
    mycoswarm home alias "Kitchen lamp" sun "big light"
    mycoswarm home alias "Kitchen lamp" --remove sun
    """
    if not names and not remove:
        raise click.UsageError('say a name: mycoswarm home alias "Kitchen lamp" sun')
    node = running_node(load(config_path or outer), timeout_s=ANSWER_S)
    found = node.rename(entity, remove=names or None) if remove else node.rename(entity, add=names)
    called = ", ".join(clean(each) for each in found.get("aliases", ()))
    click.echo(f"{clean(found['name'])} is also called {called}" if called else f"{clean(found['name'])} has no alias")


COMMANDS = (home,)
