"""The commands about rules: what the home does by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm.cli_common import clean, config_option, load, print_json

if TYPE_CHECKING:
    from swarm.rules_client import RulesClient

ANSWER_S = 30.0
MAX_FILE_BYTES = 256 * 1024

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True)
@_json_option
@config_option
@click.pass_context
def rules(context: click.Context, as_json: bool, config_path: Path | None) -> None:
    """List the rules of the home, or change them.

    A rule is a sentence: when something is to be done, under which conditions, and what. RULE is the number of one, or
    the beginning of its id.

    \b
    mycoswarm rules
    mycoswarm rules add every weekday at seven turn on the bedroom lights
    mycoswarm rules add "when the front door opens after ten say so in the office"
    mycoswarm rules load rules.txt
    mycoswarm rules explain 2
    """
    context.obj = config_path
    if context.invoked_subcommand is None:
        from swarm.tables import rules_table

        found = _node(context, None).rules()
        if as_json:
            print_json(found)
        elif found:
            click.echo(rules_table(found))
        else:
            click.echo("no rules; such as: mycoswarm rules add every weekday at seven turn on the bedroom lights")


@rules.command()
@click.argument("sentence", nargs=-1, required=True)
@click.option(
    "--area", default="", metavar="ROOM", help='The room it is about: "turn on the lights" means those there.'
)
@config_option
@click.pass_context
def add(context: click.Context, sentence: tuple[str, ...], area: str, config_path: Path | None) -> None:
    """Make a rule of a sentence, and say how it was understood.

    \b
    mycoswarm rules add when the kitchen window opens turn off the thermostat
    """
    from swarm.errors import MycoswarmError

    made = _node(context, config_path).make((" ".join(sentence),), area=area)
    if made.problems:
        raise MycoswarmError(made.problems[0].why)
    click.echo(clean(made.told[0]))


@rules.command("load")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--area", default="", metavar="ROOM", help="The room they are about, where they name none.")
@config_option
@click.pass_context
def load_file(context: click.Context, file: Path, area: str, config_path: Path | None) -> None:
    """Make rules of a text file with one sentence a line: all of them, or none.

    Empty lines and what follows a # at the beginning of a line are left out. What is a rule already is not made twice.

    \b
    mycoswarm rules load rules.txt
    """
    from swarm.errors import MycoswarmError

    lines = _sentences(file)
    made = _node(context, config_path).make(tuple(sentence for _, sentence in lines), area=area)
    if made.problems:
        told = [f"{file}:{lines[each.index][0]}: {clean(each.why)}" for each in made.problems]
        raise MycoswarmError("\n".join(told), hint="no rule was made; mend these lines and load the file again")
    for line in made.told:
        click.echo(clean(line))


@rules.command()
@click.argument("rule")
@_json_option
@config_option
@click.pass_context
def explain(context: click.Context, rule: str, as_json: bool, config_path: Path | None) -> None:
    """Say what a rule does, when it did it last and what came of it.

    \b
    mycoswarm rules explain 2
    """
    found = _node(context, config_path).explain(rule)
    print_json(found) if as_json else click.echo(clean(found.told))


@rules.command()
@click.argument("rule")
@config_option
@click.pass_context
def disable(context: click.Context, rule: str, config_path: Path | None) -> None:
    """Switch a rule off.

    \b
    mycoswarm rules disable 2
    """
    changed = _node(context, config_path).switch(rule, enabled=False)
    click.echo(clean(f"rule {changed.number} is switched off: {changed.means}"))


@rules.command()
@click.argument("rule")
@config_option
@click.pass_context
def enable(context: click.Context, rule: str, config_path: Path | None) -> None:
    """Switch a rule on.

    \b
    mycoswarm rules enable 2
    """
    changed = _node(context, config_path).switch(rule, enabled=True)
    click.echo(clean(f"rule {changed.number} is switched on: {changed.means}"))


@rules.command()
@click.argument("rule")
@config_option
@click.pass_context
def remove(context: click.Context, rule: str, config_path: Path | None) -> None:
    """Delete a rule for good.

    \b
    mycoswarm rules remove 2
    """
    gone = _node(context, config_path).remove(rule)
    click.echo(clean(f"rule {gone.number} is deleted: {gone.means}"))


def _node(context: click.Context, config_path: Path | None) -> RulesClient:
    """`--config` may stand before the command or behind it."""
    from swarm.rules_client import find_rules

    return find_rules(load(config_path or context.obj).state_dir, timeout_s=ANSWER_S)


def _sentences(file: Path) -> list[tuple[int, str]]:
    """Line numbers and sentences. Raises `MycoswarmError`."""
    from swarm.errors import MycoswarmError

    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise MycoswarmError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MycoswarmError(f"{file} is no text in UTF-8", hint="save it as UTF-8") from error
    if len(content) > MAX_FILE_BYTES:
        raise MycoswarmError(f"{file} has more than {MAX_FILE_BYTES // 1024} kB")
    found = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    found = [(number, line) for number, line in found if line and not line.startswith("#")]
    if not found:
        raise MycoswarmError(f"{file} holds no rule", hint="write one sentence a line")
    return found


COMMANDS = (rules,)
