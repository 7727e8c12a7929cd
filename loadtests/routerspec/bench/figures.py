"""The figures of a bench: from the records of one run to one row per router. Pure.

Decides how a figure is come by and when one is not the router's own. Refuses to know processes.

Every figure is made once a round: its value is the median over the rounds, with the quartiles.
*Added* is a quantile of (client's time less the provider's, joined by the nonce) less the same
quantile of the direct route in the same round. A quantile for which one round has too few requests
is taken over all rounds together, and has no quartiles. *Processor time a request* is that of the
router's processes in an interval, divided by the right answers in it: it is nearly the same on a
busy machine and on an idle one, where answers a second are not. A rate names all that was at its
limit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from fake_providers.records.evidence import Call
from routerspec.bench.intervals import LOADS, Clients, Interval
from routerspec.bench.limits import FAKES, LOAD, ROUTER, limits_of, mostly
from routerspec.bench.processor_time import MACHINE
from routerspec.records.observations import Observation, Record, Round, RoundEnd

DIRECT: Final = "direct"
QUANTILES: Final = (50, 95, 99)
LATE_MS: Final = 10.0
TYPICAL: Final = Clients(number=32, kept=True)
"""The load in which processor time is measured."""
_LEAST: Final = 10

Took = Callable[[Observation, Call], int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A median over the rounds with its quartiles; none where one round is too small for it."""

    value: float
    low: float | None = None
    high: float | None = None
    samples: int
    """Requests that it was made from."""
    limits: tuple[str, ...] = ()
    """What was at its limit, in at least half of the rounds: ``load``, ``fakes``, ``router``,
    ``machine``, ``refusals`` (the router's own). Empty: nothing was, or it is not a rate."""
    busy: Mapping[str, float] = field(default_factory=dict)
    """Of a rate: ``load``, ``fakes``, ``router``, ``machine`` -> processors kept busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One router, or the direct baseline."""

    name: str
    version: str
    answer_ms: Mapping[int, Figure]
    """Quantile -> added to a whole answer; of the direct baseline, its own cost."""
    first_ms: Mapping[int, Figure]
    per_s: Mapping[int, Figure]
    """Clients at once -> answers per second, with a new connection for each request."""
    kept_per_s: Mapping[int, Figure] = field(default_factory=dict)
    """The same with connections that are kept, as the SDKs of clients do."""
    idle_mb: float | None
    peak_mb: float | None
    """Under load."""
    cpu_ms: float | None
    """Processor time of the router for one request at 32 clients on kept connections."""
    cpu_quartiles_ms: tuple[float, float] | None = None
    reopened: float = 0.0
    """Share of the requests on kept connections before which the router had closed theirs."""
    unanswered: int
    requests: int = 0
    refused: Mapping[int, int] = field(default_factory=dict)
    """Status -> requests that the router itself refused with it: no provider saw them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The results of one bench."""

    rows: tuple[Row, ...]
    seed: int
    rounds: int
    processors: int
    late_ms: float
    """How late the fakes' own paced pieces were, at the 99th percentile of requests in turn."""
    notes: tuple[str, ...] = field(default=())
    placement: str = ""
    """Which processes share processors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One round of one router or of the baseline: requests and results."""

    mode: str
    part: str
    number: str
    from_ns: int
    until_ns: int
    asked: tuple[Observation, ...]


def row(
    name: str,
    version: str,
    *,
    slices: Mapping[str, Sequence[Slice]],
    calls: Mapping[int, Call],
    intervals: Sequence[Interval],
    seen: Set[int],
    idle_bytes: int | None,
    processors: int,
) -> Row:
    """The row of ``name``, compared with the direct baseline of the same rounds.

    ``intervals``: of all. ``seen``: nonces of their refused requests that a provider had all the
    same. ``idle_bytes``: the router's memory before any load.
    """
    own = slices.get(name, ())
    loaded = [each for each in intervals if each.name == name]
    refused = Counter(its for each in own for its in _refused(each, calls))
    for each in loaded:
        refused += Counter(_own_refusals(each, seen))
    failed = sum(client.outcome != "answered" for each in own for client in each.asked)
    failed += sum(len(each.refused) + sum(each.failed.values()) for each in loaded)
    cpu = _cpu_ms(loaded) if idle_bytes is not None else None
    rates: dict[bool, dict[int, Figure]] = {True: {}, False: {}}
    for clients in LOADS:
        figure = _rate([each for each in loaded if each.clients == clients], seen, processors)
        if figure is not None:
            rates[clients.kept][clients.number] = figure
    return Row(
        name=name,
        version=version,
        answer_ms=_added(own, slices[DIRECT], "chat", _whole, calls),
        first_ms=_added(own, slices[DIRECT], "stream", _first, calls),
        per_s=rates[False],
        kept_per_s=rates[True],
        idle_mb=idle_bytes / 1e6 if idle_bytes is not None else None,
        peak_mb=_peak_mb(loaded, idle_bytes),
        cpu_ms=cpu.value if cpu else None,
        cpu_quartiles_ms=(cpu.low, cpu.high) if cpu and cpu.low and cpu.high else None,
        unanswered=failed,
        requests=sum(len(each.asked) for each in own) + sum(each.sent for each in loaded),
        refused=refused,
        reopened=_reopened([each for each in loaded if each.clients.kept]),
    )


def _refused(each: Slice, calls: Mapping[int, Call]) -> list[int]:
    """Statuses of the requests that were refused and that no provider saw."""
    return [
        client.status or 0
        for client in each.asked
        if client.outcome == "refused" and client.nonce not in calls
    ]


