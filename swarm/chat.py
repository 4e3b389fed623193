"""`mycoswarm chat`: an interactive prompt; reads a pipe just as well."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from swarm.client import Answer, NodeClient
from swarm.errors import MycoswarmError
from swarm.tables import printable, trace_table

HISTORY_LINES = 1_000
HELP = """\
Say what you want: "turn on the kitchen lamp", "set a timer for ten minutes", "what can you do".
  /help    this text
  /trace   how long each stage of the last answer took
  Ctrl-C   stop waiting for an answer
  Ctrl-D   leave"""

Connect = Callable[[], NodeClient]
"""Finds the node that runs now; raises `NodeUnreachable`. Asked before each question: the node may come and go."""


def chat(connect: Connect, *, area: str, history: Path) -> bool:
    """Ask line by line until the input ends. True when every line got its answer."""
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text are a bad question, not the end
    if interactive:
        click.echo(f"mycoswarm at {connect().url}. /help explains, Ctrl-D leaves.")
    all_answered = True
    last: Answer | None = None
    with _history(history) if interactive else contextlib.nullcontext():
        for line in _typed() if interactive else sys.stdin:
            text = line.strip()
            try:
                match text:
                    case "":
                        pass
                    case "/help":
                        click.echo(HELP)
                    case "/trace":
                        click.echo(trace_table(last.trace) if last else "nothing was asked yet")
                    case _ if text.startswith("/"):
                        click.echo(f"no such command: {printable(text)}; /help lists them")
                    case _:
                        last = say_answer(connect(), text, area=area)
            except MycoswarmError as error:
                all_answered = False
                click.echo(f"error: {error.for_person()}", err=True)
            except KeyboardInterrupt:
                if not interactive:
                    raise
                click.echo("\n(stopped waiting)")
    return all_answered


def say_answer(node: NodeClient, text: str, *, area: str) -> Answer:
    """Print the answer sentence by sentence, as it comes."""
    said = False
    try:
        for part in node.ask(text, area=area):
            if isinstance(part, Answer):
                if not said:
                    said = True
                    click.echo(
                        printable(part.answer) or f"({part.outcome.replace('_', ' ') or 'nothing to say'})", nl=False
                    )
                return part
            click.echo((" " if said else "") + printable(part), nl=False)
            sys.stdout.flush()
            said = True
    finally:
        if said:
            click.echo()
    raise AssertionError("NodeClient.ask ends with an Answer or raises")


def _typed() -> Iterator[str]:
    while True:
        try:
            yield input("> ")
        except EOFError:
            click.echo()
            return


@contextlib.contextmanager
def _history(path: Path) -> Iterator[None]:
    """Arrow keys and a history of earlier questions, readable by its owner only; does without if it cannot be kept."""
    try:
        import readline
    except ImportError:  # a Python built without it
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(HISTORY_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            readline.write_history_file(path)
