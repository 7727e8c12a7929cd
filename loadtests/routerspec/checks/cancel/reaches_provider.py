"""Disconnects reach the provider: cancel/reaches-provider."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import cells, results, witness
from routerspec.checks.check import Check
from routerspec.checks.deadlines import Deadlines
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Cancel
from routerspec.records.observations import STREAMED, Observation
from routerspec.verdict import Finding, Number, Witness

Place = tuple[str, str, str]
"""(route, mode, where the client disconnected: before-head, between-pieces, non-streaming)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _HangUp:
    """One client that disconnected from a provably held call."""

    start: StartHistory
    played: PlayedRound
    client: Observation
    left_ns: int
    calls: tuple[Call, ...]

    @property
    def took_ns(self) -> int | None:
        """From the disconnect to the last close that the provider saw; None: one it never saw."""
        closes = [call.peer_closed_ns for call in self.calls]
        known = [closed for closed in closes if closed is not None]
        return max(known) - self.left_ns if len(known) == len(closes) else None


@dataclass(slots=True)
class _Tally:
    """What the disconnects of one place showed; counted while they are read."""

    tries: int = 0
    closes: Deadlines[_HangUp] = field(default_factory=Deadlines)


def _reaches_provider(history: History, cancel: Cancel) -> Finding:
    within_ns = round(cancel.within_s * 1e9)
    tallies: defaultdict[Place, _Tally] = defaultdict(_Tally)
    longest = 0
    for hang_up in _hang_ups(history):
        its = tallies[(*hang_up.played.cell, hang_up.played.round.part)]
        its.tries += 1
        took_ns = hang_up.took_ns
        if took_ns is not None and took_ns <= within_ns:
            its.closes.met += 1
            longest = max(longest, took_ns)
        elif _was_late(hang_up, within_ns):
            if hang_up.start.is_quiet(hang_up.left_ns, hang_up.left_ns + within_ns, within_ns):
                its.closes.missed.append(hang_up)
            else:
                its.closes.noisy += 1
    in_time = sum(its.closes.met for its in tallies.values())
    numbers: dict[str, Number] = {
        "hang_ups": sum(its.tries for its in tallies.values()),
        "in_time": in_time,
        "longest_ms": round(longest / 1e6, 3),
    }
    expected = list(_expected(history))
    if not tallies and not expected:
        return results.never_exercised("no client disconnected from a held call", numbers)
    late = f"not within {cancel.within_s:g} s"
    return cells.judge(
        dict(sorted(tallies.items())),
        expected,
        accuse=lambda its: (
            (late, _witness(its.closes.proof, within_ns)) if its.closes.proof else None
        ),
        lacks=_lacks,
        held=f"{in_time} disconnects, seen within {longest / 1e6:.0f} ms",
        numbers=numbers,
        named=_name,
    )


def _hang_ups(history: History) -> Iterator[_HangUp]:
    """Clients that disconnected while a call of theirs was held, as the round meant them to."""
    for start, played in history.rounds("hang-up"):
        for client in played.observations:
            left_ns = client.hang_up_ns
            if left_ns is None or client.outcome != "hung_up":
                continue
            calls = tuple(
                call
                for call in start.calls_of.get(client.nonce, ())
                if len(call.nonces) == 1 and _held_at(call, left_ns)
            )
            if calls:
                yield _HangUp(
                    start=start, played=played, client=client, left_ns=left_ns, calls=calls
                )


def _held_at(call: Call, at_ns: int) -> bool:
    """It was held at that moment, and not closed yet."""
    return call.held_ns is not None and call.held_ns <= at_ns < call.outer_end_ns


def _was_late(hang_up: _HangUp, within_ns: int) -> bool:
    """A call of it was provably open when the deadline had passed."""
    deadline_ns = hang_up.left_ns + within_ns
    return any(
        call.outer_end_ns > deadline_ns
        and (call.peer_closed_ns is None or call.peer_closed_ns > deadline_ns)
        for call in hang_up.calls
    )


def _expected(history: History) -> Iterator[Place]:
    for route, mode in history.cells:
        if mode not in STREAMED:
            yield route, mode, "non-streaming"
            continue
        yield route, mode, "before-head"
        if not _never_streams(history, (route, mode)):
            yield route, mode, "between-pieces"


def _never_streams(history: History, cell: Cell) -> bool:
    """Calls were made for streams of this cell, and none of them streamed."""
    calls = [
        call
        for start, played in history.rounds("hang-up")
        if played.cell == cell
        for call in start.calls_for(played.observations)
    ]
    return bool(calls) and not any(call.stream for call in calls)


def _lacks(its: _Tally | None) -> str:
    if its is None:
        return "never exercised: no client disconnected from a held call"
    closes = its.closes
    if unproved := closes.unproved(f"of {its.tries} disconnects missed the deadline"):
        return unproved
    return "" if closes.met else "never exercised: no held call was open until its deadline"


def _witness(late: list[_HangUp], within_ns: int) -> Witness:
    facts: list[str] = []
    for hang_up in late:
        facts.append(witness.where(hang_up.start, hang_up.played))
        facts += [
            f"{witness.call_line(hang_up.start, hang_up.played, call)}; deadline "
            f"{witness.at(hang_up.played, hang_up.left_ns + within_ns)}"
            for call in hang_up.calls
        ]
    return Witness(
        sentence=(
            f"A disconnect is promised to reach the provider within {witness.seconds(within_ns)}; "
            f"{len(late)} times of {len(late)} the provider's call was still open after that."
        ),
        facts=tuple(facts),
    )


def _name(place: Place) -> str:
    return f"{place[0]}:{place[1]} {place[2]}"


REACHES_PROVIDER = Check(
    id="cancel/reaches-provider",
    promise=Cancel,
    scenarios=("hang-up",),
    judge=_reaches_provider,
    timed=True,
    promised="When a client disconnects, its provider sees the call closed within "
    "`cancel.within_s`: before the response headers, between two pieces, and without streaming.",
    proved="A client disconnects from a call that the fake holds, and `cancel.within_s` later the "
    "call is still open: three times of three on one route and mode, at the same place.",
    doubt="In the router's favour: a disconnect during which either side reported a stall of a "
    "tenth of the deadline is left out, and so is a call that ended for another reason before its "
    "deadline; fewer than three late ones are inconclusive. Requests abandoned in the queue are "
    "judged by cancel/queued-stays-home.",
    bug="The disconnect is noticed only at the next write, or swallowed by a middleware, so the "
    "model keeps generating: BerriAI/litellm #13774, PR #30223 and PR #30245.",
    fix="Watch for the client's close while waiting for the provider, and close the upstream call "
    "in a `finally` that cancellation goes through.",
)
