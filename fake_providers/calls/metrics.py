"""The metrics: calls in flight and their peak, how calls ended, how late the fakes were.

The recorder updates them in the step in which something happens, so a number is right the moment
it is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

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

METRICS_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
"""In the value of a label."""
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
        if self.now > self.peak:  # noqa: PLR1730 - a call costs more, four times a request
            self.peak = self.now

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
        self.token_counts: Counter[tuple[str, str, int]] = Counter()
        """(provider, route, status) -> token counts."""
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


class Exposition:
    """The metrics in Prometheus' text format 0.0.4."""

    def __init__(
        self, metrics: Metrics, *, held: Callable[[], Counter[str]], stalled_ns: Callable[[], int]
    ) -> None:
        self._metrics = metrics
        self._held = held
        self._stalled_ns = stalled_ns

    def text(self) -> bytes:
        """The body of ``/metrics``."""
        families = (*self._levels(), *self._counts(), *self._times())
        return "".join(families).encode()

    def _levels(self) -> Iterator[str]:
        metrics = self._metrics
        for by, levels in (("route", metrics.routes), ("model", metrics.models)):
            name = "calls" if by == "route" else "model_calls"
            labels = ["provider", by]
            yield _family(
                f"open_{name}",
                "gauge",
                f"Calls open now, by {by}.",
                [(_labels(labels, key), level.now) for key, level in levels.items()],
            )
            yield _family(
                f"peak_open_{name}",
                "gauge",
                f"Most open at once, by {by}.",
                [(_labels(labels, key), level.peak) for key, level in levels.items()],
            )
        holding = self._held()
        by_provider = [(name, _labels(["provider"], [name])) for name in metrics.providers]
        yield _family(
            "held_calls",
            "gauge",
            "Calls held at a gate now.",
            [(labels, holding[name]) for name, labels in by_provider],
        )
        yield _family(
            "peak_open_provider_calls",
            "gauge",
            "Most calls of a provider open at once.",
            [(labels, metrics.providers[name].peak) for name, labels in by_provider],
        )
        yield _family(
            "peak_open_all_calls",
            "gauge",
            "Most calls open at once, of all providers together.",
            [("", metrics.total.peak)],
        )

    def _counts(self) -> Iterator[str]:
        names = ["provider", "route", "status", "ended_by"]
        for name, what, counts in (
            ("calls_total", "Calls that have ended.", self._metrics.calls),
            (
                "list_fetches_total",
                "Fetches of a model list that have ended.",
                self._metrics.fetches,
            ),
        ):
            samples = []
            for (provider, route, status, ended_by), count in counts.items():
                label = "" if status is None else str(status)
                samples.append((_labels(names, [provider, route, label, ended_by]), count))
            yield _family(name, "counter", what, samples)
        if counts_of := self._metrics.token_counts:
            yield _family(
                "token_counts_total",
                "counter",
                "Token counts that were answered.",
                [
                    (_labels(names[:3], [provider, route, str(status)]), count)
                    for (provider, route, status), count in counts_of.items()
                ],
            )

    def _times(self) -> Iterator[str]:
        buckets, sum_s = self._metrics.lateness()
        samples: list[tuple[str, float]] = [
            ("_bucket" + _labels(["le"], [bound]), count) for bound, count in buckets
        ]
        samples += [("_count", buckets[-1][1]), ("_sum", sum_s)]
        yield _family(
            "lateness_seconds", "histogram", "How late the paced steps of answers were.", samples
        )
        yield _family(
            "worst_stall_seconds",
            "gauge",
            "The longest time for which this process was kept from running.",
            [("", self._stalled_ns() / 1e9)],
        )


def _family(name: str, kind: str, what: str, samples: Iterable[tuple[str, float]]) -> str:
    """One metric. ``samples``: (what follows its name, value)."""
    name = f"fake_providers_{name}"
    lines = [f"{name}{more} {float(value)}\n" for more, value in samples]
    return "".join((f"# HELP {name} {what}\n# TYPE {name} {kind}\n", *lines))


def _labels(names: Iterable[str], values: Iterable[str]) -> str:
    pairs = (
        f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(names, values, strict=True)
    )
    return "{" + ",".join(pairs) + "}"
