"""A node's root: Debian's, with the application, the overlay trees and what only this image has.

The application comes as the Debian package that every node runs. The work is done in the root by `data/finish-root`,
under mmdebstrap, which needs no root here where the machine allows user namespaces.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from provisioning.image.initrd import scripts
from provisioning.image.layout import DATA
from provisioning.image.recipe import ROOT_EPOCH, SUITE, Recipe
from provisioning.image.running import run
from provisioning.image.trees import add, pack, part_of
from provisioning.package.tree import PREFIX
from provisioning.slots.layout import Layout as SlotLayout
from provisioning.slots.layout import Partitions, layout_text, system_conf
from provisioning.slots.version import ImageVersion
from swarm.errors import MycoswarmError

FINISH_TIMEOUT_S = 3600.0
SQUASH_TIMEOUT_S = 1800.0
BOOT_FILES = "usr/lib/mycoswarm/boot-files"
OS_RELEASE, CLOCK_EPOCH = "usr/lib/os-release", "usr/lib/clock-epoch"
"""Files whose time says when the image was built: systemd starts no clock before it."""
SQUASH = ("-comp", "zstd", "-Xcompression-level", "9", "-b", "64K", "-root-mode", "0755", "-quiet", "-no-progress")
"""Small blocks: a start reads a thousand small files, and unpacks the whole block that each of them is in. With 256K
the image is 16 MB smaller, and a node starts seconds later on a slow board."""

DEVICES = (
    'mkdir -p "$1"/dev/pts "$1"/dev/shm; while read -r name major minor; do '
    'mknod -m 666 "$1/dev/$name" c "$major" "$minor" 2>/dev/null || break; done <<END\n'
    "null 1 3\nzero 1 5\nfull 1 7\nrandom 1 8\nurandom 1 9\ntty 5 0\nEND"
)
"""Where root finishes a root; for others mmdebstrap borrows the machine's."""

DEPMOD = 'PATH="$PATH:/usr/sbin:/sbin" depmod --basedir="$1" "$(ls "$1"/usr/lib/modules)"'
"""This machine's: another processor's would take half a minute emulated."""

ROLES = {"edge": "edge", "worker": "worker", "gpu": "gpu"}
"""What `[swarm] roles` of a fresh image says, by node."""


def slot_layout(recipe: Recipe) -> SlotLayout:
    """What `provisioning.slots` is to know of the disk."""
    disk = recipe.layout
    root = Partitions(disk.partuuid("root-a"), disk.partuuid("root-b"))
    compatible = recipe.name
    if disk.table == "gpt":
        return SlotLayout("systemd-boot", compatible, root)
    return SlotLayout("raspberry-pi", compatible, root, Partitions(disk.partuuid("boot-a"), disk.partuuid("boot-b")))


def command_line(kind: str) -> str:
    """The kernel's on boards of a kind, with `{root}` and `{slot}` for what differs between the slots.

    Security modules: those that need no policy; the others would look at every file and have nothing to say. Huge pages
    only for who asks for them: a small machine's programs would grow by what they do not use. On a Pi the kernel's
    pages stay mapped while programs run: its cores cannot be made to read them (Meltdown), and parting them, which is
    to hide where the kernel lies, costs each system call. A PC's kernel finds out what its processor needs.
    """
    return (
        "root=PARTUUID={root} ro rootwait=30 rootfstype=squashfs panic=10 fsck.mode=skip rauc.slot={slot} "
        "lsm=landlock,lockdown,yama transparent_hugepage=madvise "
        f"{'kpti=0 ' if kind == 'pi' else ''}console=tty1 quiet loglevel=4"
    )


def own_files(recipe: Recipe, version: ImageVersion, keyring: bytes) -> dict[str, bytes]:
    """The files that only this image has, by their path in the root."""
    layout = slot_layout(recipe)
    return {
        "usr/lib/mycoswarm/slots.toml": layout_text(layout).encode(),
        f"{BOOT_FILES}/cmdline.in": f"{command_line(recipe.kind)}\n".encode(),
        "etc/rauc/system.conf": system_conf(layout).encode(),
        "etc/rauc/keyring.pem": keyring,
    }


