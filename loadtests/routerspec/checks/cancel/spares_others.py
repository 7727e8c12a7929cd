"""A disconnect ends no other client's answer: cancel/spares-others."""

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
"""Rounds in which another client was ended that it takes to accuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """A client that stayed, with a call of its own held while another disconnected."""

    start: StartHistory
    played: PlayedRound
    client: Observation
    call: Call
    left_ns: int
    """The first disconnect of the round."""

    @property
    def ended_ns(self) -> int | None:
        """When the router ended it, before any slot was released; None: it did not."""
        until_ns = self.played.released_ns("gate") or self.played.until_ns
        closed_ns = self.call.peer_closed_ns
        if closed_ns is None and self.call.ended_by == "peer":
            closed_ns = self.call.outer_end_ns
        ends = [ns for ns in (closed_ns, self.client.end_ns) if ns is not None]
        return next((ns for ns in sorted(ends) if self.left_ns < ns < until_ns), None)


def _spares_others(history: History, _promises: Promises) -> Finding:
    beside = spared = 0
    ended: list[_Beside] = []
    for start in history.starts:
        oldest_ns = _oldest_spared(start)
        for one in _clients_beside(start):
            beside += 1
            ended_ns = one.ended_ns
            if ended_ns is None:
                spared += one.client.outcome == "answered"
            elif ended_ns - one.call.read_ns < oldest_ns:
                ended.append(one)
    numbers = {"neighbours": beside, "spared": spared}
    rounds = {(one.start.info.name, one.played.round.round): one for one in ended}
    if len(rounds) >= ROUNDS:
        summary = f"{len(ended)} of {beside} ended when another client disconnected"
        return results.violated(summary, _witness(list(rounds.values())[:ROUNDS]), numbers)
    if rounds:
        return results.inconclusive(
            "a call ended when another client disconnected, but in one round only", numbers
        )
    if not spared:
        return results.never_exercised(
            "no client was answered whose call was held while another disconnected", numbers
        )
    return results.held(f"{spared} answered beside a client that disconnected", numbers)


def _clients_beside(start: StartHistory) -> Iterator[_Beside]:
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


def _oldest_spared(start: StartHistory) -> int:
    """The age of the oldest call that was released and answered: no timeout ends a younger one."""
    return max(
        (
            call.let_go_ns - call.read_ns
            for played in start.played(*SCENARIOS)
            for call in start.calls_for(played.observations)
            if call.let_go_ns is not None and call.ended_by == "fake"
        ),
        default=0,
    )


def _witness(ended: list[_Beside]) -> Witness:
    facts: list[str] = []
    for one in ended:
        facts.append(witness.where(one.start, one.played))
        leavers = [c for c in one.played.observations if c.hang_up_ns == one.left_ns]
        facts += [f"disconnected: {witness.nonce_line(one.played, c)}" for c in leavers[:1]]
        facts.append(f"stayed: {witness.call_line(one.start, one.played, one.call)}")
    return Witness(
        sentence=(
            f"In {len(ended)} rounds a client disconnected, and the router then ended the held "
            "call of another client, which was still waiting."
        ),
        facts=tuple(facts),
    )


def _one_at_a_time(promises: Promises) -> str:
    cap = promises.cap
    if cap is not None and cap.limit == 1 and cap.overload == "reject":
        return "one request at a time: no other client is beside it"
    return ""


SPARES_OTHERS = Check(
    id="cancel/spares-others",
    promise=Promises,
    exempt=_one_at_a_time,
    scenarios=SCENARIOS,
    plays=("hang-up",),
    judge=_spares_others,
    promised="A client that disconnects, in the queue or in the middle of its answer, ends no "
    "other client's answer.",
    proved="Calls of several clients are held, one client disconnects, and the router closes the "
    "call of another, or ends that client, before any slot is released: in two rounds.",
    doubt="In the router's favour: only calls held when the other disconnected count, and only "
    "while younger than one that this router has spared, which rules out a timeout. One round "
    "alone is inconclusive.",
    bug="A queued request's disconnect cancels the running one, or a connection shared between "
    "clients is torn down: ikawrakow/ik_llama.cpp #1929, maximhq/bifrost #6143.",
    fix="Cancel by the request's own identity, never by its slot or its connection.",
)
