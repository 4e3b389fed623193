"""Builds an image: Debian's root, the application in it, partitions, what lies beside it. One path for all boards."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from provisioning.image.artifacts import write_artifacts
from provisioning.image.disk import assemble, make_data, make_fat, temporary_folder
from provisioning.image.layout import Placed, placed
from provisioning.image.nvidia import nvidia_modules
from provisioning.image.recipe import PYTHON, ROOT_EPOCH, Recipe
from provisioning.image.rootfs import cached_root
from provisioning.image.running import require_programs
from provisioning.image.system import BOOT_FILES, command_line, finish, slot_layout, squash, take_out
from provisioning.image.tryboot import tryboot_module
from provisioning.signing import Signer
from provisioning.slots.fresh import firmware_files, slot_a_cmdline
from provisioning.slots.model import Slot
from provisioning.slots.version import ImageVersion, version_of
from swarm import __version__

SYSTEMD_BOOT = "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
PI_FIRST = ("bootcode.bin",)
"""What the processor's own ROM (Pi 3, Zero 2 W) reads from the first partition, before autoboot.txt is looked at."""

Tell = Callable[[str], None]
BuildPackage = Callable[[str, str, bool, Path], Path]
"""Makes the Debian package: Python's version, architecture, with the libraries for models, the folder for it."""


@dataclass(frozen=True)
class Inputs:
    """What an image is built from beside its recipe."""

    build_package: BuildPackage
    signer: Signer
    cache: Path
    epoch: int
    """Seconds since 1970: the time of everything in the image, and a part of its version."""


def build_image(recipe: Recipe, inputs: Inputs, out: Path, tell: Tell) -> list[Path]:
    """Builds the image into the folder `out` and gives the files that were made, the compressed image first.

    The same recipe, inputs and archive make the same bytes. Raises `MycoswarmError`.
    """
    require_programs(["mmdebstrap", "mksquashfs", "sfdisk", "mkfs.vfat", "mcopy", "mke2fs", "zstd", "depmod"])
    version = version_of(__version__, inputs.epoch)
    began = time.monotonic()

    def say(line: str) -> None:
        tell(f"{time.monotonic() - began:6.1f} s  {line}")

    with temporary_folder(out) as name:
        folder = Path(name)
        root = cached_root(recipe, inputs.cache, tell=say)
        modules = _further_modules(recipe, root, inputs.cache, say)
        say("building the application's package")
        package = inputs.build_package(PYTHON, recipe.layout.architecture, recipe.node == "gpu", folder)
        say("finishing the root")
        keyring = inputs.signer.certificate.read_bytes()
        bytecode = inputs.cache / f"bytecode-{recipe.kind}-{recipe.root_id}.tar"
        system = finish(recipe, root=root, package=package, version=version, keyring=keyring, modules=modules,
                        bytecode=bytecode, epoch=inputs.epoch, folder=folder)  # fmt: skip
        say("compressing the root")
        squash(system, folder / "root-a", epoch=inputs.epoch)
        say("making the partitions")
        disk = placed(recipe.layout)
        contents = {
            "root-a": folder / "root-a",
            **_boot_partitions(recipe, disk, system, version, inputs.epoch, folder),
        }
        image = out / f"{recipe.name}-{version}.img"
        spans = assemble(image, disk, contents)
        say("compressing the image, and writing what lies beside it")
        made = write_artifacts(image, spans, system=system, recipe=recipe, version=version, signer=inputs.signer,
                               epoch=inputs.epoch)  # fmt: skip
        say("done")
    return made


def _further_modules(recipe: Recipe, root: Path, cache: Path, say: Tell) -> dict[str, bytes]:
    """What Debian's kernel lacks on such a machine, by the path in the root."""
    if recipe.kind == "pi":
        return tryboot_module(root, cache, epoch=ROOT_EPOCH, tell=say)
    if recipe.node == "gpu":
        return nvidia_modules(root, cache, epoch=ROOT_EPOCH, tell=say)
    return {}


def _boot_partitions(
    recipe: Recipe, disk: Placed, system: Path, version: ImageVersion, epoch: int, folder: Path
) -> dict[str, Path]:
    """The FAT partitions and the data partition, by name."""
    slots = slot_layout(recipe)
    first, other, empty = folder / "boot", folder / "boot-a", folder / "boot-b"
    for each in (first, other, empty):
        each.mkdir()
    if disk.layout.table == "gpt":
        kernel = first / Slot.A.folder
        take_out(system, {BOOT_FILES: kernel, SYSTEMD_BOOT: first / "EFI" / "BOOT" / "BOOTX64.EFI"})
    else:
        kernel = other
        take_out(system, {BOOT_FILES: kernel, **{f"{BOOT_FILES}/{name}": first / name for name in PI_FIRST}})
        (kernel / "cmdline.txt").write_text(f"{slot_a_cmdline(slots, command_line(recipe.kind))}\n")
    (kernel / "cmdline.in").unlink()
    for path, content in firmware_files(slots, version, command_line(recipe.kind)).items():
        (first / path).parent.mkdir(parents=True, exist_ok=True)
        (first / path).write_bytes(content)

    trees = {"boot": first, "boot-a": other, "boot-b": empty}
    contents = {}
    for partition, _, _ in disk.places:
        file = folder / f"{partition.name}.part"
        if partition.holds == "fat":
            make_fat(file, partition, trees[partition.name], epoch=epoch)
        elif partition.holds == "ext4":
            make_data(file, partition, epoch=epoch)
        else:
            continue
        contents[partition.name] = file
    return contents