def finish(
    recipe: Recipe,
    *,
    root: Path,
    package: Path,
    version: ImageVersion,
    keyring: bytes,
    modules: dict[str, bytes],
    bytecode: Path,
    epoch: int,
    folder: Path,
) -> Path:
    """The root's tar, made a node's, in `folder`; `modules` are further ones of the kernel, by their path in the root.

    `bytecode` is a tar of what was compiled in this root before, if it is there, and is what is compiled in it now when
    this returns. Raises `MycoswarmError`.
    """
    overlay, tar = folder / "overlay.tar", folder / "system.tar"
    files = {
        **own_files(recipe, version, keyring),
        **modules,
        "tmp/finish-root": (DATA / "finish-root").read_bytes(),
        "tmp/prune": "".join(f"{line}\n" for line in recipe.unused).encode(),
        "tmp/initrd-scripts": scripts(),
    }
    if recipe.layout.table == "dos":
        files |= {f"{BOOT_FILES}/overlays/{name}": data for name, data in device_tree_overlays().items()}
    pack(overlay, trees=recipe.overlays, files=files, epoch=epoch)
    os_release = folder / "os-release"
    settle = f'sed -i \'s/^roles = .*/roles = ["{ROLES[recipe.node]}"]/\' "$1"/usr/share/mycoswarm/config.toml'
    command = [
        "mmdebstrap",
        f"--arch={recipe.layout.architecture}",
        "--variant=custom",
        "--skip=setup,update,cleanup",
        f"--setup-hook=tar-in {root} /",
        f"--setup-hook={DEVICES}",
        f"--customize-hook=tar-in {overlay} /",
        *([f"--customize-hook=tar-in {bytecode} /"] if bytecode.exists() else []),
        f"--customize-hook=upload {package} /tmp/mycoswarm.deb",
        '--customize-hook=chroot "$1" sh /tmp/finish-root',
        f"--customize-hook={DEPMOD}",
        f"--customize-hook={settle}",
        f"--customize-hook=download {OS_RELEASE} {os_release}",
        f'--customize-hook=rm "$1"/{OS_RELEASE}',
        SUITE,
        str(tar),
    ]
    run(
        command,
        doing="finishing the root",
        timeout_s=FINISH_TIMEOUT_S,
        environment={"SOURCE_DATE_EPOCH": str(ROOT_EPOCH)},
    )
    part_of(tar, bytecode, is_wanted=lambda name: name.startswith(f"{PREFIX}/lib/") and name.endswith(".pyc"))
    text = f'{os_release.read_text()}IMAGE_ID={recipe.name}\nIMAGE_VERSION="{version}"\n'
    add(tar, {OS_RELEASE: text.encode(), CLOCK_EPOCH: b""}, epoch=epoch)
    return tar


def device_tree_overlays(tree: Path = DATA / "overlays") -> dict[str, bytes]:
    """Ours, compiled, by the file name that `dtoverlay=` looks for. Raises `MycoswarmError`."""
    made = {}
    with tempfile.TemporaryDirectory(prefix="mycoswarm-dtc-") as folder:
        for source in sorted(tree.glob("*.dts")):
            out = Path(folder) / f"{source.stem}.dtbo"
            argv = ["dtc", "-@", "-q", "-I", "dts", "-O", "dtb", "-o", str(out), str(source)]
            run(argv, doing=f"compiling the device tree overlay {source.name}", timeout_s=60)
            made[out.name] = out.read_bytes()
    return made


def squash(tar: Path, out: Path, *, epoch: int) -> None:
    """The root's tar as a squashfs. Raises `MycoswarmError`."""
    out.unlink(missing_ok=True)
    argv = ["mksquashfs", "-", str(out), "-tar", *SQUASH]
    environment = {"SOURCE_DATE_EPOCH": str(epoch)}
    run(argv, doing="compressing the root", timeout_s=SQUASH_TIMEOUT_S, stdin=tar, environment=environment)


def take_out(tar: Path, wanted: dict[str, Path]) -> None:
    """Copies files or folders of the root out of its tar: by their path in it, to where they are to lie. Raises
    `MycoswarmError` when one is missing."""
    missing = set(wanted)
    with tarfile.open(tar) as root:
        for entry in root:
            name = entry.name.removeprefix("./")
            for path, target in wanted.items():
                inside = name[len(path) :].lstrip("/") if name == path or name.startswith(f"{path}/") else None
                if inside is None or not (entry.isfile() or entry.islnk()):  # a kernel has two names in its package
                    continue
                place = target / inside if inside else target
                place.parent.mkdir(parents=True, exist_ok=True)
                content = root.extractfile(entry)
                assert content is not None
                with content, place.open("wb") as file:
                    while chunk := content.read(1 << 20):
                        file.write(chunk)
                missing.discard(path)
    if missing:
        raise MycoswarmError(
            f"the root has no {', '.join(sorted(missing))}", hint="see the packages in provisioning/data"
        )
