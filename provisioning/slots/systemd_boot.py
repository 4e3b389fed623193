"""x86_64: entries of systemd-boot, with its boot counting.

Sources: UAPI.1 Boot Loader Specification, "Boot counting" and "Sorting"; systemd's AUTOMATIC_BOOT_ASSESSMENT. An entry
`slot-b+3-1.conf` has three tries left and one done; before systemd-boot starts it, it renames it to `slot-b+2-2.conf`.
No counter: good. No tries left: sorted behind all others. Among the rest the order is that of `sort-key` (the same in
ours), then `version`, newest first: what we write there is no version but a number that grows with each decision which
slot comes first, so that an older system can be made the first, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from provisioning.slots.model import (
    TRIES,
    Partition,
    Remove,
    Rename,
    Slot,
    SlotState,
    SlotView,
    Step,
    Steps,
    Write,
    require_fallback,
)
from swarm.errors import MycoswarmError

_NAME = re.compile(r"loader/entries/slot-([ab])(?:\+(\d{1,3})(?:-(\d{1,3}))?)?\.conf")


@dataclass(frozen=True)
class Entry:
    """One entry file."""

    path: str
    slot: Slot
    left: int | None
    """None: not counted, good."""
    done: int
    order: int
    """The largest comes first."""


def entry_path(slot: Slot, *, left: int | None = None, done: int = 0) -> str:
    """The entry's file on the ESP."""
    counter = "" if left is None else f"+{left}-{done}" if done else f"+{left}"
    return f"loader/entries/{slot.folder}{counter}.conf"


def entry_text(slot: Slot, *, title: str, options: str, order: int = 0) -> bytes:
    """The entry's content. `options`: the kernel command line."""
    lines = (
        f"title {title}",
        "sort-key mycoswarm",
        f"version {order}",
        f"linux /{slot.folder}/vmlinuz",
        f"initrd /{slot.folder}/initrd.img",
        f"options {options}",
    )
    return "".join(f"{line}\n" for line in lines).encode()


def entries(partition: Partition) -> list[Entry]:
    """All of ours, the one to be trusted before its duplicates: an interrupted change leaves two for a slot."""
    found = []
    for path, data in partition.items():
        name = _NAME.fullmatch(path)
        if name is None:
            continue
        order = re.search(rb"^version (\d{1,9})$", data, re.MULTILINE)
        left = None if name[2] is None else int(name[2])
        found.append(Entry(path, Slot(name[1].upper()), left, int(name[3] or 0), int(order[1]) if order else -1))
    return sorted(found, key=lambda each: (-each.order, each.left is not None, each.left or 0))


class SystemdBoot:
    """A `BootWay`."""

    patterns: tuple[str, ...] = ("loader/entries/slot-*.conf",)

    def view(self, partition: Partition, slot: Slot, current: Slot) -> SlotView:
        """See `BootWay`."""
        entry = _entry_of(partition, slot)
        if entry is None:
            return SlotView(SlotState.EMPTY)
        if entry.left is None:
            return SlotView(SlotState.GOOD)
        if entry.left == 0 and slot is not current:
            return SlotView(SlotState.BAD)
        return SlotView(SlotState.TRIAL, entry.left)

    def primary(self, partition: Partition, current: Slot) -> Slot:
        """See `BootWay`; systemd-boot's own order."""
        ordered = sorted(entries(partition), key=lambda each: (each.left == 0, -each.order))
        return ordered[0].slot if ordered else current

    def good(self, partition: Partition, slot: Slot, current: Slot) -> Steps:
        """See `BootWay`."""
        entry = _entry_of(partition, slot)
        if entry is None or entry.left is None:
            return _without_duplicates(partition)
        steps = (Rename(entry.path, entry_path(slot)),)
        return *_without_duplicates(partition), *steps

    def bad(self, partition: Partition, slot: Slot, current: Slot) -> Steps:
        """See `BootWay`."""
        require_fallback(self, partition, slot, current)
        entry = _entry_of(partition, slot)
        if entry is None or entry.left == 0:
            return _without_duplicates(partition)
        return *_without_duplicates(partition), Rename(entry.path, entry_path(slot, left=0, done=entry.done or 1))

    def written(self, partition: Partition, slot: Slot, *, title: str, options: str) -> Steps:
        """See `BootWay`."""
        old = [each for each in entries(partition) if each.slot is slot]
        path = entry_path(slot, left=0, done=1)
        text = entry_text(slot, title=title, options=options, order=max((each.order for each in old), default=0))
        return *(Remove(each.path) for each in old if each.path != path), Write(path, text)

    def first(self, partition: Partition, slot: Slot, current: Slot) -> Steps:
        """See `BootWay`."""
        entry = _entry_of(partition, slot)
        if entry is None:
            raise MycoswarmError(f"nothing is installed in slot {slot}")
        order = 1 + max(each.order for each in entries(partition))
        text = re.sub(rb"^version .*$", b"version %d" % order, partition[entry.path], count=1, flags=re.MULTILINE)
        path = entry_path(slot) if entry.left is None else entry_path(slot, left=TRIES)
        old: tuple[Step, ...] = (Remove(entry.path),) if entry.path != path else ()
        return *_without_duplicates(partition), Write(path, text), *old

    def settle(self, partition: Partition, current: Slot) -> Steps:
        """See `BootWay`."""
        return _without_duplicates(partition)

    def attempt(self, partition: Partition) -> Steps | None:
        """See `BootWay`."""
        return None


def _entry_of(partition: Partition, slot: Slot) -> Entry | None:
    return next((each for each in entries(partition) if each.slot is slot), None)


def _without_duplicates(partition: Partition) -> tuple[Step, ...]:
    kept = {slot: _entry_of(partition, slot) for slot in Slot}
    return tuple(Remove(each.path) for each in entries(partition) if each != kept[each.slot])
