"""The list by which Raspberry Pi Imager offers images of one's own, with its customisation.

Imager 2 customises an image of unknown origin only when a list says how (`init_format`). The format is that of its own
repository (rpi-imager, doc/json-schema and doc/schema-notes.md); the files are named by `file://` or a web address.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

import msgspec

from provisioning.image.bmap import read_bmap
from provisioning.image.checksums import bmap_path, check_sums, sha256_of
from provisioning.image.layout import kinds
from provisioning.image.running import find
from swarm.errors import MycoswarmError

FILE_NAME = "os_list.json"
DEVICES = {"rpi3": "pi3-64bit", "zero2w": "pi3-64bit", "rpi4": "pi4-64bit", "rpi5": "pi5-64bit"}
"""Boards by Imager's tags; the Zero 2 W has the processor of the Pi 3, and its tag."""
TITLES = {"edge": "voice satellite", "worker": "worker"}


MODELS = (("Raspberry Pi 5", "pi5-64bit"), ("Raspberry Pi 4", "pi4-64bit"), ("Raspberry Pi 3, Zero 2 W", "pi3-64bit"))
"""What Imager asks first, with the tag of each."""


class Entry(msgspec.Struct, frozen=True):
    """One image."""

    name: str
    description: str
    icon: str
    url: str
    extract_size: int
    extract_sha256: str
    image_download_size: int
    image_download_sha256: str
    release_date: str
    devices: tuple[str, ...]
    init_format: str = "cloudinit"
    architecture: str = "armv8"


def entries(folder: Path, *, base_url: str = "") -> list[Entry]:
    """The Raspberry Pi images in the folder, by name. Without `base_url` they are taken from the folder itself.

    Raises `MycoswarmError` when there is none, or one is damaged.
    """
    found = []
    for image in sorted(folder.glob("mycoswarm-*-pi-*.img.zst")):
        match = re.fullmatch(r"mycoswarm-([a-z]+)-pi-([0-9][\w.+~]*)\.img\.zst", image.name)
        if match is None:
            continue  # a machine's own copy: Imager has no business with its token
        check_sums(image)
        size, digest = _extracted(image)
        found.append(
            Entry(
                name=f"mycoswarm {TITLES.get(match[1], match[1])} {match[2]}",
                description="A part of a voice assistant that stays at home",
                icon="",
                url=f"{base_url.rstrip('/')}/{quote(image.name)}" if base_url else image.resolve().as_uri(),
                extract_size=size,
                extract_sha256=digest,
                image_download_size=image.stat().st_size,
                image_download_sha256=sha256_of(image),
                release_date=_date(match[2], image),
                devices=tuple(dict.fromkeys(DEVICES[board] for board in kinds()["pi"].boards if board in DEVICES)),
            )
        )
    if not found:
        raise MycoswarmError(
            f"{folder} has no images for Raspberry Pis (mycoswarm-…-pi-….img.zst)",
            hint="mycoswarm image build --node edge --board rpi4 makes one",
        )
    return found


def write_manifest(folder: Path, *, base_url: str = "") -> Path:
    """Writes the list into the folder. Raises `MycoswarmError`."""
    path = folder / FILE_NAME
    models = [
        {"name": name, "tags": [tag], "icon": "", "description": "", "matching_type": "exclusive"}
        for name, tag in MODELS
    ]
    whole = {"imager": {"devices": models}, "os_list": entries(folder, base_url=base_url)}
    text = msgspec.json.format(msgspec.json.encode(whole), indent=2)
    try:
        path.write_bytes(text + b"\n")
    except OSError as error:
        raise MycoswarmError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _extracted(image: Path) -> tuple[int, str]:
    """Size and SHA-256 of what is in it."""
    program = find("zstd")
    if program is None:
        raise MycoswarmError(f"reading {image} needs the program zstd", hint="sudo apt install zstd")
    digest, size = hashlib.sha256(), 0
    with subprocess.Popen([program, "-dcq", "--", image], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while chunk := process.stdout.read(4 * 1024**2):
            digest.update(chunk)
            size += len(chunk)
    if process.returncode or (bmap_path(image).exists() and read_bmap(bmap_path(image)).image_size != size):
        raise MycoswarmError(f"{image} is damaged", hint="build it again")
    return size, digest.hexdigest()


def _date(version: str, image: Path) -> str:
    """The day of the version, as `0.1.0+20261121200000` has it; else that of the file."""
    found = re.search(r"\+(\d{4})(\d{2})(\d{2})", version)
    if found:
        return "-".join(found.groups())
    return datetime.datetime.fromtimestamp(image.stat().st_mtime, datetime.UTC).date().isoformat()
