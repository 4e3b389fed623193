"""Several machines on one LAN, on this machine: network namespaces, one bridge, real packets.

Each host has its own interfaces, addresses, host name and programs; the file system and the clock are shared. The
bridge is in a namespace of its own, so nothing that hosts send reaches the real network. No namespace has a name: each
lives as long as a process that holds it, and the kernel ends that process with the test run, whatever ends the run.
Needs root (Linux); `needs_hosts` skips a test where that is missing. Start hosts and programs from the thread that
runs the test: what a thread started ends with it.

::

    with lan(3) as net:
        a, b, c = net.hosts
        node = a.python("-m", "swarm", "run")
        node.line("ready")
        net.partition([a], [b, c])
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.program import PATIENCE_S, Program

ROOT = Path(__file__).parents[1]

_HOLD = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
if libc.unshare(0x40000000 | 0x04000000) != 0:  # CLONE_NEWNET, CLONE_NEWUTS
    os._exit(ctypes.get_errno())
name = sys.argv[2].encode()
libc.sethostname(name, len(name))
for key in ("default", "all"):  # an address is usable at once, without looking for a duplicate first
    with open(f"/proc/sys/net/ipv6/conf/{key}/accept_dad", "w") as file:
        file.write("0")
print("held", flush=True)
os.execvp("sleep", ["sleep", "infinity"])
"""
_ENTER = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
for kind in ("net", "uts"):
    space = os.open(f"/proc/{sys.argv[2]}/ns/{kind}", os.O_RDONLY)
    if libc.setns(space, 0) != 0:
        os._exit(ctypes.get_errno())
    os.close(space)
