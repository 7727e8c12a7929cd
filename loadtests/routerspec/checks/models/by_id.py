"""One model by its id: models/by-id. Pure.

Decides whether ``/v1/models/{id}`` made the router fetch a list that it had fresh. Refuses to know
how it looks a model up. What a router asks of a provider's own ``/v1/models/{id}`` is no list
fetch and is not in the evidence: that is not seen.

Direction of doubt: only the first half of the TTL accuses, and only a fetch that came while nobody
asked for the whole list and somebody asked for one model; a router that fetches lists by itself,
has several workers or answers no id is ``inconclusive``.
"""

from __future__ import annotations

from itertools import pairwise

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import ModelList, Promises
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Witness

SERVED = 5
"""Requests that must have been answered within the first half of a TTL."""

_ID = "models/by-id"


def by_id(history: History, promises: Promises) -> Finding:
    """In the first half of the TTL of an answered list, asking for one model causes no fetch.

    Doubt: as the module says; at least five such requests must have been answered with the model
    that they asked for.
    """
    assert promises.model_list is not None
    reason = fetches.unattributable(history)
    if reason:
        return results.inconclusive(reason)
    served = asked = 0
    shown: Witness | None = None
    for start, played in history.rounds("list-by-id"):
        ttl = fetches.ttl_ns(start, promises.model_list)
        single = [request for request in played.lists if request.model]
        asked += len(single)
        if fetches.stalled(start, played, ttl):
            return results.inconclusive(fetches.STALLED)
        for its in fetches.by_source(start, 0, played.until_ns).values():
            for first in filter(fetches.stored, its):
                until = fetches.half_fresh_until_ns(first, ttl, promises.model_list)
                served = max(served, sum(_served(request, first, until) for request in single))
            shown = shown or _again(start, played, its, ttl, promises.model_list)
    numbers = {"served": served}
    if shown and promises.workers > 1:
        return results.inconclusive("several workers may have a cache each", numbers)
    if shown:
        return results.violated("one model by its id is not cached", shown, numbers)
    if served < SERVED:
        return results.inconclusive(
            f"never exercised: of {asked} requests for one model {served} were answered with it in "
            f"the first half of a list's TTL, {SERVED} are needed",
            numbers,
        )
    return results.held(f"{served} served without a fetch", numbers)


def _served(request: ListObservation, first: ListFetch, until_ns: int) -> bool:
    return (
        request.outcome == "answered"
        and request.status == 200
        and request.models == 1
        and request.started_ns >= first.outer_end_ns
        and request.end_ns <= until_ns
    )


def _again(
    start: StartHistory, played: PlayedRound, its: list[ListFetch], ttl: int, promised: ModelList
) -> Witness | None:
    """A fetch in the fresh half of the one before, that only a request by id could prompt."""
    for first, second in pairwise(its):
        until = fetches.half_fresh_until_ns(first, ttl, promised)
        if not fetches.stored(first) or not first.outer_end_ns < second.read_ns < until:
            continue
        asking = [
            request
            for begun in start.rounds
            for request in begun.lists
            if request.started_ns <= second.read_ns and request.end_ns > first.outer_end_ns
        ]
        prompting = [request for request in asking if request.end_ns > second.read_ns]
        # Whoever asked for the whole list since the first was answered may have prompted it.
        if prompting and all(request.model for request in asking):
            return Witness(
                sentence=(
                    f"{first.provider} was asked for {first.route} again "
                    f"{witness.seconds(second.read_ns - first.outer_end_ns)} after it had "
                    "answered, in the first half of the TTL, while a client asked for "
                    f"{prompting[-1].model} alone."
                ),
                facts=(
                    witness.where(start, played),
                    witness.fetch_line(played, first),
                    witness.fetch_line(played, second),
                    witness.list_line(played, prompting[-1]),
                ),
            )
    return None


def _needs(promises: Promises) -> str:
    if promises.model_list is None:
        return "no cached model list is promised"
    if not promises.model_list.by_id:
        return "one model by its id is not promised to come from the cache"
    return ""


CHECKS = (
    Check(
        id=_ID,
        needs=_needs,
        scenarios=("list-by-id",),
        judge=by_id,
        promised="One model asked for by its id is answered from the cached list.",
        proved="A list was fetched again in the first half of the TTL of one that the provider had "
        "answered, while a client asked for one model by its id and nobody for the whole list.",
        doubt="In the router's favour: the second half of the TTL never accuses; a router that "
        "fetches lists by itself, has several workers, or answers no id is inconclusive. What is "
        "asked of a provider's own /v1/models/{id} is not seen.",
        bug="The cache stands before the list only, and each look at one model asks the providers: "
        "the same class as BerriAI/litellm #10849 with open-webui, open-webui/open-webui #15665.",
        fix="Look the id up in the list that is cached.",
    ),
)
