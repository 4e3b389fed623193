import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning.image.disks import Disk, DiskList, ThisMachine, disks, find_disk, refusals
from swarm.errors import MycoswarmError

GB = 10**9
NEEDED = 3 * GB


class ListedDisks:
    """Disks as lsblk lists them, without any."""

    def __init__(self, *devices: dict[str, Any], cards: dict[str, str] | None = None) -> None:
        self.devices = devices
        self.cards = cards or {}

    def lsblk(self) -> str:
        return json.dumps({"blockdevices": self.devices})

    def card_name(self, path: Path) -> str:
        return self.cards.get(path.name, "")


def device(path: str, size: int = 32 * GB, **said: Any) -> dict[str, Any]:
    plain = {"path": path, "size": size, "model": "Ultra Fit", "log-sec": 512, "rm": False, "hotplug": False}
    return {**plain, "ro": False, "tran": None, "type": "disk", "mountpoints": [None], **said}


def part(path: str, *mounts: str, kind: str = "part", children: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"path": path, "size": GB, "type": kind, "mountpoints": [*mounts] or [None], "children": [*children]}


STICK = device("/dev/sdb", rm=True, hotplug=True, tran="usb")


@pytest.mark.parametrize(
    ("said", "because"),
    [
        (STICK, []),
        ({**STICK, "children": [part("/dev/sdb1"), part("/dev/sdb2")]}, []),
        ({**STICK, "rm": False, "hotplug": False}, []),  # a USB disk that calls itself built in
        ({**STICK, "children": [part("/dev/sdb1", "/media/anna/CARD")]}, ["it is mounted at /media/anna/CARD"]),
        ({**STICK, "mountpoints": ["/mnt"]}, ["it is mounted at /mnt"]),
        ({**STICK, "children": [part("/dev/sdb1", "/boot/efi")]}, ["this machine runs from it (/boot/efi)"]),
        ({**STICK, "children": [part("/dev/sdb1", "[SWAP]")]}, ["this machine runs from it ([SWAP])"]),
        ({**STICK, "ro": True}, ["it is read-only"]),
        ({**STICK, "log-sec": 4096}, ["it counts in sectors of 4096 bytes, and images in 512"]),
        ({**STICK, "size": 2 * GB}, ["it has 2 GB, and the image needs 3 GB"]),
        ({**STICK, "size": 4000 * GB}, ["it is larger than 2 TB"]),
        ({**STICK, "tran": "nvme", "rm": False, "hotplug": False}, ["it is built in"]),
        (
            {**STICK, "children": [part("/dev/sdb1", children=(part("/dev/mapper/luks", "/", kind="crypt"),))]},
            ["this machine runs from it (/)", "it is a part of luks"],
        ),
        ({**STICK, "children": [part("/dev/md0", kind="raid1")]}, ["it is a part of md0"]),
    ],
)
def test_what_may_not_be_overwritten_is_told(said: dict[str, Any], because: list[str]) -> None:
    (found,) = disks(ListedDisks(said))
    assert [each.because for each in refusals(found, NEEDED)] == because


def test_a_person_can_mean_a_built_in_or_huge_disk_but_never_a_mounted_one() -> None:
    (found,) = disks(ListedDisks(device("/dev/nvme0n1", 4000 * GB, children=[part("/dev/nvme0n1p1", "/srv")])))
    assert [each.because for each in refusals(found, NEEDED, internal=True, large=True)] == ["it is mounted at /srv"]


def test_a_card_in_a_built_in_reader_is_no_built_in_disk() -> None:
    listed = ListedDisks(device("/dev/mmcblk0", model=None), cards={"mmcblk0": "SD32G"})
    (found,) = disks(listed)
    assert (found.model, refusals(found, NEEDED)) == ("SD32G", [])


def test_what_holds_nothing_is_no_disk() -> None:
    others = (device("/dev/sr0", type="rom"), device("/dev/sdc", 0), device("/dev/zram0"))
    assert disks(ListedDisks(STICK, *others)) == disks(ListedDisks(STICK))


def test_a_partition_or_a_stranger_is_refused_with_a_way_on(tmp_path: Path) -> None:
    known = disks(ListedDisks(STICK, device("/dev/mmcblk0")))
    with pytest.raises(MycoswarmError) as caught:
        find_disk(Path("/dev/mmcblk0p2"), known)
    assert caught.value.hint == "name the whole disk: /dev/mmcblk0"
    with pytest.raises(MycoswarmError, match="no disk of this machine"):
        find_disk(Path("/dev/sdz"), known)
    link = tmp_path / "usb-Ultra_Fit"
    link.symlink_to("/dev/sdb")
    assert find_disk(link, known).path == Path("/dev/sdb")


def test_a_name_that_steers_terminals_is_made_harmless() -> None:
    (found,) = disks(ListedDisks({**STICK, "model": "Ultra\x1b[31m  Fit "}))
    assert found.model == "Ultra?[31m Fit"


@pytest.mark.parametrize("text", ["", "{}", '{"blockdevices": [{}]}', '{"blockdevices": 3}'])
def test_another_lsblk_is_told(text: str) -> None:
    class Odd(ListedDisks):
        def lsblk(self) -> str:
            return text

    with pytest.raises(MycoswarmError, match="lsblk says something else"):
        disks(Odd())


# ---- the list above and the real lsblk, held to the same


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A real block device."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("loop devices need root")
    (tmp_path / "disk").write_bytes(b"")
    os.truncate(tmp_path / "disk", 16 * 1024**2)
    done = subprocess.run(["losetup", "-f", "--show", tmp_path / "disk"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr}")
    yield Path(done.stdout.strip())
    subprocess.run(["losetup", "-d", done.stdout.strip()], check=True)


def both(loop: Path) -> list[DiskList]:
    return [ThisMachine(), ListedDisks(device(str(loop), 16 * 1024**2, type="loop", model=None))]


def test_a_free_disk_is_seen_alike(loop: Path) -> None:
    real, listed = (find_disk(loop, disks(source)) for source in both(loop))
    assert real == listed == Disk(loop, 16 * 1024**2, loop.name, removable=False)


def test_the_real_list_knows_what_this_machine_runs_from() -> None:
    roots = [each for each in disks(ThisMachine()) if "/" in each.mounts]
    for each in roots:  # none in a container, whose root is no disk
        assert refusals(each, 1, internal=True, large=True) != []