os.execvp(sys.argv[3], sys.argv[3:])
"""


@functools.cache
def why_no_hosts() -> str:
    """Why this machine cannot make hosts; empty when it can."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the program ip (Debian: iproute2)"
    with subprocess.Popen(
        [*_python(_HOLD), str(os.getpid()), "probe"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as probe:
        assert probe.stdout is not None
        held = probe.stdout.readline()
        probe.kill()
    return "" if held else "this root may not make network namespaces"


class Host:
    """One machine of a `Lan`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.address = ""
        """Its IPv4 address, empty without one."""
        self.address6 = ""
        """Its unique local IPv6 address, empty without one."""
        self._holder = _hold(name)
        self._programs: list[Program] = []
        self._ports: dict[str, tuple[Lan, str]] = {}
        self.ip("link set lo up")

    @property
    def namespace_pid(self) -> int:
        """A process in the host's namespaces: `nsenter -t PID -n` looks inside."""
        return self._holder.pid

    def python(self, *args: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Program:
        """Start this Python with `args` on the host, in the source folder unless told otherwise."""
        return self.start(sys.executable, *args, env=env, cwd=cwd)

    def start(self, *argv: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Program:
        """Start a program on the host; it ends with the LAN at the latest."""
        errors = tempfile.NamedTemporaryFile(prefix=f"{self.name}-")  # noqa: SIM115 (closed with the program)
        process = subprocess.Popen(
            [*self._enter(), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        program = Program(process, f"{Path(argv[0]).name} on {self.name}", errors)
        self._programs.append(program)
        return program

    def run(self, *argv: str, seconds: float = PATIENCE_S) -> str:
        """Run a program on the host to its end and return its output; fails when it fails."""
        done = subprocess.run([*self._enter(), *argv], capture_output=True, timeout=seconds, check=False)
        assert done.returncode == 0, f"{argv} on {self.name}: {done.stderr.decode(errors='replace')}"
        return done.stdout.decode()

    def ip(self, *commands: str) -> None:
        """Run commands of ip(8) on the host, such as `link set eth0 down`."""
        _ip(self.namespace_pid, commands)

    def set_addresses(self, *addresses: str, interface: str = "eth0") -> None:
        """Give the interface these addresses (`10.77.0.9/24`, `fd77::9/64`) and no others but its link-local one."""
        self.ip(
            f"address flush dev {interface} scope global",
            *(f"address add {address} dev {interface}{' nodad' if ':' in address else ''}" for address in addresses),
        )
        self.address = next((address.partition("/")[0] for address in addresses if ":" not in address), "")
        self.address6 = next((address.partition("/")[0] for address in addresses if ":" in address), "")

    def link_local(self, interface: str = "eth0") -> str:
        """The interface's `fe80::…` address, without its scope."""
        words = self.run("ip", "-6", "-o", "address", "show", "dev", interface, "scope", "link").split()
        return words[words.index("inet6") + 1].partition("/")[0]

    def unplug(self, interface: str = "eth0") -> None:
        """Pull the cable: the interface sees that it has no carrier."""
        switch, port = self._ports[interface]
        switch.ip(f"link set {port} down")

    def plug_in(self, interface: str = "eth0") -> None:
        """Put the cable back."""
        switch, port = self._ports[interface]
        switch.ip(f"link set {port} up")

    def silence(self, interface: str = "eth0") -> None:
        """Lose every packet from and to the host, with nothing to tell it: the carrier stays."""
        switch, port = self._ports[interface]
        switch.ip(f"link set {port} nomaster")

    def unsilence(self, interface: str = "eth0") -> None:
        """Carry its packets again."""
        switch, port = self._ports[interface]
        switch.ip(f"link set {port} master br0")

    def join(self, network: Lan, *addresses: str) -> str:
        """Add an interface on a LAN, with these addresses; returns the interface's name."""
        interface = f"eth{len(self._ports)}"
        self._ports[interface] = (network, network._connect(self, interface))
        self.ip(f"link set {interface} up")
        if addresses or interface == "eth0":
            self.set_addresses(*addresses, interface=interface)
        return interface

    def lose_power(self) -> None:
        """Kill every program of the host at once; its place on the LAN stays."""
        for program in self._programs:
            program._kill_all()
        self._kill_inhabitants()
        for program in self._programs:
            program.wait()

    def close(self) -> None:
        """End its programs, then the host."""
        try:
            for program in self._programs:
                program.close()
            self._kill_inhabitants()
        finally:
            _release(self._holder)

    def _enter(self) -> list[str]:
        return [*_python(_ENTER), str(os.getpid()), str(self.namespace_pid)]

    def _kill_inhabitants(self) -> None:
        """Also those that left their program's session; returns when they are gone."""
        deadline = time.monotonic() + PATIENCE_S
        while left := self._inhabitants():
            assert time.monotonic() < deadline, f"processes {left} on {self.name} cannot be killed"
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def _inhabitants(self) -> list[int]:
        """Every process in the host's network namespace, but the one that holds it."""
        try:
            own = Path(f"/proc/{self.namespace_pid}/ns/net").stat().st_ino
        except OSError:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.namespace_pid:
                with contextlib.suppress(OSError):  # it may end while we look
                    if (entry / "ns/net").stat().st_ino == own:
                        found.append(int(entry.name))
        return found


class Lan:
    """A switch and the hosts plugged into it."""

    def __init__(self, *, prefix: str = "10.77.0", prefix6: str = "fd77:") -> None:
        self.hosts: list[Host] = []
        self._prefix = prefix
        self._prefix6 = prefix6
        self._ports: dict[Host, list[str]] = {}
        self._taps: list[str] = []
        self._holder = _hold("switch")
        try:
            self.ip("link set lo up", *_bridge("br0"))
        except BaseException:
            _release(self._holder)
            raise

    def ip(self, *commands: str) -> None:
        """Run commands of ip(8) on the switch."""
        _ip(self._holder.pid, commands)

    def add_tap(self) -> str:
        """A port for a virtual machine whose program runs on the switch (`inside`); returns the name of its TAP."""
        tap = f"t{len(self._taps)}"
        self._taps.append(tap)
        self.ip(f"tuntap add dev {tap} mode tap", f"link set {tap} master br0", f"link set {tap} up")
        return tap

    def inside(self, *argv: str) -> list[str]:
        """The command that runs `argv` on the switch; the kernel ends it with the thread that started it."""
        return [*_python(_ENTER), str(os.getpid()), str(self._holder.pid), *argv]

    def add_host(self, *, ipv4: bool = True, ipv6: bool = True) -> Host:
        """One more machine on the LAN, with the next free addresses."""
        number = len(self.hosts) + 1
        host = Host(f"host{number}")
        self.hosts.append(host)
        addresses = [f"{self._prefix}.{number}/24"] if ipv4 else []
        host.join(self, *addresses, *([f"{self._prefix6}:{number}/64"] if ipv6 else []))
        return host

    def partition(self, *groups: Sequence[Host]) -> None:
        """Let hosts talk only inside their group; a host in no group talks to nobody."""
        self.heal()
        for number, group in enumerate(groups[1:], start=1):
            self.ip(*_bridge(f"br{number}"))
            self.ip(*(f"link set {port} master br{number}" for host in group for port in self._ports[host]))
        grouped = {host for group in groups for host in group}
        for host in self.hosts:
            if host not in grouped:
                self.ip(*(f"link set {port} nomaster" for port in self._ports[host]))

    def heal(self) -> None:
        """Let every host talk to every other again."""
        self.ip(*(f"link set {port} master br0" for ports in self._ports.values() for port in ports))
        for number in range(1, len(self.hosts)):
            with contextlib.suppress(AssertionError):
                self.ip(f"link delete br{number}")

    def close(self) -> None:
        """End all hosts and the switch."""
        with contextlib.ExitStack() as closing:
            closing.callback(_release, self._holder)
            for host in self.hosts:
                closing.callback(host.close)

    def _connect(self, host: Host, interface: str) -> str:
        port = f"p{sum(map(len, self._ports.values()))}"
        self._ports.setdefault(host, []).append(port)
        self.ip(
            f"link add {port} type veth peer name {interface} netns {host.namespace_pid}",
            f"link set {port} master br0",
            f"link set {port} up",
        )
        return port


@contextlib.contextmanager
def lan(count: int, *, ipv4: bool = True, ipv6: bool = True, prefix: str = "10.77.0") -> Iterator[Lan]:
    """A LAN with `count` hosts, `10.77.0.1`/`fd77::1` and so on, gone with everything on it at the end."""
    network = Lan(prefix=prefix)
    try:
        for _ in range(count):
            network.add_host(ipv4=ipv4, ipv6=ipv6)
        yield network
    finally:
        network.close()


def _bridge(name: str) -> tuple[str, str]:
    # No snooping: it would need a querier before multicast passes. No forward delay: ports carry at once.
    return (f"link add {name} type bridge mcast_snooping 0 forward_delay 0 stp_state 0", f"link set {name} up")


def _hold(name: str) -> subprocess.Popen[bytes]:
    """A process that keeps a new network and host name namespace."""
    holder = subprocess.Popen(
        [*_python(_HOLD), str(os.getpid()), name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    if not holder.stdout.readline():
        raise AssertionError(f"no namespace for {name}: {os.strerror(holder.wait())}")
    return holder


def _release(holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    if holder.stdout is not None:
        holder.stdout.close()


def _ip(pid: int, commands: Sequence[str]) -> None:
    if not commands:
        return
    done = subprocess.run(
        [*_python(_ENTER), str(os.getpid()), str(pid), "ip", "-batch", "-"],
        input="\n".join(commands).encode(),
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, f"ip {commands}: {done.stderr.decode(errors='replace')}"


def _python(program: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", program]


needs_hosts = pytest.mark.skipif(bool(why_no_hosts()), reason=why_no_hosts() or "hosts can be made")
