from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import MalformedMessage
from swarm.hardware import Gpu, Hardware, Throttling
from swarm.health import MAX_BYTES, Health, HealthWatch, decode_health, encode_health


def test_health_of_this_machine_comes_back_as_it_was_sent() -> None:
    now = [100.0]
    watch = HealthWatch(clock=lambda: now[0])
    now[0] = 107.5
    card = Gpu(name="a", vendor="nvidia", memory_bytes=8 * 10**9, memory_used_bytes=10**9, busy_percent=5.0)
    hardware = Hardware(gpus=(card,), throttling=Throttling(("under_voltage",), ()))
    health = watch.look(hardware, running=2, waiting=3)
    assert decode_health(encode_health(health)) == health
    assert (health.uptime_s, health.running, health.waiting, health.throttled) == (7, 2, 3, ("under_voltage",))
    assert (health.gpus[0].memory_mb, health.gpus[0].memory_used_mb, health.gpus[0].busy) == (8000, 1000, 5.0)
    assert 0 < health.own_memory_mb < health.memory_used_mb < health.memory_mb


def test_message_is_small_also_with_every_gpu_there_may_be() -> None:
    card = Gpu("a", "nvidia", 80 * 10**9, 79 * 10**9, 100.0, 88.0, 699.999, 700.0, "GPU-0")
    health = HealthWatch().look(Hardware(gpus=(card,) * 16), running=999, waiting=999)
    assert len(encode_health(health)) < MAX_BYTES / 2
    assert len(encode_health(HealthWatch().look(Hardware()))) < 200


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": 101.0},
        {"cpu": "much"},
        {"running": -1},
        {"memory_mb": 2**40},
        {"gpus": [{}] * 17},
        {"throttled": ["x" * 33]},
        {"temperature": 10**9},
    ],
)
def test_impossible_health_is_refused(change: dict[str, object]) -> None:
    good = {"uptime_s": 1, "cpu": 1.0, "memory_mb": 1, "memory_used_mb": 1, "own_memory_mb": 1}
    assert isinstance(decode_health(msgspec.json.encode(good | {"unknown": 1})), Health)
    with pytest.raises(MalformedMessage):
        decode_health(msgspec.json.encode(good | change))


def test_oversize_health_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(MalformedMessage, match="exceeds the limit"):
        decode_health(b" " * (MAX_BYTES + 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_health_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        assert isinstance(decode_health(data), Health)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        decode_health(b"[" * MAX_BYTES)
