"""What an image is called, and which of two is newer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import total_ordering

from swarm.errors import MycoswarmError

_FORM = re.compile(r"(\d{1,6}(?:\.\d{1,6}){0,3})(?:(a|b|rc)(\d{1,6}))?\+(\d{14})")


@total_ordering
@dataclass(frozen=True)
class ImageVersion:
    """`0.1.0+20251121200000`: the package's version, and when the image was built (UTC). Ordered: the package counts
    first, the time only between images of one package."""

    package: str
    built: str
    """YYYYmmddHHMMSS."""

    def __str__(self) -> str:
        return f"{self.package}+{self.built}"

    def __lt__(self, other: ImageVersion) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[tuple[int, ...], tuple[str, int], str]:
        numbers, stage, number = _parts(str(self))
        while numbers and numbers[-1] == 0:
            numbers = numbers[:-1]  # 1.0 is 1
        return numbers, (stage or "z", number), self.built  # a < b < rc < finished


def parse_version(text: str) -> ImageVersion:
    """Raises `MycoswarmError`."""
    _parts(text)
    package, _, built = text.partition("+")
    return ImageVersion(package, built)


def version_of(package: str, built_at: float) -> ImageVersion:
    """The version of an image that is made of `package` (such as 0.1.0) at `built_at` (seconds since 1970)."""
    return parse_version(f"{package}+{datetime.fromtimestamp(built_at, UTC):%Y%m%d%H%M%S}")


def version_in(os_release: str) -> ImageVersion:
    """What the text of an os-release file says of its image. Raises `MycoswarmError`."""
    found = re.search(r"^IMAGE_VERSION=[\"']?([^\"'\n]*)[\"']?$", os_release, re.MULTILINE)
    if found is None:
        raise MycoswarmError("its os-release has no IMAGE_VERSION: it is no image of mycoswarm")
    return parse_version(found[1])


def _parts(text: str) -> tuple[tuple[int, ...], str, int]:
    found = _FORM.fullmatch(text)
    if found is None:
        raise MycoswarmError(
            f'"{text[:80]}" is no version of an image', hint="such as 0.1.0+20251121200000: package, time of building"
        )
    return tuple(int(part) for part in found[1].split(".")), found[2] or "", int(found[3] or 0)
