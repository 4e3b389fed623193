"""The steps of first boot, done: each can be done twice, and each says in the log what it did."""

from __future__ import annotations

import grp
import logging
import os
import pwd
import socket
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from provisioning.first_boot.applying import File, files_for, node_toml, own_name, unit_for
from provisioning.first_boot.board import fit_board
from provisioning.first_boot.growth import (
    Growth,
    Partition,
    file_system_can_grow,
    grow_file_system,
    grow_partition,
    partition_of,
    room,
)
from provisioning.first_boot.machine import Machine
from provisioning.first_boot.plan import Seen, Step, next_step
from provisioning.first_boot.programs import run, writable
from provisioning.first_boot.reading import Unreadable, settings_in
from provisioning.image.imager import FILES as IMAGER_FILES
from provisioning.image.imager import MAX_CHARS, read_imager
from provisioning.settings import FILE_NAME, MAX_BYTES, Settings, board_txt, combined, settings_toml, without_secrets
from swarm.config import parse_config, wanted_roles
from swarm.durable import Owner, erase_file, write_file, write_link
from swarm.errors import MycoswarmError

APPLIED_FILE = "mycoswarm-applied.toml"
PROBLEMS_FILE = "mycoswarm-problems.txt"
"""Both on the FAT partition, for a person who looks at the card."""
NODE_USER = "mycoswarm"

_log = logging.getLogger(__name__)


