import stat
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from provisioning.image.bmap import make_bmap, read_bmap
from provisioning.image.boot_partition import NoImage, boot_partition, slot_partitions
from provisioning.image.checksums import bmap_path, check_sums
from provisioning.image.personalize import personalized, put_settings, settings_of
from provisioning.settings import AudioSettings, SatelliteSettings, Settings, WifiNetwork
from provisioning.signing import keys_folder, signer
from swarm.cli import main
from swarm.errors import MycoswarmError
from tests.provisioning.small_image import MIB, compress, make_image, run

SETTINGS = Settings(
    hostname="kitchen-pi", wifi=(WifiNetwork("Hjemme", "a secret word"),), satellite=SatelliteSettings(area="Kitchen")
)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture(scope="module")
def image_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.mark.parametrize("table", ["gpt", "dos"])
def test_settings_are_put_on_the_boot_partition_and_found_there(table: str, tmp_path: Path) -> None:
    image = make_image(tmp_path, table=table)
    assert settings_of(image) == Settings()
    put_settings(image, SETTINGS)
    put_settings(image, SETTINGS)  # again, over the first
    assert settings_of(image) == SETTINGS
    assert boot_partition(image).names() == ("mycoswarm.toml",)


def test_the_firmware_of_a_pi_is_told_of_the_sound_board_in_both_slots(tmp_path: Path) -> None:
    image = make_image(tmp_path, table="dos")
    put_settings(image, SETTINGS)
    assert [each.names() for each in slot_partitions(image)] == [(), ()]
    own = msgspec.structs.replace(SETTINGS, audio=AudioSettings(board="respeaker-2mic"))
    made = personalized(image, own, tmp_path / "own.img")
    assert [each.read("board.txt") for each in slot_partitions(made)] == ["dtoverlay=respeaker-2mic\n"] * 2
    put_settings(made, SETTINGS)  # another board, or none, later
    assert [each.read("board.txt") for each in slot_partitions(made)] == ["", ""]


def test_a_copy_is_made_the_machines_own_and_the_image_stays(tmp_path: Path) -> None:
    image = compress(make_image(tmp_path))
    before = image.read_bytes()
    made = personalized(image, SETTINGS, tmp_path / "out" / "kitchen.img.zst")
    assert image.read_bytes() == before
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert sorted(path.name for path in made.parent.iterdir()) == [
        "kitchen.SHA256SUMS",
        "kitchen.img.bmap",
        "kitchen.img.zst",
    ]
    run("zstd", "-dq", made)
    assert settings_of(made.with_suffix("")) == SETTINGS
    assert "nobody signed" in check_sums(made)


def test_the_copys_block_map_names_all_that_differs_from_nothing(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    bmap_path(image).write_text(make_bmap(image, [(0, MIB)]).xml())  # a map that leaves the boot partition out
    made = personalized(image, SETTINGS, tmp_path / "own.img")
    found = read_bmap(bmap_path(made))
    on_card = bytearray(made.stat().st_size)
    with made.open("rb") as file:
        for each in found.ranges:
            start, length = found.span(each)
            file.seek(start)
            on_card[start : start + length] = file.read(length)
    (tmp_path / "card.img").write_bytes(on_card)
    assert settings_of(tmp_path / "card.img") == SETTINGS


def test_a_copy_is_signed_by_who_has_a_key(tmp_path: Path) -> None:
    signer(keys_folder())
    made = personalized(make_image(tmp_path), SETTINGS, tmp_path / "own.img")
    assert check_sums(made) == "your own key"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "no partition table"), (b"text\n" * 1000, "no partition table"), (None, "no boot partition")],
)
def test_what_is_no_image_is_refused_by_its_name_and_nothing_is_left(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    image = tmp_path / "some.img"
    if content is None:
        image = make_image(tmp_path, label="OTHER")
    else:
        image.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(NoImage, match=said) as caught:
        personalized(image, SETTINGS, tmp_path / "out" / "own.img")
    assert str(image) in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_compressed_image_is_refused(tmp_path: Path) -> None:
    image = compress(make_image(tmp_path))
    image.write_bytes(image.read_bytes()[:-100])
    with pytest.raises(MycoswarmError, match="decompressing"):
        personalized(image, SETTINGS, tmp_path / "own.img")


def test_the_command_asks_for_no_password_on_its_own_command_line(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    (tmp_path / "pw").write_text("a secret word\n")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id")
    command = ["image", "personalize", str(image), "--hostname", "kitchen-pi", "--wifi", "Hjemme", "--country", "NO"]
    command += ["--wifi-password-file", str(tmp_path / "pw"), "--area", "Kitchen", "--time-zone", "Europe/Oslo"]
    done = CliRunner().invoke(main, [*command, "--ssh-key", str(tmp_path / "id.pub")])
    assert done.exit_code == 0, done.output
    assert "secret" not in done.output
    found = settings_of(tmp_path / "mycoswarm-edge-test-kitchen-pi.img")
    assert found.wifi == SETTINGS.wifi and found.country == "NO" and found.ssh_keys[0].startswith("ssh-ed25519 ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "say what makes it your own"),
        (["--hostname", "My Pi"], "--hostname: has to be small letters"),
        (["--audio", "hat"], "--audio: has to be one of none"),
        (["--token", "MYCO1-ABC"], "--token: the join token has characters"),
        (["--time-zone", "Europe/Osl"], "did you mean Europe/Oslo?"),
        (["--first", "--invite"], "choose one of"),
        (["--wifi", "Hjemme"], "there is no terminal"),
        (["--hostname", "pi", "--invite"], "this machine belongs to no swarm"),
    ],
)
def test_a_wrong_option_is_told_by_its_name_and_makes_nothing(
    options: list[str], said: str, image_of_all: Path
) -> None:
    before = sorted(image_of_all.parent.iterdir())
    done = CliRunner().invoke(main, ["image", "personalize", str(image_of_all), *options])
    assert done.exit_code != 0
    assert said in done.output
    assert sorted(image_of_all.parent.iterdir()) == before
