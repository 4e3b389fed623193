"""The command line: `mycoswarm up` starts a node, everything else asks the one that runs.

Imports are made by the commands that need them: `mycoswarm ask` should be over before an HTTP server is imported.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from provisioning.cli_bundle import bundle
from provisioning.package.cli import COMMANDS as PACKAGE_COMMANDS
from swarm import __version__
from swarm.cli_bench import bench
from swarm.cli_common import Deferred, Sentences, config_option, load, patience_s, print_json, read, running_node
from swarm.cli_home import COMMANDS as HOME_COMMANDS
from swarm.cli_membership import COMMANDS as MEMBERSHIP_COMMANDS
from swarm.cli_rules import COMMANDS as RULE_COMMANDS
from swarm.cli_say import say
from swarm.cli_swarm import COMMANDS as SWARM_COMMANDS
from swarm.cli_tasks import COMMANDS as TASK_COMMANDS
from swarm.cli_update import update
from swarm.errors import ConfigError, MycoswarmError

if TYPE_CHECKING:
    from swarm.checks import Finding, Senses
    from swarm.client import Status
    from swarm.config import Config

STATUS_TIMEOUT_S = 5.0


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mycoswarm")
def main() -> None:
    """A voice assistant for the home. Nothing leaves the house.

    \b
    mycoswarm up                             start it
    mycoswarm ask turn on the kitchen lamp   ask it something
    mycoswarm chat                           talk with it by keyboard
    mycoswarm doctor                         find out what is wrong

    \b
    mycoswarm init                           make several machines one: this is the first
    mycoswarm invite, mycoswarm join         let another one in
    mycoswarm image                          make a card or disk that another machine starts from
    """


@main.command()
@click.option("--demo-home", is_flag=True, help="Bring a virtual flat of lamps, blinds, a lock and sensors along.")
@click.option(
    "--log",
    "log_form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How to log: for people, or one JSON object a line.",
)
@config_option
def up(demo_home: bool, log_form: Literal["text", "json"], config_path: Path | None) -> None:
    """Start this node and stay up until Ctrl-C.

    Listens on loopback only. A machine that belongs to a swarm (init, join) also listens on the LAN, for the other
    machines of the swarm and nobody else.

    \b
    mycoswarm up
    mycoswarm up --demo-home
    """
    import asyncio

    from swarm.structured_log import log_to

    config = load(config_path)
    log_to(node=config.node.name, form=log_form)
    from swarm.node import run_node

    asyncio.run(run_node(config, demo_home=demo_home))


@main.command()
@click.argument("text", nargs=-1)
@click.option(
    "--area", default="", metavar="ROOM", help='The room you are in: "turn on the light" means the one there.'
)
@click.option("--audio", type=click.Path(path_type=Path), metavar="WAV", help="Ask by a recording instead of by text.")
@click.option("--no-wake", is_flag=True, help="The recording has no wake word before the question.")
@click.option("--reply", type=click.Path(path_type=Path), metavar="WAV", help="Keep the spoken answer to a recording.")
@click.option("--json", "as_json", is_flag=True, help="Print answer, intent, outcome and trace as JSON.")
@config_option
def ask(
    text: tuple[str, ...],
    area: str,
    audio: Path | None,
    no_wake: bool,
    reply: Path | None,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Ask the running node something.

    \b
    mycoswarm ask turn on the kitchen lamp
    mycoswarm ask --area bedroom "close the blinds"
    mycoswarm ask --audio in.wav --reply out.wav --json
    """
    question = " ".join(text).strip()
    if audio is None:
        if not question:
            raise click.UsageError('say what you want, such as: mycoswarm ask "turn on the kitchen lamp"')
        if no_wake or reply:
            raise click.UsageError("--no-wake and --reply belong to --audio")
        _ask_text(load(config_path), question, area, as_json)
    else:
        if question or area:
            raise click.UsageError("ask either by text or by --audio; a recording is heard where the microphone stands")
        _ask_audio(config_path, audio, not no_wake, reply, as_json)


