"""The commands that show what becomes of tasks."""

from __future__ import annotations

from pathlib import Path

import click

from swarm.cli_common import config_option, load, print_json

ANSWER_S = 10.0


@click.command()
@click.option("--last", type=click.IntRange(1, 1000), default=20, show_default=True, metavar="N", help="The newest N.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def tasks(last: int, as_json: bool, config_path: Path | None) -> None:
    """List the tasks that came in at this node: those under way, and those that ended lately.

    \b
    mycoswarm tasks
    """
    from swarm.swarm_client import find_swarm_node
    from swarm.swarm_tables import tasks_table

    node = find_swarm_node(load(config_path).state_dir, timeout_s=ANSWER_S)
    found = node.tasks(last)
    if as_json:
        print_json(found)
    elif found:
        click.echo(tasks_table(found, {each.node: each.name for each in node.nodes()}))
    else:
        click.echo("no tasks yet")


@click.command()
@click.argument("which", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def why(which: str | None, as_json: bool, config_path: Path | None) -> None:
    """Say why a task went where it went, or why something was done that was said.

    WHICH is the id of a task, as `mycoswarm tasks` shows it, or of an utterance, as `mycoswarm trace` does, or the
    beginning of either. Without one: what was said last.

    \b
    mycoswarm why
    mycoswarm why 3f2a
    """
    from swarm.errors import MycoswarmError
    from swarm.swarm_client import find_swarm_node
    from swarm.swarm_tables import why_text
    from swarm.tables import reason_table

    node = find_swarm_node(load(config_path).state_dir, timeout_s=ANSWER_S)
    found = [each.task for each in node.tasks(1000) if which and each.task.startswith(which)]
    if len(found) > 1:
        raise MycoswarmError(f"{len(found)} tasks begin with {which}", hint="write more of the id")
    if which is None or not found:
        said = node.traces(500 if which else 1)
        traces = [trace for trace in said if trace.utterance_id.startswith(which or "")]
        if len(traces) == 1:
            print_json(traces[0]) if as_json else click.echo(reason_table(traces[0]))
            return
        if which is None or traces:
            what = f"{len(traces)} utterances begin with {which}" if traces else "nothing was said yet"
            raise MycoswarmError(what, hint="mycoswarm trace --last 20 shows what was said")
    status = node.task(found[0] if found else which)
    print_json(status) if as_json else click.echo(why_text(status, {each.node: each.name for each in node.nodes()}))


COMMANDS = (tasks, why)
