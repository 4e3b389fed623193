"""The commands that measure what BENCHMARKS.md promises."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from swarm.cli_common import print_json


@click.group()
def bench() -> None:
    """Measure what BENCHMARKS.md promises, on this machine.

    \b
    mycoswarm bench voice --quick
    mycoswarm bench swarm --quick
    mycoswarm bench home --quick
    """


@bench.command("voice")
@click.option("--quick", is_flag=True, help="A minute or two instead of a quarter of an hour; says less.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--write", type=click.Path(path_type=Path), metavar="FILE", help="Put the report into this Markdown file too."
)
def bench_voice(quick: bool, as_json: bool, write: Path | None) -> None:
    """Measure the voice path: how fast, how well understood, how costly, how often woken by mistake.

    It starts a node of its own and makes its own speech. Leave the machine alone meanwhile.

    \b
    mycoswarm bench voice --quick
    mycoswarm bench voice --write BENCHMARKS.md
    """
    from swarm.bench.report import report_text, write_section
    from swarm.bench.voice import FULL, QUICK
    from swarm.bench.voice import bench_voice as measure

    report = asyncio.run(measure(QUICK if quick else FULL, lambda line: click.echo(line, err=True)))
    if write is not None:
        write_section(write, report)
    print_json(report) if as_json else click.echo(report_text(report))


@bench.command("swarm")
@click.option("--quick", is_flag=True, help="A minute instead of several; says less.")
@click.option("--with-litellm", is_flag=True, help="Install the LiteLLM proxy beside, and compare with it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--write", type=click.Path(path_type=Path), metavar="FILE", help="Put the report into this Markdown file too."
)
def bench_swarm(quick: bool, with_litellm: bool, as_json: bool, write: Path | None) -> None:
    """Measure several machines that work as one: how soon one is used, what its loss costs, what a hop adds.

    It starts nodes and a language model server of its own on this machine. Leave the machine alone meanwhile. The
    part about a link that drops everything needs root.

    \b
    mycoswarm bench swarm --quick
    mycoswarm bench swarm --with-litellm --write BENCHMARKS.md
    """
    from swarm.bench.report import report_text, write_section
    from swarm.bench.swarm import FULL, QUICK
    from swarm.bench.swarm import bench_swarm as measure

    def tell(line: str) -> None:
        click.echo(line, err=True)

    report = asyncio.run(measure(QUICK if quick else FULL, tell, with_litellm=with_litellm))
    if write is not None:
        write_section(write, report)
    print_json(report) if as_json else click.echo(report_text(report))


@bench.command("home")
@click.option("--quick", is_flag=True, help="Two minutes instead of a quarter of an hour; says less.")
@click.option("--minutes", type=click.FloatRange(0.1, 600), help="How long states change; ten, with --quick a half.")
@click.option(
    "--home-assistant",
    type=click.Path(path_type=Path),
    metavar="VENV",
    help="Compare with the Home Assistant in this virtual environment, such as .venv-peers of make test-peers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--write", type=click.Path(path_type=Path), metavar="FILE", help="Put the report into this Markdown file too."
)
def bench_home(
    quick: bool, minutes: float | None, home_assistant: Path | None, as_json: bool, write: Path | None
) -> None:
    """Measure a home of 2,000 devices: how fast it starts, understands and acts, and what it costs.

    It starts a broker, devices and nodes of its own on this machine. Leave the machine alone meanwhile.

    \b
    mycoswarm bench home --quick
    mycoswarm bench home --home-assistant .venv-peers --write BENCHMARKS.md
    """
    from dataclasses import replace

    from swarm.bench.home import FULL, QUICK
    from swarm.bench.home import bench_home as measure
    from swarm.bench.report import report_text, write_section

    size = QUICK if quick else FULL
    if minutes is not None:
        size = replace(size, minutes=minutes)
    report = asyncio.run(measure(size, lambda line: click.echo(line, err=True), home_assistant=home_assistant))
    if write is not None:
        write_section(write, report)
    print_json(report) if as_json else click.echo(report_text(report))
