"""A machine without a network becomes an access point, shows a page, and joins the Wi-Fi that a person enters there.

It stays an access point no longer than there is no network: while a Wi-Fi is settled that was only away (the router
starts more slowly than this machine after a power cut), it is tried again every few minutes when nobody is connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
from aiohttp import web

from provisioning.first_boot.applying import wpa_supplicant_conf
from provisioning.first_boot.machine import Machine
from provisioning.first_boot.portal import Portal
from provisioning.first_boot.programs import writable
from provisioning.first_boot.reading import Unreadable, settings_in
from provisioning.first_boot.telling import Telling, spoken_digits
from provisioning.first_boot.wifi import (
    ADDRESS,
    INTERFACE,
    Seen,
    access_point_conf,
    access_point_name,
    access_point_network,
    dnsmasq_arguments,
    is_online,
    networks_in,
    status_in,
    why_not,
)
from provisioning.settings import MAX_WIFI, Settings, WifiNetwork, settings_toml
from swarm.durable import write_file
from swarm.errors import MycoswarmError

PASSWORD_DIGITS = 12
"""They are spoken and typed. Guessing at a recorded handshake (2.5 million a second on one large GPU) takes days, and
the access point is there for minutes."""
COMMAND_S = 20.0
LINGER_S = 2.0
"""The page that says what happens next is still read when the access point ends."""
ON_CARD = "access-point.txt"
NEWLY_ON_S = 900.0
"""Who switched the machine on is near, and hears what it says. A router that starts anew at night wakes nobody."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Times:
    """How long to wait, in seconds."""

    without: float = 60.0
    """Without a network before this machine becomes an access point."""
    attempt: float = 45.0
    """For joining a network and getting an address there."""
    look: float = 1.0
    retry: float = 300.0
    """After so long, with nobody connected, the settled networks are tried again."""
    usual: float = 60.0
    """For that."""


