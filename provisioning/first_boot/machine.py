"""Where things are on a node that was made by an image. Below another root in tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """The file system of the machine, as first boot uses it."""

    root: Path = Path("/")

    # ---- what a person can reach: the first FAT partition

    @property
    def boot(self) -> Path:
        """Its mount point."""
        return self.root / "boot/mycoswarm"

    # ---- what the image brings, read-only

    @property
    def image_config(self) -> Path:
        """The node's configuration as the image was made, such as its roles; settings are laid over it."""
        return self.root / "usr/share/mycoswarm/config.toml"

    @property
    def zones(self) -> Path:
        """Time zones."""
        return self.root / "usr/share/zoneinfo"

    # ---- what stays

    @property
    def data_lost(self) -> Path:
        """There when the data partition could not be mounted (`scripts/local-bottom/mycoswarm-data`): the data is in
        memory then. It holds the reason."""
        return self.root / "run/mycoswarm-data-lost"

    @property
    def data(self) -> Path:
        """The data partition."""
        return self.root / "data"

    @property
    def kept(self) -> Path:
        """What first boot remembers; root's alone."""
        return self.data / "mycoswarm-first-boot"

    @property
    def done(self) -> Path:
        """There once everything was done."""
        return self.kept / "done"

    @property
    def applied(self) -> Path:
        """The settings that are in force, with their secrets."""
        return self.kept / "settings.toml"

    @property
    def board(self) -> Path:
        """What the firmware was told of the sound board."""
        return self.kept / "board.txt"

    @property
    def access_point_password(self) -> Path:
        """Made once."""
        return self.kept / "access-point"

    @property
    def etc(self) -> Path:
        """`hostname`, `localtime` and others, to which the image's /etc leads."""
        return self.data / "etc"

    @property
    def node_config(self) -> Path:
        """/etc/mycoswarm/config.toml."""
        return self.etc / "mycoswarm/config.toml"

    @property
    def wanted_units(self) -> Path:
        """To which /etc/systemd/system/mycoswarm.target.wants leads."""
        return self.etc / "systemd/mycoswarm.target.wants"

    @property
    def ssh(self) -> Path:
        """Host keys and authorized_keys."""
        return self.data / "ssh"

    @property
    def wifi_config(self) -> Path:
        """For wpa_supplicant@wlan0.service."""
        return self.data / "network/wpa_supplicant/wpa_supplicant-wlan0.conf"

    @property
    def state(self) -> Path:
        """/var/lib/mycoswarm, the node's state folder."""
        return self.data / "mycoswarm"

    @property
    def token(self) -> Path:
        """The join token, until it was used."""
        return self.state / "join-token"

    @property
    def is_board(self) -> bool:
        """A small board with pins, and not a PC."""
        return (self.root / "proc/device-tree/model").exists()

    @property
    def founds(self) -> Path:
        """There while this machine is still to begin a swarm."""
        return self.state / "found-swarm"

    # ---- until it is switched off

    @property
    def run(self) -> Path:
        """Runtime files."""
        return self.root / "run/mycoswarm"

    @property
    def ask(self) -> Path:
        """Where the node's user asks root for something, by a file."""
        return self.run / "ask"

    @property
    def issue(self) -> Path:
        """What the login prompt of the console shows."""
        return self.root / "run/issue.d/50-mycoswarm.issue"

    @property
    def leds(self) -> Path:
        """The kernel's LEDs."""
        return self.root / "sys/class/leds"
