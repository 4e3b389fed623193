"""The service that a node announces by mDNS: its name, its records, and how those of others are read.

It is `<node id>-<swarm id>._mycoswarm._tcp.local.` on the host `<node id>.local.`, so the name alone tells whether an
announcement concerns us: those of other swarms are dropped unread. The TXT record has `v` (1), `id`, `swarm`, `roles`
and, while enrolments are taken, `enrol` (a port). Nothing in it is secret and nothing is believed.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from zeroconf import ServiceInfo

from swarm.candidate import Candidate, is_id, roles_of, usable_addresses

SERVICE = "_mycoswarm._tcp.local."
TXT_VERSION = b"1"


class Announcement(msgspec.Struct, frozen=True):
    """What this node says of itself to the whole LAN."""

    node_id: str
    swarm_id: str
    port: int
    roles: tuple[str, ...] = ()
    enrol_port: int = 0

    @property
    def instance(self) -> str:
        """Its full name in DNS."""
        return instance_name(self.node_id, self.swarm_id)


def instance_name(node_id: str, swarm_id: str) -> str:
    """A node's full name in DNS."""
    return f"{node_id}-{swarm_id}.{SERVICE}"


def host_name(node_id: str) -> str:
    """The name that a node's addresses are under."""
    return f"{node_id}.local."


def service_info(announcement: Announcement, addresses: Sequence[str]) -> ServiceInfo:
    """The records of an announcement, for zeroconf to publish."""
    properties = {
        "v": TXT_VERSION,
        "id": announcement.node_id,
        "swarm": announcement.swarm_id,
        "roles": ",".join(announcement.roles),
    }
    if announcement.enrol_port:
        properties["enrol"] = str(announcement.enrol_port)
    return ServiceInfo(
        SERVICE,
        announcement.instance,
        port=announcement.port,
        properties=properties,
        server=host_name(announcement.node_id),
        parsed_addresses=[address.partition("%")[0] for address in addresses],
    )


def ids_of(name: str) -> tuple[str, str]:
    """Node id and swarm id in the name of an instance; two empty texts when it is not one of ours."""
    label = name.removesuffix(f".{SERVICE}")
    node_id, _, swarm_id = label.partition("-")
    return (node_id, swarm_id) if label != name and is_id(node_id) and is_id(swarm_id) else ("", "")


def candidate_of(info: ServiceInfo, node_id: str, swarm_id: str) -> Candidate | None:
    """What an announcement says, if its parts agree."""
    text = info.properties
    said = (text.get(b"v"), text.get(b"id"), text.get(b"swarm"))
    if said != (TXT_VERSION, node_id.encode(), swarm_id.encode()):
        return None
    addresses = usable_addresses(info.parsed_scoped_addresses())
    if not addresses or not info.port or (info.server or "").lower() != host_name(node_id):
        return None
    return Candidate(
        node_id=node_id,
        swarm_id=swarm_id,
        addresses=addresses,
        port=info.port,
        source="mdns",
        roles=roles_of((text.get(b"roles") or b"").decode(errors="replace")),
        enrol_port=_port(text.get(b"enrol")),
    )


def _port(text: bytes | None) -> int:
    if not text or len(text) > 5 or not text.isdigit():
        return 0
    number = int(text)
    return number if number < 65536 else 0
