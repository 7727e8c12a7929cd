"""The metrics: calls in flight and their peak, how calls ended, how late the fakes were.

The recorder updates them in the step in which something happens, so a number is right the moment
it is read. Counting is plain Python; prometheus_client only renders a scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

LATENESS_BOUNDS_S: Final = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.05,
    0.1,
    0.25,
    1.0,
)
MAX_MODELS: Final = 256
"""Further model names are counted together: a client may invent one with every request."""
MAX_MODEL_LENGTH: Final = 128
OTHER_MODEL: Final = "(others)"

_BOUNDS_NS: Final = tuple(round(bound * 1e9) for bound in LATENESS_BOUNDS_S)


class Level:
    """A current number and its peak."""

    __slots__ = ("now", "peak")

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0

    def up(self) -> None:
        """One more."""
        self.now += 1
        self.peak = max(self.peak, self.now)

    def down(self) -> None:
        """One less."""
        self.now -= 1

    def counts(self) -> dict[str, int]:
        """Both numbers, as in ``/control/now``."""
        return {"now": self.now, "peak": self.peak}


Levels = tuple[Level, Level, Level, Level]
"""Those of one call: in total, of its provider, of its route, of its model."""


class Metrics:
    """The metrics of one process."""

    def __init__(self, providers: tuple[str, ...]) -> None:
        self.total = Level()
        self.providers = {provider: Level() for provider in providers}
        self.routes: dict[tuple[str, str], Level] = {}
        self.models: dict[tuple[str, str], Level] = {}
        self.calls: Counter[tuple[str, str, int | None, str]] = Counter()
        """(provider, route, status, ended by) -> calls that have ended."""
        self.fetches: Counter[tuple[str, str, int | None, str]] = Counter()
        """The same of list fetches."""
        self._late = [0] * (len(_BOUNDS_NS) + 1)
        self._late_sum_ns = 0
        self._levels: dict[tuple[str, str, str], Levels] = {}

    def begin(self, provider: str, route: str, model: str) -> None:
        """A call is open from now on."""
        key = provider, route, model
        for level in self._levels.get(key) or self._levels_of(key):
            level.up()

    def end(self, provider: str, route: str, model: str, status: int | None, ended_by: str) -> None:
        """An open call has ended."""
        key = provider, route, model
        for level in self._levels.get(key) or self._levels_of(key):
            level.down()
        self.calls[provider, route, status, ended_by] += 1

    def record_lateness(self, late_ns: int) -> None:
        """Count one paced step and its lateness."""
        self._late[bisect_left(_BOUNDS_NS, late_ns)] += 1
        self._late_sum_ns += late_ns

    def in_flight(self) -> dict[str, Any]:
        """The levels, as in ``/control/now``."""
        return {
            "all": self.total.counts(),
            "providers": {name: level.counts() for name, level in self.providers.items()},
            "routes": [
                {"provider": provider, "route": route, **level.counts()}
                for (provider, route), level in self.routes.items()
            ],
            "models": [
                {"provider": provider, "model": model, **level.counts()}
                for (provider, model), level in self.models.items()
            ],
        }

    def lateness(self) -> tuple[list[tuple[str, float]], float]:
        """The histogram for Prometheus: (upper bound, steps up to it), and the sum in seconds."""
        buckets: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip((*LATENESS_BOUNDS_S, "+Inf"), self._late, strict=True):
            so_far += count
            buckets.append((str(bound), so_far))
        return buckets, self._late_sum_ns / 1e9

    def _levels_of(self, key: tuple[str, str, str]) -> Levels:
        """The levels for a call, cached when its model is one of those counted separately.

        Those that are not cached are found again: a model is never counted separately later on.
        """
        provider, route, model = key
        separate = len(model) <= MAX_MODEL_LENGTH and (
            (provider, model) in self.models or len(self.models) < MAX_MODELS
        )
        name = model if separate else OTHER_MODEL
        levels = (
            self.total,
            self.providers[provider],
            self.routes.setdefault((provider, route), Level()),
            self.models.setdefault((provider, name), Level()),
        )
        if separate:
            self._levels[key] = levels
        return levels


class Exposition(Collector):
    """The metrics as Prometheus metric families, in a registry of their own."""

    def __init__(
        self, metrics: Metrics, *, held: Callable[[], Counter[str]], stalled_ns: Callable[[], int]
    ) -> None:
        self._metrics = metrics
        self._held = held
        self._stalled_ns = stalled_ns
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """The body of ``/metrics``, in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """All metrics, as of now."""
        yield from self._levels()
        yield from self._counts()
        buckets, sum_s = self._metrics.lateness()
        late = HistogramMetricFamily(
            "fake_providers_lateness_seconds", "How late the paced steps of answers were."
        )
        late.add_metric([], buckets=buckets, sum_value=sum_s)
        yield late
        yield GaugeMetricFamily(
            "fake_providers_worst_stall_seconds",
            "The longest time for which this process was kept from running.",
            value=self._stalled_ns() / 1e9,
        )

    def _levels(self) -> Iterator[Metric]:
        metrics = self._metrics
        for by, levels in (("route", metrics.routes), ("model", metrics.models)):
            name = "calls" if by == "route" else "model_calls"
            labels = ["provider", by]
            now = GaugeMetricFamily(
                f"fake_providers_open_{name}", f"Calls open now, by {by}.", labels=labels
            )
            peak = GaugeMetricFamily(
                f"fake_providers_peak_open_{name}", f"Most open at once, by {by}.", labels=labels
            )
            for key, level in levels.items():
                now.add_metric(key, level.now)
                peak.add_metric(key, level.peak)
            yield from (now, peak)
        held = GaugeMetricFamily(
            "fake_providers_held_calls", "Calls held at a gate now.", labels=["provider"]
        )
        most = GaugeMetricFamily(
            "fake_providers_peak_open_provider_calls",
            "Most calls of a provider open at once.",
            labels=["provider"],
        )
        holding = self._held()
        for provider, level in metrics.providers.items():
            held.add_metric([provider], holding[provider])
            most.add_metric([provider], level.peak)
        yield from (held, most)
        yield GaugeMetricFamily(
            "fake_providers_peak_open_all_calls",
            "Most calls open at once, of all providers together.",
            value=metrics.total.peak,
        )

    def _counts(self) -> Iterator[Metric]:
        for name, what, counts in (
            ("calls", "Calls that have ended.", self._metrics.calls),
            ("list_fetches", "Fetches of a model list that have ended.", self._metrics.fetches),
        ):
            family = CounterMetricFamily(
                f"fake_providers_{name}", what, labels=["provider", "route", "status", "ended_by"]
            )
            for (provider, route, status, ended_by), count in counts.items():
                label = "" if status is None else str(status)
                family.add_metric([provider, route, label, ended_by], count)
            yield family