class WifiHelp:
    """Use `run` once, as root."""

    def __init__(self, machine: Machine, telling: Telling, *, work: Path, times: Times = Times()) -> None:
        """`work` is a folder for files that are gone at the next boot."""
        self._machine = machine
        self._telling = telling
        self._work = work
        self._times = times
        self._settings = self._applied()
        machine_id = (machine.root / "etc/machine-id").read_text() if (machine.root / "etc/machine-id").exists() else ""
        self._name = access_point_name(machine_id)
        self._wrong = ""

    async def run(self) -> None:
        """Until there is a network. Raises `MycoswarmError` when the interface cannot be used at all."""
        if await self._becomes_online(self._times.without):
            return
        while True:
            seen = await self._scan()
            entered = await self._be_access_point(seen)
            if entered is not None:
                self._wrong = await self._try(entered)
                if not self._wrong:
                    return
                _log.warning("%s did not work: %s", entered.ssid, self._wrong)
            elif await self._usual_network_is_back():
                self._telling.tell("ready", "There is a network again.", speech="")
                return

    # ---- as an access point

    async def _be_access_point(self, seen: tuple[Seen, ...]) -> WifiNetwork | None:
        """What a person entered; None when a network came by another way, or the settled ones are to be tried again."""
        entered: asyncio.Future[WifiNetwork] = asyncio.get_running_loop().create_future()

        async def take(network: WifiNetwork) -> None:
            if not entered.done():
                entered.set_result(network)

        password = self._password()
        async with self._access_point(password), _serving(Portal(self._name, seen, take, wrong=self._wrong)):
            self._tell(password)
            ends = time.monotonic() + self._times.retry
            while not entered.done():
                await asyncio.wait([entered], timeout=self._times.look)
                if _online(but=INTERFACE):
                    return None
                if self._settings.wifi and time.monotonic() > ends and not await self._has_guests():
                    return None
            await asyncio.sleep(LINGER_S)
        return entered.result()

    @asynccontextmanager
    async def _access_point(self, password: str) -> AsyncIterator[None]:
        conf = self._work / "access-point.conf"
        write_file(conf, access_point_conf(self._name, password, self._settings.country), mode=0o600)
        async with AsyncExitStack() as closing:
            await _run("systemctl", "stop", f"wpa_supplicant@{INTERFACE}.service", may_fail=True)
            closing.push_async_callback(self._reset_network)
            override = self._machine.root / "run/systemd/network/05-mycoswarm-access-point.network"
            write_file(override, access_point_network())
            override.parent.chmod(0o755)
            closing.callback(override.unlink, missing_ok=True)
            await closing.enter_async_context(_supplicant(conf))
            await self._reset_network()
            await _run(
                "nft", "add", "element", "inet", "mycoswarm", "access_point", f'{{ "{INTERFACE}" }}', may_fail=True
            )
            closing.push_async_callback(
                _run,
                "nft",
                "delete",
                "element",
                "inet",
                "mycoswarm",
                "access_point",
                f'{{ "{INTERFACE}" }}',
                may_fail=True,
            )
            await self._until(lambda: ADDRESS in _addresses_of(INTERFACE), "the access point got no address")
            await closing.enter_async_context(_running("dnsmasq", *dnsmasq_arguments(str(self._work / "leases"))))
            _log.info("this machine is the access point %s", self._name)
            yield
        _log.info("the access point ended")

    async def _reset_network(self) -> None:
        await _run("networkctl", "reload", may_fail=True)
        await _run("networkctl", "reconfigure", INTERFACE, may_fail=True)

    def _tell(self, password: str) -> None:
        wrong = f"{self._wrong} " if self._wrong else ""
        self._telling.tell(
            "access_point",
            f"{wrong}There is no network. To enter your Wi-Fi, connect a phone to the Wi-Fi {self._name} with the "
            f"password {password}, and open http://{ADDRESS}/ if no page opens by itself.",
            speech=speech(self._name, password, self._wrong, on_for_s=time.clock_gettime(time.CLOCK_BOOTTIME)),
        )

    async def _has_guests(self) -> bool:
        return bool((await _cli("list_sta")).strip())

    def _password(self) -> str:
        """Made once, and on the card's first partition for whoever has no screen and no ears: who has the card may
        know it."""
        path = self._machine.access_point_password
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            password = "".join(secrets.choice("0123456789") for _ in range(PASSWORD_DIGITS))
            write_file(path, password, mode=0o600)
            self._write_on_card(password)
            return password

    def _write_on_card(self, password: str) -> None:
        try:
            with writable(self._machine.boot, remounts=self._machine.root == Path("/")):
                write_file(self._machine.boot / ON_CARD, f"Wi-Fi {self._name}\npassword {password}\n")
        except (MycoswarmError, OSError) as error:
            _log.info("the card does not tell the access point's password: %s", error)

    # ---- joining

    async def _scan(self) -> tuple[Seen, ...]:
        """Before this machine is an access point itself: many chips cannot do both."""
        idle = self._work / "scan.conf"
        write_file(idle, wpa_supplicant_conf(Settings(country=self._settings.country)), mode=0o600)
        await _run("systemctl", "stop", f"wpa_supplicant@{INTERFACE}.service", may_fail=True)
        async with _supplicant(idle):
            found: tuple[Seen, ...] = ()
            for _ in range(3):
                await _cli("scan")
                await asyncio.sleep(3 * self._times.look)
                found = networks_in(await _cli("scan_results"))
                if found:
                    break
        _log.info("%d Wi-Fi networks are in reach", len(found))
        return found

    async def _try(self, network: WifiNetwork) -> str:
        """Join it, and keep it if that worked; else why not."""
        self._telling.tell("searching", f"Trying the Wi-Fi {network.ssid}.", speech="")
        conf = self._work / "try.conf"
        write_file(conf, wpa_supplicant_conf(Settings(country=self._settings.country, wifi=(network,))), mode=0o600)
        states: list[str] = []
        ends = time.monotonic() + self._times.attempt
        async with _supplicant(conf):
            await self._reset_network()
            while time.monotonic() < ends:
                state = status_in(await _cli("status")).get("wpa_state", "")
                if state and (not states or states[-1] != state):
                    states.append(state)
                if state == "COMPLETED" and _online():
                    self._keep(network)
                    self._telling.tell("ready", f"Connected to {network.ssid}.", speech="The Wi-Fi works.")
                    await self._telling.spoken()
                    return ""
                listed = await _cli("list_networks")
                if "TEMP-DISABLED" in listed:
                    return why_not(states, listed)
                await asyncio.sleep(self._times.look)
            return why_not(states, await _cli("list_networks"))

    def _keep(self, network: WifiNetwork) -> None:
        """From now on it is one of the settings, the first one to try."""
        others = tuple(each for each in self._settings.wifi if each.ssid != network.ssid)
        self._settings = msgspec.structs.replace(self._settings, wifi=(network, *others)[:MAX_WIFI])
        write_file(self._machine.applied, settings_toml(self._settings), mode=0o600)
        write_file(self._machine.wifi_config, wpa_supplicant_conf(self._settings), mode=0o600)

    async def _usual_network_is_back(self) -> bool:
        await _run("systemctl", "start", f"wpa_supplicant@{INTERFACE}.service", may_fail=True)
        return await self._becomes_online(self._times.usual)

    async def _becomes_online(self, within_s: float) -> bool:
        ends = time.monotonic() + within_s
        while not _online():
            if time.monotonic() > ends:
                return False
            await asyncio.sleep(self._times.look)
        return True

    async def _until(self, condition: Callable[[], bool], wrong: str) -> None:
        ends = time.monotonic() + COMMAND_S
        while not condition():
            if time.monotonic() > ends:
                raise MycoswarmError(wrong, hint="does this Wi-Fi chip know how to be an access point? iw list says")
            await asyncio.sleep(0.2)

    def _applied(self) -> Settings:
        try:
            return settings_in(self._machine.applied.read_bytes(), origin=str(self._machine.applied))[0]
        except (FileNotFoundError, Unreadable):
            return Settings()


