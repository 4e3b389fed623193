"""The same source and the same Debian make the same bytes: from a kept root, and from roots made anew."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.images.built import build


def made(folder: Path) -> dict[str, str]:
    """Each file that a build makes, by name, as a hash; but the signature, which a key on a curve makes anew."""
    folder.mkdir()
    build("worker", "x86_64", folder)
    files = {path.name: path for path in folder.iterdir() if path.suffix not in (".sig", ".img")}
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    for path in folder.glob("*.img"):
        path.unlink()
    return hashes


def test_two_builds_from_a_kept_root_are_the_same(can_boot: None, tmp_path: Path) -> None:
    assert made(tmp_path / "one") == made(tmp_path / "two")


@pytest.mark.nightly
def test_two_builds_from_new_roots_are_the_same(
    can_boot: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = []
    for name in ("one", "two"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{name}"))
        hashes.append(made(tmp_path / name))
    assert hashes[0] == hashes[1]
