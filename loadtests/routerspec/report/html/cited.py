"""What a witness names: the records behind its lines. Pure.

Decides which calls, fetches and clients of a history a witness speaks of, by reading the words of
``checks.witness`` back. Refuses to judge: a line that names nothing that can be found is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from fake_providers.records.evidence import Call, ListFetch
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.records.observations import ListObservation, Observation
from routerspec.verdict import Witness

_WHERE = re.compile(r"start (\S+), round (\d+): ")
_CALL = re.compile(r"fake (\S+) call (\d+) ")
_FETCH = re.compile(r"fake (\S+) fetch (\d+) of ")
_LIST = re.compile(r"list request (\d+): ")
_NONCE = re.compile(r"nonce (\d+)[:,]")
_T = TypeVar("_T")
_MOST_OF_A_ROUND = 10
"""Clients that are shown of a round of which the witness names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """What a witness names in one round; nothing twice, in the order of the clock."""

    start: StartHistory
    played: PlayedRound
    calls: list[Call] = field(default_factory=list)
    fetches: list[ListFetch] = field(default_factory=list)
    clients: list[Observation] = field(default_factory=list)
    lists: list[ListObservation] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """The witness names the round and nothing in it."""
        return not (self.calls or self.fetches or self.clients or self.lists)


def read(witness: Witness, history: History) -> list[Cited]:
    """The rounds that a witness names, each with what is named in it."""
    starts = {start.info.name: start for start in history.starts}
    found: dict[tuple[str, int], Cited] = {}
    now: Cited | None = None
    for fact in witness.facts:
        where = _WHERE.match(fact)
        if where is not None:
            key = where[1], int(where[2])
            now = found.get(key) or _round(starts.get(key[0]), key[1])
            if now is not None:
                found[key] = now
        elif now is not None:
            _name(now, fact)
    return [_filled(its) for its in found.values()]


def _round(start: StartHistory | None, number: int) -> Cited | None:
    for played in start.rounds if start else ():
        if played.round.round == number and start is not None:
            return Cited(start=start, played=played)
    return None


def _name(now: Cited, fact: str) -> None:
    start, played = now.start, now.played
    calls = _CALL.findall(fact)
    for provider, number in calls:
        _note(now.calls, [start.call_at.get((provider, int(number)))])
    for provider, number in _FETCH.findall(fact):
        its = (f for f in start.fetches if (f.provider, f.fetch) == (provider, int(number)))
        _note(now.fetches, its)
    for number in _LIST.findall(fact):
        _note(now.lists, (listing for listing in played.lists if listing.request == int(number)))
    for number in _NONCE.findall(fact) if not calls else ():  # this call, not all of the nonce's
        _note(now.clients, [start.observed.get(int(number))])


def _note(known: list[_T], more: Iterable[_T | None]) -> None:
    known += [one for one in more if one is not None and one not in known]


def _filled(its: Cited) -> Cited:
    """With the clients of its calls; of a round of which nothing is named, its first clients."""
    if its.is_empty:
        _note(its.clients, its.played.observations[:_MOST_OF_A_ROUND])
        _note(its.lists, its.played.lists[: _MOST_OF_A_ROUND - len(its.clients)])
    for client in its.clients:
        _note(its.calls, its.start.calls_of.get(client.nonce, ()))
    for call in its.calls:
        _note(its.clients, (its.start.observed.get(nonce) for nonce in call.nonces))
    clocks = its.start.own_clocks  # What is timed by one has no place on the axis of the others.
    its.calls[:] = [call for call in its.calls if call.provider not in clocks]
    its.fetches[:] = [fetch for fetch in its.fetches if fetch.provider not in clocks]
    its.calls.sort(key=lambda call: (call.read_ns, call.call))
    its.fetches.sort(key=lambda fetch: (fetch.read_ns, fetch.fetch))
    its.lists.sort(key=lambda listing: (listing.started_ns, listing.request))
    its.clients.sort(key=lambda client: (client.started_ns, client.nonce))
    return its