def speech(name: str, password: str, wrong: str, *, on_for_s: float) -> str:
    """What is said of the access point: nothing once nobody waits for it. `wrong`: what a person has just entered did
    not work, and why; `on_for_s` seconds ago the machine was switched on."""
    if not wrong and on_for_s >= NEWLY_ON_S:
        return ""
    fours = " ".join(password[i : i + 4] for i in range(0, len(password), 4))
    return (
        f"{wrong} I have no network. Connect your phone to the Wi-Fi {name.replace('-', ' ')}. "
        f"The password is {spoken_digits(fours)}."
    ).lstrip()


# ---- programs


@asynccontextmanager
async def _serving(portal: Portal) -> AsyncIterator[None]:
    runner = web.AppRunner(portal.app(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, ADDRESS, 80).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _supplicant(conf: Path) -> AsyncIterator[None]:
    """wpa_supplicant on the interface, with this configuration; it can be asked when the block begins."""
    control = Path("/run/wpa_supplicant") / INTERFACE
    async with _running("wpa_supplicant", "-i", INTERFACE, "-D", "nl80211,wext", "-c", str(conf)) as process:
        ends = time.monotonic() + COMMAND_S
        while not control.exists() or "wpa_state" not in await _cli("status"):
            if process.returncode is not None or time.monotonic() > ends:
                raise MycoswarmError(f"wpa_supplicant does not work on {INTERFACE}", hint="its log says why")
            await asyncio.sleep(0.2)
        yield


@asynccontextmanager
async def _running(program: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    try:
        process = await asyncio.create_subprocess_exec(program, *arguments)
    except OSError as error:
        raise MycoswarmError(f"cannot start {program}: {error}") from error
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(5.0):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _cli(*command: str) -> str:
    return await _run("wpa_cli", "-i", INTERFACE, *command, may_fail=True)


async def _run(program: str, *arguments: str, may_fail: bool = False) -> str:
    """What it printed. Raises `MycoswarmError`."""
    try:
        process = await asyncio.create_subprocess_exec(
            program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise MycoswarmError(f"cannot start {program}: {error}") from error
    try:
        async with asyncio.timeout(COMMAND_S):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise MycoswarmError(f"{program} did not end within {COMMAND_S:g} s") from None
    text = out.decode(errors="replace")
    if process.returncode != 0 and not may_fail:
        raise MycoswarmError(f"{program} failed: {text.strip()[-500:]}")
    return text


def _online(*, but: str = "") -> bool:
    addresses = {name: [each.address for each in found] for name, found in psutil.net_if_addrs().items()}
    up = [name for name, state in psutil.net_if_stats().items() if state.isup]
    return is_online(addresses, up, but=(but,))


def _addresses_of(interface: str) -> list[str]:
    return [each.address for each in psutil.net_if_addrs().get(interface, [])]
