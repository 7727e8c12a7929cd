"""How long a list is fresh: models/cached, models/ttl-from-receipt.

Whether the router fetched a list again while the one it had was fresh by its own promise. Only the
first half of the TTL accuses, so that refreshing ahead of the end is sound, and a fetch counts only
if a client's request could have prompted it.
"""

from __future__ import annotations

from collections.abc import Iterable

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check, TargetFacts
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import LONGEST_HOLD_S, SLOW_FETCH
from routerspec.promises import ModelList, Promises
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Outcome, Witness

SERVED = 5
"""Requests that must have been answered within the first half of a TTL."""
SLOW = 0.6
"""A fetch was slow when it took this part of the TTL."""
LATER = 1.05
"""The next request comes when a list stamped before its fetch would have expired."""


def _cached(history: History, promised: ModelList) -> Finding:
    served = 0
    stalled = False
    shown: Witness | None = None
    if reason := fetches.unattributable(history):
        return results.inconclusive(reason)
    for start, played in history.rounds("list-warm"):
        ttl = fetches.ttl_ns(start, promised)
        if fetches.stalled(start, played, ttl):
            stalled = True
            continue
        for its in fetches.by_source(start, 0, played.until_ns).values():
            every = fetches.of_its_provider(start, its[0])
            for first in filter(fetches.stored, its):
                until = fetches.half_fresh_until_ns(first, ttl, promised, its)
                served = max(
                    served, served_from_cache(played.lists, every, first.outer_end_ns, until)
                )
                shown = shown or _again(start, played, its, first, until)
    numbers = {"served": served}
    if shown and history.promises.workers > 1:
        return results.inconclusive(fetches.WORKERS, numbers)
    if shown:
        return results.violated("fetched again while fresh", shown, numbers)
    if served < SERVED and stalled:
        return results.inconclusive(fetches.STALLED, numbers)
    if served < SERVED:
        what = "requests were answered in the first half of a list's TTL"
        return results.too_few(served, what, SERVED, numbers)
    return results.held(f"{served} requests served without a fetch", numbers)


def served_from_cache(
    requests: Iterable[ListObservation], its: list[ListFetch], from_ns: int, until_ns: int
) -> int:
    """Requests that were sent and answered in this time, with no fetch that they may have caused.

    A request that a fetch came beside is no proof of a cache, whatever excuses the fetch.
    """
    return sum(
        fetches.answered(request)
        and request.started_ns >= from_ns
        and request.end_ns <= until_ns
        and not any(fetches.prompting([request], fetch) for fetch in its)
        for request in requests
    )


def _again(
    start: StartHistory, played: PlayedRound, its: list[ListFetch], first: ListFetch, until: int
) -> Witness | None:
    """A second fetch in the fresh half of ``first`` that requests of the round caused."""
    for second in its:
        if max(first.outer_end_ns, played.from_ns) < second.read_ns < until:
            blamed = fetches.blamed(start, first, second)
            if blamed:
                return fetched_again(start, played, (first, second), blamed[-1])
    return None


def fetched_again(
    start: StartHistory,
    played: PlayedRound,
    pair: tuple[ListFetch, ListFetch],
    request: ListObservation,
) -> Witness:
    """The witness of a list that was fetched again although it was fresh."""
    first, second = pair
    what = f"for {request.model} alone" if request.model else "for the list"
    return Witness(
        sentence=(
            f"{first.provider} received another fetch of {first.route} "
            f"{witness.seconds(second.read_ns - first.outer_end_ns)} after it had answered one, in "
            f"the first half of the TTL, prompted by a client's request {what} that was sent after "
            "a client had the list."
        ),
        facts=(
            witness.where(start, played),
            witness.fetch_line(played, first),
            witness.fetch_line(played, second),
            witness.list_line(played, request),
        ),
    )


def _ttl_from_receipt(history: History, promised: ModelList) -> Finding:
    reason = fetches.unattributable(history)
    if not reason and history.promises.workers > 1:
        reason = fetches.WORKERS
    if reason:
        return results.inconclusive(reason)
    reasons: list[str] = []
    fresh = 0
    stalled = False
    shown: Witness | None = None
    for start, played in history.rounds("list-slow"):
        ttl = fetches.ttl_ns(start, promised)
        if fetches.stalled(start, played, ttl):
            stalled = True
            continue
        for its in fetches.by_source(start, played.from_ns, played.until_ns + ttl).values():
            found = _read_slow(start, played, its, promised)
            if isinstance(found, Witness):
                shown = shown or found
            elif found:
                reasons.append(found)
            fresh += found == ""
    if shown and (reason := _uncached(history, promised)):
        return results.inconclusive(reason)
    if shown:
        return results.violated("a slow list is stored half expired", shown)
    if stalled and not fresh:
        reasons.append(fetches.STALLED)
    if reasons:
        return results.inconclusive("; ".join(reasons))
    if not fresh:
        return results.never_exercised("no list was fetched slowly")
    return results.held("a slow list is fresh from its receipt on", {"lists": fresh})


def _uncached(history: History, promised: ModelList) -> str:
    """Why a second fetch says nothing of how a TTL counts: no list was seen to be cached."""
    if next(history.rounds("list-warm"), None) is None:
        return ""  # Not played beside this check before.
    cached = _cached(history, promised)
    if cached.numbers.get("served", 0) >= SERVED:
        return ""
    if cached.outcome is Outcome.VIOLATED:
        return "no list is cached, so none has an age (models/cached is violated)"
    return f"no list was seen to be cached (models/cached: {cached.reason})"


