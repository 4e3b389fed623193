from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from swarm.metrics import CONTENT_TYPE, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Each series by its name and label values, read back by the format's own parser."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_counters_gauges_and_histograms_are_read_back_by_prometheus() -> None:
    metrics = Metrics()
    tasks = metrics.counter("tasks", "Tasks by kind and outcome.", ("kind", "outcome"))
    queue = metrics.gauge("queue", "Tasks waiting.")
    first_byte = metrics.histogram("first_byte_seconds", "Time to the first byte.", ("kind",), bounds=(0.1, 1.0))
    tasks.add(1, "generate", "done")
    tasks.add(2, "generate", "done")
    queue.set(4)
    queue.add(-1)
    for value in (0.05, 0.5, 5.0):
        first_byte.observe(value, "generate")
    assert samples(metrics) == {
        ("mycoswarm_tasks_total", "generate", "done"): 3.0,
        ("mycoswarm_queue",): 3.0,
        ("mycoswarm_first_byte_seconds_bucket", "generate", "0.1"): 1.0,
        ("mycoswarm_first_byte_seconds_bucket", "generate", "1.0"): 2.0,
        ("mycoswarm_first_byte_seconds_bucket", "generate", "+Inf"): 3.0,
        ("mycoswarm_first_byte_seconds_count", "generate"): 3.0,
        ("mycoswarm_first_byte_seconds_sum", "generate"): 5.55,
    }
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_invented_label_values_end_in_one_series() -> None:
    metrics = Metrics()
    tasks = metrics.counter("tasks", "Tasks by model.", ("model",), max_series=3)
    for number in range(1000):
        tasks.add(1, f"model {number}")
    tasks.add(1, "model 1")
    found = samples(metrics)
    assert found.pop(("mycoswarm_tasks_total", "other")) == 997.0
    assert found == {("mycoswarm_tasks_total", f"model {n}"): 1.0 + (n == 1) for n in range(3)}


def test_forgotten_series_makes_room() -> None:
    metrics = Metrics()
    up = metrics.gauge("node_up", "Whether a node lives.", ("node",), max_series=1)
    up.set(1, "a")
    up.forget("a")
    up.forget("never seen")
    up.set(1, "b")
    assert samples(metrics) == {("mycoswarm_node_up", "b"): 1.0}


def test_label_values_from_outside_are_cut_and_escaped() -> None:
    metrics = Metrics()
    metrics.gauge("node_up", "Whether a node lives.", ("node",)).set(1, 'ev"il\n\\' + "x" * 200)
    ((name, value),) = samples(metrics)
    assert name == "mycoswarm_node_up"
    assert value == ('ev"il\n\\' + "x" * 200)[:64]


def test_wrong_number_of_labels_is_an_error() -> None:
    with pytest.raises(ValueError, match="labels"):
        Metrics().counter("tasks", "Tasks.", ("kind",)).add(1)


def test_two_nodes_in_one_process_have_metrics_of_their_own() -> None:
    first, second = Metrics(), Metrics()
    first.gauge("queue", "Tasks waiting.").set(1)
    second.gauge("queue", "Tasks waiting.").set(2)
    assert (samples(first), samples(second)) == ({("mycoswarm_queue",): 1.0}, {("mycoswarm_queue",): 2.0})
