import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from provisioning.image.bmap import Bmap, make_bmap, read_bmap
from provisioning.image.checksums import NotVerified, bmap_path, check_sums, sums_path
from provisioning.image.cli_flash import write_to
from provisioning.image.disks import DiskList, ThisMachine
from provisioning.image.flash import DamagedImage, Device, FlashFailed, check_image, flash
from provisioning.image.personalize import settings_of
from provisioning.settings import Settings
from provisioning.signing import signer
from swarm.cli_common import Sentences
from swarm.errors import MycoswarmError
from tests.provisioning.small_image import MIB, ROOT, SIZE, compress, make_image, run, sign_image
from tests.provisioning.test_disks import ListedDisks, device, loop  # noqa: F401  (a fixture)

DISK = 24 * MIB


def nobody_watches(phase: str, done: int, total: int) -> None:
    assert 0 < done <= total


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def bmap(image: Path) -> Bmap:
    return read_bmap(bmap_path(image))


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A disk with old bytes everywhere."""
    path = tmp_path / "disk"
    path.write_bytes(b"\xa5" * DISK)
    return path


class Disk(Device):
    """A file in place of a disk, that can go wrong."""

    def __init__(
        self, path: Path, *, most: int = 1 << 30, lost_at: int | None = None, forgets: int | None = None
    ) -> None:
        super().__init__(path)
        self.most, self.lost_at, self.forgets = most, lost_at, forgets

    def write_at(self, offset: int, data: bytes) -> int:
        if self.lost_at is not None and offset >= self.lost_at:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if self.forgets is not None and offset <= self.forgets < offset + len(data):
            data = b"\0" * len(data)
        return super().write_at(offset, data[: self.most])


def test_what_is_mapped_is_written_and_the_rest_left_alone(image: Path, bmap: Bmap, used: Path) -> None:
    check_image(image, bmap, nobody_watches)
    flash(image, bmap, Disk(used), nobody_watches)
    written, wanted = used.read_bytes(), image.read_bytes()
    for each in bmap.ranges:
        start, length = bmap.span(each)
        assert written[start : start + length] == wanted[start : start + length]
    assert written[ROOT + MIB : SIZE - MIB] == b"\xa5" * (SIZE - MIB - ROOT - MIB)
    assert written[-MIB:] == bytes(MIB)  # a second copy of an older partition table may have been there
    assert "MYCOBOOT" in run("mdir", "-i", f"{used}@@{MIB}", "::")


def test_a_compressed_image_is_written_alike(image: Path, bmap: Bmap, used: Path, tmp_path: Path) -> None:
    compressed = compress(image)
    check_image(compressed, bmap, nobody_watches)
    flash(compressed, bmap, Disk(used), nobody_watches)
    flash(image, bmap, Disk(tmp := _same_size(tmp_path)), nobody_watches)
    assert hashlib.sha256(used.read_bytes()).digest() == hashlib.sha256(tmp.read_bytes()).digest()


def _same_size(folder: Path) -> Path:
    (folder / "other").write_bytes(b"\xa5" * DISK)
    return folder / "other"


def test_short_writes_are_continued(image: Path, bmap: Bmap, used: Path) -> None:
    flash(image, bmap, Disk(used, most=300_001), nobody_watches)
    assert used.read_bytes()[ROOT : ROOT + MIB] == image.read_bytes()[ROOT : ROOT + MIB]


@pytest.mark.parametrize("lost_at", [0, 2 * MIB, ROOT])
def test_a_disk_that_goes_away_is_told_and_does_not_boot(image: Path, bmap: Bmap, used: Path, lost_at: int) -> None:
    with pytest.raises(FlashFailed, match="No such device") as caught:
        flash(image, bmap, Disk(used, lost_at=lost_at), nobody_watches)
    assert "unplugged" in caught.value.hint
    assert used.read_bytes()[510:512] != b"\x55\xaa"


@pytest.mark.parametrize("forgets", [0, 3 * MIB, ROOT + 5])
def test_a_disk_that_forgets_is_noticed(image: Path, bmap: Bmap, used: Path, forgets: int) -> None:
    with pytest.raises(FlashFailed, match="does not keep what is written"):
        flash(image, bmap, Disk(used, forgets=forgets), nobody_watches)


def test_a_disk_that_is_too_small_is_refused(image: Path, bmap: Bmap, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(bytes(SIZE - 512))
    with pytest.raises(MycoswarmError, match="smaller than the image"):
        flash(image, bmap, Disk(tmp_path / "small"), nobody_watches)


@pytest.mark.parametrize("compressed", [False, True])
def test_an_image_that_is_damaged_or_cut_off_is_noticed_before(compressed: bool, tmp_path: Path) -> None:
    image = make_image(tmp_path)
    bmap = read_bmap(bmap_path(image))
    with image.open("r+b") as file:
        file.seek(ROOT + 1000)
        file.write(b"wrong")
    image = compress(image) if compressed else image
    with pytest.raises(DamagedImage, match="is not what its block map says"):
        check_image(image, bmap, nobody_watches)
    os.truncate(image, image.stat().st_size - MIB // 2)
    with pytest.raises(DamagedImage):
        check_image(image, bmap, nobody_watches)


def test_a_block_map_is_read_as_it_was_written_or_not_at_all(image: Path, bmap: Bmap, tmp_path: Path) -> None:
    text = bmap.xml()
    for wrong in (
        "",
        "<bmap/>",
        text[:-20],
        text.replace("4096", "512"),
        text.replace('version="2.0"', 'version="1.3"'),
        text.replace(f" {SIZE} ", f" {SIZE - 1} "),
        text.replace("<bmap", '<!DOCTYPE a [<!ENTITY b "c">]><bmap', 1),
    ):
        (tmp_path / "map").write_text(wrong)
        with pytest.raises(MycoswarmError, match="is no block map"):
            read_bmap(tmp_path / "map")
    assert make_bmap(image, [(0, 1), (5000, 1), (4096 * 3, 1)]).ranges[0].last == 1
    with pytest.raises(MycoswarmError, match="ends before"):
        make_bmap(image, [(SIZE + 4096, 1)])


# ---- checksums and signatures


def test_who_vouches_is_told_and_what_was_changed_is_refused(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    maker = signer(tmp_path / "maker")
    assert check_sums(image).startswith("nobody")
    sign_image(image, maker)
    assert check_sums(image).startswith("the key ")
    assert check_sums(image, certificate=maker.certificate).startswith("the key of")
    signer()  # the own one
    assert check_sums(image).endswith(", which is not yours")
    other = signer(tmp_path / "other")
    with pytest.raises(NotVerified, match="signature"):
        check_sums(image, certificate=other.certificate)
    (tmp_path / "signer.pem").write_bytes(other.certificate.read_bytes())
    with pytest.raises(NotVerified, match="signature"):
        check_sums(image)
    with image.open("r+b") as file:
        file.write(b"x")
    with pytest.raises(NotVerified, match="checksum is not that of"):
        check_sums(image)
    sums_path(image).write_text("nonsense")
    with pytest.raises(NotVerified, match="no list of checksums"):
        check_sums(image)


# ---- the command


def flashing(machine: DiskList, image: Path, path: Path | None, typed: str = "", **options: Any) -> Result:
    group = Sentences()
    values = {"settings": None, "internal": False, "large": False, "model": None, "signer": None, **options}
    group.command("go")(lambda: write_to(machine, image, path, **values))
    assert isinstance(group, click.Group)
    return CliRunner().invoke(group, ["go"], input=typed)


def stick(path: Path, **said: Any) -> ListedDisks:
    return ListedDisks(device(str(path), DISK, rm=True, **said))


def test_the_model_has_to_be_typed(image: Path, used: Path) -> None:
    before = used.read_bytes()
    for typed in ("\n", "Ultra\n", "yes\n"):
        done = flashing(stick(used), image, used, typed)
        assert (done.exit_code, used.read_bytes() == before) == (1, True)
        assert "it is called Ultra Fit" in done.output
    done = flashing(stick(used), image, used, "ultra  fit\n", settings=Settings(hostname="attic"))
    assert done.exit_code == 0, done.output
    assert settings_of(used) == Settings(hostname="attic")
    assert settings_of(image) == Settings()
    assert "was read back" in done.output and "Next: " in done.output


def test_without_a_disk_they_are_shown(image: Path, used: Path) -> None:
    mounted = device("/dev/sdc", DISK, rm=True, mountpoints=["/media/x"])
    done = flashing(ListedDisks(device(str(used), DISK, rm=True), mounted), image, None)
    assert done.exit_code == 0
    assert "can be written" in done.output and "it is mounted at /media/x" in done.output


@pytest.mark.parametrize(
    ("said", "why"),
    [({"ro": True}, "read-only"), ({"mountpoints": ["/mnt"]}, "mounted at /mnt"), ({"rm": False}, "built in")],
)
def test_a_refused_disk_keeps_what_it_has(said: dict[str, Any], why: str, image: Path, used: Path) -> None:
    before = used.read_bytes()
    done = flashing(ListedDisks(device(str(used), DISK, **{"rm": True, **said})), image, used, "Ultra Fit\n")
    assert (done.exit_code, used.read_bytes() == before) == (1, True)
    assert why in done.output


class Swapping(ListedDisks):
    """Somebody changes the card while its name is typed."""

    def lsblk(self) -> str:
        text = super().lsblk()
        self.devices = tuple({**each, "model": "Archive"} for each in self.devices)
        return text


def test_another_card_in_the_meantime_is_noticed(image: Path, used: Path) -> None:
    before = used.read_bytes()
    done = flashing(Swapping(device(str(used), DISK, rm=True)), image, used, "Ultra Fit\n")
    assert (done.exit_code, used.read_bytes() == before) == (1, True)
    assert "another disk now: Archive" in done.output


def test_a_damaged_image_costs_nothing(used: Path, tmp_path: Path) -> None:
    image = make_image(tmp_path)
    with image.open("r+b") as file:
        file.seek(ROOT)
        file.write(b"wrong")
    before = used.read_bytes()
    done = flashing(stick(used), image, used, "Ultra Fit\n")
    assert (done.exit_code, used.read_bytes() == before) == (1, True)
    assert "nothing was written" in done.output


def test_a_real_block_device_is_written_and_read_back(image: Path, loop: Path) -> None:  # noqa: F811
    done = flashing(ThisMachine(), image, loop, f"{loop.name}\n", internal=True, settings=Settings(hostname="attic"))
    assert done.exit_code == 0, done.output
    assert settings_of(loop) == Settings(hostname="attic")


@pytest.fixture
def mounted(loop: Path, tmp_path: Path) -> Iterator[Path]:  # noqa: F811
    run("mkfs.ext2", "-q", loop)
    (tmp_path / "at").mkdir()
    run("mount", loop, tmp_path / "at")
    yield loop
    run("umount", tmp_path / "at")


def test_a_real_mounted_device_is_refused_twice(image: Path, mounted: Path) -> None:
    done = flashing(ThisMachine(), image, mounted, f"{mounted.name}\n", internal=True)
    assert done.exit_code == 1 and "it is mounted at" in done.output
    with pytest.raises(MycoswarmError, match="busy") as caught:  # the kernel says so too, should it be mounted later
        Device(mounted)
    assert caught.value.hint == "something uses it"
