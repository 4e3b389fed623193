"""The roster of a machine on which no node runs, as the command line reads and changes it."""

from __future__ import annotations

from typing import NoReturn

from swarm.config import Config
from swarm.errors import MycoswarmError
from swarm.identity import FOLDER, open_identity
from swarm.roster import find_member, is_enroller, load_roster
from swarm.swarm_view import NodeView


def kept_nodes(config: Config, *, none_is_fine: bool = False) -> list[NodeView]:
    """Who belongs to the swarm. Raises `MycoswarmError` for a machine that belongs to none, unless `none_is_fine`."""
    folder = config.state_dir / FOLDER
    roster = load_roster(folder)
    if roster is None:
        if none_is_fine:
            return []
        _belongs_to_none()
    own = open_identity(folder).node_id
    return [
        NodeView(node, name, admits=is_enroller(roster, node), here=node == own)
        for node, name in sorted(roster.members().items(), key=lambda each: (each[0] != own, each[1]))
    ]


async def revoke_on_disk(config: Config, text: str) -> tuple[str, str]:
    """Revoke the member that a person calls so; its name and id. Raises `MycoswarmError`."""
    folder = config.state_dir / FOLDER
    roster = load_roster(folder)
    if roster is None:
        _belongs_to_none()
    own = open_identity(folder).node_id
    if not is_enroller(roster, own):
        raise MycoswarmError("this machine admits no others, and so revokes none", hint="run it on one that does")
    node = find_member(roster.members(), text)
    if node == own:
        raise MycoswarmError("that is this machine itself", hint="mycoswarm leave takes it out of the swarm")
    name = roster.members()[node]
    await roster.revoke(node)
    return name, node


def _belongs_to_none() -> NoReturn:
    raise MycoswarmError("this machine belongs to no swarm", hint="mycoswarm init begins one, mycoswarm join joins one")
