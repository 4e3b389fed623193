"""Where nodes were reached before, kept over a restart: the last rung of discovery, and the only proved one."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import msgspec

from swarm.candidate import Candidate, is_id, usable_addresses

MAX_NODES = 256
MAX_PLACES = 4
"""Places kept of one node, latest first."""
MAX_FILE_BYTES = 256 * 1024
KEEP_S = 30 * 24 * 3600.0
"""A node that was away for a month is found by the other rungs."""
FRESH_S = 3600.0
"""A place proved again within this time changes nothing worth writing."""

log = logging.getLogger(__name__)


class Place(msgspec.Struct, frozen=True):
    """An address and port at which a node's certificate was seen, and when (seconds since 1970)."""

    address: str
    port: int
    at: float


class LearnedAddresses:
    """Bounded and ageing; `now` is wall clock. A clock that was wrong when a place was learned does no harm: a place
    from the future counts as fresh."""

    def __init__(self, swarm_id: str) -> None:
        self._swarm_id = swarm_id
        self._places: dict[str, tuple[Place, ...]] = {}

    def proved(self, node_id: str, address: str, port: int, now: float) -> bool:
        """A certificate proved that the node answers there. True when that is worth writing down."""
        if not is_id(node_id) or not usable_addresses([address], loopback=True) or not 0 < port < 65536:
            return False
        places = self._places.pop(node_id, ())
        first = places[0] if places else None
        rest = tuple(place for place in places if (place.address, place.port) != (address, port))
        self._places[node_id] = (Place(address, port, now), *rest)[:MAX_PLACES]  # last in the dict: latest proved
        while len(self._places) > MAX_NODES:
            del self._places[next(iter(self._places))]
        return first is None or (first.address, first.port) != (address, port) or abs(now - first.at) > FRESH_S

    def forget(self, node_id: str) -> bool:
        """The node was revoked or left. True when something was known of it."""
        return self._places.pop(node_id, None) is not None

    def candidates(self, now: float) -> tuple[Candidate, ...]:
        """One for each place that is not too old, latest first."""
        return tuple(
            Candidate(node_id, self._swarm_id, (place.address,), place.port, "learned")
            for node_id, places in reversed(self._places.items())
            for place in places
            if now - place.at < KEEP_S
        )

    def to_json(self, now: float) -> bytes:
        """The file's content, without what is too old."""
        nodes = {
            node_id: kept
            for node_id, places in self._places.items()
            if (kept := tuple(place for place in places if now - place.at < KEEP_S))
        }
        return msgspec.json.format(msgspec.json.encode(_File(self._swarm_id, nodes)), indent=1)

    def load(self, path: Path, now: float) -> None:
        """Take what a former run wrote; a file that is missing, broken or another swarm's is as none."""
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
            content = msgspec.json.decode(data, type=_File)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            log.warning("addresses learned before are lost: %s cannot be read: %s", path, error)
            return
        if content.swarm_id == self._swarm_id:
            for node_id, places in content.nodes.items():
                for place in reversed(places):
                    if now - place.at < KEEP_S:
                        self.proved(node_id, place.address, place.port, place.at)


def write_whole(path: Path, data: bytes) -> None:
    """Replace the file at once: a reader, or a machine that loses power, has the old or the new one. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise


class _File(msgspec.Struct, frozen=True):
    swarm_id: str
    nodes: dict[str, tuple[Place, ...]]
