"""An image with the shape of a real one, in a few hundred milliseconds: table, boot partition, a root, nothing else."""

import os
import subprocess
from pathlib import Path

from provisioning.image.bmap import Bmap, make_bmap
from provisioning.image.checksums import bmap_path, sha256_of, write_sums
from provisioning.signing import Signer

MIB = 1024**2
SIZE = 12 * MIB
ROOT = 6 * MIB
TABLES = {"gpt": "uefi", "dos": "c"}


def make_image(folder: Path, *, table: str = "gpt", label: str = "MYCOBOOT", name: str = "mycoswarm-edge-test") -> Path:
    """`NAME.img` and its block map."""
    image = folder / f"{name}.img"
    fats = {MIB: (label, 4)}
    if table == "dos":
        fats |= {8 * MIB: ("MYCOBOOT-A", 1), 9 * MIB: ("MYCOBOOT-B", 1)}
    with image.open("wb") as file:
        file.truncate(SIZE)
    script = f"label: {table}\nstart=2048, size=8192, type={TABLES[table]}\nstart={ROOT // 512}, size=4096\n"
    script += "start=16384, size=2048, type=c\nstart=18432, size=2048, type=c\n" if table == "dos" else ""
    run("sfdisk", "--quiet", image, text=script)
    with image.open("r+b") as file:
        for start, (name_of_it, size) in fats.items():
            fat = folder / "fat"
            with fat.open("wb") as empty:
                empty.truncate(size * MIB)
            run("mkfs.vfat", "-n", name_of_it, fat)
            file.seek(start)
            file.write(fat.read_bytes())
            fat.unlink()
        file.seek(ROOT)
        file.write(os.urandom(MIB))
    map_image(image)
    return image


def map_image(image: Path) -> Bmap:
    bmap = make_bmap(image, [(0, 5 * MIB), (ROOT, MIB), (SIZE - MIB, MIB)])
    bmap_path(image).write_text(bmap.xml())
    return bmap


def compress(image: Path) -> Path:
    run("zstd", "-q", "-f", image)
    return image.with_name(f"{image.name}.zst")


def sign_image(image: Path, by: Signer) -> None:
    write_sums(image, {path.name: sha256_of(path) for path in (image, bmap_path(image))}, by)
    (image.parent / "signer.pem").write_bytes(by.certificate.read_bytes())


def run(*command: str | Path, text: str = "") -> str:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK": "1"}
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, env=environment)
    return done.stdout
