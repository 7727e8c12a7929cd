"""A client's request beside the calls that were made for it, with the bytes of both sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fake_providers.records.evidence import Call
from fake_providers.records.transcripts import CallTranscript
from routerspec.checks import witness
from routerspec.checks.request.bodies import changed, dialect_of, lost
from routerspec.checks.request.json_values import Difference, read_object
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.records.observations import ClientTranscript, Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """One call with its bytes."""

    call: Call
    transcript: CallTranscript

    @property
    def body(self) -> dict[str, Any] | None:
        """Its JSON object; None where the body is none, or was too long to be kept."""
        return read_object(self.transcript.request.body.data)

    @property
    def is_kept(self) -> bool:
        """Its body was not too long to be kept."""
        return self.transcript.request.body.data is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """A client, what it asked, and the calls that carry its nonce, in the order of their reading.

    Calls without a transcript are left out.
    """

    start: StartHistory
    played: PlayedRound
    client: Observation
    asked: ClientTranscript
    calls: tuple[Arrived, ...]

    @property
    def cell(self) -> Cell:
        """The route and mode."""
        return self.client.route, self.client.mode

    @property
    def body(self) -> dict[str, Any] | None:
        """The JSON object that the client sent."""
        return read_object(self.asked.request.body.data)

    def is_relay(self, arrived: Arrived) -> bool:
        """Whether client and provider speak the same dialect, of the same kind of request."""
        asked = dialect_of(self.asked.request.target)
        return bool(asked[0]) and asked == dialect_of(arrived.transcript.request.target)

    def difference(self, arrived: Arrived, rewrites: frozenset[str]) -> Difference | None:
        """What of the client's JSON object is not in that of this call, in whichever dialect."""
        asked, found = self.body or {}, arrived.body or {}
        if not self.is_relay(arrived):
            return lost(asked, found, rewrites)
        return changed(asked, found, rewrites, dialect_of(self.asked.request.target))

    def lines(self, *calls: Call) -> tuple[str, ...]:
        """The facts of a witness: where, the client, and these calls."""
        return (
            witness.where(self.start, self.played),
            witness.nonce_line(self.played, self.client),
            *(
                f"{witness.call_line(self.start, self.played, call)}; status {call.status}"
                for call in calls
            ),
        )


def forwarded(history: History, *scenarios: str) -> Iterator[Forwarded]:
    """The clients of these scenarios whose bytes were recorded."""
    for start, played in history.rounds(*scenarios):
        for client in played.observations:
            if (each := joined(start, played, client)) is not None:
                yield each


def joined(start: StartHistory, played: PlayedRound, client: Observation) -> Forwarded | None:
    """The client with its calls; None where its bytes were not recorded."""
    asked = start.transcript_of.get(client.nonce)
    if asked is None:
        return None
    calls = start.calls_of.get(client.nonce, ())
    found = ((call, start.call_transcripts.get((call.provider, call.call))) for call in calls)
    return Forwarded(
        start=start,
        played=played,
        client=client,
        asked=asked,
        calls=tuple(Arrived(call=call, transcript=its) for call, its in found if its is not None),
    )
