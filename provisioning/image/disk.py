"""Makes file systems in files and puts them into an image: no loop device, no mount, no root.

Everything gets fixed ids and `epoch` as its time, so that the same files make the same bytes.
"""

from __future__ import annotations

import os
import tempfile
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from provisioning.image.layout import GPT_TAIL, MIB, Partition, Placed, sfdisk_script
from provisioning.image.running import run
from swarm.errors import MycoswarmError

TIMEOUT_S = 600.0
DATA_LIMIT_BLOCKS = 2**28
"""So far the data partition grows without moving anything: 1 TiB in blocks of 4 KiB. It grows beyond, too."""
SETTINGS_ROOM = 8 * MIB
"""Of a FAT behind what it holds: a person's settings are written there later, and belong to what a card gets."""
CLUSTERS_OF_ONE_SECTOR_MIB = 144
"""FAT32 needs 65,525 clusters: smaller partitions have clusters of one sector."""


def make_fat(out: Path, partition: Partition, folder: Path, *, epoch: int) -> None:
    """A FAT32 with everything that is in `folder`. Raises `MycoswarmError`."""
    out.unlink(missing_ok=True)
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "MTOOLS_SKIP_CHECK": "1"}
    with out.open("wb") as file:
        file.truncate(partition.size * MIB)
    cluster = "1" if partition.size < CLUSTERS_OF_ONE_SECTOR_MIB else "4"
    volume = f"{zlib.crc32(partition.label.encode()):08x}"
    argv = ["mkfs.vfat", "-F", "32", "-s", cluster, "-n", partition.label, "-i", volume, "--invariant", str(out)]
    run(argv, doing=f"making the partition {partition.name}", timeout_s=TIMEOUT_S, environment=environment)
    for path in sorted(folder.rglob("*")):
        os.utime(path, (epoch, epoch))
    top = sorted(folder.iterdir())
    if top:
        argv = ["mcopy", "-s", "-m", "-i", str(out), *map(str, top), "::/"]
        doing = f"filling the partition {partition.name} ({partition.size} MiB)"
        run(argv, doing=doing, timeout_s=TIMEOUT_S, environment=environment)


def make_data(out: Path, partition: Partition, *, epoch: int) -> None:
    """The empty ext4 that the first boot lets grow. Raises `MycoswarmError`."""
    out.unlink(missing_ok=True)
    name = str(uuid.uuid5(uuid.NAMESPACE_DNS, partition.label))
    argv = [
        "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-i", "16384", "-m", "0", "-J", "size=8",
        "-L", partition.label, "-U", name, "-O", "64bit,metadata_csum,^metadata_csum_seed",
        "-E", f"hash_seed={name},resize={DATA_LIMIT_BLOCKS},lazy_itable_init=0,lazy_journal_init=0,nodiscard",
        str(out), f"{partition.size}M",
    ]  # fmt: skip
    environment = {"E2FSPROGS_FAKE_TIME": str(epoch), "SOURCE_DATE_EPOCH": str(epoch)}
    run(argv, doing="making the data partition", timeout_s=TIMEOUT_S, environment=environment)


def assemble(out: Path, disk: Placed, contents: Mapping[str, Path]) -> list[tuple[int, int]]:
    """Writes the image `out`: the partition table, and each file of `contents` into the partition of its name.

    Gives the parts that have to be written to a card (start and length in bytes), the rest may keep what was there.
    Raises `MycoswarmError` for content that is larger than its partition.
    """
    out.unlink(missing_ok=True)
    with out.open("wb") as file:
        file.truncate(disk.disk_size)
    run(["sfdisk", "--quiet", str(out)], doing="writing the partition table", timeout_s=60, text=sfdisk_script(disk))
    spans = [(0, MIB)]
    if disk.layout.table == "gpt":
        spans.append((disk.disk_size - GPT_TAIL, GPT_TAIL))
    for partition, start, size in disk.places:
        if disk.layout.table == "dos" and partition.number >= 5:
            spans.append((start - MIB, MIB))
        source = contents.get(partition.name)
        if source is None:
            continue
        length = source.stat().st_size
        if length > size:
            raise MycoswarmError(
                f"{partition.name} has {size / MIB:.0f} MiB, and what belongs into it {length / MIB:.0f} MiB",
                hint="fewer packages, or a larger partition in provisioning/data/layouts",
            )
        used = _copy(source, out, start)
        spans.append((start, min(size, used + SETTINGS_ROOM) if partition.holds == "fat" else length))
    return spans


def _copy(source: Path, out: Path, at: int) -> int:
    """Copies all but zeros, and tells where the last that is none ends."""
    end = 0
    with out.open("r+b") as file:
        for offset, chunk in _chunks(source):
            file.seek(at + offset)
            file.write(chunk)
            end = offset + len(chunk)
    return end


def _chunks(source: Path, size: int = 64 * 1024) -> Iterator[tuple[int, bytes]]:
    zeros = bytes(size)
    with source.open("rb") as file:
        offset = 0
        while chunk := file.read(size):
            if chunk != zeros[: len(chunk)]:
                yield offset, chunk
            offset += len(chunk)


def temporary_folder(beside: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for large files on the disk of `beside`, readable for mmdebstrap's user of its own namespace."""
    beside.mkdir(parents=True, exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix=".mycoswarm-", dir=beside)
    Path(folder.name).chmod(0o755)
    return folder
