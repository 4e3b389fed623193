"""The commands by which a machine comes to belong to a swarm, and leaves it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm.cli_common import clean, config_option, load, swarm_node
from swarm.errors import MycoswarmError, NodeUnreachable

if TYPE_CHECKING:
    from swarm.admission import Member
    from swarm.config import Config
    from swarm.peer_session import Address
    from swarm.swarm_client import SwarmClient
    from swarm.swarm_view import PendingView

BEGIN_S = 40.0
"""A node that begins again loads its voice, which takes seconds on a small board."""
POLL_S = 0.5


@click.command()
@config_option
def init(config_path: Path | None) -> None:
    """Begin a swarm: this machine is the first of several that work as one.

    It makes this machine's key and the swarm's authority, both of which never leave it. From now on `mycoswarm up`
    also listens on the LAN, for machines that were let in and for nobody else.

    \b
    mycoswarm init
    """
    from swarm.admission import found_swarm

    config = load(config_path)
    member = asyncio.run(found_swarm(config))
    click.echo(f"swarm {member.swarm_id} begins with this machine, {config.node.name} ({member.node_id})")
    _say_what_listens(config, admits=True)
    _begin(config)
    click.echo("let the next machine in with: mycoswarm invite")


@click.command()
@click.argument("token", required=False)
@click.option("--address", metavar="HOST[:PORT]", help="Where the other machine is, if it is not found by itself.")
@config_option
def join(token: str | None, address: str | None, config_path: Path | None) -> None:
    """Join a swarm: with a token of `mycoswarm invite`, or by a code that a person compares.

    Without a token, run `mycoswarm approve` on a machine of the swarm; both machines then show a code. From now on
    `mycoswarm up` also listens on the LAN, for the other machines of the swarm and for nobody else.

    \b
    mycoswarm join MYCO1-…
    mycoswarm join
    """
    from swarm.admission import join_with_token, require_no_swarm
    from swarm.tokens import parse_token

    config = load(config_path)
    require_no_swarm(config)
    place = _place(address, config) if address else None
    if token:
        member = asyncio.run(join_with_token(config, parse_token(token), address=place))
    else:
        member = asyncio.run(_join_by_code(config, place))
    click.echo(f"{config.node.name} ({member.node_id}) belongs to the swarm {member.swarm_id}")
    _say_what_listens(config, admits=False)
    _begin(config)


@click.command()
@click.argument("code", required=False)
@click.option("--refuse", metavar="CODE", help="Tell the machine with this code no.")
@config_option
def approve(code: str | None, refuse: str | None, config_path: Path | None) -> None:
    """Let in a machine that runs `mycoswarm join` without a token, by the code that both show.

    Without a code, machines may ask for ten minutes, and each that does is shown. Only if the code on its own screen
    is the same, no third machine stands between the two.

    \b
    mycoswarm approve
    mycoswarm approve 123 456
    """
    if code and refuse:
        raise click.UsageError("either approve or --refuse")
    config = load(config_path)
    node = swarm_node(config)
    if code:
        _say_decided(node.decide(code, "approve"), "let in")
    elif refuse:
        _say_decided(node.decide(refuse, "refuse"), "refused")
    else:
        _approve_those_who_come(node, config)


@click.command()
@click.option("--force", is_flag=True, help="Even if nobody is left who admits machines.")
@config_option
def leave(force: bool, config_path: Path | None) -> None:
    """Take this machine out of its swarm, and forget its key.

    \b
    mycoswarm leave
    """
    from swarm.admission import forget_swarm
    from swarm.client import find_address
    from swarm.roster_on_disk import kept_nodes

    config = load(config_path)
    try:
        node: SwarmClient | None = swarm_node(config)
    except NodeUnreachable:
        node = None
    known = node.nodes() if node else kept_nodes(config, none_is_fine=True)
    others = [each for each in known if not each.here]
    admits = any(each.here and each.admits for each in known)
    if admits and others and not force and not any(each.admits for each in others):
        raise MycoswarmError(
            "this is the only machine that admits others: without it nobody can join, and certificates end in a week",
            hint="give the right to another hub first: mycoswarm grant NODE; or leave with --force",
        )
    if node is not None:
        before = node.swarm().swarm_id
        pid = find_address(config.state_dir).pid
        node.leave()
        _wait_until_begun(config, pid, swarm_id="")
    else:
        before = forget_swarm(config)
        click.echo("no node is running here, so the others are not told: mycoswarm revoke does that, on one of them")
    click.echo(f"this machine has left the swarm {before} and listens nowhere beyond loopback")


COMMANDS = (init, join, approve, leave)


# ---- how it is done


async def _join_by_code(config: Config, place: Address | None) -> Member:
    from swarm.admission import enrolment_places, find_enrollers, join_with_code

    if place is None:
        click.echo("looking for a swarm that takes machines in …", err=True)
        found = await find_enrollers(config)
        swarms = {each.swarm_id for each in found}
        places = enrolment_places(found)
        if not places:
            raise MycoswarmError(
                "no swarm takes machines in just now",
                hint="run mycoswarm approve on a machine of the swarm; --address HOST if multicast does not reach it",
            )
        if len(swarms) > 1:
            shown = ", ".join(f"{each.addresses[0]}:{each.enrol_port}" for each in found)
            raise MycoswarmError(
                f"{len(swarms)} swarms take machines in just now", hint=f"say which with --address: {shown}"
            )
        place = places[0]
    return await join_with_code(config, place, _compare)


async def _compare(code: str, enroller: str) -> bool:
    click.echo(f"the code is {code}")
    click.echo(f'run "mycoswarm approve" on {clean(enroller)} and compare the codes')
    while True:
        click.echo("does it show the same code? [y/n]: ", nl=False)
        sys.stdout.flush()
        line = await _typed_line()
        if line.strip().lower() in ("y", "yes"):
            return True
        if not line or line.strip().lower() in ("n", "no"):
            return False


async def _typed_line() -> str:
    """What a person types, empty at the end of the input. Not by a thread: one that waits for input cannot be ended
    when the other side says no meanwhile."""
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    readable = asyncio.Event()
    try:
        loop.add_reader(descriptor, readable.set)
    except PermissionError:  # a file, which never waits
        return os.read(descriptor, 1024).decode(errors="replace")
    try:
        await readable.wait()
        return os.read(descriptor, 1024).decode(errors="replace")
    finally:
        loop.remove_reader(descriptor)


def _approve_those_who_come(node: SwarmClient, config: Config) -> None:
    from swarm.waiting import waiting_machines

    node.accept_codes()
    click.echo("machines may ask for ten minutes: run mycoswarm join there (Ctrl-C ends it)", err=True)
    for waiting in asyncio.run(waiting_machines(config)):
        click.echo(f"{clean(waiting.name)} at {waiting.address} waits, and will ask by itself", err=True)
    shown: set[str] = set()
    ends = time.monotonic() + 600.0
    while time.monotonic() < ends:
        for pending in node.codes().pending:
            if pending.code in shown:
                continue
            shown.add(pending.code)
            click.echo(f"{clean(pending.name)} at {pending.address} asks to be let in, with the code {pending.code}")
            if not sys.stdin.isatty():
                continue
            same = click.confirm("does its own screen show the same code?", default=False)
            _say_decided(node.decide(pending.code, "approve" if same else "refuse"), "let in" if same else "refused")
            return
        time.sleep(POLL_S)
    raise MycoswarmError("nobody was let in within ten minutes", hint="run it again when the other machine is ready")


def _say_decided(pending: PendingView, decision: str) -> None:
    click.echo(f"{clean(pending.name)} ({pending.node}) is {decision}")


def _say_what_listens(config: Config, *, admits: bool) -> None:
    section = config.swarm
    where = section.address or "the addresses of this machine on the LAN"
    click.echo(f"it listens on {where}, port {section.port}: only machines that were let in can speak with it there")
    if not section.roles or "hub" in section.roles:
        click.echo(f"as a hub also on port {section.bus_port}, for the same machines: the way to the home's devices")
    if admits:
        click.echo(f"port {section.enrolment_port} is open only while a machine is invited or waits for approval")


def _begin(config: Config) -> None:
    """Let the node that runs here take part, if there is one."""
    from swarm.client import find_address

    try:
        node = swarm_node(config)
    except NodeUnreachable:
        click.echo("take part with: mycoswarm up")
        return
    pid = find_address(config.state_dir).pid
    node.begin()
    _wait_until_begun(config, pid)
    click.echo("the node that runs here takes part now")


def _wait_until_begun(config: Config, pid: int, *, swarm_id: str | None = None) -> None:
    """Until the node that begins again, as the process `pid`, belongs to a swarm, or to `swarm_id`."""
    from swarm.client import is_alive

    deadline = time.monotonic() + BEGIN_S
    while True:
        try:
            now = swarm_node(config).swarm().swarm_id
            if now == swarm_id or (swarm_id is None and now):
                return
        except MycoswarmError:
            pass
        if not is_alive(pid):
            raise MycoswarmError("the node that ran here ended instead of beginning again", hint="its log says why")
        if time.monotonic() > deadline:
            raise MycoswarmError(
                f"the node that runs here did not begin again within {BEGIN_S:g} s", hint="its log says why"
            )
        time.sleep(0.1)


def _place(text: str, config: Config) -> Address:
    from swarm.static_peers import parse_peer, resolve

    found = asyncio.run(resolve(parse_peer(text, default_port=config.swarm.enrolment_port)))
    if found is None:
        raise MycoswarmError(f"{text} has no address on the LAN", hint="name it by its address, such as 192.168.1.10")
    return found.addresses[0], found.port