def _own_refusals(each: Interval, seen: Set[int]) -> list[int]:
    return [status for nonce, status in each.refused if nonce not in seen]


def slices_of(records: Iterable[Record]) -> dict[str, list[Slice]]:
    """Way -> its rounds, in the order of play; those that were not played to their end left out."""
    begun: dict[int, Round] = {}
    ended: dict[int, int] = {}
    asked: defaultdict[int, list[Observation]] = defaultdict(list)
    for record in records:
        if isinstance(record, Round):
            begun[record.round] = record
        elif isinstance(record, RoundEnd):
            ended[record.round] = record.at_ns
        elif isinstance(record, Observation):
            asked[record.round].append(record)
    slices: defaultdict[str, list[Slice]] = defaultdict(list)
    for played in begun.values():
        if played.scenario == "bench" and played.round in ended and played.part != "warming":
            part, _, number = played.part.rpartition(" ")
            slices[played.route].append(
                Slice(
                    mode=played.mode,
                    part=part,
                    number=number,
                    from_ns=played.at_ns,
                    until_ns=ended[played.round],
                    asked=tuple(asked[played.round]),
                )
            )
    return dict(slices)


def late_ms(slices: Mapping[str, Sequence[Slice]], calls: Mapping[int, Call]) -> float:
    """How late the fakes were with their own pieces while requests were made in turn."""
    late = [
        calls[client.nonce].late_ns / 1e6
        for each in slices.values()
        for one in each
        if one.part == "in turn"
        for client in one.asked
        if client.nonce in calls
    ]
    return float(np.percentile(late, 99)) if late else 0.0


def _whole(client: Observation, call: Call) -> int:
    return client.end_ns - client.started_ns - (call.outer_end_ns - call.read_ns)


def _first(client: Observation, call: Call) -> int | None:
    if client.first_ns is None or call.first_ns is None:
        return None
    return client.first_ns - client.started_ns - (call.first_ns - call.read_ns)


def _added(
    own: Sequence[Slice],
    direct: Sequence[Slice],
    mode: str,
    took: Took,
    calls: Mapping[int, Call],
) -> dict[int, Figure]:
    through, straight = (_by_round(each, mode, took, calls) for each in (own, direct))
    both = [number for number in through if number in straight]
    every = [value for number in both for value in through[number]]
    against = {number: [0.0] if own is direct else straight[number] for number in both}
    figures = {}
    for quantile in QUANTILES:
        enough = max(_LEAST, 100 / (100 - quantile))
        if both and all(len(through[n]) >= enough <= len(straight[n]) for n in both):
            added = [_at(through[n], quantile) - _at(against[n], quantile) for n in both]
            figures[quantile] = _median(added, samples=len(every))
        elif len(every) >= enough:
            base = [value for number in both for value in against[number]]
            figures[quantile] = Figure(
                value=_at(every, quantile) - _at(base, quantile), samples=len(every)
            )
    return figures


def _by_round(
    slices: Sequence[Slice], mode: str, took: Took, calls: Mapping[int, Call]
) -> dict[str, list[float]]:
    rounds: dict[str, list[float]] = {}
    for each in slices:
        if each.part == "in turn" and each.mode == mode:
            values = [
                value / 1e6
                for client in each.asked
                if client.outcome == "answered" and client.nonce in calls
                if (value := took(client, calls[client.nonce])) is not None
            ]
            if values:
                rounds[each.number] = values
    return rounds


def _rate(rounds: Sequence[Interval], seen: Set[int], processors: int) -> Figure | None:
    """Right answers per second while all clients were busy."""
    count = sum(each.answered for each in rounds)
    if count < _LEAST:
        return None
    limits = [
        limits_of(
            each.usage,
            processors=processors,
            refused=len(_own_refusals(each, seen)) / max(1, each.sent),
        )
        for each in rounds
    ]
    busy = {
        who: float(np.median([each.usage.share(who) for each in rounds]))
        for who in (LOAD, FAKES, ROUTER, MACHINE)
        if all(who in each.usage.cpu_s for each in rounds)
    }
    rates = [each.answered / each.seconds for each in rounds]
    return _median(rates, samples=count, limits=mostly(limits), busy=busy)


def _cpu_ms(loaded: Sequence[Interval]) -> Figure | None:
    """The router's processor milliseconds per right answer."""
    rounds = [each for each in loaded if each.clients == TYPICAL and each.answered >= _LEAST]
    values = [
        each.usage.share(ROUTER) * each.seconds / each.answered * 1e3
        for each in rounds
        if ROUTER in each.usage.cpu_s
    ]
    return _median(values, samples=sum(each.answered for each in rounds)) if values else None


def _reopened(kept: Sequence[Interval]) -> float:
    opened = sum(each.opened - each.clients.number for each in kept)
    return max(0, opened) / max(1, sum(each.sent for each in kept))


def _peak_mb(loaded: Sequence[Interval], idle_bytes: int | None) -> float | None:
    if idle_bytes is None:
        return None
    return max([idle_bytes, *(each.rss_bytes for each in loaded)]) / 1e6


def _median(
    values: Sequence[float],
    *,
    samples: int,
    limits: tuple[str, ...] = (),
    busy: Mapping[str, float] | None = None,
) -> Figure:
    low, middle, high = (float(value) for value in np.percentile(values, (25, 50, 75)))
    return Figure(value=middle, low=low, high=high, samples=samples, limits=limits, busy=busy or {})


def _at(values: Sequence[float], quantile: int) -> float:
    return float(np.percentile(values, quantile))
