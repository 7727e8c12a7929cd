"""Rounds with all slots occupied, and the clients that came while they were.

A client counts if a snapshot before it came and one after it was sent show all slots occupied, and
no provider received anything of it before the release.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from routerspec.checks import held_calls, witness
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import SLOTS_FREE
from routerspec.promises import Cap
from routerspec.records.observations import Observation
from routerspec.verdict import Witness


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturated:
    """A round with all slots occupied, and the clients that came while they were."""

    start: StartHistory
    played: PlayedRound
    released_ns: int
    outside: tuple[Observation, ...]
    """Fully written, and no provider received anything of them before the release."""
    kept_out: tuple[Observation, ...]
    """All that may have been in the queue at any time before the release: everybody without a call
    at a provider by the first snapshot."""

    @property
    def refused(self) -> tuple[Observation, ...]:
        """Refused with a status before the release."""
        return tuple(c for c in self.outside if c.outcome == "refused" and self.before(c))

    @property
    def waiting(self) -> tuple[Observation, ...]:
        """Still without an answer at the release."""
        return tuple(c for c in self.outside if c.end_ns > self.released_ns)

    def before(self, client: Observation) -> bool:
        """Its exchange was over before the release."""
        return client.end_ns < self.released_ns

    def waited_ns(self, client: Observation) -> int:
        """From the last byte of its request to its end, or to the release."""
        assert client.sent_ns is not None
        return min(client.end_ns, self.released_ns) - client.sent_ns


def saturated_rounds(history: History, cap: Cap) -> Iterator[Saturated]:
    """Every round in which all snapshots show all slots occupied."""
    for start, played in history.rounds("overload"):
        limit = start.info.settings.cap
        released_ns = played.released_ns("gate")
        snapshots = [
            snapshot for snapshot in played.snapshots if snapshot.answered_ns < (released_ns or 0)
        ]
        if limit is None or released_ns is None or len(snapshots) < 2:
            continue
        if any(held_calls.most_at(start, snapshot, cap) < limit for snapshot in snapshots):
            continue
        from_ns, until_ns = snapshots[0].answered_ns, snapshots[-1].asked_ns
        outside = (
            client
            for client in played.observations
            if client.started_ns > from_ns
            and client.sent_ns is not None
            and client.sent_ns < until_ns
            and client.hang_up_ns is None
            and not any(call.read_ns < released_ns for call in start.calls_of.get(client.nonce, ()))
        )
        kept_out = (
            client
            for client in played.observations
            if not any(c.read_ns < from_ns for c in start.calls_of.get(client.nonce, ()))
        )
        yield Saturated(
            start=start,
            played=played,
            released_ns=released_ns,
            outside=tuple(outside),
            kept_out=tuple(kept_out),
        )


def other_limit(history: History, statuses: Collection[int | None]) -> str:
    """That the router refused with such a status while slots were free; empty where it did not.

    A saturated router that is asked again, one request after the other, shows what refuses: a
    queue serves them, a limit of requests a second or a minute refuses some of these too.
    """
    for start, played in history.rounds("overload"):
        if played.round.part != SLOTS_FREE:
            continue
        for client in played.observations:
            if (
                client.outcome == "refused"
                and client.status in statuses
                and not start.calls_of.get(client.nonce)
            ):
                return (
                    f"the router itself refused with {client.status} also one request at a time, "
                    "while all slots were free: another limit than the cap?"
                )
    return ""


def witness_of(saturated: Saturated, clients: list[Observation], sentence: str) -> Witness:
    """What these clients of a saturated round prove."""
    start, played = saturated.start, saturated.played
    first, *_, last = (s for s in played.snapshots if s.answered_ns < saturated.released_ns)
    return Witness(
        sentence=sentence,
        facts=(
            witness.where(start, played),
            f"{len(first.held)} calls held from {witness.at(played, first.at_ns)} to "
            f"{witness.at(played, last.at_ns)}, released "
            f"{witness.at(played, saturated.released_ns)}",
            *(witness.nonce_line(played, client) for client in clients[:6]),
        ),
    )
