"""Checks of the machine: configuration, disk, clock, memory, the people's port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from swarm.checks import Examined, Finding, Severity

EARLIEST_YEAR = 2025
"""A clock before this was never set: boards without a battery wake up in 1970 or at their image's date."""
DISK_WARN_MB, DISK_FAIL_MB = 500, 50
MEMORY_WARN_MB, MEMORY_FAIL_MB = 400, 100
"""The package-only engines need about 300 MB."""


def configuration(examined: Examined) -> list[Finding]:
    """Is the configuration file right?"""
    error = examined.config_error
    if error is not None:
        return [Finding("configuration", "fail", str(error), error.hint or "mend that line")]
    where = examined.config_path if Path(examined.config_path).exists() else "no file: everything as it comes"
    return [Finding("configuration", "ok", where)]


def node(examined: Examined) -> list[Finding]:
    """Does a node run?"""
    running = examined.node
    if running is None:
        return [Finding("node", "ok", "not running", "start it with: mycoswarm up")]
    return [Finding("node", "ok", f"{running.node} runs version {running.version} at {running.url}")]


def people_port(examined: Examined) -> list[Finding]:
    """Can the node listen for people?"""
    port = examined.config.people.port
    if examined.node is not None:
        return [Finding("port", "ok", f"the running node listens at {examined.node.url}")]
    if port == 0:
        return [Finding("port", "ok", "any free one")]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            to_do = "end that program, or set people.port in the configuration to another"
            return [Finding("port", "fail", f"127.0.0.1:{port} is taken{_by(port)}: {error.strerror}", to_do)]
    return [Finding("port", "ok", f"127.0.0.1:{port} is free")]


def _by(port: int) -> str:
    try:
        listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        owner = next((each.pid for each in listening if each.laddr.port == port and each.pid), None)
        return f" by {psutil.Process(owner).name()} (process {owner})" if owner else ""
    except psutil.Error:  # other people's processes are none of our business
        return ""


def disk(examined: Examined) -> list[Finding]:
    """Can the node keep what it has to?"""
    folder = examined.config.state_dir
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        to_do = "make it writable by the user that runs mycoswarm, or set node.state_dir to another"
        return [Finding("disk", "fail", f"{folder} cannot be written: {error.strerror}", to_do)]
    free_mb = shutil.disk_usage(there).free // 1_000_000
    found = f"{free_mb} MB free for {folder}"
    if free_mb < DISK_WARN_MB:
        return [Finding("disk", "fail" if free_mb < DISK_FAIL_MB else "warn", found, "free some space")]
    return [Finding("disk", "ok", found)]


def clock(examined: Examined) -> list[Finding]:
    """Is the time right? Timers and "what time is it" depend on it."""
    now = time.localtime()
    shown = time.strftime("%Y-%m-%d %H:%M %Z", now)
    if now.tm_year < EARLIEST_YEAR:
        return [Finding("clock", "fail", shown, "set it: timedatectl set-ntp true")]
    synchronised = _synchronised()
    if synchronised is False:
        return [Finding("clock", "warn", f"{shown}, not synchronised", "timedatectl set-ntp true keeps it right")]
    return [Finding("clock", "ok", f"{shown}, {'synchronised' if synchronised else 'synchronisation unknown'}")]


def _synchronised() -> bool | None:
    """What systemd says; None when it says nothing."""
    try:
        asked = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=3,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"yes": True, "no": False}.get(asked.stdout.strip())


def memory(examined: Examined) -> list[Finding]:
    """Is there memory for the engines?"""
    available_mb = psutil.virtual_memory().available // 1_000_000
    found = f"{available_mb} MB available"
    if examined.node is not None:
        return [Finding("memory", "ok", f"{found} beside the running node")]
    if available_mb < MEMORY_WARN_MB:
        status: Severity = "fail" if available_mb < MEMORY_FAIL_MB else "warn"
        return [Finding("memory", status, found, "end other programs: the engines need about 300 MB")]
    return [Finding("memory", "ok", found)]
