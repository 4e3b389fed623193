"""A rogue on a host of `tests.hosts` that poses as a node: its own certificate, somebody else's name.

Says "connected" for each connection, then "refused" when the other side does not take it for a node, and "got …" for
whatever it is sent.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
import sys
from pathlib import Path

from swarm.identity import open_identity

PATIENCE_S = 5.0


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("identity", type=Path)
    options.add_argument("address")
    options.add_argument("port", type=int)
    chosen = options.parse_args()
    identity = open_identity(chosen.identity)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate_path, identity.key_path)
    with socket.create_server((chosen.address, chosen.port)) as listening:
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            print("connected", flush=True)
            connection.settimeout(PATIENCE_S)
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                data = tls.recv(1000)
                if data:
                    print(f"got {data!r}", flush=True)
                    sys.exit(1)
            print("refused", flush=True)


if __name__ == "__main__":
    main()
