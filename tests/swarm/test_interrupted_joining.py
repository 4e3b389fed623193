"""Power is cut in the midst of joining, or of beginning a swarm: the machine is free to do it again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from swarm.admission import found_swarm, require_no_swarm
from swarm.config import Config
from swarm.errors import MycoswarmError
from swarm.identity import FOLDER, open_identity
from swarm.roster import introduce, introduced
from tests.swarm.enrolled import founder


def at(folder: Path) -> Config:
    return msgspec.structs.replace(Config(), node=msgspec.structs.replace(Config().node, state_dir=str(folder)))


def test_joiner_keeps_its_key_by_which_its_enroller_knows_it(tmp_path: Path) -> None:
    authority = founder(tmp_path / "first").identity.authority
    assert authority is not None
    identity = open_identity(tmp_path / FOLDER)
    introduce(identity.folder, (authority.certificate,))  # and no certificate: power was cut between the two
    require_no_swarm(at(tmp_path))
    assert introduced(identity.folder) == ()
    assert open_identity(tmp_path / FOLDER).node_id == identity.node_id


@pytest.mark.parametrize("lost", [(), ("node.crt",), ("node.crt", "authority.crt")])
def test_founder_that_nobody_heard_of_begins_anew(tmp_path: Path, lost: tuple[str, ...]) -> None:
    config = at(tmp_path)
    before = asyncio.run(found_swarm(config))
    for name in ("bundle.pem", *lost):  # it is written last
        (tmp_path / FOLDER / name).unlink()
    after = asyncio.run(found_swarm(config))
    assert after.swarm_id != before.swarm_id
    assert len(introduced(tmp_path / FOLDER)) == 1


def test_member_is_not_taken_for_one_that_was_interrupted(tmp_path: Path) -> None:
    config = at(tmp_path)
    member = asyncio.run(found_swarm(config))
    (tmp_path / FOLDER / "node.crt").unlink()  # lost later: the ledger tells
    with pytest.raises(MycoswarmError):
        require_no_swarm(config)
    assert open_identity(tmp_path / FOLDER).node_id == member.node_id