class FirstBoot:
    """One run. `prepare` does all that is left to do; `problems` is what a person has to know afterwards."""

    def __init__(self, machine: Machine, *, partition: Partition | None = None) -> None:
        """`partition` is the data partition, where it is not the mounted one."""
        self._machine = machine
        self._partition = partition
        self._is_real = machine.root == Path("/")
        self.problems: list[str] = []

    def prepare(self) -> None:
        """Every step that is missing, in order. A step that fails is told and left for the next boot; nothing hangs."""
        failed: list[Step] = []
        done: list[Step] = []
        while (step := next_step(self.look(), failed)) is not None:
            if step in done:  # it did not bring what it should have: again would be for ever
                failed.append(step)
                continue
            done.append(step)
            try:
                self._do(step)
            except (MycoswarmError, OSError) as error:
                said = error.for_log() if isinstance(error, MycoswarmError) else str(error)
                self._problem(f"{step.replace('_', ' ')}: {said}")
                failed.append(step)
        self._tell_problems()

    def look(self) -> Seen:
        """How the machine is now."""
        machine, growth = self._machine, self._growth()
        keys = machine.ssh / "authorized_keys"
        return Seen(
            partition_can_grow=growth is not None,
            file_system_can_grow=self._file_system_can_grow(),
            settings_wait=bool(self._waiting()) or not machine.applied.exists(),
            people_have_keys=keys.is_file() and keys.stat().st_size > 0,
            has_host_keys=_host_key(machine).is_file(),
            unit_fits=self._unit_fits(),
            board_fits=self._board_fits(),
            is_done=machine.done.exists(),
        )

    def _do(self, step: Step) -> None:
        _log.info("first boot: %s", step.replace("_", " "))
        actions: dict[Step, Callable[[], None]] = {
            "grow_partition": self._grow_partition,
            "grow_file_system": self._grow_file_system,
            "apply_settings": self._apply_settings,
            "make_host_keys": self._make_host_keys,
            "choose_unit": self._choose_unit,
            "fit_board": self._fit_board,
            "finish": self._finish,
        }
        actions[step]()

    # ---- the disk

    def _data(self) -> Partition | None:
        if self._partition is None and self._is_real:
            self._partition = partition_of(self._machine.data)
        return self._partition

    def _growth(self) -> Growth | None:
        partition = self._data()
        try:
            return None if partition is None else room(partition)
        except MycoswarmError as error:
            self._problem(f"the disk cannot be looked at: {error.for_log()}")
            return None

    def _file_system_can_grow(self) -> bool:
        partition = self._data()
        try:
            return partition is not None and file_system_can_grow(partition.node)
        except (MycoswarmError, OSError) as error:
            self._problem(f"the data partition cannot be looked at: {error}")
            return False

    def _grow_partition(self) -> None:
        partition, growth = self._data(), self._growth()
        if partition is not None and growth is not None:
            grow_partition(partition, growth)

    def _grow_file_system(self) -> None:
        partition = self._data()
        if partition is not None:
            grow_file_system(partition.node)

    # ---- the settings

    def _waiting(self) -> list[Path]:
        if self._is_real and not _is_there(self._machine.boot):
            return []
        return [path for name in (FILE_NAME, *IMAGER_FILES) if (path := self._machine.boot / name).is_file()]

    def _apply_settings(self) -> None:
        machine = self._machine
        waiting, unreadable, new = self._waiting(), None, Settings()
        try:
            new = self._own_file(waiting)
        except Unreadable as error:
            unreadable = error  # it stays where it is; everything else counts
        settings = combined(combined(new, self._imagers_files(waiting)), self._kept())
        if settings.wifi and not settings.country:
            _log.warning("no country is set: Wi-Fi keeps to the channels that are allowed everywhere")
        for file in self._files(settings):
            write_file(file.path, file.content, mode=file.mode, owner=_owner(file.owner))
            _log.info("wrote %s", file.path)
        self._set_zone(settings.time_zone)
        if self._is_real and not _is_there(machine.boot):
            raise MycoswarmError(
                "the card's first partition cannot be read: this machine goes on without settings",
                hint="they are looked for again at the next start",
            )
        self._leave_for_enrolment(settings)
        write_file(machine.applied, settings_toml(_without_token(settings)), mode=0o600)
        machine.kept.chmod(0o700)
        self._clear_boot_partition(waiting, settings, keep=unreadable is not None)
        if unreadable is not None:
            raise unreadable

    def _own_file(self, waiting: list[Path]) -> Settings:
        path = self._machine.boot / FILE_NAME
        if path not in waiting:
            return Settings()
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        settings, wrong = settings_in(data, origin=FILE_NAME)
        for each in wrong:
            self._problem(each)
        _log.info("%s says: %r", FILE_NAME, settings)
        return settings

    def _imagers_files(self, waiting: list[Path]) -> Settings:
        paths = [self._machine.boot / name for name in IMAGER_FILES]
        texts = [_text(path, MAX_CHARS + 1) if path in waiting else "" for path in paths]
        if not any(texts):
            return Settings()
        found = read_imager(*texts)
        for note in found.notes:
            _log.warning("%s", note)
        _log.info("Raspberry Pi Imager says: %r", found.settings)
        return found.settings

    def _kept(self) -> Settings:
        """What was applied before: a new file changes what it names, and nothing else."""
        if not self._machine.applied.is_file():
            return Settings()
        try:
            return settings_in(self._machine.applied.read_bytes(), origin=str(self._machine.applied))[0]
        except Unreadable as error:
            self._problem(f"the settings of before are lost: {error}")
            return Settings()

    def _files(self, settings: Settings) -> Iterator[File]:
        machine = self._machine
        image: dict[str, Any] = {}
        if machine.image_config.is_file():
            image = tomllib.loads(machine.image_config.read_text(encoding="utf-8"))
        toml, roles, wrong = node_toml(settings, image)
        if wrong:
            self._problem(wrong)
        hostname = settings.hostname or own_name(_text(machine.root / "etc/machine-id", 64), roles)
        yield from files_for(settings, machine, node_toml=toml, hostname=hostname, ssh_on=bool(settings.ssh_keys))
        if self._is_real:
            socket.sethostname(hostname)

    def _set_zone(self, zone: str) -> None:
        wanted = zone or "Etc/UTC"
        if not (self._machine.zones / wanted).is_file():
            self._problem(f'this image does not know the time zone "{wanted}": it stays at UTC')
            wanted = "Etc/UTC"
        write_link(self._machine.etc / "localtime", f"/usr/share/zoneinfo/{wanted}")
        write_file(self._machine.etc / "timezone", f"{wanted}\n")

    def _leave_for_enrolment(self, settings: Settings) -> None:
        """For `enrol`, which runs as the node's user."""
        machine = self._machine
        owner = _owner(f"{NODE_USER}:{NODE_USER}")
        if settings.token and not settings.first:
            write_file(machine.token, settings.token, mode=0o600, owner=owner)
        if settings.first:
            write_file(machine.founds, "", mode=0o600, owner=owner)

    def _clear_boot_partition(self, waiting: list[Path], settings: Settings, *, keep: bool) -> None:
        """No secret stays on a partition that every computer reads."""
        machine = self._machine
        if not waiting:
            return
        if machine.data_lost.exists():
            why = " ".join(machine.data_lost.read_text(errors="replace").split())[:200]
            self._problem(f"the settings stay on the card, for nothing can be kept in this machine: {why}")
            return
        with writable(machine.boot, remounts=self._is_real):
            said = f"# Applied at the first boot. Changes are read from a new file {FILE_NAME} at the next one.\n"
            write_file(machine.boot / APPLIED_FILE, said + settings_toml(without_secrets(settings)))
            for path in waiting:
                if not (keep and path.name == FILE_NAME):
                    erase_file(path)
                    _log.info("removed %s: it was applied, and may hold secrets", path.name)

    # ---- what follows from them

    def _make_host_keys(self) -> None:
        """Private key last: it stands for both."""
        key = _host_key(self._machine)
        with tempfile.TemporaryDirectory(dir=key.parent, prefix=".new-") as folder:
            new = Path(folder) / key.name
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(new))
            write_file(key.with_suffix(".pub"), new.with_suffix(".pub").read_bytes())
            write_file(key, new.read_bytes(), mode=0o600)
        shown = run("ssh-keygen", "-l", "-f", str(key.with_suffix(".pub"))).split()
        _log.info("ssh is on, by key only; this machine's key is %s", shown[1] if len(shown) > 1 else "")

    def _unit(self) -> str:
        text = _text(self._machine.node_config, MAX_BYTES)
        roles = wanted_roles(parse_config(text, origin=str(self._machine.node_config)))
        return unit_for(roles, is_board=self._machine.is_board)

    def _unit_fits(self) -> bool:
        folder = self._machine.wanted_units
        try:
            return [path.name for path in folder.iterdir()] == [self._unit()]
        except (OSError, MycoswarmError):
            return False

    def _choose_unit(self) -> None:
        folder, unit = self._machine.wanted_units, self._unit()
        for other in folder.iterdir() if folder.is_dir() else ():
            other.unlink()
        write_link(folder / unit, f"/usr/lib/systemd/system/{unit}")
        _log.info("this machine runs %s", unit)
        if self._is_real and Path("/run/systemd/system").is_dir():
            # The transaction of this boot was made without it.
            run("systemctl", "start", "--no-block", unit)

    def _board_fits(self) -> bool:
        told = self._machine.board
        known = told.read_text() if told.is_file() else ""
        return not self._machine.is_board or board_txt(self._kept()) == known

    def _fit_board(self) -> None:
        """The firmware reads it at the next start only, which is asked for."""
        text = board_txt(self._kept())
        changed = fit_board(self._machine, text)
        write_file(self._machine.board, text)
        if changed:
            _log.info("this machine starts once more, to find its sound board")
            write_file(self._machine.ask / "reboot", "")

    def _finish(self) -> None:
        write_file(self._machine.done, "")
        _log.info("first boot: everything is prepared")

    # ---- telling

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            _log.error("%s", text)
            self.problems.append(text)

    def _tell_problems(self) -> None:
        """On the FAT partition, and to `enrol`, which speaks."""
        machine, text = self._machine, "".join(f"{each}\n" for each in self.problems)
        on_card = machine.boot / PROBLEMS_FILE
        try:
            if text:
                write_file(machine.run / "problems", text)
            if text or on_card.exists():
                with writable(machine.boot, remounts=self._is_real):
                    write_file(on_card, text) if text else on_card.unlink()
        except (MycoswarmError, OSError) as error:
            _log.warning("cannot write the problems down: %s", error)


def _without_token(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, token="", first=False)


def _is_there(mount: Path) -> bool:
    """Whether something is mounted that can be read; looking is what mounts it."""
    try:
        next(mount.iterdir(), None)
        return mount.is_mount()
    except OSError:
        return False


def _host_key(machine: Machine) -> Path:
    return machine.ssh / "ssh_host_ed25519_key"


def _text(path: Path, limit: int) -> str:
    with path.open("rb") as file:
        return file.read(limit).decode(errors="replace")


def _owner(names: str) -> Owner | None:
    """By number; None where this process cannot give files away, or nobody is called so."""
    if not names or os.geteuid() != 0:
        return None
    user, _, group = names.partition(":")
    try:
        return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        return None
