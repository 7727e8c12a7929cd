"""Hang-ups and the provider: cancel/reaches-provider, cancel/queued-stays-home. Pure.

Decides whether the provider is told of a client's hang-up within the promised time, and whether a
request whose client left the queue stays away from it. What becomes of the others is
``checks.neighbours``. Refuses to know how a router notices.

Direction of doubt: a deadline accuses only where three hang-ups of three in one cell missed it,
each while neither side confessed a stall of a tenth of it; a call that ended for another reason
before its deadline is left out. A hang-up in the queue has no call that a provider could see the
end of: it is on time when nothing of it ever arrives, which is cancel/queued-stays-home.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import LEFT_BEFORE_S
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Number, Witness

TRIES = 3
"""Hang-ups of one cell, all of them late, that it takes to accuse."""
QUIET = 0.1
"""Of a deadline: a confessed stall as long as that takes a hang-up out."""
DEPARTED = 2
"""Clients that left, and whose requests ran all the same, that it takes to accuse."""

Place = tuple[str, str, str]
"""(route, mode, where the client left: before-head, between-pieces, non-streaming)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _HangUp:
    """One client that left a call which was provably held."""

    start: StartHistory
    played: PlayedRound
    client: Observation
    left_ns: int
    calls: tuple[Call, ...]

    @property
    def took_ns(self) -> int | None:
        """From the hang-up to the last close that the provider saw; None: one it never saw."""
        closes = [call.peer_closed_ns for call in self.calls]
        seen = [closed for closed in closes if closed is not None]
        return max(seen) - self.left_ns if len(seen) == len(closes) else None


@dataclass(slots=True)
class _Tally:
    """What the hang-ups of one place showed; filled while they are read."""

    tries: int = 0
    in_time: int = 0
    noisy: int = 0
    late: list[_HangUp] = field(default_factory=list)


def reaches_provider(history: History, promises: Promises) -> Finding:
    """The provider sees the close of a call within ``cancel.within_s`` of its client's hang-up.

    Doubt: as the module says. A route whose stream asks its provider without streaming cannot be
    left between two pieces; it is left out there.
    """
    assert promises.cancel is not None
    within_ns = round(promises.cancel.within_s * 1e9)
    tallies: defaultdict[Place, _Tally] = defaultdict(_Tally)
    longest = 0
    for hang_up in _hang_ups(history):
        tally = tallies[(*hang_up.played.cell, hang_up.played.round.part)]
        tally.tries += 1
        took_ns = hang_up.took_ns
        if took_ns is not None and took_ns <= within_ns:
            tally.in_time += 1
            longest = max(longest, took_ns)
        elif _was_late(hang_up, within_ns):
            if _quiet(hang_up, within_ns):
                tally.late.append(hang_up)
            else:
                tally.noisy += 1
    numbers: dict[str, Number] = {
        "hang_ups": sum(tally.tries for tally in tallies.values()),
        "in_time": sum(tally.in_time for tally in tallies.values()),
        "longest_ms": round(longest / 1e6, 3),
    }
    broken = {
        _name(place): tally
        for place, tally in sorted(tallies.items())
        if len(tally.late) >= TRIES and not tally.in_time
    }
    if broken:
        worst = next(iter(broken))
        shown = _late_witness(broken[worst].late[:TRIES], within_ns, results.others(worst, broken))
        summary = f"not within {promises.cancel.within_s:g} s: {results.first(worst, broken)}"
        return results.violated(summary, shown, numbers)
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for place in _expected(history):
        if reason := _missing(tallies.get(place)):
            reasons[reason].append(_name(place))
    if reasons:
        return results.inconclusive(results.joined(reasons), numbers)
    if not tallies:
        return results.inconclusive("never exercised: nobody hung up on a held call", numbers)
    return results.held(
        f"{numbers['in_time']} hang-ups, seen within {longest / 1e6:.0f} ms", numbers
    )


def _hang_ups(history: History) -> Iterator[_HangUp]:
    """Clients that left while a call of theirs was held, in rounds that meant them to."""
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
    """It was holding at that moment, and nobody had closed it yet."""
    return call.held_ns is not None and call.held_ns <= at_ns < call.outer_end_ns


def _was_late(hang_up: _HangUp, within_ns: int) -> bool:
    """A call of it was provably open when the deadline had passed."""
    deadline_ns = hang_up.left_ns + within_ns
    return any(
        call.outer_end_ns > deadline_ns
        and (call.peer_closed_ns is None or call.peer_closed_ns > deadline_ns)
        for call in hang_up.calls
    )


