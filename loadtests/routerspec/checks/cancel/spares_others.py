"""Hang-ups and the others: cancel/spares-others. Pure.

Decides whether a client that hung up took somebody else's answer with it. Refuses to know what
the two shared.

Direction of doubt: a neighbour counts as ended by a hang-up only if its own call was held when
the other left, and the router closed that call, or ended its client, before anything was let go;
twice, in two rounds. A call that was older than any that this router is seen to have left alone
may have been ended by a timeout, and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

SCENARIOS = ("hang-up", "hang-up-queued")
ROUNDS = 2
"""Rounds in which a neighbour was ended that it takes to accuse."""

_ID = "cancel/spares-others"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """A client that stayed, with a call of its own held while another left."""

    start: StartHistory
    played: PlayedRound
    client: Observation
    call: Call
    left_ns: int
    """The first hang-up of the round."""

    @property
    def ended_ns(self) -> int | None:
        """When the router ended it, before anything was let go; None: it did not."""
        until_ns = self.played.released_ns("gate") or self.played.until_ns
        closed_ns = self.call.peer_closed_ns
        if closed_ns is None and self.call.ended_by == "peer":
            closed_ns = self.call.outer_end_ns
        ends = [ns for ns in (closed_ns, self.client.end_ns) if ns is not None]
        return next((ns for ns in sorted(ends) if self.left_ns < ns < until_ns), None)


def spares_others(history: History, _promises: Promises) -> Finding:
    """Nobody's answer ends because another client hung up.

    Doubt: as the module says. A neighbour that left by itself, ran out of patience or shared its
    call with the one that left is left out.
    """
    beside = spared = 0
    ended: list[_Beside] = []
    for start in history.starts:
        oldest_ns = _oldest_left_alone(start)
        for one in _neighbours(start):
            beside += 1
            ended_ns = one.ended_ns
            if ended_ns is None:
                spared += one.client.outcome == "answered"
            elif ended_ns - one.call.read_ns < oldest_ns:
                ended.append(one)
    numbers = {"neighbours": beside, "spared": spared}
    rounds = {(one.start.info.name, one.played.round.round): one for one in ended}
    if len(rounds) >= ROUNDS:
        summary = f"{len(ended)} of {beside} ended when another left"
        return results.violated(summary, _witness(list(rounds.values())[:ROUNDS]), numbers)
    if rounds:
        return results.inconclusive(
            "a call ended when another client left, but in one round only", numbers
        )
    if not spared:
        return results.inconclusive(
            "never exercised: nobody was answered who was held while another left", numbers
        )
    return results.held(f"{spared} were answered beside one that left", numbers)


def _neighbours(start: StartHistory) -> Iterator[_Beside]:
    for played in start.played(*SCENARIOS):
        left = {c.nonce: c.hang_up_ns for c in played.observations if c.hang_up_ns is not None}
        if not left:
            continue
        first_ns = min(left.values())
        for client in played.observations:
            if client.nonce in left or client.outcome == "timed_out":
                continue
            for call in start.calls_of.get(client.nonce, ()):
                if _held_alone(call, first_ns) and client.end_ns > first_ns:
                    yield _Beside(
                        start=start, played=played, client=client, call=call, left_ns=first_ns
                    )


def _held_alone(call: Call, at_ns: int) -> bool:
    return (
        len(call.nonces) == 1
        and call.held_ns is not None
        and call.held_ns <= at_ns < call.outer_end_ns
        and (call.let_go_ns is None or call.let_go_ns > at_ns)
        and (call.peer_closed_ns is None or call.peer_closed_ns > at_ns)
    )


def _oldest_left_alone(start: StartHistory) -> int:
    """The age of the oldest call that was let go and answered: as old the router lets them be."""
    return max(
        (
            call.let_go_ns - call.read_ns
            for played in start.played(*SCENARIOS)
            for client in played.observations
            for call in start.calls_of.get(client.nonce, ())
            if call.let_go_ns is not None and call.ended_by == "fake"
        ),
        default=0,
    )


def _witness(ended: list[_Beside]) -> Witness:
    facts: list[str] = []
    for one in ended:
        facts.append(witness.where(one.start, one.played))
        leavers = [c for c in one.played.observations if c.hang_up_ns == one.left_ns]
        facts += [
            f"left: nonce {c.nonce}, {witness.client_line(one.played, c)}" for c in leavers[:1]
        ]
        facts.append(f"stayed: {witness.call_line(one.start, one.played, one.call)}")
    return Witness(
        sentence=(
            f"In {len(ended)} rounds a client hung up, and the router then ended the call of "
            "another client, which was held and still waited."
        ),
        facts=tuple(facts),
    )


def _needs_room(promises: Promises) -> str:
    cap = promises.cap
    if cap is not None and cap.limit == 1 and cap.overload == "reject":
        return "one request at a time: there is nobody beside it"
    return ""


CHECKS = (
    Check(
        id=_ID,
        needs=_needs_room,
        scenarios=SCENARIOS,
        plays=("hang-up",),
        judge=spares_others,
        promised="A client that hangs up, in the queue or in the middle of its answer, ends "
        "nobody else's answer.",
        proved="Calls of several clients are held, one client leaves, and the router closes the "
        "call of another, or ends that client, before anything was let go: in two rounds.",
        doubt="In the router's favour: only calls that were held as the other left count, and only "
        "while younger than one that this router has left alone, which rules out a timeout. One "
        "round alone is inconclusive.",
        bug="A queued request's hang-up cancels the running one, or a connection shared between "
        "clients is torn down: ikawrakow/ik_llama.cpp #1929, maximhq/bifrost #6143.",
        fix="Cancel by the request's own identity, never by its slot or its connection.",
    ),
)
