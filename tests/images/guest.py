"""A machine that boots an image: QEMU's process, its console, a root shell of the tests, its power switch.

Nothing of the image is changed for the test. What it adds to the kernel's command line (a console, and a root shell on
a second serial port: systemd-debug-generator(8)) comes from the firmware, as systemd-boot takes it from SMBIOS
(`io.systemd.boot.kernel-cmdline-extra`, systemd-stub(7)), or from `-append`.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.hosts import Lan
from tests.images.qmp import Qmp
from tests.program import PATIENCE_S

BOOT_S = 900.0
"""How long a boot may take, emulated, on a machine that does other things too. Alone it takes one to two minutes."""
COMMAND_S = 120.0
POLL_S = 0.25
KERNEL = r"Linux version \d"
"""The first that a kernel says."""
SHELL = "systemd.debug_shell systemd.default_debug_tty={tty}"
TALKATIVE = (
    "loglevel=6 systemd.show_status=1 systemd.journald.forward_to_console=1 systemd.journald.max_level_console=info"
)

X86_CODE = ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd")
X86_VARIABLES = ("/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_VARS.fd")


@dataclass(frozen=True)
class Hardware:
    """What kind of machine, for QEMU."""

    program: str
    arguments: tuple[str, ...]
    console: str
    """The kernel's name of the first serial port."""
    shell: str
    """Of the second one; empty: there is none."""
    firmware: bool = False
    """UEFI, and a boot loader of the image's own."""


