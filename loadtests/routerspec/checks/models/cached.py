"""How long a list is fresh: models/cached, models/ttl-from-receipt. Pure.

Decides whether the router fetched a list again while the one it had was fresh by its own promise.
Refuses to know how it keeps it.

Direction of doubt: only the first half of the TTL accuses, so refreshing ahead of the end is
sound; a fetch counts only if a client's request could have prompted it; a router that fetches
lists by itself is ``inconclusive``, and so is one whose several workers have a cache each.
"""

from __future__ import annotations

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check, needs_model_list
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import ModelList, Promises
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Witness

SERVED = 5
"""Requests that must have been answered within the first half of a TTL."""
SLOW = 0.6
"""A fetch took long when it took this part of the TTL."""
LATER = 1.05
"""The next request comes when a list stamped before its fetch would have expired."""


def cached(history: History, promises: Promises) -> Finding:
    """In the first half of the TTL of an answered list, requests for it cause no fetch.

    Doubt: as the module says; at least five requests must have been sent and answered in there.
    """
    assert promises.model_list is not None
    reason = fetches.unattributable(history)
    if reason:
        return results.inconclusive(reason)
    served = 0
    shown: Witness | None = None
    for start, played in history.rounds("list-warm"):
        ttl = fetches.ttl_ns(start, promises.model_list)
        if fetches.stalled(start, played, ttl):
            return results.inconclusive(fetches.STALLED)
        for its in fetches.by_source(start, 0, played.until_ns).values():
            for first in filter(fetches.stored, its):
                until = fetches.half_fresh_until_ns(first, ttl, promises.model_list)
                served = max(served, _served(played, first.outer_end_ns, until))
                shown = shown or _again(start, played, its, first, until)
    numbers = {"served": served}
    if shown and promises.workers > 1:
        return results.inconclusive("several workers may have a cache each", numbers)
    if shown:
        return results.violated("fetched again while fresh", shown, numbers)
    if served < SERVED:
        return results.inconclusive(
            f"never exercised: {served} requests were answered in the first half of a list's TTL, "
            f"{SERVED} are needed",
            numbers,
        )
    return results.held(f"{served} requests served without a fetch", numbers)


def _served(played: PlayedRound, from_ns: int, until_ns: int) -> int:
    return sum(
        asked.outcome == "answered"
        and asked.status == 200
        and asked.started_ns >= from_ns
        and asked.end_ns <= until_ns
        for asked in played.lists
    )


def _again(
    start: StartHistory,
    played: PlayedRound,
    its: list[ListFetch],
    first: ListFetch,
    until: int,
) -> Witness | None:
    """A second fetch in the fresh half of ``first``, that a request of the round could prompt."""
    for second in its:
        if not max(first.outer_end_ns, played.from_ns) < second.read_ns < until:
            continue
        asking = [
            asked
            for asked in played.lists
            if asked.started_ns <= second.read_ns and asked.end_ns > first.outer_end_ns
        ]
        if asking:
            return Witness(
                sentence=(
                    f"{first.provider} was asked for {first.route} again "
                    f"{witness.seconds(second.read_ns - first.outer_end_ns)} after it had "
                    "answered, in the first half of the TTL, while a client asked for the list."
                ),
                facts=(
                    witness.where(start, played),
                    witness.fetch_line(played, first),
                    witness.fetch_line(played, second),
                    witness.list_line(played, asking[-1]),
                ),
            )
    return None


def ttl_from_receipt(history: History, promises: Promises) -> Finding:
    """A list that took 0.6 TTL or more to come is still fresh shortly after it came.

    Doubt: the second request must come when a list stamped before its fetch would be expired
    beyond doubt (1.05 TTL after the fetch arrived) and one stamped at its receipt would be in the
    first half of its TTL; and the fetch that accuses must come after that request. More than one
    fetch open in the slow round is inconclusive.
    """
    assert promises.model_list is not None
    reason = fetches.unattributable(history)
    if not reason and promises.workers > 1:
        reason = "several workers may have a cache each"
    if reason:
        return results.inconclusive(reason)
    reasons: list[str] = []
    fresh = 0
    shown: Witness | None = None
    for start, played in history.rounds("list-slow"):
        ttl = fetches.ttl_ns(start, promises.model_list)
        if fetches.stalled(start, played, ttl):
            reasons.append(fetches.STALLED)
            continue
        for its in fetches.by_source(start, played.from_ns, played.until_ns + ttl).values():
            slow = next((f for f in its if _slow(f, ttl)), None)
            if slow is None:
                continue
            if any(f is not slow and f.read_ns < slow.outer_end_ns for f in its):
                reasons.append("more than one fetch was open in the slow round")
                continue
            asked = _timely(played, slow, ttl, promises.model_list)
            if asked is None:
                reasons.append("no request came between the two ways to count the TTL")
                continue
            again = _prompted(its, slow, asked, ttl)
            fresh += again is None
            if again is not None and shown is None:
                shown = _half_expired(start, played, (slow, again), asked)
    if shown:
        return results.violated("a slow list is stored half expired", shown)
    if reasons or not fresh:
        return results.inconclusive("; ".join(reasons) or "never exercised: no list came slowly")
    return results.held("a slow list is fresh from when it came", {"lists": fresh})


