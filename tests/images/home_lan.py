"""The LAN of a home: a router that gives addresses and would carry to the internet, a hub, and room for machines.

The router says what it would have carried: every name that was asked for and every packet that was to leave the house.
There is no internet behind it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from tests.hosts import Host, Lan, lan
from tests.program import Program
from tests.whole.lan_machines import HUB, NO_MODEL, Machine


class HomeLan:
    """One bridge; `router` is 10.77.0.1, `hub` 10.77.0.2, machines get 10.77.0.100 and up."""

    def __init__(self, network: Lan, folder: Path) -> None:
        self.network = network
        self.router: Host = network.hosts[0]
        self.hub = Machine(network.hosts[1], folder / "hub", roles=HUB, sections=NO_MODEL)
        self._dns = self._serve_addresses(folder)

    def invite(self) -> str:
        """A token, as a person gets one."""
        return self.hub.did("invite", "--valid", "2h").strip().splitlines()[0]

    def asked_names(self) -> list[str]:
        """Names that somebody on the LAN looked up at the router, in order."""
        return re.findall(r" query\[\w+\] (\S+) from ", self._dns.stderr())

    def sent_outside(self) -> list[str]:
        """What packets of machines were to leave the house: `ADDRESS . tcp . PORT`."""
        said = self.router.run("nft", "list", "set", "inet", "watch", "outside")
        return re.findall(r"[\d.]+ \. (?:tcp|udp) \. \S+", said)

    def _serve_addresses(self, folder: Path) -> Program:
        # Forwarding is on, so that what is meant for outside reaches the watch; there is nowhere to go from there.
        rules = folder / "watch.nft"
        rules.write_text(
            "table inet watch {\n"
            " set outside { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 4096; }\n"
            " chain out { type filter hook prerouting priority -300;\n"
            "  ip saddr 10.77.0.100-10.77.0.200 ip daddr != { 10.77.0.0/24, 224.0.0.0/4, 255.255.255.255, 127.0.0.0/8 }"
            " meta l4proto { tcp, udp } add @outside { ip daddr . meta l4proto . th dport }\n }\n}\n"
        )
        self.router.run("nft", "-f", str(rules))
        return self.router.start(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--log-queries"),
            *("--user=root", "--no-resolv", "--no-hosts", "--interface=eth0", "--bind-interfaces"),
            *("--dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,1h", "--dhcp-authoritative", "--no-ping"),
            *("--dhcp-range=::,constructor:eth0,ra-stateless", "--enable-ra", "--domain=home.arpa"),
            *(f"--dhcp-leasefile={folder / 'leases'}", f"--pid-file={folder / 'dnsmasq.pid'}"),
            "--address=/#/10.66.6.6",
        )


@contextlib.contextmanager
def home_lan(folder: Path, *, start_hub: bool = True) -> Iterator[HomeLan]:
    """A LAN whose hub runs, and has begun a swarm."""
    with lan(2) as network:
        home = HomeLan(network, folder)
        if start_hub:
            home.hub.did("init")
            home.hub.start()
        yield home