def _read_slow(
    start: StartHistory, played: PlayedRound, its: list[ListFetch], promised: ModelList
) -> Witness | str | None:
    """A list stored half expired; or why none can be judged, empty for a sound one; or None."""
    ttl = fetches.ttl_ns(start, promised)
    slow = next((f for f in its if _slow(f, ttl)), None)
    if slow is None:
        return None
    if any(f is not slow and f.read_ns < slow.outer_end_ns for f in its):
        return "more than one fetch was open in the slow round"
    request = _timely(played, slow, ttl, promised)
    if request is None:
        return "no request came between the two ways to count the TTL"
    again = _prompted(its, slow, request, ttl)
    if again is None:
        return ""
    received = fetches.received_ns(start, slow)
    if received is None or request.started_ns < received:
        return "no client had the slow list before the request that caused another fetch"
    return _half_expired(start, played, (slow, again), request)


def _slow(fetch: ListFetch, ttl: int) -> bool:
    return fetches.stored(fetch) and fetch.outer_end_ns - fetch.read_ns >= SLOW * ttl


def _timely(
    played: PlayedRound, slow: ListFetch, ttl: int, promised: ModelList
) -> ListObservation | None:
    from_ns = max(slow.read_ns + LATER * ttl, slow.outer_end_ns)
    until_ns = fetches.half_fresh_until_ns(slow, ttl, promised, ())
    for request in filter(fetches.answered, played.lists):
        if from_ns < request.started_ns:
            return request if (request.sent_ns or request.started_ns) < until_ns else None
    return None


def _prompted(
    its: list[ListFetch], slow: ListFetch, request: ListObservation, ttl: int
) -> ListFetch | None:
    """Another fetch that this request caused. A later one may be the router's own timer's."""
    until = min(slow.outer_end_ns + ttl // 2, request.end_ns + fetches.REFRESHED_NS)
    return next((f for f in its if request.started_ns < f.read_ns < until), None)


def _half_expired(
    start: StartHistory,
    played: PlayedRound,
    pair: tuple[ListFetch, ListFetch],
    request: ListObservation,
) -> Witness:
    slow, again = pair
    return Witness(
        sentence=(
            f"A list of {slow.provider} took {witness.seconds(slow.outer_end_ns - slow.read_ns)} "
            f"to arrive, and was fetched again {witness.seconds(again.read_ns - slow.outer_end_ns)}"
            " after its receipt: its age is counted from before the fetch."
        ),
        facts=(
            witness.where(start, played),
            witness.fetch_line(played, slow),
            witness.list_line(played, request),
            witness.fetch_line(played, again),
        ),
    )


def _from_request(promises: Promises) -> str:
    lists = promises.model_list
    if lists is not None and lists.ttl_from == "receipt":
        return ""
    return "the TTL is promised to count from the request"


def _too_slow(target: TargetFacts) -> str:
    """The fetch that it needs would take longer than routers wait."""
    lists = target.promises.model_list
    if lists is None or lists.ttl_s * SLOW_FETCH <= LONGEST_HOLD_S:
        return ""
    return (
        f"a fetch would have to take {lists.ttl_s * SLOW_FETCH:g} s, which routers do not wait "
        f"for: use a TTL of {LONGEST_HOLD_S / SLOW_FETCH:g} s or less"
    )


CACHED = Check(
    id="models/cached",
    promise=ModelList,
    scenarios=("list-warm",),
    judge=_cached,
    promised="Within the TTL the list is answered from the cache.",
    proved="A list was fetched again in the first half of the TTL of one that the provider had "
    "answered, and every request that may have caused it was sent after a client had that list.",
    doubt="In the router's favour: the second half of the TTL never accuses (refreshing ahead is "
    "sound), nor does a fetch beside which a request was open that had been sent before. "
    "Inconclusive for a router that fetches lists without a client's request or has "
    "several workers, and where fewer than five requests were answered within the first half.",
    bug="Each page or prompt requests the models of every provider: BerriAI/litellm #10849 with "
    "open-webui, open-webui/open-webui #15665.",
    fix="Keep the last list with the time of its receipt; answer from it until the TTL ends.",
)
TTL_FROM_RECEIPT = Check(
    id="models/ttl-from-receipt",
    promise=ModelList,
    exempt=_from_request,
    needs_target=_too_slow,
    scenarios=("list-slow", "list-warm"),
    judge=_ttl_from_receipt,
    promised="The TTL of a list counts from the moment it was received.",
    proved="A fetch took at least 0.6 of the TTL. A request sent more than 1.05 TTL after that "
    "fetch began, but in the first half of a TTL from its receipt, caused another fetch.",
    doubt="In the router's favour: not applicable where the TTL is promised to count from the "
    "request; inconclusive where more than one fetch was open, the request came at another time, "
    "or no list was seen to be cached at all (`models/cached`). Caches of HTTP count from the "
    'request (RFC 9111, 4.2.3): for them promise `ttl_from = "request"`.',
    bug="The clock is read before the fetch (or before the wait for a lock), so a slow list is "
    "stored half expired, and a provider slower than the TTL is fetched from every time. No public "
    "report among LLM gateways; MCP SEP-2549 states the rule, tobocop2/lilbee PR #847 is similar.",
    fix="Read the clock when the answer has arrived, not before the fetch.",
)