def _quiet(hang_up: _HangUp, within_ns: int) -> bool:
    stall_ns = hang_up.start.worst_stall_ns(hang_up.left_ns, hang_up.left_ns + within_ns)
    return stall_ns < QUIET * within_ns


def _expected(history: History) -> Iterator[Place]:
    for route, mode in history.cells:
        if mode != "stream":
            yield route, mode, "non-streaming"
            continue
        yield route, mode, "before-head"
        if not _never_streams(history, route):
            yield route, mode, "between-pieces"


def _never_streams(history: History, route: str) -> bool:
    """Calls were made for streams of this route, and none of them streamed."""
    calls = [
        call
        for start, played in history.rounds("hang-up")
        if played.cell == (route, "stream")
        for client in played.observations
        for call in start.calls_of.get(client.nonce, ())
    ]
    return bool(calls) and not any(call.stream for call in calls)


def _missing(tally: _Tally | None) -> str:
    """What a place still owes before it is held; empty for nothing."""
    if tally is None:
        return "never exercised: nobody hung up on a held call"
    if tally.late or tally.noisy:
        return (
            f"{len(tally.late)} of {tally.tries} hang-ups missed the deadline in a quiet moment, "
            f"{tally.noisy} in one that was not; {TRIES} of {TRIES} would prove it"
        )
    return "" if tally.in_time else "never exercised: no held call was open until its deadline"


def _late_witness(late: list[_HangUp], within_ns: int, more: tuple[str, ...]) -> Witness:
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
            f"A hang-up is promised to reach the provider within {witness.seconds(within_ns)}; "
            f"{len(late)} times of {len(late)} the provider's call was still open then."
        ),
        facts=(*facts, *more),
    )


def _name(place: Place) -> str:
    return f"{place[0]}:{place[1]} {place[2]}"


def queued_stays_home(history: History, promises: Promises) -> Finding:
    """A request whose client left the queue never reaches the provider.

    Doubt: only a call that was read at least a second (and ``cancel.within_s``) after the
    hang-up accuses, and only where two clients' did: a client that leaves as its turn comes may
    be too late. In a moment that was not quiet nothing is concluded.
    """
    assert promises.cancel is not None
    margin_ns = round(max(LEFT_BEFORE_S, promises.cancel.within_s) * 1e9)
    departed = stayed_home = passed = noisy = 0
    ran: list[tuple[StartHistory, PlayedRound, Observation, Call]] = []
    for start, played in history.rounds("hang-up-queued"):
        released_ns = played.released_ns("gate")
        if released_ns is None:
            continue
        its = list(_departed(start, played, released_ns - margin_ns))
        departed += len(its)
        went = [
            (start, played, client, call)
            for client in its
            for call in _late_calls(start, client, margin_ns)[:1]
        ]
        stayed_home += len(its) - len(went)
        if its and went and not _calm(start, its, released_ns, margin_ns):
            noisy += len(went)
        else:
            ran += went
        passed += _passed(start, its, released_ns, played.observations)
    numbers: dict[str, Number] = {"departed": departed, "stayed_home": stayed_home}
    if len(ran) >= min(DEPARTED, max(departed, 1)):
        shown = _ran_witness(ran, margin_ns)
        return results.violated(f"{len(ran)} of {departed} ran all the same", shown, numbers)
    if ran or noisy:
        return results.inconclusive(
            f"{len(ran) + noisy} of {departed} requests ran although their clients had left, "
            f"{noisy} of them in a moment that was not quiet",
            numbers,
        )
    if not departed:
        return results.inconclusive("never exercised: nobody left a queue in time", numbers)
    if not passed:
        return results.inconclusive(
            "never exercised: nobody who came later was served after the release", numbers
        )
    return results.held(f"{departed} left the queue, none of them was run", numbers)


def _departed(start: StartHistory, played: PlayedRound, until_ns: int) -> Iterator[Observation]:
    """Clients that were seen waiting, fully written, with no call of theirs, and then left."""
    for client in played.observations:
        left_ns = client.hang_up_ns
        if left_ns is None or client.outcome != "hung_up" or left_ns > until_ns:
            continue
        queued = any(client.nonce in snapshot.waiting and snapshot.answered_ns < left_ns
                     for snapshot in played.snapshots)  # fmt: skip
        calls = start.calls_of.get(client.nonce, ())
        if queued and not any(call.read_ns <= left_ns for call in calls):
            yield client


