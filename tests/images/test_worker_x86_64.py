"""An x86_64 machine from its first power-on to its second, in the LAN of a home. The tests are one story, in order."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm.audio import write_wav
from tests.images.disk import Disk
from tests.images.home_lan import HomeLan, home_lan
from tests.images.machines import NODES_PORT, ROOM, Member
from tests.whole.room import spoken

WIFI_PASSWORD = "a-password-of-nobody-9137"
WIFI = f'\n[[wifi]]\nssid = "Nobody\'s"\npassword = "{WIFI_PASSWORD}"\n'
SERVED = {f"tcp {NODES_PORT}", "tcp 7335", "tcp 7336"}
"""Ports of docs: nodes, enrolment and bus, each only while it is needed."""


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[HomeLan]:
    with home_lan(folder) as home:
        yield home


@pytest.fixture(scope="module")
def worker(worker_image: Path, folder: Path, home: HomeLan) -> Iterator[Member]:
    member = Member("office", worker_image, folder, home, more=WIFI)
    with member.powered():
        yield member


def test_machine_joins_by_its_token_and_shows_in_nodes(worker: Member) -> None:
    shown = worker.home.hub.did("nodes")
    line = next(line for line in shown.splitlines() if line.startswith("office"))
    assert "worker" in line, shown
    assert "alive" in line, shown


def test_question_at_the_machine_is_answered(worker: Member) -> None:
    assert re.search(r"It.*\d:\d\d", worker.did("ask", "what time is it"))


def test_hub_uses_the_machines_voice(worker: Member) -> None:
    assert {"synthesize"} <= {each["kind"] for each in worker.seen()["capabilities"]}


def test_every_unit_started(worker: Member) -> None:
    state = worker.guest.run("systemctl is-system-running || true")
    assert state.strip() == "running", worker.reported()


def test_root_cannot_be_written_and_logs_are_in_memory(worker: Member) -> None:
    mounts = {each["target"]: each for each in json.loads(worker.guest.run("findmnt -J -l"))["filesystems"]}
    assert (mounts["/"]["fstype"], "ro" in mounts["/"]["options"].split(",")) == ("squashfs", True)
    assert mounts["/var/log"]["fstype"] == "tmpfs"
    assert mounts["/data"]["fstype"] == "ext4"
    status, _ = worker.guest.status_of("touch /usr/x /etc/x")
    assert status != 0


def test_data_grew_to_the_disks_end(worker: Member) -> None:
    sizes = worker.guest.run("cd /sys/block/vda; cat size vda4/start vda4/size; df --output=size -B512 /data | tail -1")
    whole, start, size, files = (int(line) for line in sizes.split())
    assert whole - (start + size) < 4096, "what is free behind it, in sectors"
    assert size * 512 > ROOM
    assert files > size * 0.85, "and the file system with it"


def test_nothing_listens_that_is_not_named(worker: Member) -> None:
    listening = worker.guest.run("ss -H -l -t -u -n")
    open_beyond = set()
    for line in listening.splitlines():
        kind, _, _, _, local = line.split()[:5]
        address, _, port = local.rpartition(":")
        if not address.startswith(("127.", "[::1]", "[::ffff:127.")):
            open_beyond.add(f"{kind} {port}")
    # 68, 546: DHCP's answers. 5353: mDNS of the node.
    assert open_beyond <= {*SERVED, "udp 5353", "udp 68", "udp 546"}, listening


def test_strangers_on_the_lan_reach_the_nodes_port_only(worker: Member) -> None:
    address = next(each for each in worker.seen()["addresses"] if "." in each).rpartition(":")[0]
    probe = (
        "import socket, sys\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "def opened(port):\n"
        "    try:\n        socket.create_connection((sys.argv[1], port), timeout=4).close()\n        return port\n"
        "    except OSError:\n        return 0\n"
        "ports = [*range(1, 1100), 1883, 5353, 5355, *range(7330, 7340), 8080, 8123, *range(10200, 10800, 100)]\n"
        "with ThreadPoolExecutor(64) as pool:\n    print(sorted(filter(None, pool.map(opened, ports))))\n"
    )
    said = worker.home.router.run(sys.executable, "-c", probe, address, seconds=240)
    assert json.loads(said) == [NODES_PORT]
    rules = worker.guest.run("nft list ruleset")
    assert re.search(r"hook input .*policy drop", rules), rules


def test_no_service_of_ours_runs_as_root_or_is_exposed(worker: Member) -> None:
    said = worker.guest.run("systemd-analyze security --no-pager mycoswarm-worker.service | tail -1")
    found = re.search(r"Overall exposure level .*: ([\d.]+)", said)
    assert found, said
    assert float(found.group(1)) <= 2.0, said
    assert worker.guest.run("systemctl show -P User mycoswarm-worker.service").strip() == "mycoswarm"


def test_ssh_is_off_without_a_key(worker: Member) -> None:
    status, said = worker.guest.status_of("systemctl is-active ssh.service ssh.socket sshd.service")
    assert "\nactive" not in f"\n{said}", said
    assert status != 0


def test_secrets_of_the_settings_are_gone_from_the_card(worker: Member) -> None:
    assert worker.guest.run("sync; grep -rlE 'MYCO1-|9137' /boot/mycoswarm || true") == ""
    part = Disk(worker.guest.disk).partitions[1]
    with worker.guest.disk.open("rb") as disk:
        disk.seek(part.offset)
        whole = disk.read(part.size)
    # Anybody who finds the card reads what was deleted, too.
    assert worker.token.encode() not in whole
    assert WIFI_PASSWORD.encode() not in whole


def test_nothing_outside_the_house_was_asked(worker: Member) -> None:
    assert worker.home.sent_outside() == []
    assert worker.home.asked_names() == []


def test_second_start_joins_without_the_token_and_is_the_same_machine(worker: Member) -> None:
    before = worker.identity()
    assert len(before["machine id"]) == 32
    worker.guest.power_off()
    worker.wait_gone()
    worker.guest.power_on()
    worker.wait_joined()
    assert worker.identity() == before
    assert len([each for each in worker.home.hub.view() if each == "office"]) == 1


def test_machine_that_becomes_a_hub_answers_a_spoken_command(worker: Member) -> None:
    worker.guest.run("mycoswarm role hub && systemctl restart mycoswarm.target")
    worker.guest.wait_until(
        lambda: "hub" in worker.seen().get("roles", ()) and worker.seen().get("state") == "alive",
        "the hub did not see office as a hub",
    )
    heard = base64.b64encode(write_wav(spoken("okay nabu, set a timer for five minutes"))).decode()
    for at in range(0, len(heard), 60_000):
        worker.guest.run(f"echo {heard[at : at + 60_000]} >>/tmp/question.b64")
    worker.guest.run("base64 -d /tmp/question.b64 >/tmp/question.wav")
    answer = json.loads(worker.did("ask", "--json", "--audio", "/tmp/question.wav"))
    assert (answer["intent"], answer["outcome"]) == ("HassStartTimer", "done"), answer
    said = {mark["stage"]: mark["node"] for mark in answer["trace"]["marks"]}
    assert (said["transcript"], said["first_audio"]) == ("office", "office"), "its own ears and its own voice"
    assert "0:05:00" in worker.did("timers")


def test_shutdown_leaves_everything_whole(worker: Member) -> None:
    worker.guest.power_off()
    disk = Disk(worker.guest.disk)
    with disk.ext4(4) as data:
        assert data.is_whole, data.complaints
        assert data.read("/mycoswarm/identity/node.key")