def _ask_text(config: Config, question: str, area: str, as_json: bool) -> None:
    from swarm.chat import say_answer

    node = running_node(config)
    if as_json:
        *_, answer = node.ask(question, area=area)
        print_json(answer)
    else:
        say_answer(node, question, area=area)


def _ask_audio(config_path: Path | None, audio: Path, wake: bool, reply: Path | None, as_json: bool) -> None:
    import msgspec

    from swarm.audio import duration_s, read_wav, write_wav
    from swarm.reply_file import reply_file

    with reply_file(reply) as file:
        pcm = read_wav(audio)
        config = read(config_path)
        node = running_node(config, timeout_s=duration_s(pcm) + patience_s(config))  # it is heard in real time
        spoken = node.ask_audio(write_wav(pcm), wake=wake)
        if file is not None:
            file.write(spoken.reply_wav)
    if as_json:
        shown = msgspec.structs.asdict(spoken)
        del shown["reply_wav"]  # --reply is the way to get it
        print_json(shown)
        return
    _tell("heard", spoken.transcript)
    _tell("answer", spoken.answer)


@main.command()
@click.option(
    "--area", default="", metavar="ROOM", help='The room you are in: "turn on the light" means the one there.'
)
@config_option
def chat(area: str, config_path: Path | None) -> None:
    """Talk with the running node by keyboard, or by a pipe, line by line.

    \b
    mycoswarm chat
    echo "close all blinds" | mycoswarm chat
    """
    from swarm.chat import chat as chat_with

    config = load(config_path)
    if not chat_with(lambda: running_node(config), area=area, history=config.state_dir / "chat_history"):
        raise SystemExit(1)


@main.command()
@click.option("--area", default="", metavar="ROOM", help="The room that the microphone stands in.")
@click.option("--name", default="listen", metavar="NAME", help="What traces call this satellite.")
@config_option
def listen(area: str, name: str, config_path: Path | None) -> None:
    """Be a satellite that hears raw audio on standard input: 16-bit little-endian mono, 16 kHz.

    \b
    arecord -q -t raw -f S16_LE -r 16000 -c 1 | mycoswarm listen
    """
    import asyncio
    import logging

    from edge.piped import satellite_on_pipe

    if sys.stdin is None or not _is_pipe_or_file(sys.stdin.fileno()):
        raise click.UsageError("pipe raw audio into it, as the example in --help does")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = load(config_path)
    node = running_node(config, timeout_s=STATUS_TIMEOUT_S)
    node.status()
    url = f"{node.url.replace('http', 'ws', 1)}/api/voice"
    asyncio.run(satellite_on_pipe(sys.stdin.buffer, config, url=url, name=name, area=area, tell=_tell))


