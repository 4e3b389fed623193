"""Measures what BENCHMARKS.md promises of images: `make bench-images`. Needs root, QEMU, and a machine left alone.

`python -m tests.images.bench [--write FILE] [--only NODE] [--cold] [--minutes N] [--runs N]`
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import pytest

from swarm.bench.report import Measurement, Section, load_now, new_report, report_text, write_section
from tests.images.arm64 import direct_boot
from tests.images.built import build, image
from tests.images.disk import Disk
from tests.images.guest import ARM64, X86_64, Hardware
from tests.images.home_lan import HomeLan, home_lan
from tests.images.machines import Member

MACHINES = (("worker", "x86_64"), ("edge", "rpi4"))
RUNS = 3
"""Of each boot; the median is told."""
SETTLE_S = 60.0
"""After a boot, before memory is looked at."""
IDLE_MINUTES = 10.0
DAY_S = 86_400.0
JOINED_S = {"worker": 60.0, "edge": 60.0}
SECOND_S = 40.0
MEMORY_MB = {"worker": 260.0, "edge": 220.0}
SIZE_MB = {"worker": 330.0, "edge": 420.0}
WRITES_MB = 5.0
BUILD_S = {"cold": 300.0, "cached root": 60.0}


def tell(line: str) -> None:
    """For whoever waits."""
    print(line, file=sys.stderr, flush=True)


def sizes_and_build(node: str, board: str, *, cold: bool) -> Section:
    """How large the compressed image is, and how long its build takes."""
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="mycoswarm-bench-") as name:
        cache = Path(name) / "cache" if cold else None
        if cold:
            times["cold"] = _timed_build(node, board, Path(name) / "cold", cache)
        else:
            image(node, board)  # so that Debian's part is there
        times["cached root"] = _timed_build(node, board, Path(name) / "cached", cache)
        compressed = next((Path(name) / "cached").glob("*.img.zst")).stat().st_size
    raw = Disk(image(node, board))
    root = next(raw.kind_of(number) for number in raw.partitions if raw.kind_of(number).get("TYPE") == "squashfs")
    return Section(
        f"The {node} image for {board}",
        (
            Measurement("compressed", compressed / 1e6, "MB", most=SIZE_MB[node]),
            *(Measurement(f"build, {what}", took, "s", most=BUILD_S[what]) for what, took in times.items()),
        ),
        (f"The root is {root['TYPE']}, zstd. Cold downloads Debian's packages; the other takes what was kept.",),
    )


def _timed_build(node: str, board: str, out: Path, cache: Path | None) -> float:
    """Seconds; `cache` is where Debian's part is kept, None the usual place."""
    tell(f"building the {node} image for {board}")
    with pytest.MonkeyPatch.context() as environment:
        if cache is not None:
            environment.setenv("XDG_CACHE_HOME", str(cache))
        os.sync()  # what was built before is gigabytes, and still on its way to the disk
        began = time.monotonic()
        build(node, board, out)
        return time.monotonic() - began


