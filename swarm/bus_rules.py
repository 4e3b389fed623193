"""The topics of the bus, and who may publish where. Pure; `swarm.bus_port` enforces it for every broker.

::

    mycoswarm/node/<node id>/presence   retained, Last Will: `swarm.presence.Presence`     that node only
    mycoswarm/node/<node id>/health     every few seconds:   `swarm.health.Health`         that node only
    mycoswarm/node/<node id>/state      retained:            `swarm.node_state.NodeState`  that node only
    mycoswarm/node/<node id>/event      what just happened   `swarm.node_state.NodeEvent`  that node only
    mycoswarm/node/<node id>/set/…      from people's programs: see `swarm.own_state`      no node
    mycoswarm/swarm/<swarm id>/state    retained: the swarm as a whole                     nodes that run the home
    mycoswarm/api/answer, …/event/…     to people's automations: `hub.mqtt_api`            nodes that run the home
    mycoswarm/api/…                     commands of people's automations                   no node
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
API = f"{ROOT}/api"
STATE = "state"
EVENT = "event"
_OF_A_NODE = (PRESENCE, HEALTH, STATE, EVENT)
ALL_PRESENCE = f"{ROOT}/node/+/{PRESENCE}"
ALL_HEALTH = f"{ROOT}/node/+/{HEALTH}"
ALL_STATES = f"{ROOT}/node/+/{STATE}"


def presence_topic(node: NodeId) -> str:
    """Where the node says that it is there, and the broker that it is not."""
    return f"{ROOT}/node/{node}/{PRESENCE}"


def health_topic(node: NodeId) -> str:
    """Where the node says how it is."""
    return f"{ROOT}/node/{node}/{HEALTH}"


def state_topic(node: str) -> str:
    """Where the node says what of it people see."""
    return f"{ROOT}/node/{node}/{STATE}"


def event_topic(node: str) -> str:
    """Where the node says what just happened to it."""
    return f"{ROOT}/node/{node}/{EVENT}"


def command_topic(node: str, what: str) -> str:
    """Where people's programs set something of a node; `+` for all of them."""
    return f"{ROOT}/node/{node}/set/{what}"


def swarm_state_topic(swarm_id: str) -> str:
    """Where the hub that speaks for all says how the swarm is."""
    return f"{ROOT}/swarm/{swarm_id}/{STATE}"


def node_of(topic: str) -> NodeId | None:
    """Whose topic it is; None when it is no node's."""
    levels = topic.split("/")
    if len(levels) == 4 and levels[:2] == [ROOT, "node"] and levels[3] in _OF_A_NODE and is_node_id(levels[2]):
        return levels[2]
    return None


def _is_of_swarm(topic: str) -> bool:
    levels = topic.split("/")
    return len(levels) == 4 and levels[:2] == [ROOT, "swarm"] and levels[3] == STATE


def _is_told_by_the_api(topic: str) -> bool:
    return topic == f"{API}/answer" or topic.startswith(f"{API}/event/")


def may_publish(node: NodeId, topic: str, *, runs_home: bool) -> bool:
    """Whether `node`, which proved to be it, may publish to `topic`. `runs_home`: it controls devices."""
    if topic == ROOT or topic.startswith((f"{ROOT}/", "$")):
        return node_of(topic) == node or (runs_home and (_is_of_swarm(topic) or _is_told_by_the_api(topic)))
    return runs_home
