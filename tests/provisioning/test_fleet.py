import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from provisioning.image.boot_partition import boot_partition
from provisioning.image.checksums import bmap_path, sha256_of
from provisioning.image.fleet import Prepared, base_image, image_name, prepare
from provisioning.plan import Machines, parse_plan, plan_toml
from provisioning.settings import Settings, parse_settings, read_settings
from provisioning.signing import signer
from swarm.cli import main
from swarm.errors import ConfigError, MycoswarmError
from swarm.tokens import JoinToken
from tests.provisioning.small_image import compress, make_image, run, sign_image

PLAN = """[common]
country = "DE"
time_zone = "Europe/Berlin"

[[machine]]
node = "edge"
board = "rpi4"
hostname = "kitchen-pi"
area = "Kitchen"
audio = "usb"

[[machine]]
node = "worker"
board = "x86_64"
hostname = "office"
count = 3
note = "retired"

[machine.settings]
roles = ["worker", "hub"]
"""
VERSION = "0.1.0+20261121200000"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built images of both kinds."""
    folder = tmp_path_factory.mktemp("dist")
    for name in ("mycoswarm-edge-pi", "mycoswarm-worker-x86-64"):
        image = compress(make_image(folder, name=f"{name}-{VERSION}"))
        sign_image(image, signer(folder / "keys"))
    shutil.copy(folder / f"mycoswarm-edge-pi-{VERSION}.img.zst", folder / f"mycoswarm-edge-pi-{VERSION}-own.img.zst")
    return folder


def tokens() -> Iterator[str]:
    for number in itertools.count():
        yield JoinToken(number.to_bytes(8, "big"), b"s" * 16, b"p" * 32, "a" * 26).text()


def prepared(
    text: str, dist: Path, out: Path, made: Iterator[str] | None, *, own_images: bool = False
) -> list[Prepared]:
    machines = parse_plan(text, origin="plan.toml")
    images = {name: path for each in machines if (path := base_image(dist, name := image_name(each)))}
    return prepare(
        machines,
        out,
        images=images,
        own_images=own_images,
        new_token=(lambda: next(made)) if made else None,
        tokens_last_s=3600,
        tell=lambda line: None,
    )


def test_a_plan_names_each_machine() -> None:
    machines = parse_plan(PLAN, origin="plan.toml")
    assert [each.settings.hostname for each in machines] == ["kitchen-pi", "office-1", "office-2", "office-3"]
    assert machines[0].settings == parse_settings(
        'hostname = "kitchen-pi"\ncountry = "DE"\ntime_zone = "Europe/Berlin"\n'
        '[audio]\nboard = "usb"\n[satellite]\narea = "Kitchen"',
        origin="x",
    )
    assert machines[3].settings.roles == ("worker", "hub")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"edge"', '"egde"', ":6: machine.node: has to be one of edge"),
        ("count = 3", "count = 0", "machine.count: has to be a number from 1"),
        ('hostname = "office"', "", "hostname"),
        (
            'hostname = "office"\ncount = 3',
            'hostname = "kitchen-pi"',
            ":12: kitchen-pi: two machines have the same name",
        ),
        ('country = "DE"', 'hostname = "pi"', "common.hostname cannot be the same for all"),
        ('country = "DE"', 'county = "DE"', "did you mean country?"),
        ('audio = "usb"', 'audio = "hat"', "audio.board: has to be one of none"),
        ("[machine.settings]", "[machine.settings]\nfirst = true", "a token, or being the first, is for one machine"),
        ("[common]", "[comon]", "did you mean common?"),
        (PLAN, "", "no machine is planned"),
        (PLAN, "[", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_plan_is_told(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_plan(PLAN.replace(old, new, 1), origin="plan.toml")
    assert said in caught.value.for_person()


def test_two_first_machines_or_the_same_token_twice_are_refused() -> None:
    one = 'node = "edge"\nboard = "rpi4"\n'
    for key in ("first = true", f'token = "{next(tokens())}"'):
        text = "".join(f'[[machine]]\n{one}hostname = "{name}"\n[machine.settings]\n{key}\n' for name in "ab")
        with pytest.raises(ConfigError, match="two machines"):
            parse_plan(text, origin="plan.toml")


@examples(max_examples=30)
@given(
    st.lists(
        st.builds(
            Machines,
            node=st.sampled_from(["edge", "worker", "gpu"]),
            board=st.sampled_from(["rpi4", "x86_64"]),
            hostname=st.from_regex(r"\A[a-z]{1,9}\Z"),
            count=st.integers(1, 3),
            area=st.text(st.characters(min_codepoint=32, exclude_categories=["C"]), max_size=9),
            note=st.text(st.characters(min_codepoint=32, exclude_categories=["C"]), max_size=30),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda each: each.hostname,
    )
)
def test_what_another_command_prints_is_read_again(planned: list[Machines]) -> None:
    machines = parse_plan(plan_toml(planned, {"country": "DE"}), origin="printed")
    assert len(machines) == sum(each.count for each in planned)


def test_an_interrupted_run_is_repeated_and_spends_no_token_twice(dist: Path, tmp_path: Path) -> None:
    out, made = tmp_path / "home", tokens()
    stopping = itertools.islice(made, 2)
    with pytest.raises((StopIteration, RuntimeError)):
        prepared(PLAN, dist, out, stopping)
    first = read_settings(out / "kitchen-pi.toml").token
    found = prepared(PLAN, dist, out, made)
    all_tokens = [read_settings(each.settings).token for each in found]
    assert all_tokens[0] == first
    assert len(set(all_tokens)) == 4 and all(all_tokens)
    assert prepared(PLAN, dist, out, iter(())) == found  # all there: none is asked for
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}


def test_an_old_token_is_replaced_and_another_plan_refused(dist: Path, tmp_path: Path) -> None:
    out, made = tmp_path / "home", tokens()
    found = prepared(PLAN, dist, out, made)
    before = [read_settings(each.settings).token for each in found]
    os.utime(found[1].settings, (0, 0))
    after = [read_settings(each.settings).token for each in prepared(PLAN, dist, out, made)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True, True]
    with pytest.raises(MycoswarmError, match="something else than the plan"):
        prepared(PLAN.replace("Kitchen", "Bath"), dist, out, made)


def test_each_machine_gets_an_image_of_its_own(dist: Path, tmp_path: Path) -> None:
    plan = PLAN.replace("count = 3\n", "")
    found = prepared(plan, dist, tmp_path / "home", tokens(), own_images=True)
    for each in found:
        run("zstd", "-dqf", each.image)
        text = boot_partition(each.image.with_suffix("")).read("mycoswarm.toml")
        assert text is not None and parse_settings(text, origin="x") == read_settings(each.settings)
    unchanged = found[0].image.stat().st_mtime_ns
    found[1].image.write_bytes(b"cut off")
    again = prepared(plan, dist, tmp_path / "home", iter(()), own_images=True)
    assert again == found
    assert found[0].image.stat().st_mtime_ns == unchanged
    assert found[1].image.stat().st_size > 1000


def test_the_command_shows_first_and_then_says_what_to_do(dist: Path, tmp_path: Path) -> None:
    (tmp_path / "home.toml").write_text(PLAN)
    command = ["image", "fleet", str(tmp_path / "home.toml"), "--base", str(dist)]
    done = CliRunner().invoke(main, [*command, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "office-3" in done.output and "nothing was made" in done.output
    assert not (tmp_path / "home").exists()
    done = CliRunner().invoke(main, [*command, "--invite"])
    assert done.exit_code == 1 and "belongs to no swarm" in done.output
    assert not (tmp_path / "home").exists()
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert f"mycoswarm-edge-pi-{VERSION}.img.zst /dev/… --settings {tmp_path}/home/kitchen-pi.toml" in done.output
    assert read_settings(tmp_path / "home" / "office-2.toml") == Settings(
        hostname="office-2", roles=("worker", "hub"), country="DE", time_zone="Europe/Berlin"
    )


def test_imagers_list_has_the_built_images_and_nobodys_own(dist: Path) -> None:
    done = CliRunner().invoke(main, ["image", "manifest", str(dist)])
    assert done.exit_code == 0, done.output
    listed = json.loads((dist / "os_list.json").read_text())["os_list"]
    image = dist / f"mycoswarm-edge-pi-{VERSION}.img.zst"
    assert [each["name"] for each in listed] == [f"mycoswarm voice satellite {VERSION}"]
    assert listed[0]["init_format"] == "cloudinit"
    assert listed[0]["extract_sha256"] == sha256_of(image.with_suffix(""))
    assert listed[0]["image_download_sha256"] == sha256_of(image)
    assert listed[0]["extract_size"] == image.with_suffix("").stat().st_size
    assert listed[0]["release_date"] == "2026-11-21"
    assert listed[0]["devices"] == ["pi3-64bit", "pi4-64bit", "pi5-64bit"]
    assert {key for key, value in listed[0].items() if value == ""} == {"icon"}


def test_a_damaged_image_is_on_no_list(dist: Path, tmp_path: Path) -> None:
    for path in dist.glob(f"mycoswarm-edge-pi-{VERSION}.*"):
        shutil.copy(path, tmp_path)
    image = tmp_path / f"mycoswarm-edge-pi-{VERSION}.img.zst"
    assert bmap_path(image).exists()
    image.write_bytes(image.read_bytes()[:-1])
    done = CliRunner().invoke(main, ["image", "manifest", str(tmp_path)])
    assert done.exit_code == 1 and "is damaged" in done.output
    assert not (tmp_path / "os_list.json").exists()
