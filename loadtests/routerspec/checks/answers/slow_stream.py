"""Streams that last longer than the router's timeout: answers/slow-stream."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.checks import cells, results, witness
from routerspec.checks.answers import tokens
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.limits import GAP_S
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

_FLOWING: Final = 3
"""Pieces from which on a stream flows."""
_BEFORE: Final = 0.8
"""Of the timeout: a stream that was cut off sooner was not cut off by it."""

Missed = tuple[StartHistory, PlayedRound, Observation, Call]


def _slow_stream(history: History, _promises: Promises) -> Finding:
    tallies: defaultdict[Cell, Deadlines[Missed]] = defaultdict(Deadlines)
    for start, played in history.rounds("idle-timeout"):
        for client in played.observations:
            _add(tallies[client.route, client.mode], start, played, client)
    met = sum(its.met for its in tallies.values())
    numbers = {"streams": met}
    for cell, its in tallies.items():
        if its.proof:
            summary = f"a stream that flows is cut off: {cells.name(cell)}"
            return results.violated(summary, _witness(its.proof), numbers)

    def lacks(cell: Cell) -> str:
        its = tallies.get(cell)
        return "" if its is not None and its.met else "no slow stream arrived whole"

    tried = sorted({cell for cell in tallies if cell in history.cells})
    if not tried:
        return results.never_exercised("no stream was slow", numbers)
    if reasons := cells.lacking(tried, lacks):
        return results.inconclusive(reasons, numbers)
    return results.held(f"{met} streams longer than the timeout, each whole", numbers)


def _add(
    its: Deadlines[Missed], start: StartHistory, played: PlayedRound, client: Observation
) -> None:
    calls = start.calls_of.get(client.nonce, ())
    if not calls or client.hang_up_ns is not None or start.router_died:
        return
    call = calls[-1]
    if client.outcome == "answered" and tokens.whole(start, client):
        its.met += 1
        return
    timeout_ns = start.info.settings.timeout_s * 1e9
    lasted_ns = client.end_ns - client.started_ns
    if call.status != 200 or call.pieces < _FLOWING or lasted_ns < _BEFORE * timeout_ns:
        return
    # How long the provider may have been silent at most, by its own account.
    silent_ns = GAP_S * 1e9 + call.late_ns
    if 2 * silent_ns > timeout_ns or not start.is_quiet(
        client.started_ns, client.end_ns, timeout_ns
    ):
        its.noisy += 1
        return
    its.missed.append((start, played, client, call))


def _witness(missed: list[Missed]) -> Witness:
    start, _, client, _ = missed[0]
    timeout_s = start.info.settings.timeout_s
    return Witness(
        sentence=(
            f"The router's timeout is {timeout_s:g} s, and the provider was silent for {GAP_S:g} s "
            f"at a time; the stream of nonce {client.nonce} was cut off after "
            f"{witness.seconds(client.end_ns - client.started_ns)}, each of {len(missed)} times."
        ),
        facts=tuple(
            line
            for start, played, client, call in missed
            for line in (
                witness.where(start, played),
                witness.nonce_line(played, client),
                f"{client.pieces} pieces read, finish {client.finish!r}, "
                f"error {client.error[:120]!r}",
                witness.attempt_line(start, played, call),
            )
        ),
    )


def _bounds_all(promises: Promises) -> str:
    return "" if promises.timeout == "idle" else "the timeout is promised to bound whole answers"


SLOW_STREAM = Check(
    id="answers/slow-stream",
    promise=Promises,
    exempt=_bounds_all,
    scenarios=("idle-timeout",),
    start="short-timeout",
    judge=_slow_stream,
    promised="A stream whose provider is never silent for as long as the timeout arrives whole, "
    "however long it lasts.",
    proved="Three times of three on a route a stream of a piece every 0.4 s was cut off at about "
    "the timeout that the router was started with, or later, and none arrived whole.",
    doubt="In the router's favour: not applicable where the target promises "
    '`timeout = "total"`, or has no {timeout_s}. A stream that ended sooner, and one beside which '
    "either side stalled, accuse nobody. Inconclusive where no slow stream of a route arrived.",
    bug="A timeout of whole requests cuts long answers off in the middle: NVIDIA/NeMo-Relay #1050, "
    "NVIDIA/nvcf #1060, pydantic/logfire #1882.",
    fix="Bound the wait for the response headers and the silence between two reads, not the whole "
    "stream.",
)
