"""The figures of a bench: from the records of one run to one row per router. Pure.

Decides how a figure is come by and when one is not the router's own. Refuses to know processes.

Every figure is made once a round; what is told is the median over the rounds and the quartiles.
*Added* is a quantile of (client's time less the provider's, joined by the nonce) less the same
quantile of the straight way in the same round. A quantile for which one round has too few requests
is taken over all rounds together, and has no quartiles. A figure for which the load process, the
fakes or the machine had no processor left says so: then the router could have done more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from fake_providers.records.evidence import Call
from routerspec.limits import BENCH_CONNECTIONS
from routerspec.records.observations import Observation, Record, Round, RoundEnd

DIRECT: Final = "direct"
QUANTILES: Final = (50, 95, 99)
BUSY: Final = 0.9
"""A share of one processor above which a process of ours may have been the limit."""
NO_ROOM: Final = 0.95
"""A share of all processors above which the machine was saturated."""
LATE_MS: Final = 10.0
MANY_REFUSED: Final = 0.05
"""A share of requests refused by the router itself above which they are its limit."""
_WARM_NS: Final = 100_000_000
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
    """What else was the limit, in at least half of the rounds: load, fakes, machine, refusals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Resources that each process had used at one moment."""

    at_ns: int
    cpu_s: Mapping[str, float]
    """``load``, ``fakes``, ``machine``, or a router by name -> processor seconds used."""
    rss_bytes: Mapping[str, int]
    """A router by name -> resident memory of its whole process tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One router, or the direct baseline."""

    name: str
    version: str
    answer_ms: Mapping[int, Figure]
    """Quantile -> added to a whole answer; of the direct baseline, its own cost."""
    first_ms: Mapping[int, Figure]
    per_s: Mapping[int, Figure]
    """Connections -> answers per second."""
    idle_mb: float | None
    peak_mb: float | None
    cpu_ms: float | None
    """Processor time of the router for one request, over the whole bench."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
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
    slices: Mapping[str, Sequence[_Slice]],
    calls: Mapping[int, Call],
    samples: Sequence[Sample],
    processors: int,
) -> Row:
    """The row of ``name``, compared with the direct baseline of the same rounds."""
    own = slices[name]
    answered = sum(client.outcome == "answered" for each in own for client in each.asked)
    used = _used(samples, name)
    memory = [sample.rss_bytes[name] / 1e6 for sample in samples if name in sample.rss_bytes]
    return Row(
        name=name,
        version=version,
        answer_ms=_added(own, slices[DIRECT], "chat", _whole, calls),
        first_ms=_added(own, slices[DIRECT], "stream", _first, calls),
        per_s={
            connections: figure
            for connections in BENCH_CONNECTIONS
            if (figure := _per_second(own, connections, samples, processors, calls)) is not None
        },
        idle_mb=memory[0] if memory else None,
        peak_mb=max(memory) if memory else None,
        cpu_ms=used * 1e3 / answered if used is not None and answered else None,
        unanswered=sum(client.outcome != "answered" for each in own for client in each.asked),
        requests=sum(len(each.asked) for each in own),
        refused=Counter(its for each in own for its in _refused(each, calls)),
    )


def _refused(each: _Slice, calls: Mapping[int, Call]) -> list[int]:
    """Statuses of the requests that were refused and that no provider saw."""
    return [
        client.status
        for client in each.asked
        if client.outcome == "refused" and client.status and client.nonce not in calls
    ]


def slices_of(records: Iterable[Record]) -> dict[str, list[_Slice]]:
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
    slices: defaultdict[str, list[_Slice]] = defaultdict(list)
    for played in begun.values():
        if played.scenario == "bench" and played.round in ended and played.part != "warming":
            part, _, number = played.part.rpartition(" ")
            slices[played.route].append(
                _Slice(
                    mode=played.mode,
                    part=part,
                    number=number,
                    from_ns=played.at_ns,
                    until_ns=ended[played.round],
                    asked=tuple(asked[played.round]),
                )
            )
    return dict(slices)


def late_ms(slices: Mapping[str, Sequence[_Slice]], calls: Mapping[int, Call]) -> float:
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


def share(samples: Sequence[Sample], who: str, from_ns: int, until_ns: int) -> float:
    """Share of one processor that ``who`` used between two moments; 0 without samples."""
    stamps = [sample.at_ns for sample in samples if who in sample.cpu_s]
    used = [sample.cpu_s[who] for sample in samples if who in sample.cpu_s]
    if len(stamps) < 2 or until_ns <= from_ns:
        return 0.0
    begin, end = np.interp([from_ns, until_ns], stamps, used)
    return float(end - begin) * 1e9 / (until_ns - from_ns)


def _whole(client: Observation, call: Call) -> int:
    return client.end_ns - client.started_ns - (call.outer_end_ns - call.read_ns)


def _first(client: Observation, call: Call) -> int | None:
    if client.first_ns is None or call.first_ns is None:
        return None
    return client.first_ns - client.started_ns - (call.first_ns - call.read_ns)


def _added(
    own: Sequence[_Slice],
    direct: Sequence[_Slice],
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
    slices: Sequence[_Slice], mode: str, took: Took, calls: Mapping[int, Call]
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


def _per_second(
    own: Sequence[_Slice],
    connections: int,
    samples: Sequence[Sample],
    processors: int,
    calls: Mapping[int, Call],
) -> Figure | None:
    """Counted from when the clients are warm until the last request began: all are busy then."""
    rates: list[float] = []
    limits: defaultdict[str, int] = defaultdict(int)
    count = 0
    for each in own:
        if each.part != f"{connections} at once" or not each.asked:
            continue
        begins = [client.started_ns for client in each.asked]
        from_ns, until_ns = min(begins) + _WARM_NS, max(begins)
        if until_ns <= from_ns:
            continue
        done = sum(
            client.outcome == "answered" and from_ns < client.end_ns <= until_ns
            for client in each.asked
        )
        count += done
        rates.append(done * 1e9 / (until_ns - from_ns))
        for who, most in (("load", BUSY), ("fakes", BUSY), ("machine", NO_ROOM * processors)):
            limits[who] += share(samples, who, from_ns, until_ns) > most
        limits["refusals"] += len(_refused(each, calls)) > MANY_REFUSED * len(each.asked)
    if count < _LEAST:
        return None
    told = tuple(who for who, times in limits.items() if times * 2 >= len(rates))
    return _median(rates, samples=count, limits=told)


def _median(values: Sequence[float], *, samples: int, limits: tuple[str, ...] = ()) -> Figure:
    low, middle, high = (float(value) for value in np.percentile(values, (25, 50, 75)))
    return Figure(value=middle, low=low, high=high, samples=samples, limits=limits)


def _at(values: Sequence[float], quantile: int) -> float:
    return float(np.percentile(values, quantile))


def _used(samples: Sequence[Sample], name: str) -> float | None:
    used = [sample.cpu_s[name] for sample in samples if name in sample.cpu_s]
    return used[-1] - used[0] if len(used) > 1 else None