def boots(node: str, board: str, *, minutes: float, runs: int) -> Section:
    """Power on to joined, the second boot, memory and writes while idle."""
    first, second, memory = [], [], []
    chain = blame = ""
    writes = 0.0
    raw = image(node, board)
    for number in range(runs):
        with tempfile.TemporaryDirectory(prefix="mycoswarm-bench-") as name, home_lan(Path(name)) as home:
            member = _member(node, board, raw, Path(name), home, number)
            try:
                first.append(_joined_after(member))
                tell(f"{node}, run {number + 1}: joined after {first[-1]:.1f} s")
                if number == 0:
                    member.guest.wait_booted()
                    ask = f"systemd-analyze time; systemd-analyze critical-chain mycoswarm-{node}.service --no-pager"
                    chain = member.guest.run(ask)
                    blame = member.guest.run("systemd-analyze blame --no-pager | head -12")
                member.guest.power_off()
                member.wait_gone()
                second.append(_joined_after(member))
                tell(f"{node}, run {number + 1}: second boot, there after {second[-1]:.1f} s")
                time.sleep(SETTLE_S)
                memory.append(_used_mb(member))
                tell(f"{node}, run {number + 1}: {memory[-1]:.0f} MB")
                if number == runs - 1:
                    member.guest.run("sync")  # what the start itself wrote
                    writes = _written_mb_a_day(member, minutes)
            finally:
                member.guest.cut_power()
    return Section(
        f"The {node} on {board}, emulated",
        (
            Measurement("power on to joined", statistics.median(first), "s", most=JOINED_S[node], of=runs),
            Measurement("second boot, power on to joined", statistics.median(second), "s", most=SECOND_S, of=runs),
            Measurement(
                "memory of the whole system, idle", statistics.median(memory), "MB", most=MEMORY_MB[node], of=runs
            ),
            Measurement("written to the disk while idle", writes, "MB a day", most=WRITES_MB),
        ),
        (
            f"{_emulator(board)} without KVM, two processors, 1 GiB. The hub is outside, on a TAP; the time goes from "
            "QEMU's start, firmware and boot loader included, to the moment when the hub sees the node alive. Memory "
            "is all that is not available (MemTotal less MemAvailable) a minute after that. Writes: "
            f"/sys/block/vda/stat over {minutes:g} minutes, once what the start wrote is on the disk, extrapolated.",
            f"On the way, first boot:\n\n```\n{chain.strip()}\n```",
            f"What took longest, first boot:\n\n```\n{blame.strip()}\n```",
        ),
    )


def _member(node: str, board: str, raw: Path, folder: Path, home: HomeLan, number: int) -> Member:
    hardware = _hardware(board)
    direct = direct_boot(raw, folder) if hardware is ARM64 else None  # QEMU has no Pi's firmware
    return Member(f"{node}{number + 1}", raw, folder, home, hardware=hardware, direct=direct, talkative=False)


def _hardware(board: str) -> Hardware:
    return X86_64 if board == "x86_64" else ARM64


def _emulator(board: str) -> str:
    """QEMU 7.2, of Debian 12, takes up to twice as long as 10.0, of Debian 13 and of the backports for 12."""
    asked = [_hardware(board).program, "--version"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout
    return f"QEMU {said.split()[3]}"


def _joined_after(member: Member) -> float:
    """Seconds of the guest's time from power-on to the first moment when the hub sees it alive."""
    member.guest.power_on()
    began = time.monotonic()
    member.wait_joined()
    # Asked twice a second: what is measured here is at most that too much.
    return time.monotonic() - began


def _used_mb(member: Member) -> float:
    said = dict(re.findall(r"(\w+):\s+(\d+) kB", member.guest.run("cat /proc/meminfo")))
    return (int(said["MemTotal"]) - int(said["MemAvailable"])) * 1024 / 1e6


def _written_mb_a_day(member: Member, minutes: float) -> float:
    def written() -> int:
        return int(member.guest.run("cat /sys/block/vda/stat").split()[6])

    tell(f"{member.name}: idle for {minutes:g} minutes")
    began, before = time.monotonic(), written()
    time.sleep(minutes * 60)
    return (written() - before) * 512 / 1e6 * DAY_S / (time.monotonic() - began)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="put the report into this Markdown file too")
    parser.add_argument("--only", choices=[node for node, _ in MACHINES], help="this node's image alone")
    parser.add_argument("--cold", action="store_true", help="time a build for x86_64 that has nothing kept, too")
    parser.add_argument("--minutes", type=float, default=IDLE_MINUTES, help="how long nothing is done")
    parser.add_argument("--runs", type=int, default=RUNS, help="how often each boot is timed")
    asked = parser.parse_args()
    for node, board in MACHINES:
        if asked.only not in (None, node):
            continue
        load = load_now()
        sections = [
            sizes_and_build(node, board, cold=asked.cold and board == "x86_64"),
            boots(node, board, minutes=asked.minutes, runs=asked.runs),
        ]
        report = msgspec.structs.replace(
            new_report(f"Images: {node}", sections, load=load),
            command=" ".join(["python -m tests.images.bench", *sys.argv[1:]]),
        )
        if asked.write is not None:
            write_section(asked.write, report)
        print(report_text(report))


if __name__ == "__main__":
    main()
