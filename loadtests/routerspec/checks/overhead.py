"""What a router costs: overhead/latency, -first-token, -gaps, -hidden-cap and -throughput. Pure.

Decides nothing about a router: it measures, and what it found is never a violation. Refuses to
know why a router takes its time.

Every figure is a pair: the client's time less the provider's own, joined by the nonce, for the
requests through the router and for those that went straight to the fake in between. What is called
*added* is the difference of the two at the same quantile, in milliseconds; the harness's own cost
is in both and falls out. A quantile is told only where there are requests enough for it. Too few
pairs are ``inconclusive``.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import numpy as np

from fake_providers.records.evidence import Call
from routerspec.checks import results
from routerspec.checks.check import Check, needs_nothing
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Kind, Number

CONNECTIONS = (1, 8, 32)
"""Clients at once, of the rounds that are looked for."""
HIDDEN_CAP_STREAMS = 64
"""Streams that are offered at once."""
PAIRS = 10
"""Requests each way that a figure needs."""
QUANTILES = (50, 95, 99)
BLOCKS = 40
"""Parts, at most, in the order of time, of which each way's median is kept: two runs are compared
by them. Requests beside each other met the same machine: single ones would promise too much."""
WARM_NS = 100_000_000
"""Of a round with many clients: until then their connections are made, and nothing is counted."""
NEAR_DIRECT = 0.8
"""A router that is this near to the fakes' own pace may have been kept by them or by the load."""

Took = Callable[[Observation, tuple[Call, ...]], list[int]]
"""Client's time less the provider's, in nanoseconds: none where it cannot be told."""


def latency(history: History, _promises: Promises) -> Finding:
    """How much longer a whole answer takes."""
    return _added(history, "chat", _whole)


def first_token(history: History, _promises: Promises) -> Finding:
    """How much later the first piece of a stream comes."""
    return _added(history, "stream", _first)


def gaps(history: History, _promises: Promises) -> Finding:
    """How much further apart two pieces of a stream come than they do without the router."""
    return _added(history, "stream", _gaps)


def samples(history: History) -> dict[str, Mapping[str, Mapping[str, list[int]]]]:
    """What the figures of latency, first-token and gaps are made of, in nanoseconds.

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
            through, straight = (float(np.percentile(w, quantile)) / 1e6 for w in (router, direct))
            numbers[f"{cell} p{quantile}_ms"] = round(through, 3)
            numbers[f"{cell} direct p{quantile}_ms"] = round(straight, 3)
            numbers[f"{cell} added p{quantile}_ms"] = round(through - straight, 3)
        added.append(numbers[f"{cell} added p50_ms"])
        if took is not _gaps:  # Nothing is added to most gaps: there is no ratio to compare.
            samples |= {f"{cell} {way}": _blocks(its[:pairs]) for way, its in ways.items()}
    numbers["stalled_ms"] = _stalled_ms(history, mode)
    if not added:
        return results.inconclusive(
            f"fewer than {PAIRS} {mode} requests were answered both ways", numbers
        )
    result = results.observed(f"{max(added):+.2f} ms at the median", numbers)
    return dataclasses.replace(result, samples=samples)


def _blocks(took_ns: list[int]) -> tuple[float, ...]:
    """The median of each block, in milliseconds; block n of both ways was asked at one time."""
    parts = np.array_split(np.array(took_ns) / 1e6, min(BLOCKS, len(took_ns)))
    return tuple(round(float(np.median(part)), 3) for part in parts)


def _stalled_ms(history: History, mode: str) -> int:
    """The worst stall of either side of ours while it was measured: what the figures are worth."""
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


def hidden_cap(history: History, _promises: Promises) -> Finding:
    """How many of many streams are let through at once where no cap is set."""
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
            said = f"{through} of {HIDDEN_CAP_STREAMS} streams at once"
            stalled = start.worst_stall_ns(played.from_ns, played.until_ns)
            numbers |= {"refused": refused, "stalled_ms": round(stalled / 1e6)}
            return results.observed(said, numbers)
    return results.inconclusive("no stream was seen held while many were offered")


def throughput(history: History, _promises: Promises) -> Finding:
    """Requests a second with 1, 8 and 32 clients, through the router and straight to the fake."""
    numbers: dict[str, Number] = {}
    told = ""
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
        told = f"with {connections}: {router:.0f}/s of {direct:.0f}/s" + " (ours)" * bound
    numbers["stalled_ms"] = _stalled_ms(history, "chat")
    if not told:
        return results.inconclusive("too few requests were answered in the time")
    return results.observed(told, numbers)


def _per_second(history: History, part: str) -> float:
    """Answered requests a second of the last such round; 0 where there were too few.

    Counted from when the clients are warm until the last request began: all clients are busy then.
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
    "A measurement, never a violation. Both ways are asked in turn on a machine with nothing else "
    "of ours running; the fake's own time is taken off each request by its nonce. Compare the "
    "figures of one run only, or have `routerspec compare` do it."
)
_PAIRED = (
    "Requests through the router and straight to the fake leave in turn; from each the provider's "
    "own time is taken off, and the two are compared at p50, p95 and p99."
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
) -> Check:
    return Check(
        id=f"overhead/{name}",
        kind=Kind.OBSERVE,
        needs=needs_nothing,
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
        latency,
        promised="Observed: how much longer a whole answer takes through the router.",
        proved=_PAIRED,
        bug="What a gateway adds is mostly published by its vendor and measured with the network "
        "in it; a client pool that costs more with every connection is encode/httpx's.",
        fix="Keep connections to providers open; parse only what must be parsed.",
    ),
    _check(
        "first-token",
        "overhead",
        first_token,
        promised="Observed: how much later a stream's first piece comes through the router.",
        proved=_PAIRED,
        bug="Routers that collect pieces before they pass any on, or look up budgets and keys "
        "before the first.",
        fix="Pass each piece on as it comes.",
    ),
    _check(
        "gaps",
        "overhead",
        gaps,
        promised="Observed: how much further apart a stream's pieces come through the router.",
        proved="Streams of evenly paced pieces are read through the router and straight from the "
        "fake in turn, and the times between two pieces compared at p50, p95 and p99.",
        bug="Pieces that are gathered and sent in lumps: most gaps are nothing, a few are long.",
        fix="Flush after each piece; set TCP_NODELAY.",
    ),
    _check(
        "hidden-cap",
        "hidden-cap",
        hidden_cap,
        promised=f"Observed: how many of {HIDDEN_CAP_STREAMS} streams go through with no cap set.",
        proved="So many streams are held after their first piece, and the fakes are asked how many "
        "they hold once no more came.",
        bug="A connection pool below what is promised: httpx lets 100 connections be open by "
        "default; maximhq/bifrost PR #6802.",
        fix="Give the pool no bound of its own, or the cap's.",
    ),
    _check(
        "throughput",
        "overhead",
        throughput,
        promised="Observed: requests a second through the router, for 1, 8 and 32 clients.",
        proved="Each client sends its next request when it has its answer, through the router and "
        "then straight to the fake. A router within a fifth of the fake's own pace is flagged: "
        "then the fake or the load was the limit.",
        bug="A pool that looks through all of its connections for every request serves fewer the "
        "more there are.",
        fix="Measure with as many connections as are meant to be used.",
    ),
)
