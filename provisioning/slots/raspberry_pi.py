"""Raspberry Pi: `autoboot.txt` and the firmware's tryboot.

Source: Raspberry Pi documentation, "autoboot.txt" and "Fail-safe OS updates (tryboot)". `[all] boot_partition=2` is
what starts, `[tryboot] boot_partition=3` what starts once after `reboot "0 tryboot"`; the flag is gone by then, so a
crash or a power cut comes back to the first. There is no counter: one attempt.

What the firmware does not know stands beside it in `slots.json`: for each slot what is known of it, and `tried`, which
is written just before the attempt: who finds it in the other slot knows that the attempt failed. What `autoboot.txt`
starts is always good, whatever `slots.json` says.
"""

from __future__ import annotations

import json
import re

from provisioning.slots.model import Partition, Slot, SlotState, SlotView, Steps, Write, require_fallback
from swarm.errors import MycoswarmError

AUTOBOOT = "autoboot.txt"
NOTES = "slots.json"
PARTITIONS = {Slot.A: 2, Slot.B: 3}
"""Where the firmware finds each slot's kernel."""
_NOTES = ("empty", "trial", "tried", "good", "bad")
_ALL = re.compile(r"\s*\[all\]\s*\n(?:[^\[]*\n)?\s*boot_partition=([23])\s*(?:\n|$)")


def autoboot_text(slot: Slot) -> bytes:
    """`autoboot.txt` (the firmware reads 512 bytes at most) that starts `slot`."""
    here, there = PARTITIONS[slot], PARTITIONS[slot.other]
    return f"[all]\ntryboot_a_b=1\nboot_partition={here}\n[tryboot]\nboot_partition={there}\n".encode()


def notes_text(notes: dict[Slot, str]) -> bytes:
    """`slots.json`."""
    return json.dumps({str(slot): note for slot, note in notes.items()}).encode() + b"\n"


def committed(partition: Partition) -> Slot:
    """The slot that starts when nothing else is said. Raises `MycoswarmError`."""
    text = partition.get(AUTOBOOT, b"").decode(errors="replace").replace("\r", "")
    found = _ALL.match(text)
    if found is None:
        raise MycoswarmError(
            f"{AUTOBOOT} on the boot partition does not say which partition starts",
            hint="put it back as docs/updates.md shows it",
        )
    return next(slot for slot, number in PARTITIONS.items() if str(number) == found[1])


class RaspberryPi:
    """A `BootWay`."""

    patterns: tuple[str, ...] = (AUTOBOOT, NOTES)

    def view(self, partition: Partition, slot: Slot, current: Slot) -> SlotView:
        """See `BootWay`."""
        note = _notes(partition)[slot]
        if note == "tried":
            return SlotView(SlotState.TRIAL if slot is current else SlotState.BAD)
        return SlotView(SlotState(note), tries_left=int(note == "trial"))

    def primary(self, partition: Partition, current: Slot) -> Slot:
        """See `BootWay`."""
        notes = _notes(partition)
        return next((slot for slot in Slot if notes[slot] == "trial"), committed(partition))

    def good(self, partition: Partition, slot: Slot, current: Slot) -> Steps:
        """See `BootWay`."""
        notes = _notes(partition)
        if notes[slot] == "empty" or notes[slot] == "good":
            return ()
        now = notes | {slot: "good"}
        if slot is not current:
            return (Write(NOTES, notes_text(now)),)
        return Write(AUTOBOOT, autoboot_text(slot)), Write(NOTES, notes_text(now))

    def bad(self, partition: Partition, slot: Slot, current: Slot) -> Steps:
        """See `BootWay`."""
        require_fallback(self, partition, slot, current)
        notes = _notes(partition)
        if notes[slot] in ("empty", "bad"):
            return ()
        start: Steps = ()
        if committed(partition) is slot:
            start = (Write(NOTES, notes_text(notes)), Write(AUTOBOOT, autoboot_text(slot.other)))
        return *start, Write(NOTES, notes_text(notes | {slot: "bad"}))

    def written(self, partition: Partition, slot: Slot, *, title: str, options: str) -> Steps:
        """See `BootWay`; the command line lies beside the kernel."""
        return (Write(NOTES, notes_text(_notes(partition) | {slot: "bad"})),)

    def first(self, partition: Partition, slot: Slot, current: Slot) -> Steps:
        """See `BootWay`."""
        notes = _notes(partition)
        others = {each: "bad" if note == "trial" else note for each, note in notes.items()}
        if notes[slot] == "empty":
            raise MycoswarmError(f"nothing is installed in slot {slot}")
        if notes[slot] != "good":
            return (Write(NOTES, notes_text(others | {slot: "trial"})),)
        return Write(NOTES, notes_text(others)), Write(AUTOBOOT, autoboot_text(slot))

    def settle(self, partition: Partition, current: Slot) -> Steps:
        """See `BootWay`."""
        notes = _notes(partition)
        failed = {slot: "bad" for slot in Slot if notes[slot] == "tried" and slot is not current}
        return (Write(NOTES, notes_text(notes | failed)),) if failed else ()

    def attempt(self, partition: Partition) -> Steps | None:
        """See `BootWay`."""
        notes = _notes(partition)
        trial = {slot: "tried" for slot in Slot if notes[slot] == "trial"}
        return (Write(NOTES, notes_text(notes | trial)),) if trial else None


def _notes(partition: Partition) -> dict[Slot, str]:
    """A missing or damaged file loses what was known of the other slot, not the slot that starts."""
    starts = committed(partition)
    try:
        read = json.loads(partition.get(NOTES, b"{}"))
    except ValueError:
        read = {}
    known = read if isinstance(read, dict) else {}
    notes = {slot: str(known.get(slot)) for slot in Slot}
    return {slot: note if note in _NOTES else "empty" for slot, note in notes.items()} | {starts: "good"}
