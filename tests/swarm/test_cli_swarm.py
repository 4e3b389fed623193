"""The commands of the swarm where no node runs, and what they say to wrong use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from swarm.cli import main
from swarm.identity import open_identity
from swarm.private_file import make_private_folder
from swarm.tokens import JoinToken
from tests.buses import free_port
from tests.swarm.people_port_node import PeoplePortNode


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        f'[node]\nname = "attic"\nstate_dir = "{tmp_path / "state"}"\n[satellite]\nmicrophone = "none"\n'
        '[swarm]\nmulticast = false\naddress = "127.0.0.1"\n'
    )
    return path


def run(config: Path, *arguments: str) -> Result:
    command, *rest = arguments
    result = CliRunner().invoke(main, [command, "--config", str(config), *rest])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def up(config: Path) -> str:
    """What a node that cannot start complains."""
    command = [sys.executable, "-m", "swarm", "up", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    return done.stderr


def identity_of(config: Path) -> Path:
    return config.parent / "state" / "identity"


def test_init_makes_a_swarm_and_says_what_will_listen(config: Path) -> None:
    result = run(config, "init")
    assert result.exit_code == 0
    identity = open_identity(identity_of(config))
    assert identity.node_id in result.stdout
    assert identity.authority is not None
    assert "it listens on 127.0.0.1, port 7334" in result.stdout
    assert "take part with: mycoswarm up" in result.stdout


def test_init_leaves_its_files_to_their_owner_only(config: Path) -> None:
    run(config, "init")
    state = identity_of(config).parent
    assert [path.stat().st_mode & 0o077 for path in (state, *state.rglob("*"))] == [0] * (1 + len([*state.rglob("*")]))


def test_second_init_changes_nothing(config: Path) -> None:
    run(config, "init")
    before = {path: path.read_bytes() for path in identity_of(config).iterdir()}
    result = run(config, "init")
    assert result.exit_code == 1
    assert "error: this machine belongs to a swarm already: " in result.stderr
    assert "mycoswarm leave" in result.stderr
    assert {path: path.read_bytes() for path in identity_of(config).iterdir()} == before


def test_init_where_the_state_cannot_be_written(config: Path) -> None:
    config.write_text(config.read_text().replace(f"{config.parent / 'state'}", "/proc/nowhere"))
    result = run(config, "init")
    assert result.exit_code == 1
    assert "error: cannot make the state folder /proc/nowhere" in result.stderr


NO_NODE = "error: no mycoswarm node is running here\n  start it with: mycoswarm up\n"


@pytest.mark.parametrize("command", [["tasks"], ["why", "x"]])
def test_what_only_a_running_node_can_do_says_so(config: Path, command: list[str]) -> None:
    result = run(config, *command)
    assert (result.exit_code, result.stderr) == (1, NO_NODE)


@pytest.mark.parametrize(
    "command", [["invite"], ["invite", "--list"], ["approve"], ["approve", "123456"], ["grant", "x"]]
)
def test_without_a_swarm_there_is_none_to_let_others_into_whether_or_not_a_node_runs(
    config: Path, command: list[str]
) -> None:
    result = run(config, *command)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: this machine belongs to no swarm")
    assert run(config, "init").exit_code == 0
    result = run(config, *command)
    assert (result.exit_code, result.stderr) == (1, NO_NODE)


@pytest.mark.parametrize("command", [["nodes"], ["leave"], ["revoke", "kitchen"]])
def test_machine_without_a_swarm_says_how_to_get_one(config: Path, command: list[str]) -> None:
    result = run(config, *command)
    assert result.exit_code == 1
    assert "error: this machine belongs to no swarm\n  mycoswarm init begins one" in result.stderr


@pytest.mark.parametrize(
    ("token", "complaint"),
    [
        ("hello", "that is no join token\n  it begins with MYCO1-"),
        ("MYCO1-AAAA", "the join token is not complete, or mistyped"),
        ("MYCO1-\u00e4", "the join token has characters that do not belong there"),
    ],
)
def test_join_with_what_is_no_token(config: Path, token: str, complaint: str) -> None:
    result = run(config, "join", token)
    assert result.exit_code == 1
    assert f"error: {complaint}" in result.stderr
    assert not (identity_of(config) / "node.crt").exists()


def a_token(*addresses: tuple[str, int]) -> str:
    return JoinToken(os.urandom(8), os.urandom(16), os.urandom(32), "a" * 26, addresses).text()


def test_join_where_nobody_answers(config: Path) -> None:
    result = run(config, "join", a_token(("127.0.0.1", free_port())))
    assert result.exit_code == 1
    assert "error: no enroller is found\n" in result.stderr


def test_token_sends_nobody_out_of_the_lan(config: Path) -> None:
    result = run(config, "join", a_token(("8.8.8.8", 443), ("no address", 1)))
    assert "error: no enroller is found\n" in result.stderr


def test_join_at_a_place_that_cannot_be(config: Path) -> None:
    assert "outside the LAN" in run(config, "join", a_token(), "--address", "8.8.8.8").stderr
    assert "is no number from 1 to 65535" in run(config, "join", "--address", "10.0.0.1:99999").stderr
    refused = run(config, "join", a_token(), "--address", f"127.0.0.1:{free_port()}")
    assert "cannot ask the enroller" in refused.stderr
    assert refused.exit_code == 1


def test_join_without_a_token_where_no_swarm_takes_machines(config: Path) -> None:
    result = run(config, "join")
    assert result.exit_code == 1
    assert "error: no swarm takes machines in just now\n  run mycoswarm approve" in result.stderr


def test_member_cannot_join_again(config: Path) -> None:
    run(config, "init")
    for arguments in (["join"], ["join", a_token()]):
        assert "belongs to a swarm already" in run(config, *arguments).stderr


@pytest.mark.parametrize("valid", ["soon", "1", "1w", "-5m", "1.5h"])
def test_invitation_needs_a_duration(config: Path, valid: str) -> None:
    result = run(config, "invite", "--valid", valid)
    assert result.exit_code == 2
    assert "write 30m, 2h or 7d" in result.stderr


def test_contradicting_options_are_refused(config: Path) -> None:
    assert run(config, "invite", "--list", "--withdraw", "all").exit_code == 2
    assert run(config, "approve", "123456", "--refuse", "123456").exit_code == 2


def test_nodes_without_a_running_node_are_those_of_the_roster(config: Path) -> None:
    run(config, "init")
    [node] = json.loads(run(config, "nodes", "--json").stdout)
    assert (node["name"], node["here"], node["admits"], node["state"]) == ("attic", True, True, "unknown")
    shown = run(config, "nodes")
    assert "attic (here)" in shown.stdout
    assert "this is who belongs to the swarm" in shown.stderr


def test_revoking_without_a_running_node(config: Path) -> None:
    run(config, "init")
    assert "that is this machine itself" in run(config, "revoke", "attic").stderr
    assert "no node of this swarm is called cellar\n  known here: attic" in run(config, "revoke", "cellar").stderr


def test_leaving_without_a_running_node_forgets_the_key(config: Path) -> None:
    run(config, "init")
    before = open_identity(identity_of(config)).node_id
    result = run(config, "leave")
    assert result.exit_code == 0
    assert "listens nowhere beyond loopback" in result.stdout
    assert [*identity_of(config).iterdir()] == []
    assert open_identity(identity_of(config)).node_id != before


def test_roster_that_cannot_be_read_is_said(config: Path) -> None:
    run(config, "init")
    (identity_of(config) / "ledger.db").write_text("no database " * 100)
    assert "ledger.db is damaged" in run(config, "nodes").stderr
    said = up(config)
    assert "error: " in said
    assert "ledger.db is damaged" in said


def test_roster_without_a_certificate_is_said(config: Path) -> None:
    make_private_folder(identity_of(config).parent)
    run(config, "init")
    (identity_of(config) / "node.crt").unlink()
    assert "no certificate" in up(config)
    assert run(config, "leave").exit_code == 0


def test_node_of_an_older_version_is_said(config: Path) -> None:
    with PeoplePortNode(config.parent / "state", pid=os.getpid()):
        for command in (["nodes"], ["invite"], ["tasks"]):
            result = run(config, *command)
            assert result.exit_code == 1
            assert result.stderr.startswith("error: ")


def test_help_of_every_command_shows_an_example() -> None:
    for command in ("init", "invite", "join", "approve", "nodes", "revoke", "grant", "leave", "tasks", "why"):
        shown = CliRunner().invoke(main, [command, "--help"]).stdout
        assert f"mycoswarm {command}" in shown.partition("Usage")[2].partition("\n")[2]
