"""Our part of an initramfs: appended to Debian's, as another archive.

The kernel unpacks archives one behind the other, the later over the earlier (its documentation, "initramfs buffer
format"). So a change of a script costs no new root: making an initramfs of another processor takes minutes.
"""

from __future__ import annotations

from pathlib import Path

from provisioning.image.layout import DATA

SCRIPTS = DATA / "initrd"
FILE, FOLDER = 0o100000, 0o040000


def scripts(tree: Path = SCRIPTS) -> bytes:
    """The tree as a cpio archive of the kind "newc", all root's and from 1970; to begin at a multiple of four bytes."""
    made = bytearray()
    for number, path in enumerate(sorted(tree.rglob("*")), 1):
        name = path.relative_to(tree).as_posix()
        if path.is_dir():
            made += _entry(name, FOLDER | 0o755, number, b"")
        else:
            executable = path.stat().st_mode & 0o100
            made += _entry(name, FILE | (0o755 if executable else 0o644), number, path.read_bytes())
    return bytes(made + _entry("TRAILER!!!", 0, 0, b""))


def _entry(name: str, mode: int, number: int, data: bytes) -> bytes:
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
