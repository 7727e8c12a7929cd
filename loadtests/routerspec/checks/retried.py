"""Further calls after a failed one: attempts of the same request, whatever became of its body.

On a route that sends a request on as one call (``checks.request.relays``), every further call of
its nonce to the same provider, path and model after a failed one is a retry, also with another
body. On others (agents, RAG) only a call with the same body is. A call with an empty body has no
nonce: it is a retry of a request whose call at this provider and path had just failed and whose
client still waits, unless the router also makes such calls where nothing had failed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.records.observations import Observation
from routerspec.records.providers import base_of

EMPTY: Final = blake2b(b"", digest_size=8).hexdigest()
"""The ``body_hash`` of an empty body."""
AFTER_NS: Final = 60_000_000_000
"""An empty call that comes later than this after a failure is no retry of it."""

Chain = tuple[Call, ...]
"""Attempts at one answer, in the order of their arrival: each but the first after a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """The attempts made for one client."""

    start: StartHistory
    played: PlayedRound
    client: Observation
    chains: tuple[Chain, ...]


def chains(history: History, *scenarios: str, direct: frozenset[Cell]) -> Iterator[Chains]:
    """The attempts of every client of these scenarios, empty calls among them.

    ``direct``: the routes and modes that are known to send a request on as one call.
    """
    apart = history.promises.failover is not None
    for start, played in history.rounds(*scenarios):
        found = [
            (client, list(_chains_of(start, client, direct, apart=apart)))
            for client in played.observations
        ]
        _add_empty(start, found)
        for client, its in found:
            yield Chains(start=start, played=played, client=client, chains=tuple(map(tuple, its)))


def _chains_of(
    start: StartHistory, client: Observation, direct: frozenset[Cell], *, apart: bool
) -> Iterator[list[Call]]:
    """``apart``: a call to another instance is no retry, but the failover that is promised."""
    single = (client.route, client.mode) in direct
    groups: defaultdict[tuple[str, str, str], list[Call]] = defaultdict(list)
    for call in start.calls_of.get(client.nonce, ()):
        to = call.provider if apart else base_of(call.provider)
        groups[to, call.route, call.model if single else call.body_hash].append(call)
    for group in groups.values():
        chain: list[Call] = []
        for call in group:
            if chain and call.read_ns < chain[-1].inner_end_ns:
                continue  # Nothing had failed yet: a hedge, and no retry.
            chain.append(call)
            if call.finished:
                yield chain
                chain = []
        if chain:
            yield chain


def other_bodies(found: Chains) -> int:
    """Calls of this client with another body than a failed one before them, at its provider, path
    and model.
    """
    calls = found.start.calls_of.get(found.client.nonce, ())
    return sum(
        any(_is_same_but_body(call, before) for before in calls[:index])
        for index, call in enumerate(calls)
    )


def _is_same_but_body(call: Call, before: Call) -> bool:
    return (
        not before.finished
        and before.inner_end_ns <= call.read_ns
        and before.body_hash != call.body_hash
        and (before.provider, before.route, before.model) == (call.provider, call.route, call.model)
    )


# -- calls with an empty body -------------------------------------------------------------------


def empty_calls(start: StartHistory) -> Sequence[Call]:
    """The calls with an empty body that only a retry explains, in the order of their reading."""
    found = [call for call in start.unattributed if call.body_hash == EMPTY]
    if not found:
        return ()
    failed: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for call in start.calls:
        if not call.finished:
            failed[call.provider, call.route].append(call.inner_end_ns)
    probed = {
        (call.provider, call.route)
        for call in found
        if not any(0 <= call.read_ns - end <= AFTER_NS for end in failed[call.provider, call.route])
    }
    return [call for call in found if (call.provider, call.route) not in probed]


def _add_empty(start: StartHistory, found: list[tuple[Observation, list[list[Call]]]]) -> None:
    """Give each empty call to a client that it may have been made for: to the one with the fewest
    attempts, so that no client has more than it must have had.
    """
    if not len(start.unattributed):
        return
    for call in empty_calls(start):
        waiting = [
            chain
            for client, its in found
            if client.sent_ns is not None and client.sent_ns <= call.read_ns <= client.end_ns
            for chain in its
            if not chain[-1].finished
            and chain[-1].inner_end_ns <= call.read_ns
            and (chain[-1].provider, chain[-1].route) == (call.provider, call.route)
        ]
        if waiting:
            min(waiting, key=len).append(call)


def count_empty(chains: Iterable[Chain]) -> int:
    """How many of these attempts had an empty body."""
    return sum(call.body_hash == EMPTY for chain in chains for call in chain)


def in_words(counts: Counter[str]) -> str:
    """``12 with an empty body and 3 with another body``; empty where there are none."""
    return " and ".join(f"{count} {what}" for what, count in counts.items() if count)
