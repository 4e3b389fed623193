"""Where partitions lie: said to sfdisk, and read back from what it wrote."""

import json
import subprocess
from pathlib import Path

import msgspec
import pytest

from provisioning.image.disk import assemble, make_data, make_fat
from provisioning.image.layout import (
    MIB,
    Layout,
    Partition,
    Placed,
    kind_of,
    kinds,
    placed,
    sfdisk_script,
    with_root_size,
)
from provisioning.slots import layout as slots
from swarm.errors import MycoswarmError

EPOCH = 1_767_225_600


def table_of(image: Path) -> dict[str, dict[str, object]]:
    said = subprocess.run(["/usr/sbin/sfdisk", "--json", image], capture_output=True, text=True, check=True).stdout
    table = json.loads(said)["partitiontable"]
    return {part["node"].removeprefix(str(image)): part for part in table["partitions"]}


def empty(path: Path, disk: Placed) -> Path:
    assemble(path, disk, {})
    return path


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_table_that_sfdisk_writes_is_the_layout(kind: str, tmp_path: Path) -> None:
    disk = placed(kinds()[kind])
    written = table_of(empty(tmp_path / "disk.img", disk))
    for partition, start, size in disk.places:
        found = written[str(partition.number)]
        assert (found["start"], found["size"]) == (start // 512, size // 512)
        assert str(found.get("uuid", "")).lower() == partition.id
    extended = [number for number, found in written.items() if found["type"] == "5"]
    assert extended == (["4"] if disk.layout.table == "dos" else [])


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_partitions_do_not_overlap_and_data_is_last(kind: str) -> None:
    disk = placed(kinds()[kind])
    ends = [start + size for _, start, size in disk.places]
    assert all(end <= after.start for end, after in zip(ends, disk.places[1:], strict=False))
    assert disk.places[-1].partition.name == "data"
    assert ends[-1] <= disk.disk_size
    assert disk.place("root-a").size == disk.place("root-b").size


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_roots_are_called_as_the_kernel_and_the_slots_call_them(kind: str) -> None:
    layout = kinds()[kind]
    for name in ("root-a", "root-b"):
        msgspec.convert(layout.partuuid(name), slots.PartUuid)
    if layout.table == "dos":
        assert layout.partuuid("root-a") == "6d79636f-05"


def test_board_is_found_in_its_kind_and_another_is_told_which_there_are() -> None:
    assert [kind_of(board)[0] for board in ("x86_64", "rpi3", "rpi4", "rpi5", "zero2w")] == ["x86_64", *["pi"] * 4]
    with pytest.raises(MycoswarmError) as refused:
        kind_of("rpi2")
    assert "rpi5" in refused.value.hint


def test_larger_slots_move_the_data(tmp_path: Path) -> None:
    layout = with_root_size(kinds()["x86_64"], 2048)
    assert placed(layout).place("data").start == placed(kinds()["x86_64"]).place("data").start + 2 * 1024 * MIB
    with pytest.raises(MycoswarmError):
        with_root_size(layout, 1)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    small = Layout(
        "amd64", [], "gpt", "6d79636f-7377-4172-8d00-783836363498", [Partition("root-a", 1, 1, "linux", "root")]
    )
    (tmp_path / "root").write_bytes(b"x" * (MIB + 1))
    with pytest.raises(MycoswarmError, match="root-a has 1 MiB"):
        assemble(tmp_path / "disk.img", placed(small), {"root-a": tmp_path / "root"})


def small_disk(folder: Path) -> bytes:
    """A whole image with everything but a real root."""
    fat = Partition("boot", 1, 36, "uefi", "fat", label="MYCOBOOT")
    root = Partition("root-a", 2, 1, "linux", "root")
    data = Partition("data", 3, 64, "linux", "ext4", label="mycodata")
    disk = placed(Layout("amd64", [], "gpt", "6d79636f-7377-4172-8d00-783836363499", [fat, root, data]))
    tree = folder / "tree" / "slot-a"
    tree.mkdir(parents=True)
    (tree / "vmlinuz").write_bytes(b"kernel" * 1000)
    (folder / "root").write_bytes(b"root" * 1000)
    make_fat(folder / "fat", fat, folder / "tree", epoch=EPOCH)
    make_data(folder / "ext4", data, epoch=EPOCH)
    contents = {"boot": folder / "fat", "root-a": folder / "root", "data": folder / "ext4"}
    spans = assemble(folder / "disk.img", disk, contents)
    made = (folder / "disk.img").read_bytes()
    written = bytearray(len(made))
    for start, length in spans:
        written[start : start + length] = made[start : start + length]
    assert bytes(written) == made, "what a card does not get is zeros"
    return made


def test_same_files_make_the_same_bytes_and_whole_file_systems(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, second = small_disk(tmp_path / "one"), small_disk(tmp_path / "two")
    # sfdisk makes the ids that were not given
    assert first[2 * MIB :][: 40 * MIB] == second[2 * MIB :][: 40 * MIB]
    ext4 = tmp_path / "one" / "ext4"
    assert subprocess.run(["/usr/sbin/e2fsck", "-fn", ext4], capture_output=True, check=False).returncode == 0
    fat = tmp_path / "one" / "fat"
    assert subprocess.run(["/usr/sbin/fsck.vfat", "-n", fat], capture_output=True, check=False).returncode == 0


def test_script_says_everything_in_sectors() -> None:
    script = sfdisk_script(placed(kinds()["pi"]))
    assert "label-id: 0x6d79636f" in script
    assert [line.split(" :")[0] for line in script.splitlines() if "start=" in line] == [
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
    ]
