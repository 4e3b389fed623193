"""The topics of the bus, and who may publish where. Pure; `swarm.bus_port` enforces it for every broker.

::

    mycoswarm/node/<node id>/presence   retained, Last Will: `swarm.presence.Presence`     that node only
    mycoswarm/node/<node id>/health     every few seconds:   `swarm.health.Health`         that node only
    mycoswarm/…                         anything else                                      nobody
    $…                                  the broker's own                                   nobody
    all other topics                    home automation: discovery, states, commands       nodes that run the home

Every node may read everything: in a home all nodes are of one household, and what is not for all of them (audio, texts,
answers, documents) does not travel by the bus.
"""

from __future__ import annotations

from swarm.certificates import NodeId, is_node_id

ROOT = "mycoswarm"
PRESENCE = "presence"
HEALTH = "health"
ALL_PRESENCE = f"{ROOT}/node/+/{PRESENCE}"
ALL_HEALTH = f"{ROOT}/node/+/{HEALTH}"


def presence_topic(node: NodeId) -> str:
    """Where the node says that it is there, and the broker that it is not."""
    return f"{ROOT}/node/{node}/{PRESENCE}"


def health_topic(node: NodeId) -> str:
    """Where the node says how it is."""
    return f"{ROOT}/node/{node}/{HEALTH}"


def node_of(topic: str) -> NodeId | None:
    """Whose topic it is; None when it is no node's."""
    levels = topic.split("/")
    if len(levels) == 4 and levels[:2] == [ROOT, "node"] and levels[3] in (PRESENCE, HEALTH) and is_node_id(levels[2]):
        return levels[2]
    return None


def may_publish(node: NodeId, topic: str, *, runs_home: bool) -> bool:
    """Whether `node`, which proved to be it, may publish to `topic`. `runs_home`: it controls devices."""
    if topic == ROOT or topic.startswith((f"{ROOT}/", "$")):
        return node_of(topic) == node
    return runs_home
