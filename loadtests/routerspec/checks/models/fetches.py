"""Fetches of model lists: which belong together, when a list is fresh, and who prompted them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from fake_providers.records.evidence import ListFetch
from routerspec.history import sweep
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import ModelList
from routerspec.records.observations import ListObservation
from routerspec.records.providers import base_of

PROMPTED_NS = 1_000_000_000
"""A fetch this soon after a client's list request may have been prompted by it."""
REFRESHED_NS = 50_000_000
"""A router that answers from a stale list has begun to refresh it this soon after."""
GIVEN_UP_NS = 100_000_000
"""A close this soon after the arrival of the next fetch: that one may be a retry."""
QUICK_NS = 150_000_000
"""No router gives up a fetch that was answered this soon."""
STALLED = (
    "the harness stalled for a tenth of the TTL or longer: a quieter machine helps, or a longer "
    "`ttl_s`"
)
WORKERS = "several workers may have a cache each"

Source = tuple[str, str]
"""(provider, path): fetches are counted apart."""


def ttl_ns(start: StartHistory, promised: ModelList) -> int:
    """The TTL that this start was configured with, or else the promised one."""
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


def of_its_provider(start: StartHistory, fetch: ListFetch) -> list[ListFetch]:
    """The fetches of its list from any instance of its provider, in the order of arrival."""
    return [
        other
        for other in start.fetches
        if (base_of(other.provider), other.route) == (base_of(fetch.provider), fetch.route)
    ]


def answered(request: ListObservation) -> bool:
    """The client got a list."""
    return request.outcome == "answered" and request.status == 200


def arrived_in(start: StartHistory, played: PlayedRound) -> list[ListFetch]:
    """The fetches that arrived during the round."""
    return [f for f in start.fetches if played.from_ns <= f.read_ns <= played.until_ns]


def stored(fetch: ListFetch) -> bool:
    """It was answered with a list that a cache may keep."""
    return fetch.answered and fetch.status == 200


def is_quick(fetch: ListFetch) -> bool:
    """It took so short a time that no router gave it up."""
    return fetch.outer_end_ns - fetch.read_ns <= QUICK_NS


def received_ns(start: StartHistory, fetch: ListFetch) -> int | None:
    """When the first client had the list of this fetch; None: nobody is known to have had it.

    Until then the router may not have it either: it may have given the fetch up just as the
    provider answered. A client that did not wait for the fetch may have received the list before
    it, except where the fetch was so quick that nobody gives up.
    """
    begun_before_ns = None if is_quick(fetch) else fetch.read_ns
    base = base_of(fetch.provider)
    shown = base in start.lists.shown
    for request in start.lists.by_end(fetch.outer_end_ns, begun_before_ns):
        of_this = request.model or not shown
        if answered(request) and (of_this or request.epochs.get(base, -1) >= fetch.epoch):
            return None if _from_elsewhere(start, fetch, request) else request.end_ns
    return None


def _from_elsewhere(start: StartHistory, fetch: ListFetch, request: ListObservation) -> bool:
    """Another instance of its provider may have given the client its list."""
    return any(
        other.provider != fetch.provider
        and base_of(other.provider) == base_of(fetch.provider)
        and other.outer_end_ns > fetch.read_ns
        and other.read_ns < request.end_ns
        for other in start.fetches
    )


def waited_for(request: ListObservation, fetch: ListFetch) -> bool:
    """The request was open from before the fetch until after it."""
    return request.started_ns < fetch.read_ns and request.end_ns > fetch.outer_end_ns


def prompting(requests: Iterable[ListObservation], fetch: ListFetch) -> list[ListObservation]:
    """The requests that may have caused this fetch: it came while they were open, or soon after."""
    return [
        request
        for request in requests
        if request.started_ns <= fetch.read_ns < request.end_ns + REFRESHED_NS
    ]


def blamed(start: StartHistory, first: ListFetch, second: ListFetch) -> list[ListObservation]:
    """The requests that may have caused ``second``, if all were sent after a client had ``first``.

    Where one was sent before, the fetch may be that one's: no other can be blamed for it. What a
    client received at the end of its wait for ``first`` needs no other fetch.
    """
    received = received_ns(start, first)
    if received is None:
        return []
    open_then = start.lists.open_in(second.read_ns - REFRESHED_NS, second.read_ns + 1)
    causes = [
        request
        for request in prompting(open_then, second)
        if not (waited_for(request, first) and request.end_ns < second.read_ns)
    ]
    return causes if all(request.started_ns > received for request in causes) else []