@main.command()
@click.argument("utterance", required=False)
@click.option("--last", type=click.IntRange(1, 500), metavar="N", help="List the newest N instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def trace(utterance: str | None, last: int | None, as_json: bool, config_path: Path | None) -> None:
    """Show how long each stage of an utterance took; of the newest when none is named.

    \b
    mycoswarm trace
    mycoswarm trace --last 20
    """
    from swarm.tables import trace_table, traces_table

    if utterance and last:
        raise click.UsageError("name an utterance or list the --last ones, not both")
    node = running_node(load(config_path))
    if last:
        traces = node.traces(last)
        print_json(traces) if as_json else click.echo(traces_table(traces))
        return
    newest = [node.trace(utterance)] if utterance else node.traces(1)
    if not newest:
        raise MycoswarmError("nothing was asked yet", hint='ask something: mycoswarm ask "what time is it"')
    print_json(newest[0]) if as_json else click.echo(trace_table(newest[0]))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def timers(as_json: bool, config_path: Path | None) -> None:
    """List the timers that run.

    \b
    mycoswarm timers
    """
    from swarm.tables import timers_table

    found = running_node(load(config_path)).timers()
    print_json(found) if as_json else click.echo(timers_table(found) if found else "no timers")


@main.command()
@config_option
def mute(config_path: Path | None) -> None:
    """Stop listening with this machine's microphone.

    \b
    mycoswarm mute
    """
    running_node(load(config_path)).set_muted(True)
    click.echo("muted; `mycoswarm unmute` listens again")


@main.command()
@config_option
def unmute(config_path: Path | None) -> None:
    """Listen again with this machine's microphone.

    \b
    mycoswarm unmute
    """
    running_node(load(config_path)).set_muted(False)
    click.echo("listening")


@main.command()
@click.argument("node", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def doctor(node: str | None, as_json: bool, config_path: Path | None) -> None:
    """Check everything that is needed to hear and answer, or the way from here to another NODE of the swarm.

    Works whether or not the node is up. The way is checked layer by layer: mDNS, TCP, TLS, clock, certificate, broker,
    ACL; the first that fails is the one to mend.

    \b
    mycoswarm doctor
    mycoswarm doctor kitchen-pi
    """
    if node is not None:
        from swarm.doctor import examine_between

        _show_findings(examine_between(load(config_path), node), as_json)
        return
    from swarm.checks import Examined
    from swarm.config import Config, default_config_path
    from swarm.doctor import examine

    path = config_path or default_config_path()
    config, wrong = Config(), None
    try:
        config = load(config_path)
    except ConfigError as error:
        wrong = error
    _show_findings(examine(Examined(config, str(path), wrong, _status(config), _senses(config))), as_json)


def _show_findings(findings: list[Finding], as_json: bool) -> None:
    from swarm.tables import findings_table

    if as_json:
        print_json(findings)
    else:
        click.echo(findings_table((each.check, each.status, each.found, each.to_do) for each in findings))
    if any(each.status == "fail" for each in findings):
        raise SystemExit(1)


def _image_commands() -> click.Group:
    from provisioning.image.cli import image

    return image


for _command in (
    *HOME_COMMANDS,
    say,
    bench,
    *MEMBERSHIP_COMMANDS,
    *SWARM_COMMANDS,
    *TASK_COMMANDS,
    update,
    *RULE_COMMANDS,
    Deferred("image", _image_commands, help="Build images, make them a machine's own, write them to cards and disks."),
    *PACKAGE_COMMANDS,
):
    main.add_command(_command)
update.add_command(bundle)


# ---- what the commands share


def _tell(what: str, text: str) -> None:
    from swarm.tables import printable

    click.echo(f"{what + ':':8}{printable(text) or '(nothing)'}")


def _is_pipe_or_file(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)


def _status(config: Config) -> Status | None:
    """How the running node is; None when there is none."""
    try:
        return running_node(config, timeout_s=STATUS_TIMEOUT_S).status()
    except MycoswarmError:
        return None


# ---- the parts of other packages that the doctor looks at


def _senses(config: Config) -> Senses:
    from edge.examination import Examination
    from gpu_node.engines import ENGINES as ADDED_ENGINES
    from swarm.checks import Senses
    from swarm.engines import ENGINES

    settings: dict[str, dict[str, Any]] = {manifest.name: {} for manifest in ENGINES}
    settings["pocketsphinx"] = {"pronounce": _pronounce_nothing}  # the words it is tried with are in its dictionary
    if config.speech.whisper_model:
        settings["faster-whisper"] = {"model_dir": config.speech.whisper_model}
    if config.speech.piper_voice:
        settings["piper"] = {"voice_path": config.speech.piper_voice}
    if config.language_model.url:
        settings["ollama"] = {"url": config.language_model.url, "model": config.language_model.model}
    used = [(each, settings[each.name]) for each in (*ENGINES, *ADDED_ENGINES) if each.name in settings]
    edge = Examination()
    return Senses(
        microphone=edge.hear_microphone,
        speaker=edge.find_speaker,
        wake_words=edge.load_listening_models,
        engines=used,
    )


async def _pronounce_nothing(words: Sequence[str], language: str) -> dict[str, list[str]]:
    return {}
