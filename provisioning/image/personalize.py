"""Makes an image one machine's own: its settings on the boot partition, its checksums anew.

A token lets one machine in, so one personalised image is for one machine.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from provisioning.image.bmap import BLOCK, Bmap, make_bmap, read_bmap
from provisioning.image.boot_partition import boot_partition, slot_partitions
from provisioning.image.checksums import bmap_path, own_signer, plain_name, sha256_of, write_sums
from provisioning.image.running import require_programs, run
from provisioning.settings import BOARD_FILE, FILE_NAME, Settings, board_txt, parse_settings, settings_toml
from swarm.errors import MycoswarmError
from swarm.private_file import write_private

ZST = ".zst"
_TIMEOUT_S = 3600.0
_HEADING = "# Read when the machine starts, and then erased: it holds secrets.\n"


def put_settings(path: Path, settings: Settings, *, called: Path | None = None) -> None:
    """Onto the boot partition of an uncompressed image or a device, which errors name `called`. Raises
    `MycoswarmError`."""
    text = _HEADING + settings_toml(settings)
    parse_settings(text, origin=FILE_NAME)  # what was put together from options is checked here, as on the machine
    boot_partition(path, called=called).write(FILE_NAME, text)
    for slot in slot_partitions(path):
        if board_txt(settings) or BOARD_FILE in slot.names():
            slot.write(BOARD_FILE, board_txt(settings))


def settings_of(path: Path) -> Settings:
    """Those that are on an uncompressed image or a device. Raises `MycoswarmError`."""
    text = boot_partition(path).read(FILE_NAME)
    return Settings() if text is None else parse_settings(text, origin=f"{path}: {FILE_NAME}")


def personalized(image: Path, settings: Settings, out: Path) -> Path:
    """A copy of `image` with these settings, at `out`; each of the two is compressed if it is called `….zst`.

    Its block map and checksum come beside it. Only its owner may read them: token and Wi-Fi password are inside.
    Raises `MycoswarmError`, and then leaves nothing behind.
    """
    require_programs(["zstd", "mcopy", "sfdisk"])
    if not image.is_file():
        raise MycoswarmError(f"there is no image {image}", hint="mycoswarm image build makes one")
    if out.exists() and out.samefile(image):
        raise MycoswarmError(
            f"{image} would be overwritten",
            hint="a token is good for one machine: keep the image, and name another --out",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(out) as raw:
        _uncompressed(image, raw)
        put_settings(raw, settings, called=image)
        bmap = _new_map(image, raw)
        if out.suffix == ZST:
            compressed = raw.with_name(raw.name + ZST)
            run(["zstd", "-q", "-T0", "-3", raw, "-o", compressed], doing=f"compressing {out}", timeout_s=_TIMEOUT_S)
            raw.unlink()
            raw = compressed
        raw.chmod(0o600)
        sums = {out.name: sha256_of(raw)}
        bmap_path(out).unlink(missing_ok=True)
        if bmap is not None:
            write_private(bmap_path(out), bmap.xml().encode())
            sums[bmap_path(out).name] = sha256_of(bmap_path(out))
        raw.replace(out)
        write_sums(out, sums, own_signer())
    return out


def default_out(image: Path, settings: Settings) -> Path:
    """`NAME-HOSTNAME.img.zst` beside `NAME.img.zst`."""
    plain = plain_name(image)
    name = f"{plain.stem}-{settings.hostname or 'own'}{plain.suffix}{ZST if plain is not image else ''}"
    return image.with_name(name)


def _new_map(image: Path, raw: Path) -> Bmap | None:
    """That of the changed image: what its old one maps, and what else the settings took on the boot partition."""
    if not bmap_path(image).exists():
        return None
    old = read_bmap(bmap_path(image))
    changed = [boot_partition(raw), *slot_partitions(raw)]
    spans = [old.span(each) for each in old.ranges]
    spans += [span for each in changed for span in _filled(raw, each.offset, each.length)]
    return make_bmap(raw, spans)


def _filled(path: Path, start: int, length: int) -> Iterator[tuple[int, int]]:
    """The blocks of that part that hold anything."""
    with path.open("rb") as file:
        file.seek(start)
        for at in range(start, start + length, BLOCK):
            if file.read(BLOCK).strip(b"\0"):
                yield at, BLOCK


def _uncompressed(image: Path, raw: Path) -> None:
    try:
        if image.suffix == ZST:
            run(["zstd", "-q", "-d", "-f", image, "-o", raw], doing=f"decompressing {image}", timeout_s=_TIMEOUT_S)
        else:
            run(["cp", "--sparse=always", image, raw], doing=f"copying {image}", timeout_s=_TIMEOUT_S)
    except OSError as error:
        raise MycoswarmError(f"cannot read {image}: {error.strerror or error}") from error


@contextlib.contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A file beside `out`, so that it can take its place, in a folder that nobody else reads and that does not stay."""
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
            yield Path(folder) / "image"
    except OSError as error:
        raise MycoswarmError(f"cannot write {out}: {error.strerror or error}", hint="is there room?") from error
