"""Tests on images, installed systems and booted machines: where `make test-images` or `make test-images-nightly` asked.

`MYCOSWARM_TEST_IMAGES` is `1` for what runs with every change, `nightly` for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import why_no_hosts
from tests.images.built import image, room_for_images
from tests.images.guest import why_no_guests

ASKED = "MYCOSWARM_TEST_IMAGES"
TEST_S = 3600
"""A machine boots in minutes, and an image for another architecture is built in twenty. What is waited for inside a
test has a limit of its own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    asked = os.environ.get(ASKED, "")
    here = Path(__file__).parent
    for item in items:
        if not item.path.is_relative_to(here):
            continue
        item.add_marker(pytest.mark.timeout(TEST_S))
        if not asked:
            item.add_marker(
                pytest.mark.skip(reason=f"make test-images builds images and runs this; {ASKED} is not set")
            )
        elif asked != "nightly" and item.get_closest_marker("nightly"):
            item.add_marker(pytest.mark.skip(reason="make test-images-nightly runs this"))


@pytest.fixture(scope="session")
def can_boot() -> None:
    if reason := why_no_hosts() or why_no_guests() or room_for_images():
        pytest.fail(f"machines cannot be booted here: {reason}")


@pytest.fixture(scope="session")
def worker_image(can_boot: None) -> Path:
    return image("worker", "x86_64")


@pytest.fixture(scope="session")
def pi_image(can_boot: None) -> Path:
    return image("edge", "rpi4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For disks: gone when the module is done, and not when three more runs are."""
    path = tmp_path_factory.mktemp("machines")
    yield path
    for disk in path.rglob("*.img"):
        disk.unlink()
