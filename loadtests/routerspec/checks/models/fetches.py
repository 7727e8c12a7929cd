"""Fetches of model lists, as the checks of the cache need them.

Decides which fetches belong together, when a list is fresh, and whether the router fetches lists
by itself. Refuses to accuse.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from fake_providers.records.evidence import ListFetch
from routerspec.history import sweep
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import ModelList, Promises

PROMPTED_NS = 1_000_000_000
"""A fetch this soon after a client's list request may have been prompted by it."""
STALLED = "the harness stalled for a tenth of the TTL or longer"
COARSE_CLOCK_NS = 1_300_000_000
"""Caches may count in whole seconds; this much later they cannot excuse themselves with it."""

Source = tuple[str, str]
"""(provider, path): fetches are counted apart."""


def ttl_ns(start: StartHistory, promised: ModelList) -> int:
    """The TTL that this start was told, or else the promised one."""
    ttl_s = start.info.settings.models_ttl_s
    return int((promised.ttl_s if ttl_s is None else ttl_s) * 1e9)


def by_source(
    start: StartHistory, from_ns: int = 0, until_ns: int | None = None
) -> dict[Source, list[ListFetch]]:
    """Fetches that arrived in this time, per provider and path, in the order of arrival."""
    found: defaultdict[Source, list[ListFetch]] = defaultdict(list)
    for fetch in start.fetches:
        if fetch.read_ns >= from_ns and (until_ns is None or fetch.read_ns <= until_ns):
            found[fetch.provider, fetch.route].append(fetch)
    return dict(sorted(found.items()))


def stored(fetch: ListFetch) -> bool:
    """It was answered with a list that a cache may keep."""
    return fetch.answered and fetch.status == 200


def half_fresh_until_ns(fetch: ListFetch, ttl: int, promised: ModelList) -> int:
    """Until when a stored list is in the first half of its TTL.

    Doubt: a TTL counted from the request, as an HTTP cache counts, began before the answer came.
    """
    begins = fetch.read_ns if promised.ttl_from == "request" else fetch.outer_end_ns
    return begins + ttl // 2


def by_itself(history: History) -> int:
    """How many lists the router fetched while no client had asked for one for a second.

    Only time inside rounds without list requests is looked at, and only after the first list
    request of the start: what came before may be a list fetched once, when the router started.
    """
    return sum(_by_itself(start) for start in history.starts)


def _by_itself(start: StartHistory) -> int:
    asked = [client for played in start.rounds for client in played.lists]
    if not asked:
        return 0
    first = min(client.started_ns for client in asked)
    quiet = [played for played in start.rounds if not played.lists]
    return sum(
        fetch.read_ns > first
        and any(played.from_ns <= fetch.read_ns <= played.until_ns for played in quiet)
        and not any(
            client.started_ns <= fetch.read_ns < client.end_ns + PROMPTED_NS for client in asked
        )
        for fetch in start.fetches
    )


def unattributable(history: History) -> str:
    """Why fetches of this router cannot be laid at the clients' door; empty when they can."""
    count = by_itself(history)
    if not count:
        return ""
    return f"the router fetched model lists {count} times while no client asked for one"


def for_one_client(history: History) -> int:
    """Most fetches of one list open at once that a single client, alone at the time, caused.

    More than one means that the router has the provider configured several times over, and asks
    each for itself: what a crowd causes cannot be told apart from that.
    """
    most = 0
    for start in history.starts:
        asked = sorted(
            (client for played in start.rounds for client in played.lists),
            key=lambda client: client.started_ns,
        )
        busy = sweep.sweep((client.started_ns, client.end_ns + 1) for client in asked)
        for client in asked:
            if _peak(busy, client.started_ns, client.end_ns) == 1:
                for its in by_source(start, client.started_ns, client.end_ns).values():
                    spans = sweep.sweep((fetch.read_ns, fetch.inner_end_ns) for fetch in its)
                    most = max(most, spans.peak)
    return most


def _peak(steps: sweep.Steps, from_ns: int, until_ns: int) -> int:
    inside = steps.times[(steps.times > from_ns) & (steps.times <= until_ns)]
    return int(steps.at(np.append(inside, from_ns)).max())


def stalled(start: StartHistory, played: PlayedRound, ttl: int) -> bool:
    """Either side stalled for a tenth of the TTL or more around the round.

    Doubt: what is told by comparing times with the TTL proves nothing then.
    """
    return start.worst_stall_ns(played.from_ns - ttl, played.until_ns + ttl) * 10 >= ttl


def needs_model_list_and_cap(promises: Promises) -> str:
    """For checks that compare the two."""
    if promises.model_list is None:
        return "no cached model list is promised"
    return "" if promises.cap else "no cap is promised"


def waiting_while_open(played: PlayedRound, fetch: ListFetch) -> int:
    """List clients of the round, fully written and unanswered, at some time of the fetch."""
    return sum(
        asked.sent_ns is not None
        and asked.sent_ns < fetch.inner_end_ns
        and asked.end_ns > fetch.read_ns
        for asked in played.lists
    )


def sent_before_answer(played: PlayedRound, fetch: ListFetch) -> int:
    """List clients of the round that had asked before the fetch was answered.

    They may have been served a stale list meanwhile: that is sound.
    """
    return sum(
        asked.sent_ns is not None and asked.sent_ns < fetch.inner_end_ns for asked in played.lists
    )
