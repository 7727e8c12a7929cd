"""The instances of a provider as clients' requests met them: who was asked, and who had failed.

Decides which instances a provider has, which call a request was given first, and what counts as a
failure of an instance. Refuses to know what any of it is held to.

Direction of doubt: clocks of two instances are never compared. What was before what is told by the
requests of clients, who have one clock, or by the numbers of one instance's own calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fake_providers.records.evidence import Call
from routerspec.checks.check import TargetFacts
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.records.providers import name_of

UNSTATED_NS = 60_000_000_000
"""An instance that failed may be left alone for so long, where nothing is promised."""


def needed(facts: TargetFacts) -> str:
    """Why a target without several instances of a provider cannot be judged; empty: it has some."""
    several = any(count > 1 for count in facts.instances.values())
    return "" if several else "no provider has several instances"


def names(provider: str, count: int) -> tuple[str, ...]:
    """What records call the instances of a provider: ``openai``, ``openai-2``, ``openai-3``."""
    return tuple(name_of(provider, number) for number in range(1, count + 1))


def pools(history: History) -> Mapping[str, tuple[str, ...]]:
    """Provider -> its instances, where it has several."""
    return {
        provider: names(provider, count)
        for provider, count in history.info.instances.items()
        if count > 1
    }


def requests(start: StartHistory, played: PlayedRound) -> Iterator[tuple[Observation, Call]]:
    """The clients of a round that reached a provider, in the order in which they began.

    Each with its first call: what a router does after a failure is no choice of its policy.
    """
    for client in sorted(played.observations, key=lambda client: client.started_ns):
        calls = start.calls_of.get(client.nonce, ())
        if calls:
            yield client, calls[0]


def counted(calls: Iterable[Call], pool: tuple[str, ...]) -> dict[str, int]:
    """Instance -> how many of the calls it was given; those of other providers count nowhere."""
    counts = dict.fromkeys(pool, 0)
    for call in calls:
        if call.provider in counts:
            counts[call.provider] += 1
    return counts


def failed(start: StartHistory, call: Call) -> bool:
    """The provider's own failure: 5xx, 429, a broken connection, or silence for too long.

    Doubt: a call that the router closed while its client waited on may have been too slow for it.
    """
    if call.status in {None, 429} or (call.status or 0) >= 500 or call.ended_by == "cut":
        return not _left(start, call)
    return False


def _left(start: StartHistory, call: Call) -> bool:
    """The client of the call disconnected: whatever became of the call is no failure."""
    clients = [start.observed[nonce] for nonce in call.nonces if nonce in start.observed]
    return call.ended_by == "peer" and any(client.hang_up_ns is not None for client in clients)


def failures(start: StartHistory, pool: tuple[str, ...]) -> tuple[Call, ...]:
    """The failures of these instances in the whole start."""
    return tuple(call for call in start.calls if call.provider in pool and failed(start, call))


def may_be_left_alone(
    start: StartHistory, played: PlayedRound, failing: Iterable[Call], promises: Promises
) -> bool:
    """Whether an instance failed so shortly before the round, or in it, that it may rest then.

    By the clock of the clients: a failure is as old as its client.
    """
    ago_ns = int((promises.recovery_s + 1) * 1e9) if promises.recovery_s else UNSTATED_NS
    clients = (start.observed[n] for call in failing for n in call.nonces if n in start.observed)
    return any(
        client.end_ns >= played.from_ns - ago_ns and client.started_ns <= played.until_ns
        for client in clients
    )


def others_calls(start: StartHistory, pool: tuple[str, ...]) -> int:
    """Calls at these instances that no client of ours had sent: they may be counted with ours."""
    return sum(call.provider in pool for call in start.unattributed)
