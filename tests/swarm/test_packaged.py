"""Commands that root gives to a node that runs as another user."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from swarm.config import default_config_path
from swarm.packaged import CONFIG, PREFIX, act_as_owner, is_packaged

NOBODY = 65534
WRITES = """
import os, sys
from pathlib import Path
from swarm.packaged import act_as_owner
folder = Path(sys.argv[1])
act_as_owner(folder)
(folder / "new").touch()
print(os.getuid(), os.geteuid(), os.getgid(), os.getgroups())
"""
REPLIES = """
import sys
from pathlib import Path
from swarm.cli_common import read
from swarm.reply_file import reply_file
with reply_file(Path(sys.argv[2])) as file:
    read(Path(sys.argv[1]))
    file.write(b"RIFF")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_root_writes_belongs_to_the_node() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder lets nobody in
        Path(name).chmod(0o711)
        folder = Path(name) / "state"
        folder.mkdir()
        os.chown(folder, NOBODY, NOBODY)
        shown = subprocess.run(
            [sys.executable, "-c", WRITES, folder], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        assert shown.startswith(f"{NOBODY} {NOBODY} {NOBODY} ")
        assert (folder / "new").stat().st_uid == NOBODY


def test_own_and_missing_folders_change_nothing(tmp_path: Path) -> None:
    before = os.getuid(), os.getgid()
    act_as_owner(tmp_path)
    act_as_owner(tmp_path / "missing")
    assert (os.getuid(), os.getgid()) == before


def test_only_the_package_reads_the_configuration_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_packaged()
    assert default_config_path() != CONFIG
    monkeypatch.setattr(sys, "prefix", str(PREFIX))
    assert default_config_path() == CONFIG


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_reply_is_kept_where_root_may_write_and_the_node_may_not(tmp_path: Path) -> None:
    state, config, reply = tmp_path / "state", tmp_path / "config.toml", tmp_path / "reply.wav"
    state.mkdir()
    os.chown(state, NOBODY, NOBODY)
    config.write_text(f'[node]\nstate_dir = "{state}"\n')
    shown = subprocess.run(
        [sys.executable, "-c", REPLIES, config, reply], capture_output=True, text=True, check=False, timeout=60
    )
    assert (shown.returncode, shown.stderr, reply.read_bytes()) == (0, "", b"RIFF")
