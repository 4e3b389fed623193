"""Whatever happens, a machine starts a system that was good."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioning.slots.fresh import firmware_files
from provisioning.slots.layout import Layout, Partitions
from provisioning.slots.model import NothingToFallBackTo, Slot, SlotState
from provisioning.slots.raspberry_pi import RaspberryPi
from provisioning.slots.systemd_boot import SystemdBoot
from provisioning.slots.version import parse_version
from tests.provisioning.firmware import FakeDisk, Firmware, PiFirmware, PowerCut, SystemdBootFirmware, notes_of

CMDLINE = "root=PARTUUID={root} ro rauc.slot={slot} panic=10\n"
X86 = Layout(
    "systemd-boot",
    "mycoswarm-worker-amd64",
    Partitions(f"{0:08x}-0000-4000-8000-{0:012x}", f"{1:08x}-0000-4000-8000-{1:012x}"),
)
PI = Layout(
    "raspberry-pi",
    "mycoswarm-edge-rpi4",
    Partitions("4d59434f-05", "4d59434f-06"),
    Partitions("4d59434f-02", "4d59434f-03"),
)
VERSION = parse_version("0.1.0+20251121200000")
Quality = Literal["works", "panics", "gives up", "hangs", "half written"]


@dataclass
class Machine:
    """A node under a fake firmware: what lies in each slot, what runs."""

    layout: Layout
    firmware: Firmware
    disk: FakeDisk
    holds: dict[Slot, tuple[int, Quality]]
    """Number and quality of the version in each slot."""
    current: Slot = Slot.A
    argument: str = ""
    """Of the reboot that is to come."""
    proved: set[int] = field(default_factory=lambda: {0})

    @property
    def version(self) -> int:
        """What runs."""
        return self.holds[self.current][0]

    def state(self, slot: Slot) -> SlotState:
        """As our code sees it."""
        return self.layout.boot_way().view(self.disk.files, slot, self.current).state

    def install(self, number: int, quality: Quality) -> None:
        """What RAUC does, in its order. May raise `PowerCut`, or `NothingToFallBackTo`."""
        way, slot = self.layout.boot_way(), self.current.other
        if self.state(self.current) is not SlotState.GOOD:
            raise NothingToFallBackTo("refused before anything is written")
        self.disk.do(way.bad(self.disk.files, slot, self.current))
        self.holds[slot] = (number, "half written")
        options = CMDLINE.strip().format(root="x", slot=slot)
        self.disk.do(way.written(self.disk.files, slot, title=f"{number}", options=options))
        self.holds[slot] = (number, quality)
        self.disk.do(way.first(self.disk.files, slot, self.current))

    def roll_back(self) -> None:
        """A person wants the other one, if it is good."""
        if self.state(self.current.other) is SlotState.GOOD:
            self.disk.do(self.layout.boot_way().first(self.disk.files, self.current.other, self.current))

    def reboot(self) -> None:
        """In order; a power cut on the way down loses what the firmware should have been told."""
        self.argument = ""
        steps = self.layout.boot_way().attempt(self.disk.files)
        if steps is not None:
            self.disk.do(steps)
            self.argument = "0 tryboot"

    def run_until_steady(self) -> None:
        """Start, and start again whenever what started is no good, until one stays."""
        for _ in range(12):
            argument, self.argument = self.argument, ""
            started = self.firmware.start(self.disk, argument)
            assert started is not None, "nothing to start"
            number, quality = self.holds[started]
            if quality in ("panics", "hangs", "half written"):
                continue  # panic=10, or the watchdog
            self.current = started
            way = self.layout.boot_way()
            try:
                self.disk.do(way.settle(self.disk.files, started))
                if self.state(started) is not SlotState.TRIAL:
                    return
                if quality == "works":
                    self.proved.add(number)
                    self.disk.do(way.good(self.disk.files, started, started))
                    return
                self.disk.do(way.bad(self.disk.files, started, started))
                self.reboot()
            except PowerCut:
                continue
        raise AssertionError("it never came to rest")


def machine(layout: Layout) -> Machine:
    """Fresh from the image."""
    firmware: Firmware = SystemdBootFirmware() if layout is X86 else PiFirmware()
    disk = FakeDisk(firmware_files(layout, VERSION, CMDLINE))
    return Machine(layout, firmware, disk, {Slot.A: (0, "works"), Slot.B: (-1, "half written")})


both = pytest.mark.parametrize("layout", [X86, PI], ids=["systemd-boot", "raspberry-pi"])


@both
def test_a_fresh_image_is_good_and_has_nothing_to_fall_back_to(layout: Layout) -> None:
    node = machine(layout)
    node.run_until_steady()
    assert (node.current, node.state(Slot.A), node.state(Slot.B)) == (Slot.A, SlotState.GOOD, SlotState.EMPTY)
    with pytest.raises(NothingToFallBackTo):
        layout.boot_way().bad(node.disk.files, Slot.A, Slot.A)


@both
def test_a_good_update_stays_and_the_old_version_is_kept_for_going_back(layout: Layout) -> None:
    node = machine(layout)
    node.install(1, "works")
    node.reboot()
    node.run_until_steady()
    assert (node.version, node.state(Slot.B), node.state(Slot.A)) == (1, SlotState.GOOD, SlotState.GOOD)
    node.run_until_steady()
    assert node.version == 1, "also after a power cut"
    node.roll_back()
    node.reboot()
    node.run_until_steady()
    assert node.version == 0
    node.install(2, "works")
    node.reboot()
    node.run_until_steady()
    assert node.version == 2


@both
@pytest.mark.parametrize("quality", ["panics", "gives up", "hangs"])
def test_a_bad_update_ends_on_the_old_version(layout: Layout, quality: Quality) -> None:
    node = machine(layout)
    node.install(1, quality)
    node.reboot()
    node.run_until_steady()
    assert (node.version, node.state(Slot.B)) == (0, SlotState.BAD)
    node.run_until_steady()
    assert node.version == 0


@both
def test_nothing_is_installed_over_the_only_good_version_while_the_new_one_is_on_trial(layout: Layout) -> None:
    node = machine(layout)
    node.install(1, "works")
    node.reboot()
    node.current = Slot.B  # it started, and its health is not known yet
    assert node.firmware.start(node.disk, node.argument) is Slot.B
    with pytest.raises(NothingToFallBackTo):
        node.install(2, "works")
    with pytest.raises(NothingToFallBackTo):
        layout.boot_way().bad(node.disk.files, Slot.A, Slot.B)


def test_systemd_boot_tries_three_times() -> None:
    node = machine(X86)
    node.install(1, "panics")
    started = [node.firmware.start(node.disk, "") for _ in range(5)]
    assert started == [Slot.B, Slot.B, Slot.B, Slot.A, Slot.A]
    assert "loader/entries/slot-b+0-3.conf" in node.disk.files


def test_the_pi_tries_once_and_only_when_it_is_told() -> None:
    node = machine(PI)
    node.install(1, "panics")
    node.run_until_steady()  # power cut before the reboot: nothing was tried, nothing is held against it
    assert (node.current, node.state(Slot.B)) == (Slot.A, SlotState.TRIAL)
    node.reboot()
    assert notes_of(node.disk)["B"] == "tried"
    node.run_until_steady()
    assert (node.current, node.state(Slot.B)) == (Slot.A, SlotState.BAD)
    assert isinstance(node.firmware, PiFirmware)
    assert node.firmware.loaded == [2, 3, 2]


def test_what_the_pi_starts_is_good_even_when_our_notes_are_damaged() -> None:
    node = machine(PI)
    node.disk.files["slots.json"] = b'{"A": 7'
    assert node.state(Slot.A) is SlotState.GOOD
    assert node.state(Slot.B) is SlotState.EMPTY
    node.install(1, "works")
    node.reboot()
    node.run_until_steady()
    assert node.version == 1


@pytest.mark.parametrize("way", [SystemdBoot(), RaspberryPi()])
def test_an_empty_slot_cannot_be_made_the_first(way: SystemdBoot | RaspberryPi) -> None:
    node = machine(X86 if isinstance(way, SystemdBoot) else PI)
    with pytest.raises(Exception, match="nothing is installed in slot B"):
        way.first(node.disk.files, Slot.B, Slot.A)


events = st.lists(
    st.one_of(
        st.tuples(
            st.just("install"), st.sampled_from(["works", "panics", "gives up", "hangs"]), st.none() | st.integers(0, 6)
        ),
        st.tuples(st.just("reboot"), st.just(""), st.none() | st.integers(0, 3)),
        st.tuples(st.just("power cut"), st.just(""), st.none() | st.integers(0, 3)),
        st.tuples(st.just("roll back"), st.just(""), st.none() | st.integers(0, 3)),
    ),
    max_size=12,
)


@both
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=events)
def test_any_sequence_ends_on_a_version_that_was_good(
    layout: Layout, events: list[tuple[str, Quality, int | None]]
) -> None:
    node = machine(layout)
    number = 0
    for what, quality, cut in events:
        node.disk.steps_until_cut = cut
        try:
            match what:
                case "install":
                    number += 1
                    node.install(number, quality)
                case "roll back":
                    node.roll_back()
                case "reboot":
                    node.reboot()
                case _:
                    raise PowerCut
        except PowerCut:
            node.argument = ""
        except NothingToFallBackTo:
            pass
        if what != "install":
            node.run_until_steady()
            assert node.version in node.proved
            assert node.state(node.current) is SlotState.GOOD
    node.disk.steps_until_cut = None
    node.run_until_steady()
    assert node.version in node.proved
    # And it can still be updated.
    node.install(1000, "works")
    node.reboot()
    node.run_until_steady()
    assert node.version == 1000