def _late_calls(start: StartHistory, client: Observation, margin_ns: int) -> list[Call]:
    assert client.hang_up_ns is not None
    return [
        call
        for call in start.calls_of.get(client.nonce, ())
        if call.read_ns >= client.hang_up_ns + margin_ns
    ]


def _calm(start: StartHistory, its: list[Observation], until_ns: int, margin_ns: int) -> bool:
    from_ns = min(client.hang_up_ns or until_ns for client in its)
    return start.worst_stall_ns(from_ns, until_ns) < QUIET * margin_ns


def _passed(
    start: StartHistory, its: list[Observation], released_ns: int, clients: Iterable[Observation]
) -> int:
    """Clients that came after the last hang-up, and whose calls were read after the release."""
    last_ns = max((client.hang_up_ns or 0 for client in its), default=released_ns)
    return sum(
        client.started_ns > last_ns
        and any(call.read_ns >= released_ns for call in start.calls_of.get(client.nonce, ()))
        for client in clients
    )


def _ran_witness(
    ran: list[tuple[StartHistory, PlayedRound, Observation, Call]], margin_ns: int
) -> Witness:
    start, played = ran[0][:2]
    released = witness.at(played, played.released_ns("gate"))
    return Witness(
        sentence=(
            f"{len(ran)} requests reached their provider more than {witness.seconds(margin_ns)} "
            "after their clients had left the queue."
        ),
        facts=(
            witness.where(start, played),
            f"the house was full, and let go {released}",
            *(witness.call_line(start, played, call) for _, _, _, call in ran[:4]),
        ),
    )


def _needs_cancel(promises: Promises) -> str:
    return "" if promises.cancel else "no time is promised in which a hang-up reaches the provider"


def _needs_cancel_and_queue(promises: Promises) -> str:
    cap = promises.cap
    if reason := _needs_cancel(promises):
        return reason
    assert promises.cancel is not None
    if cap is None or cap.overload != "queue" or cap.queue_limit == 0:
        return "no queue is promised"
    if cap.scope == "process":
        return "the cap is promised per process: a full house cannot be told from outside"
    shortest = max(LEFT_BEFORE_S, promises.cancel.within_s)
    if cap.queue_timeout_s is not None and cap.queue_timeout_s <= shortest:
        return f"its queue lets nobody wait for longer than {shortest:g} s"
    return ""


CHECKS = (
    Check(
        id="cancel/reaches-provider",
        timed=True,
        needs=_needs_cancel,
        scenarios=("hang-up",),
        judge=reaches_provider,
        promised="When a client hangs up, its provider sees the call closed within "
        "`cancel.within_s`: before the head, between two pieces, and without streaming.",
        proved="A client leaves a call that the fake holds, and `cancel.within_s` later the call "
        "is still open: three times of three on one route and mode, at the same place.",
        doubt="In the router's favour: a hang-up during which either side confessed a stall of a "
        "tenth of the deadline is left out; fewer than three late ones are inconclusive. What a "
        "client in the queue leaves behind is cancel/queued-stays-home.",
        bug="The hang-up is noticed at the next write only, or swallowed by a middleware, so the "
        "model goes on for nobody: BerriAI/litellm #13774, PR #30223 and PR #30245.",
        fix="Watch for the client's close while waiting for the provider, and close the upstream "
        "call from a `finally` that cancellation goes through.",
    ),
    Check(
        id="cancel/queued-stays-home",
        needs=_needs_cancel_and_queue,
        scenarios=("hang-up-queued",),
        judge=queued_stays_home,
        promised="A request whose client left while it was queued is never sent to a provider.",
        proved="The house is held full, clients are seen waiting and leave; a second or more "
        "(`cancel.within_s`, if that is longer) later the house is let go, and requests of at "
        "least two of them reach a provider.",
        doubt="In the router's favour: a single one, or a moment in which a stall was confessed, "
        "is inconclusive, and so is a queue in which nobody who came later was served.",
        bug="Waiting in the queue is not tied to the client's connection, so the model works for "
        "somebody long gone: ggml-org/llama.cpp #13262, dtzp555-max/ocp PR #149.",
        fix="Wait for the permit and for the client's close at once, and leave the queue on the "
        "close.",
    ),
)
