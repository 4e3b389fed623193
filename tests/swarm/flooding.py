"""A rogue on a host of `tests.hosts`: announces many nodes that do not exist, or one that does, or its goodbye.

Only ever sends on the interface of the host it runs on, `--count` packets, and ends.
"""

from __future__ import annotations

import argparse
import random
import socket
import time

from zeroconf import DNSOutgoing, ServiceInfo, current_time_millis  # type: ignore[attr-defined]

from swarm.mdns_service import SERVICE

LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
PACE = 25
"""Packets between two rests of 5 ms: about 4,000 a second, so that the receivers' buffers lose few."""


def announcement(node: str, swarm: str, address: str, port: int, *, ttl: int | None = None) -> bytes:
    info = ServiceInfo(
        SERVICE,
        f"{node}-{swarm}.{SERVICE}",
        port=port,
        properties={"v": "1", "id": node, "swarm": swarm, "roles": "hub"},
        server=f"{node}.local.",
        parsed_addresses=[address],
    )
    out = DNSOutgoing(0x8400)
    now = current_time_millis()
    records = (info.dns_pointer(ttl), info.dns_service(ttl), info.dns_text(ttl), *info.dns_addresses(ttl))
    for record in records:
        out.add_answer_at_time(record, 0 if ttl == 0 else now)
    return out.packets()[0]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--from", dest="own", required=True)
    options.add_argument("--swarm", required=True)
    options.add_argument("--node", default="")
    options.add_argument("--address", default="")
    options.add_argument("--goodbye", action="store_true")
    options.add_argument("--count", type=int, default=1)
    chosen = options.parse_args()
    dice = random.Random(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(chosen.own))
        sender.bind((chosen.own, 5353))
        for number in range(chosen.count):
            node = chosen.node or "".join(dice.choices(LETTERS, k=26))
            address = chosen.address or f"10.77.{dice.randrange(256)}.{dice.randrange(256)}"
            ttl = 0 if chosen.goodbye else None
            sender.sendto(announcement(node, chosen.swarm, address, 6666, ttl=ttl), ("224.0.0.251", 5353))
            if number % PACE == PACE - 1:
                time.sleep(0.005)
    print("sent", flush=True)


if __name__ == "__main__":
    main()
