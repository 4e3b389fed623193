"""Block maps: which parts of an image have to be written, and what their checksums are.

The format is version 2.0 of bmap-tools, and `bmaptool` reads it. Unlike there, what is mapped does not follow from a
file's holes: zeros that a file system relies on are holes of a sparse file too, and a used card would keep its old
bytes in their place.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from swarm.errors import MycoswarmError

BLOCK = 4096
MAX_RANGES = 65_536
MAX_BYTES = 16 * 1024**2
"""Of the file."""


@dataclass(frozen=True)
class Range:
    """Blocks `first` to `last`, both of them included."""

    first: int
    last: int
    sha256: str
    """Hexadecimal, over all its bytes; the image's last block may be a part of one."""


@dataclass(frozen=True)
class Bmap:
    """A block map."""

    image_size: int
    """Bytes."""
    ranges: tuple[Range, ...]

    @property
    def mapped_bytes(self) -> int:
        """How much there is to write."""
        return sum(self.span(each)[1] for each in self.ranges)

    def span(self, each: Range) -> tuple[int, int]:
        """Where the range begins, and how long it is, in bytes."""
        start = each.first * BLOCK
        return start, min((each.last + 1) * BLOCK, self.image_size) - start

    def xml(self) -> str:
        """The file, with its own checksum in it: SHA-256 over itself with zeros in that place."""
        text = self._xml("0" * 64)
        return self._xml(hashlib.sha256(text.encode()).hexdigest())

    def _xml(self, own: str) -> str:
        blocks = -(-self.image_size // BLOCK)
        mapped = sum(each.last - each.first + 1 for each in self.ranges)
        ranges = "".join(f'        <Range chksum="{each.sha256}"> {_blocks(each)} </Range>\n' for each in self.ranges)
        return (
            '<?xml version="1.0" ?>\n<bmap version="2.0">\n'
            f"    <ImageSize> {self.image_size} </ImageSize>\n"
            f"    <BlockSize> {BLOCK} </BlockSize>\n"
            f"    <BlocksCount> {blocks} </BlocksCount>\n"
            f"    <MappedBlocksCount> {mapped} </MappedBlocksCount>\n"
            "    <ChecksumType> sha256 </ChecksumType>\n"
            f"    <BmapFileChecksum> {own} </BmapFileChecksum>\n"
            f"    <BlockMap>\n{ranges}    </BlockMap>\n</bmap>\n"
        )


def _blocks(each: Range) -> str:
    return f"{each.first}-{each.last}" if each.last > each.first else f"{each.first}"


def make_bmap(image: Path, spans: Iterable[tuple[int, int]]) -> Bmap:
    """The map of an uncompressed image: `spans` are the parts that matter, each start and length in bytes, widened to
    whole blocks. Raises `MycoswarmError`."""
    size = image.stat().st_size
    ranges = []
    with image.open("rb") as file:
        for first, last in _merged(spans):
            last = min(last, -(-size // BLOCK) - 1)
            if first > last:
                raise MycoswarmError(f"{image} ends before the part at byte {first * BLOCK}")
            file.seek(first * BLOCK)
            ranges.append(Range(first, last, _sha256(file, min((last + 1) * BLOCK, size) - first * BLOCK)))
    return Bmap(size, tuple(ranges))


def read_bmap(path: Path) -> Bmap:
    """The map in a file. Raises `MycoswarmError` when it is none, or not as it was written."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        return _parsed(data)
    except (ValueError, KeyError, TypeError, AttributeError, ElementTree.ParseError) as error:
        raise MycoswarmError(
            f"{path} is no block map: {error}", hint="get it again, together with the image"
        ) from error


def _parsed(data: bytes) -> Bmap:
    if len(data) > MAX_BYTES or b"<!" in re.sub(rb"<!--.*?-->", b"", data, flags=re.DOTALL):
        raise ValueError("too large, or with a document type")
    root = ElementTree.fromstring(data)  # noqa: S314  (document types, and so entities, were refused above)

    def said(name: str) -> str:
        return str(root.findtext(name)).strip()

    if root.tag != "bmap" or root.attrib["version"].partition(".")[0] != "2":
        raise ValueError("version 2 is read here")
    if said("ChecksumType") != "sha256" or int(said("BlockSize")) != BLOCK:
        raise ValueError(f"SHA-256 and blocks of {BLOCK} bytes are read here")
    own = said("BmapFileChecksum").encode()
    if hashlib.sha256(data.replace(own, b"0" * 64, 1)).hexdigest().encode() != own:
        raise ValueError("its own checksum does not fit")
    size, ranges, end = int(said("ImageSize")), [], -1
    for each in root.iterfind("BlockMap/Range"):
        first, _, last = str(each.text).strip().partition("-")
        found = Range(int(first), int(last or first), each.attrib["chksum"].lower())
        if not end < found.first <= found.last < -(-size // BLOCK) or not re.fullmatch("[0-9a-f]{64}", found.sha256):
            raise ValueError(f"the range {each.text} does not belong there")
        end = found.last
        ranges.append(found)
    if len(ranges) > MAX_RANGES:
        raise ValueError("too many ranges")
    return Bmap(size, tuple(ranges))


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, length in sorted(spans):
        if length <= 0:
            continue
        first, last = start // BLOCK, (start + length - 1) // BLOCK
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _sha256(file: BinaryIO, length: int) -> str:
    digest = hashlib.sha256()
    while length > 0:
        data = file.read(min(length, 1024**2))
        if not data:
            raise MycoswarmError("the image ended while it was read")
        digest.update(data)
        length -= len(data)
    return digest.hexdigest()
