"""A house that was seen full, and who came while it was. Pure.

Decides which clients found no room: they came while every slot was seen taken, and no provider saw
anything of them before it was let go. Refuses to know what they should have been told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from routerspec.checks import held_calls, witness
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Cap
from routerspec.records.observations import Observation
from routerspec.verdict import Witness


@dataclass(frozen=True, slots=True, kw_only=True)
class FullHouse:
    """A house that was seen full, and who came while it was."""

    start: StartHistory
    played: PlayedRound
    released_ns: int
    outside: tuple[Observation, ...]
    """Fully written, and no provider saw anything of them before the release."""

    @property
    def refused(self) -> tuple[Observation, ...]:
        """Turned away with a status before anything was let go."""
        return tuple(c for c in self.outside if c.outcome == "refused" and self.before(c))

    @property
    def waiting(self) -> tuple[Observation, ...]:
        """Still without an answer when all was let go."""
        return tuple(c for c in self.outside if c.end_ns > self.released_ns)

    def before(self, client: Observation) -> bool:
        """Its exchange was over before anything was let go."""
        return client.end_ns < self.released_ns

    def waited_ns(self, client: Observation) -> int:
        """From the last byte of its request to its end, or to the release."""
        assert client.sent_ns is not None
        return min(client.end_ns, self.released_ns) - client.sent_ns


def houses(history: History, cap: Cap) -> Iterator[FullHouse]:
    """Every round in which the house was seen full from the first look to the last."""
    for start, played in history.rounds("overload"):
        limit = start.info.settings.cap
        released_ns = played.released_ns("gate")
        snapshots = [
            snapshot for snapshot in played.snapshots if snapshot.answered_ns < (released_ns or 0)
        ]
        if limit is None or released_ns is None or len(snapshots) < 2:
            continue
        if any(held_calls.most_seen(start, snapshot, cap) < limit for snapshot in snapshots):
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
        yield FullHouse(start=start, played=played, released_ns=released_ns, outside=tuple(outside))


def shown(house: FullHouse, clients: list[Observation], sentence: str) -> Witness:
    """What these clients of a full house prove."""
    snapshots = [
        snapshot for snapshot in house.played.snapshots if snapshot.answered_ns < house.released_ns
    ]
    return Witness(
        sentence=sentence,
        facts=(
            witness.where(house.start, house.played),
            f"{len(snapshots[0].held)} calls held from "
            f"{witness.at(house.played, snapshots[0].at_ns)} to "
            f"{witness.at(house.played, snapshots[-1].at_ns)}, let go "
            f"{witness.at(house.played, house.released_ns)}",
            *(
                f"nonce {client.nonce}, {witness.client_line(house.played, client)}"
                for client in clients[:6]
            ),
        ),
    )
