import pytest

from swarm.bus_rules import (
    command_topic,
    event_topic,
    health_topic,
    may_publish,
    node_of,
    presence_topic,
    state_topic,
    swarm_state_topic,
)

A, B = "a" * 26, "b" * 26


@pytest.mark.parametrize(
    ("topic", "node", "home_node"),
    [
        (presence_topic(A), True, True),
        (health_topic(A), True, True),
        (presence_topic(B), False, False),
        (health_topic(B), False, False),
        (state_topic(A), True, True),
        (event_topic(A), True, True),
        (state_topic(B), False, False),
        (command_topic(A, "mute"), False, False),
        (command_topic(B, "mute"), False, False),
        (swarm_state_topic("s"), False, True),
        ("mycoswarm/swarm/s/else", False, False),
        ("mycoswarm/swarm/s/else/state", False, False),
        (f"mycoswarm/node/{A}", False, False),
        (f"mycoswarm/node/{A}/else", False, False),
        (f"mycoswarm/node/{A}/presence/", False, False),
        (f"mycoswarm/node//{A}/presence", False, False),
        ("mycoswarm/api/answer", False, True),
        ("mycoswarm/api/event/wake", False, True),
        ("mycoswarm/api/say", False, False),
        ("mycoswarm/api/ask", False, False),
        ("mycoswarm/api/timer/set", False, False),
        ("mycoswarm/api/event", False, False),
        ("mycoswarm", False, False),
        ("mycoswarm/", False, False),
        ("$SYS/broker", False, False),
        ("$share/x/y", False, False),
        ("mycoswarms/x", False, True),
        ("/mycoswarm/x", False, True),
        ("homeassistant/light/x/config", False, True),
        ("zigbee2mqtt/lamp/set", False, True),
    ],
)
def test_a_node_speaks_for_itself_and_only_some_command_devices(topic: str, node: bool, home_node: bool) -> None:
    assert may_publish(A, topic, runs_home=False) is node
    assert may_publish(A, topic, runs_home=True) is home_node


def test_a_topic_tells_whose_it_is() -> None:
    assert node_of(presence_topic(A)) == A
    assert node_of(health_topic(B)) == B
    assert node_of("mycoswarm/node/kitchen/presence") is None
    assert node_of("home/lamp") is None
