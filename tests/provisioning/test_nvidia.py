"""NVIDIA's modules: for the very kernel and driver that the root has, and for no other image."""

import io
import tarfile
from pathlib import Path

import pytest

from provisioning.image.nvidia import build_command, nvidia_modules
from provisioning.image.recipe import recipe
from swarm.errors import MycoswarmError

RELEASE, DRIVER = "6.12.48+deb13-amd64", "550.163.01-2"
STATUS = f"""Package: libc6
Version: 2.41

Package: libcuda1
Status: install ok installed
Architecture: amd64
Version: {DRIVER}
Depends: libc6

Package: libnvidia-ml1
Version: 1
"""


def packed(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


def root(folder: Path, status: str = STATUS) -> Path:
    kernel = {f"./usr/lib/modules/{RELEASE}/kernel/fs/ext4.ko": "ext4"}
    return packed(folder / "root.tar", {"./var/lib/dpkg/status": status, **kernel})


def test_it_is_built_for_the_kernel_and_the_driver_of_the_root() -> None:
    command = build_command(RELEASE, DRIVER, Path("/out/modules.tar"))
    assert f"--include=linux-headers-{RELEASE},nvidia-kernel-dkms={DRIVER}" in command
    assert any("non-free," in each for each in command)


def test_what_was_built_before_is_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"usr/lib/modules/{RELEASE}/updates/dkms/nvidia-current.ko.xz"
    built: list[str] = []

    def run(command: list[str], **_: object) -> str:
        built.append(command[0])
        packed(Path(command[-3].rpartition(" ")[2]), {module: "module"})
        return ""

    monkeypatch.setattr("provisioning.image.nvidia.run", run)
    for _ in range(2):
        assert nvidia_modules(root(tmp_path), tmp_path, epoch=0, tell=print) == {module: b"module"}
    assert built == ["mmdebstrap"]
    assert next(tmp_path.glob("nvidia-*.tar")).name.startswith(f"nvidia-{DRIVER}-{RELEASE}-")


def test_a_root_without_the_driver_is_told(tmp_path: Path) -> None:
    with pytest.raises(MycoswarmError, match="no driver"):
        nvidia_modules(root(tmp_path, "Package: libc6\nVersion: 2.41\n"), tmp_path, epoch=0, tell=print)


def test_only_the_gpu_node_has_the_driver() -> None:
    assert "libcuda1" in recipe("gpu", "x86_64").packages
    assert recipe("gpu", "x86_64").more_options
    assert "libcuda1" not in recipe("worker", "x86_64").packages
    assert recipe("worker", "x86_64").more_options == []