def half_fresh_until_ns(
    fetch: ListFetch, ttl: int, promised: ModelList, its: Sequence[ListFetch]
) -> int:
    """Until when a stored list is in the first half of its TTL.

    ``its``: the fetches of its source, in the order of arrival.
    """
    # A TTL counted from the request, as an HTTP cache counts, began before the answer came.
    begins = begun_ns(fetch, its) if promised.ttl_from == "request" else fetch.outer_end_ns
    return begins + ttl // 2


def begun_ns(fetch: ListFetch, its: Sequence[ListFetch]) -> int:
    """When the router may have begun to fetch: with an attempt that it gave up, or that failed."""
    begun = fetch.read_ns
    for earlier in reversed(its):
        if earlier.read_ns < begun <= earlier.outer_end_ns + GIVEN_UP_NS:
            begun = earlier.read_ns
    return begun


def unprompted(history: History) -> int:
    """How many lists the router fetched without a list request of a client in the last second.

    Counted only outside rounds with list requests, and only after the first list request of the
    start: what came before may be a list fetched once, when the router started.
    """
    return sum(_unprompted(start) for start in history.starts)


def _unprompted(start: StartHistory) -> int:
    requests = [request for played in start.rounds for request in played.lists]
    if not requests:
        return 0
    first = min(request.started_ns for request in requests)
    asking = [played for played in start.rounds if played.lists]
    return sum(
        fetch.read_ns > first
        and not any(played.from_ns <= fetch.read_ns <= played.until_ns for played in asking)
        and not any(
            request.started_ns <= fetch.read_ns < request.end_ns + PROMPTED_NS
            for request in requests
        )
        for fetch in start.fetches
    )


def unattributable(history: History) -> str:
    """Why fetches of this router cannot be attributed to clients; empty when they can."""
    count = unprompted(history)
    if not count:
        return ""
    return f"the router fetched model lists {count} times without a client's request"


def for_one_client(history: History) -> int:
    """Most fetches of one list open at once that a single client, alone at the time, caused.

    More than one means that the router has the provider configured several times, and fetches for
    each: fetches caused by a crowd cannot be told apart from that.
    """
    most = 0
    for start in history.starts:
        requests = sorted(
            (request for played in start.rounds for request in played.lists),
            key=lambda request: request.started_ns,
        )
        busy = sweep.sweep((request.started_ns, request.end_ns + 1) for request in requests)
        for request in requests:
            if _peak(busy, request.started_ns, request.end_ns) == 1:
                for its in by_source(start, request.started_ns, request.end_ns).values():
                    if open_at_once(its) is not None:
                        spans = sweep.sweep((fetch.read_ns, fetch.inner_end_ns) for fetch in its)
                        most = max(most, spans.peak)
    return most


def open_at_once(its: list[ListFetch]) -> tuple[ListFetch, ListFetch] | None:
    """Two of the fetches that were open at once; not where the router had given the first up.

    Its close may cross the answer of a fetch that took so long that a router gives up.
    """
    for index, first in enumerate(its):
        for second in its[index + 1 :]:
            if second.read_ns >= first.inner_end_ns:
                continue
            ended = first.peer_closed_ns if is_quick(first) else first.outer_end_ns
            if ended is None or ended >= second.read_ns + GIVEN_UP_NS:
                return first, second
    return None


def _peak(steps: sweep.Steps, from_ns: int, until_ns: int) -> int:
    inside = steps.times[(steps.times > from_ns) & (steps.times <= until_ns)]
    return int(steps.at(np.append(inside, from_ns)).max())


def stalled(start: StartHistory, played: PlayedRound, ttl: int) -> bool:
    """Either side stalled for a tenth of the TTL or longer in the round, or in a TTL before it."""
    return not start.is_quiet(played.from_ns - ttl, played.until_ns + REFRESHED_NS, ttl)


def waiting_while_open(played: PlayedRound, fetch: ListFetch) -> int:
    """List clients of the round, fully written and unanswered, at some time of the fetch."""
    return sum(
        request.sent_ns is not None
        and request.sent_ns < fetch.inner_end_ns
        and request.end_ns > fetch.read_ns
        for request in played.lists
    )


def sent_before_answer(played: PlayedRound, fetch: ListFetch) -> int:
    """List clients of the round that had sent their request before the fetch was answered.

    They may have been served a stale list meanwhile: that is sound.
    """
    return sum(
        request.sent_ns is not None and request.sent_ns < fetch.inner_end_ns
        for request in played.lists
    )
