"""`mycoswarm say`: an announcement in one room, several or all."""

from __future__ import annotations

from pathlib import Path

import click

from swarm.cli_common import clean, config_option, load, patience_s, print_json, running_node

_OUTCOMES = {
    "played": "played",
    "stopped": "stopped before its end",
    "waits": "not played yet",
    "full": "not played: too much waits there",
    "failed": "not played: the satellite did not take it",
}


@click.command()
@click.argument("text", nargs=-1)
@click.option("--to", multiple=True, metavar="ROOM", help="A room or a satellite; may be repeated. None: all.")
@click.option("--sound", default="", metavar="FILE", help="Play this file of the folder `media` in the state folder.")
@click.option("--chime/--no-chime", default=True, show_default=True, help="A chime before it.")
@click.option("--volume", type=click.IntRange(0, 100), help="How loud, this once.")
@click.option("--interrupt", is_flag=True, help="Do not wait for the end of what is being spoken.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def say(
    text: tuple[str, ...],
    to: tuple[str, ...],
    sound: str,
    chime: bool,
    volume: int | None,
    interrupt: bool,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Say something in all rooms, or in some, and tell where it was played.

    While a person speaks to a satellite it waits there. A muted satellite plays it: only its microphone is off.

    \b
    mycoswarm say dinner is ready
    mycoswarm say --to kitchen --to office "the post is here"
    mycoswarm say --sound doorbell.wav --volume 80 --interrupt
    """
    words = " ".join(text).strip()
    if bool(words) == bool(sound):
        raise click.UsageError("say what is to be said, or name a --sound")
    config = load(config_path)
    node = running_node(config, timeout_s=patience_s(config))
    result = node.say(
        {
            "text": words.encode(errors="replace").decode(),
            "media": sound,
            "to": to,
            "chime": chime,
            "volume": volume,
            "interrupt": interrupt,
        }
    )
    if as_json:
        print_json(result)
        return
    for report in result["reports"]:
        where = f"{report['satellite']} ({report['area']})" if report["area"] else report["satellite"]
        click.echo(f"{clean(where)}: {_OUTCOMES.get(report['outcome'], report['outcome'])}")
    for name in result["missed"]:
        click.echo(f"{clean(name)}: no satellite answers to that", err=True)
    if result["missed"] or not all(report["outcome"] == "played" for report in result["reports"]):
        raise SystemExit(1)