def _slow(fetch: ListFetch, ttl: int) -> bool:
    return fetches.stored(fetch) and fetch.outer_end_ns - fetch.read_ns >= SLOW * ttl


def _timely(
    played: PlayedRound, slow: ListFetch, ttl: int, promised: ModelList
) -> ListObservation | None:
    from_ns = max(slow.read_ns + LATER * ttl, slow.outer_end_ns)
    until_ns = fetches.half_fresh_until_ns(slow, ttl, promised)
    for asked in played.lists:
        if asked.outcome == "answered" and asked.status == 200 and from_ns < asked.started_ns:
            return asked if (asked.sent_ns or asked.started_ns) < until_ns else None
    return None


def _prompted(
    its: list[ListFetch], slow: ListFetch, asked: ListObservation, ttl: int
) -> ListFetch | None:
    until = slow.outer_end_ns + ttl // 2
    return next((f for f in its if asked.started_ns < f.read_ns < until), None)


def _half_expired(
    start: StartHistory,
    played: PlayedRound,
    pair: tuple[ListFetch, ListFetch],
    asked: ListObservation,
) -> Witness:
    slow, again = pair
    return Witness(
        sentence=(
            f"A list of {slow.provider} took {witness.seconds(slow.outer_end_ns - slow.read_ns)} "
            f"to come, and was fetched again {witness.seconds(again.read_ns - slow.outer_end_ns)} "
            "after it came: its age is counted from before the fetch."
        ),
        facts=(
            witness.where(start, played),
            witness.fetch_line(played, slow),
            witness.list_line(played, asked),
            witness.fetch_line(played, again),
        ),
    )


def _needs_receipt(promises: Promises) -> str:
    if promises.model_list is None:
        return "no cached model list is promised"
    if promises.model_list.ttl_from != "receipt":
        return "the TTL is promised to count from the request"
    return ""


CHECKS = (
    Check(
        id="models/cached",
        needs=needs_model_list,
        scenarios=("list-warm",),
        judge=cached,
        promised="Within the TTL the list is answered from the cache.",
        proved="A list was fetched again in the first half of the TTL of one that the provider had "
        "answered, while a client asked for it.",
        doubt="In the router's favour: the second half of the TTL never accuses (refreshing ahead "
        "is sound); a router that fetches lists by itself or has several workers is inconclusive.",
        bug="Each page or prompt asks every provider for its models: BerriAI/litellm #10849 with "
        "open-webui, open-webui/open-webui #15665.",
        fix="Keep the last list with the time of its receipt; answer from it until the TTL ends.",
    ),
    Check(
        id="models/ttl-from-receipt",
        needs=_needs_receipt,
        scenarios=("list-slow",),
        judge=ttl_from_receipt,
        promised="A list is fresh for its TTL from when it came.",
        proved="A fetch took at least 0.6 of the TTL. A request sent more than 1.05 TTL after that "
        "fetch began, but in the first half of a TTL from when it came, caused another fetch.",
        doubt="In the router's favour: not judged where the TTL is promised from the request; "
        "inconclusive where more than one fetch was open, or the request came at another time.",
        bug="The clock is read before the fetch (or before the wait for a lock), so a slow list is "
        "stored half expired and a provider slower than the TTL is asked every time. No public "
        "report among LLM gateways; MCP SEP-2549 states the rule, tobocop2/lilbee PR #847 is near.",
        fix="Read the clock when the answer is there, not before the fetch.",
    ),
)