# Five-level page tables off: with them QEMU 7.2 hangs in the boot loader when a system that ran starts again. No
# "enhanced rep stosb" (erms): QEMU carries it out byte by byte, and the kernel would clear every page with it.
X86_64 = Hardware(
    "qemu-system-x86_64",
    ("-machine", "q35", "-cpu", "max,la57=off,erms=off", "-smp", "2", "-m", "1024"),
    console="ttyS0",
    shell="ttyS1",
    firmware=True,
)
SILENCE = ("-audiodev", "none,id=sound", "-device", "intel-hda", "-device", "hda-duplex,audiodev=sound")
"""A sound card whose microphone hears nothing: a satellite listens all the time."""
ARM64 = Hardware(
    "qemu-system-aarch64",
    ("-machine", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", "1024", *SILENCE),
    console="ttyAMA0",
    shell="ttyS0",
)
RASPI3B = Hardware("qemu-system-aarch64", ("-machine", "raspi3b"), console="ttyAMA0", shell="")


@dataclass(frozen=True)
class Direct:
    """A kernel that QEMU loads itself, for machines without a boot loader of the image's own."""

    kernel: Path
    initrd: Path
    command_line: str
    device_tree: Path | None = None


class Guest:
    """One machine with one disk. Its power is off until `power_on`."""

    def __init__(
        self,
        name: str,
        disk: Path,
        folder: Path,
        lan: Lan | None,
        *,
        hardware: Hardware = X86_64,
        direct: Direct | None = None,
        stick: Path | None = None,
        talkative: bool = True,
    ) -> None:
        """`disk` is a raw image that is written to; `folder` keeps console and sockets; `stick` is a second disk, only
        read: /dev/vdb. `talkative` shows what the kernel and the journal say on the console, which costs time. Without
        it ask nothing inside before the machine is up: the boot loader would hear it."""
        self.name = name
        self.disk = disk
        self._stick = stick
        self._talkative = talkative
        self.hardware = hardware
        self.direct = direct
        self.extra = " ".join(
            (
                *((f"console={hardware.console}",) if hardware.firmware or direct else ()),
                *((SHELL.format(tty=hardware.shell),) if hardware.shell else ()),
                *((TALKATIVE,) if talkative else ()),
            )
        )
        self._folder = folder
        self._lan = lan
        self._tap = lan.add_tap() if lan is not None and hardware is not RASPI3B else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None
        self._shell: Shell | None = None
        self._boots = self._kernels = self._shell_of = 0
        folder.mkdir(parents=True, exist_ok=True)
        if hardware.firmware:
            shutil.copyfile(_first(X86_VARIABLES), folder / "variables.fd")

    # ---- power

    def power_on(self, *, clock: str = "utc") -> None:
        """`clock` is what the machine's clock says first (`2020-01-01T00:00:00`), as `-rtc base` takes it."""
        assert self._process is None, f"{self.name} is on"
        self._boots += 1
        self._kernels = 0
        (self._folder / "qmp").unlink(missing_ok=True)
        (self._folder / "shell").unlink(missing_ok=True)
        argv = [self.hardware.program, *self.hardware.arguments, *self._arguments(clock)]
        with (self._folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._lan.inside(*argv) if self._lan is not None else argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._qmp = Qmp(self._folder / "qmp")

    @contextlib.contextmanager
    def powered(self) -> Iterator[None]:
        """Its power is on, and its system has started; afterwards the power is cut."""
        self.power_on()
        try:
            self.wait_booted()
            yield
        finally:
            self.cut_power()

    def cut_power(self) -> None:
        """Kill QEMU at once, as a cut of power does; what the guest wrote and did not sync is up to its file system."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            self._process.wait(PATIENCE_S)
        self._forget()

    def press_reset(self) -> None:
        """The reset button."""
        assert self._qmp is not None
        self._forget_shell()
        self._kernels = self.starts()
        self._qmp.execute("system_reset")

    def power_off(self, *, seconds: float = COMMAND_S) -> None:
        """Press the power button and wait until the machine is off."""
        assert self._qmp is not None and self._process is not None
        self._qmp.execute("system_powerdown")
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not power off\n{self.last_words()}") from None
        self._forget()

    def starts(self) -> int:
        """How many kernels started since the power is on."""
        return len(re.findall(KERNEL, self.console()))

    def wait_for_start(self, number: int, *, seconds: float = BOOT_S) -> None:
        """Wait until so many kernels have started: the machine started again by itself. Its old shell is gone."""
        self.wait_for_console(KERNEL, times=number, seconds=seconds)
        self._kernels = number - 1
        self._forget_shell()

    @property
    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # ---- what it says

    @property
    def console_file(self) -> Path:
        return self._folder / f"console-{self._boots}.log"

    def console(self) -> str:
        """What this power-on's console said so far, without steering of a terminal."""
        try:
            said = self.console_file.read_bytes()
        except FileNotFoundError:
            return ""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()=>].?|[\r\x00\x0f]", "", said.decode(errors="replace"))

    def wait_for_console(self, pattern: str, *, seconds: float = BOOT_S, times: int = 1) -> str:
        """Wait until the console matched `pattern` so often; the last match."""
        found: list[str] = []

        def said() -> bool:
            found[:] = [match.group() for match in re.finditer(pattern, self.console())]
            assert self.is_on or len(found) >= times, f"{self.name} is off\n{self.last_words()}"
            return len(found) >= times

        self.wait_until(said, f"{self.name} did not say {pattern!r} {times} times", seconds=seconds)
        return found[-1]

    def last_words(self, lines: int = 60) -> str:
        """The end of the console and what QEMU complained."""
        log = self._folder / "qemu.log"
        complaints = log.read_text(errors="replace")[-2000:] if log.exists() else ""
        return "\n".join([*self.console().splitlines()[-lines:], "--- qemu", complaints])

    def wait_until(self, condition: Callable[[], bool], otherwise: str, *, seconds: float = BOOT_S) -> None:
        """Wait until it is so; fails with the console's end."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{otherwise} within {seconds:.0f} s\n{self.last_words()}"
            time.sleep(POLL_S)

    # ---- inside

    def run(self, command: str, *, seconds: float = COMMAND_S) -> str:
        """What a shell command of root printed; fails when it fails."""
        status, said = self.status_of(command, seconds=seconds)
        assert status == 0, f"{self.name}: {command} ended with {status}\n{said}"
        return said

    def status_of(self, command: str, *, seconds: float = COMMAND_S) -> tuple[int, str]:
        """The exit status of a shell command of root, and what it printed, errors too."""
        if self._shell is not None and self._shell_of != self.starts():
            self._forget_shell()  # the machine started again by itself
        if self._shell is None:
            # Firmware and boot loader listen at the same port, and would take what is typed for their own.
            if self._talkative:
                self.wait_for_console(KERNEL, times=self._kernels + 1)
            self._shell = Shell(self._folder / "shell", self.name)
            self._shell_of = self.starts()
            self._shell.begin(BOOT_S)
        return self._shell.run(command, seconds)

    def wait_booted(self, *, seconds: float = BOOT_S) -> None:
        """Wait until systemd has started all that it starts, whether well or not."""
        self.status_of("systemctl is-system-running --wait >/dev/null 2>&1", seconds=seconds)

    # ---- below

    def _arguments(self, clock: str) -> list[str]:
        sockets = {name: f"socket,id={name},path={self._folder / name},server=on,wait=off" for name in ("qmp", "shell")}
        argv = ["-nodefaults", "-display", "none", "-no-user-config", "-rtc", f"base={clock}"]
        argv += ["-chardev", sockets["qmp"], "-mon", "chardev=qmp,mode=control"]
        argv += ["-chardev", f"file,id=console,path={self.console_file}", "-serial", "chardev:console"]
        if self.hardware is RASPI3B:
            argv += ["-drive", f"file={self.disk},if=sd,format=raw"]
        else:
            argv += ["-drive", f"file={self.disk},if=none,id=disk,format=raw,discard=unmap"]
            argv += ["-device", "virtio-blk-pci,drive=disk,bootindex=0", "-device", "virtio-rng-pci"]
        if self._stick is not None:
            argv += ["-drive", f"file={self._stick},if=none,id=stick,format=raw,readonly=on"]
            argv += ["-device", "virtio-blk-pci,drive=stick"]
        if self.hardware.shell:
            argv += ["-chardev", sockets["shell"]]
            argv += ["-serial", "chardev:shell"] if self.hardware.firmware else ["-device", "pci-serial,chardev=shell"]
        if self._tap:
            argv += ["-netdev", f"tap,id=lan,ifname={self._tap},script=no,downscript=no"]
            argv += ["-device", f"virtio-net-pci,netdev=lan,mac={self.mac},romfile="]
        if self.hardware.firmware:
            argv += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={_first(X86_CODE)}"]
            argv += ["-drive", f"if=pflash,format=raw,unit=1,file={self._folder / 'variables.fd'}"]
            argv += ["-smbios", f"type=11,value=io.systemd.boot.kernel-cmdline-extra={self.extra.replace(',', ',,')}"]
        if self.direct is not None:
            argv += ["-kernel", str(self.direct.kernel), "-initrd", str(self.direct.initrd)]
            argv += ["-append", f"{self.direct.command_line} {self.extra}"]
            argv += ["-dtb", str(self.direct.device_tree)] if self.direct.device_tree else []
        return argv

    @property
    def mac(self) -> str:
        """Its network card's address, locally administered, the same at each boot."""
        return f"52:54:00:5a:00:{int(self._tap[1:]):02x}"

    def _forget(self) -> None:
        self._forget_shell()
        if self._qmp is not None:
            self._qmp.close()
        self._qmp = self._process = None

    def _forget_shell(self) -> None:
        if self._shell is not None:
            self._shell.close()
            self._shell = None


class Shell:
    """A root shell at the other end of a serial port: one command at a time, its output and its status."""

    MOST = 4_000_000

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._heard = b""
        self._commands = 0

    def begin(self, seconds: float) -> None:
        """Wait until it answers. A line sent too early is lost: it is asked again."""
        deadline = time.monotonic() + seconds
        while True:
            assert time.monotonic() < deadline, f"{self._name} has no shell"
            try:
                self._ask("stty -echo; PS1=; export PAGER=cat SYSTEMD_COLORS=0 TERM=dumb LC_ALL=C.UTF-8", 10.0)
                return
            except TimeoutError:
                continue
            except OSError as error:
                raise AssertionError(f"{self._name} went off: {error}") from None

    def run(self, command: str, seconds: float) -> tuple[int, str]:
        try:
            return self._ask(command, seconds)
        except OSError as error:
            raise AssertionError(f"{self._name}: no answer to {command!r}: {error!r}") from None

    def close(self) -> None:
        self._socket.close()

    def _ask(self, command: str, seconds: float) -> tuple[int, str]:
        self._commands += 1
        end = f"{self._commands}-{os.urandom(4).hex()}"
        # In lines short enough for a terminal, and nothing in them that it would take for its own.
        coded = base64.b64encode(f"{{ {command}\n}} </dev/null 2>&1".encode()).decode()
        lines = [f"c={coded[:1000]}", *(f'c="$c"{coded[at : at + 1000]}' for at in range(1000, len(coded), 1000))]
        run = 'eval "$(printf %s "$c" | base64 -d)"'
        lines.append(f"printf '\\nbegin-%s\\n' {end}; {run}; printf '\\nend-%s-%s\\n' {end} $?")
        self._heard = b""
        self._socket.settimeout(seconds)
        self._socket.sendall(("\n" + "\n".join(lines) + "\n").encode())
        deadline = time.monotonic() + seconds
        pattern = re.compile(
            rb"\nbegin-" + end.encode() + rb"\r?\n(.*?)\r?\nend-" + end.encode() + rb"-(\d+)", re.DOTALL
        )
        while not (found := pattern.search(self._heard)):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"not within {seconds:.0f} s")
            self._socket.settimeout(left)
            if not (more := self._socket.recv(65_536)):
                raise ConnectionError("the machine is off")
            self._heard += more
            assert len(self._heard) < self.MOST, f"{self._name} said too much to {command!r}"
        return int(found.group(2)), found.group(1).decode(errors="replace").replace("\r\n", "\n").strip("\n")


def why_no_guests(hardware: Sequence[Hardware] = (X86_64,)) -> str:
    """Why this machine cannot start such machines; empty when it can."""
    missing = [each.program for each in hardware if shutil.which(each.program) is None]
    missing += [name for name in ("dnsmasq", "mcopy", "sfdisk", "e2fsck") if not _program(name)]
    if missing:
        return f"these programs are missing: {' '.join(missing)} (tests/images/install-programs installs them)"
    if not any(Path(name).exists() for name in X86_CODE):
        return "UEFI for QEMU is missing (Debian: ovmf)"
    return "" if Path("/dev/net/tun").exists() else "there is no /dev/net/tun"


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))


def _first(candidates: Sequence[str]) -> str:
    return next(name for name in candidates if Path(name).exists())
