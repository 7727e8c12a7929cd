"""What a router costs: overhead/latency, first-token, gaps, hidden-cap and throughput.

Every figure is a pair: the client's time less the provider's own, joined by the nonce, for the
requests through the router and for direct ones to the fake in between. *Added* is the difference of
the two at the same quantile, in milliseconds; the harness's own cost is in both and cancels out. A
quantile is given only where there are requests enough for it.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import numpy as np

from fake_providers.records.evidence import Call
from routerspec.checks import results
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import CONNECTIONS, HIDDEN_CAP_STREAMS
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Kind, Number

PAIRS = 10
"""Requests each way that a figure needs."""
QUANTILES = (50, 95, 99)
BLOCKS = 40
"""Parts, at most, in the order of time, of which both medians are kept: two runs are compared by
them. Neighbouring requests met the same machine: single ones would promise too much precision."""
WARM_NS = 100_000_000
"""At the start of a round with many clients, connections are made and nothing is counted."""
NEAR_DIRECT = 0.8
"""A router this close to the direct rate may have been limited by the fakes or by the load."""

Took = Callable[[Observation, tuple[Call, ...]], list[int]]
"""Client's time less the provider's, in nanoseconds: none where it is not known."""


def _latency(history: History, _promises: Promises) -> Finding:
    return _added(history, "chat", _whole)


def _first_token(history: History, _promises: Promises) -> Finding:
    return _added(history, "stream", _first)


def _inter_token(history: History, _promises: Promises) -> Finding:
    return _added(history, "stream", _gaps)


def samples(history: History) -> dict[str, Mapping[str, Mapping[str, list[int]]]]:
    """The times behind the figures of latency, first-token and gaps, in nanoseconds.

    Check id -> ``route:mode`` -> ``router`` or ``direct`` -> times, less the provider's own.
    """
    return {
        "overhead/latency": _in_turn(history, "chat", _whole),
        "overhead/first-token": _in_turn(history, "stream", _first),
        "overhead/gaps": _in_turn(history, "stream", _gaps),
    }


def _whole(client: Observation, calls: tuple[Call, ...]) -> list[int]:
    its = sum(call.outer_end_ns - call.read_ns for call in calls)
    return [client.end_ns - client.started_ns - its]


def _first(client: Observation, calls: tuple[Call, ...]) -> list[int]:
    if client.first_ns is None or len(calls) != 1 or calls[0].first_ns is None:
        return []
    return [client.first_ns - client.started_ns - (calls[0].first_ns - calls[0].read_ns)]


def _gaps(client: Observation, _calls: tuple[Call, ...]) -> list[int]:
    """The fake paces its pieces, so its own part is the same both ways and falls out."""
    stamps = client.piece_ns
    return [after - before for before, after in pairwise(stamps)]


def _added(history: History, mode: str, took: Took) -> Finding:
    numbers: dict[str, Number] = {}
    samples: dict[str, tuple[float, ...]] = {}
    added: list[Number] = []
    for cell, ways in _in_turn(history, mode, took).items():
        router, direct = ways["router"], ways["direct"]
        pairs = min(len(router), len(direct))
        if pairs < PAIRS:
            continue
        numbers[f"{cell} samples"] = pairs
        for quantile in QUANTILES:
            if pairs * (100 - quantile) < 100:
                continue
            via, straight = (float(np.percentile(its, quantile)) / 1e6 for its in (router, direct))
            numbers[f"{cell} p{quantile}_ms"] = round(via, 3)
            numbers[f"{cell} direct p{quantile}_ms"] = round(straight, 3)
            numbers[f"{cell} added p{quantile}_ms"] = round(via - straight, 3)
        added.append(numbers[f"{cell} added p50_ms"])
        if took is not _gaps:  # Nothing is added to most gaps: there is no ratio to compare.
            samples |= {f"{cell} {way}": _blocks(its[:pairs]) for way, its in ways.items()}
    numbers["stalled_ms"] = _stalled_ms(history, mode)
    if not added:
        unserved = "; the router serves nobody" if _is_unserved(history, mode) else ""
        return results.inconclusive(
            f"fewer than {PAIRS} {mode} requests were answered both ways{unserved}", numbers
        )
    result = results.observed(f"{max(added):+.2f} ms at the median", numbers)
    return dataclasses.replace(result, samples=samples)


def _is_unserved(history: History, mode: str) -> bool:
    """Through the router clients of this mode timed out, and none was served."""
    ends = {
        client.outcome
        for _, played in history.rounds("overhead")
        if played.round.mode == mode and played.round.part.endswith(" router")
        for client in played.observations
    }
    return ends == {"timed_out"}


def _blocks(took_ns: list[int]) -> tuple[float, ...]:
    """The median of each block, in milliseconds; block n of both was requested at one time."""
    parts = np.array_split(np.array(took_ns) / 1e6, min(BLOCKS, len(took_ns)))
    return tuple(round(float(np.median(part)), 3) for part in parts)


def _stalled_ms(history: History, mode: str) -> int:
    """The worst stall of either side during the measurement, in milliseconds."""
    stalls = (
        start.worst_stall_ns(played.from_ns, played.until_ns)
        for start, played in history.rounds("overhead")
        if played.round.mode == mode
    )
    return round(max(stalls, default=0) / 1e6)


def _in_turn(history: History, mode: str, took: Took) -> Mapping[str, defaultdict[str, list[int]]]:
    """``route:mode`` -> ``router`` or ``direct`` -> what the answered requests took."""
    cells: defaultdict[str, defaultdict[str, list[int]]]
    cells = defaultdict(lambda: defaultdict(list))
    for start, played in history.rounds("overhead"):
        begun = played.round
        if begun.mode == mode and begun.part.startswith("in turn "):
            way = begun.part.removeprefix("in turn ")
            for client, calls in _answered(start, played):
                cells[f"{begun.route}:{mode}"][way] += took(client, calls)
    return cells


def _answered(
    start: StartHistory, played: PlayedRound
) -> Iterable[tuple[Observation, tuple[Call, ...]]]:
    for client in played.observations:
        calls = start.calls_of.get(client.nonce, ())
        if client.outcome == "answered" and client.status == 200 and calls:
            yield client, calls


def _hidden_cap(history: History, _promises: Promises) -> Finding:
    for start, played in history.rounds("hidden-cap"):
        if start.info.settings.cap is not None:
            return results.not_applicable("it cannot be started with no cap set")
        through = max(
            (len(snapshot.held) for snapshot in played.snapshots if snapshot.settled), default=0
        )
        if through:
            numbers = {
                "offered": HIDDEN_CAP_STREAMS,
                "let_through": through,
                "hidden_cap": int(through < HIDDEN_CAP_STREAMS),
            }
            refused = sum(client.outcome == "refused" for client in played.observations)
            summary = f"{through} of {HIDDEN_CAP_STREAMS} streams at once"
            stalled = start.worst_stall_ns(played.from_ns, played.until_ns)
            numbers |= {"refused": refused, "stalled_ms": round(stalled / 1e6)}
            return results.observed(summary, numbers)
    return results.inconclusive("no snapshot shows a stream held while many were offered")


def _throughput(history: History, _promises: Promises) -> Finding:
    numbers: dict[str, Number] = {}
    summary = ""
    for connections in CONNECTIONS:
        router = _per_second(history, f"{connections} router")
        direct = _per_second(history, f"{connections} direct")
        if not router or not direct:
            continue
        bound = router >= NEAR_DIRECT * direct
        numbers |= {
            f"{connections} router_per_s": round(router, 1),
            f"{connections} direct_per_s": round(direct, 1),
            f"{connections} limited_by_harness": int(bound),
        }
        summary = (
            f"with {connections} clients: {router:.0f}/s of {direct:.0f}/s"
            + " (limited by the harness)" * bound
        )
    numbers["stalled_ms"] = _stalled_ms(history, "chat")
    if not summary:
        return results.inconclusive("too few requests were answered in the time")
    return results.observed(summary, numbers)


def _per_second(history: History, part: str) -> float:
    """Answered requests a second of the last such round; 0 where there were too few.

    Counted from the end of the warm-up until the last request began: all clients are busy then.
    """
    rate = 0.0
    for start, played in history.rounds("overhead"):
        if played.round.part == part and played.observations:
            begins = [client.started_ns for client in played.observations]
            from_ns, until_ns = min(begins) + WARM_NS, max(begins)
            count = sum(
                from_ns < client.end_ns <= until_ns for client, _ in _answered(start, played)
            )
            rate = count * 1e9 / (until_ns - from_ns) if count >= PAIRS else 0.0
    return rate


_DOUBT = (
    "A measurement, never a violation. Requests alternate between the router and the fake on a "
    "machine on which the harness runs nothing else; the fake's own time is subtracted from each "
    "request by its nonce. Compare the figures of one run only, or use `routerspec compare`."
)
_PAIRED = (
    "Requests through the router and directly to the fake alternate; from each the provider's own "
    "time is subtracted, and the two are compared at p50, p95 and p99."
)


def _check(
    name: str,
    scenario: str,
    judge: Callable[[History, Promises], Finding],
    *,
    promised: str,
    proved: str,
    bug: str,
    fix: str,
) -> Check[Promises]:
    return Check(
        id=f"overhead/{name}",
        kind=Kind.OBSERVE,
        promise=Promises,
        scenarios=(scenario,),
        judge=judge,
        promised=promised,
        proved=proved,
        doubt=_DOUBT,
        bug=bug,
        fix=fix,
    )


CHECKS = (
    _check(
        "latency",
        "overhead",
        _latency,
        promised="Observed only: the latency that the router adds to a whole answer.",
        proved=_PAIRED,
        bug="The added latency of a gateway is mostly published by its vendor, with the network "
        "included; client pools that cost more with every connection (encode/httpx).",
        fix="Keep connections to providers open; parse only what must be parsed.",
    ),
    _check(
        "first-token",
        "overhead",
        _first_token,
        promised="Observed only: the time that the router adds to a stream's first token (TTFT).",
        proved=_PAIRED,
        bug="Routers that collect pieces before they forward any, or look up budgets and keys "
        "before the first.",
        fix="Forward each piece as it comes.",
    ),
    _check(
        "gaps",
        "overhead",
        _inter_token,
        promised="Observed only: the inter-token latency that the router adds to a stream.",
        proved="Streams of evenly paced pieces are read through the router and directly from the "
        "fake in turn, and the times between two pieces compared at p50, p95 and p99.",
        bug="Pieces that are collected and sent in bursts: most gaps are zero, a few are long.",
        fix="Flush after each piece; set TCP_NODELAY.",
    ),
    _check(
        "hidden-cap",
        "hidden-cap",
        _hidden_cap,
        promised=f"Observed only: how many of {HIDDEN_CAP_STREAMS} streams go through with no cap "
        "set.",
        proved=f"{HIDDEN_CAP_STREAMS} streams are held after their first piece, and the fakes "
        "count what they hold once no more arrive.",
        bug="A connection pool smaller than the promised concurrency: httpx opens 100 connections "
        "by default; maximhq/bifrost PR #6802.",
        fix="Give the pool no limit of its own, or that of the cap.",
    ),
    _check(
        "throughput",
        "overhead",
        _throughput,
        promised="Observed only: requests a second through the router, for 1, 8 and 32 clients.",
        proved="Each client sends its next request when it has its answer, through the router and "
        "then directly to the fake. A router within a fifth of the direct rate is flagged: then "
        "the fake or the load was the limit.",
        bug="A pool that scans all of its connections for every request serves fewer requests the "
        "more connections there are.",
        fix="Measure with as many connections as are meant to be used.",
    ),
)
