"""Counters, gauges and histograms for Prometheus, with a bound on how many series a label can make.

The text format is written by `prometheus_client`, the format's reference implementation (0.7 MB beside what the node
has loaded anyway, no dependencies). It keeps a series for every value a label ever had; here a label's values beyond
`max_series` go to one series named `other`, so that a peer that invents names cannot fill the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "mycoswarm_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES = 100
MAX_LABEL = 64
"""Characters of a label's value that are kept."""
OTHER = "other"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of a histogram of waiting times: from one hop on the LAN to a long answer."""

M = TypeVar("M", "Counter", "Gauge", "Histogram")


class Metrics:
    """All metrics of one node. Names get the prefix `mycoswarm_`."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry

        self._registry: CollectorRegistry = CollectorRegistry()

    def counter(self, name: str, about: str, labels: Sequence[str] = (), *, max_series: int = MAX_SERIES) -> Count:
        """A number that only rises; its name gets the ending `_total`."""
        from prometheus_client import Counter

        return Count(Counter(PREFIX + name, about, labels, registry=self._registry), labels, max_series)

    def gauge(self, name: str, about: str, labels: Sequence[str] = (), *, max_series: int = MAX_SERIES) -> Level:
        """A number that rises and falls."""
        from prometheus_client import Gauge

        return Level(Gauge(PREFIX + name, about, labels, registry=self._registry), labels, max_series)

    def histogram(
        self,
        name: str,
        about: str,
        labels: Sequence[str] = (),
        *,
        bounds: Sequence[float] = SECONDS,
        max_series: int = MAX_SERIES,
    ) -> Spread:
        """How often a value fell under each of `bounds`."""
        from prometheus_client import Histogram

        made = Histogram(PREFIX + name, about, labels, registry=self._registry, buckets=bounds)
        return Spread(made, labels, max_series)

    def text(self) -> bytes:
        """The page for Prometheus, of `CONTENT_TYPE`."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)


class _Family(Generic[M]):
    def __init__(self, metric: M, labels: Sequence[str], max_series: int) -> None:
        self._metric: M = metric
        self._labels = tuple(labels)
        self._max_series = max_series
        self._series: dict[tuple[str, ...], M] = {}

    def _of(self, values: tuple[str, ...]) -> M:
        if len(values) != len(self._labels):
            raise ValueError(f"{len(values)} values for the labels {self._labels}")
        if not values:
            return self._metric
        values = tuple(value[:MAX_LABEL] for value in values)
        series = self._series.get(values)
        if series is None:
            if len(self._series) >= self._max_series:
                return self._metric.labels(*(OTHER for _ in values))
            series = self._series[values] = self._metric.labels(*values)
        return series

    def forget(self, *values: str) -> None:
        """Show this series no more (a node that left)."""
        values = tuple(value[:MAX_LABEL] for value in values)
        if self._series.pop(values, None) is not None:
            self._metric.remove(*values)


class Count(_Family["Counter"]):
    """A counter; values for its labels follow the amount."""

    def add(self, amount: float = 1.0, *values: str) -> None:
        """Raise it; `amount` is not negative."""
        self._of(values).inc(amount)


class Level(_Family["Gauge"]):
    """A gauge."""

    def set(self, value: float, *values: str) -> None:
        """Its value from now on."""
        self._of(values).set(value)

    def add(self, amount: float, *values: str) -> None:
        """Raise it, or lower it by a negative amount."""
        self._of(values).inc(amount)


class Spread(_Family["Histogram"]):
    """A histogram."""

    def observe(self, value: float, *values: str) -> None:
        """Count one value."""
        self._of(values).observe(value)
