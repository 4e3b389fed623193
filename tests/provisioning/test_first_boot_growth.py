"""The data partition grows on real partition tables and file systems, in files instead of disks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provisioning.first_boot.growth import (
    Partition,
    file_system_bytes,
    file_system_can_grow,
    grow_file_system,
    grow_partition,
    growth,
    room,
)

MB = 1024**2
GPT = "label: gpt\nsize=16MiB, name=boot\nsize=16MiB, name=root-a\nsize=16MiB, name=root-b\nsize=52MiB, name=mycodata\n"
MBR = """label: dos
unit: sectors
2048,32768,c,*
34816,32768,c
67584,32768,c
100352,106496,5
102400,32768,83
137216,32768,83
172032,32768,83
"""


def disk(folder: Path, layout: str, number: int, *, at_first: int = 102, then: int = 300) -> Partition:
    path = folder / "disk"
    with path.open("wb") as file:
        file.truncate(at_first * MB)
    subprocess.run(["sfdisk", "-q", path], input=layout, text=True, check=True, capture_output=True)
    with path.open("r+b") as file:
        file.truncate(then * MB)
    return Partition(path, number, Path(f"{path}{number}"))


def table(path: Path) -> dict[str, Any]:
    said = subprocess.run(["sfdisk", "--json", path], capture_output=True, check=True, text=True).stdout
    found = json.loads(said)["partitiontable"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("layout", "number"), [(GPT, 4), (MBR, 7)])
def test_last_partition_reaches_the_end_of_a_larger_disk(tmp_path: Path, layout: str, number: int) -> None:
    partition = disk(tmp_path, layout, number)
    before = table(partition.disk)["partitions"]
    found = room(partition)
    assert found is not None
    grow_partition(partition, found)
    after = table(partition.disk)["partitions"]
    grown = {each["node"] for old, each in zip(before, after, strict=True) if each != old}
    assert grown == {str(partition.node)} | ({f"{partition.disk}4"} if number == 7 else set())
    last = after[-1]
    assert last["start"] == before[-1]["start"]
    assert 300 * MB - (last["start"] + last["size"]) * 512 < 2 * MB
    assert room(partition) is None
    assert subprocess.run(["sfdisk", "--verify", partition.disk], capture_output=True).returncode == 0


@pytest.mark.parametrize(("layout", "number"), [(GPT, 4), (MBR, 7)])
def test_cut_between_two_writes_of_the_table_is_made_good(tmp_path: Path, layout: str, number: int) -> None:
    partition = disk(tmp_path, layout, number)
    if number == 7:
        subprocess.run(["sfdisk", "-q", "-N", "4", partition.disk], input=", +\n", text=True, check=True)
    else:
        subprocess.run(["sfdisk", "-q", "--relocate", "gpt-bak-std", partition.disk], check=True, capture_output=True)
    found = room(partition)
    assert found is not None
    grow_partition(partition, found)
    assert room(partition) is None


@pytest.mark.parametrize(("layout", "number"), [(GPT, 4), (MBR, 7)])
def test_nothing_grows_on_a_disk_of_the_images_own_size(tmp_path: Path, layout: str, number: int) -> None:
    assert room(disk(tmp_path, layout, number, then=102)) is None


@pytest.mark.parametrize(("number", "starts"), [(4, [4, 5]), (9, [4])])
def test_partition_with_another_behind_it_and_one_that_is_not_there_stay(number: int, starts: list[int]) -> None:
    parts = [{"node": f"/dev/mmcblk0p{n}", "start": n * 2048, "size": 2048, "type": "83"} for n in starts]
    assert growth({"label": "dos", "sectorsize": 512, "partitions": parts}, number, 10**9) is None


def test_file_system_grows_into_its_partition(tmp_path: Path) -> None:
    device = tmp_path / "data"
    with device.open("wb") as file:
        file.truncate(16 * MB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "mycodata", device], check=True)
    assert not file_system_can_grow(device)
    with device.open("r+b") as file:
        file.truncate(64 * MB)
    assert file_system_can_grow(device)
    subprocess.run(["e2fsck", "-fp", device], check=True, capture_output=True)  # what is mounted needs no look
    grow_file_system(device)
    assert file_system_bytes(device) == 64 * MB
    assert not file_system_can_grow(device)
