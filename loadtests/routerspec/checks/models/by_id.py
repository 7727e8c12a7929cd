"""One model by its id, from the cached list: models/by-id."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.models import cached, fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import TRIES
from routerspec.promises import ModelList, Promises
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Witness

NOT_THERE = frozenset({404, 405, 410, 501})
"""Statuses that say that there is no such model, or no request for one."""


def _by_id(history: History, promised: ModelList) -> Finding:
    if missing := _missing(history):
        return results.violated("a model of the list is not found by its id", missing)
    return _from_cache(history, promised)


def _from_cache(history: History, promised: ModelList) -> Finding:
    served = 0
    stalled = False
    requests: list[ListObservation] = []
    shown: Witness | None = None
    if reason := fetches.unattributable(history):
        return results.inconclusive(reason)
    for start, played in history.rounds("list-by-id"):
        ttl = fetches.ttl_ns(start, promised)
        single = [request for request in played.lists if request.model]
        requests += single
        if fetches.stalled(start, played, ttl):
            stalled = True
            continue
        found = [request for request in single if request.models == 1]
        for its in fetches.by_source(start, 0, played.until_ns).values():
            every = fetches.of_its_provider(start, its[0])
            for first in filter(fetches.stored, its):
                until = fetches.half_fresh_until_ns(first, ttl, promised, its)
                served = max(
                    served, cached.served_from_cache(found, every, first.outer_end_ns, until)
                )
            shown = shown or _again_by_id(start, played, its, ttl, promised)
    numbers = {"served": served}
    if shown and history.promises.workers > 1:
        return results.inconclusive(fetches.WORKERS, numbers)
    if shown:
        return results.violated("a request by id is not served from the cache", shown, numbers)
    if served < cached.SERVED and stalled:
        return results.inconclusive(fetches.STALLED, numbers)
    if served < cached.SERVED:
        what = (
            f"of {len(requests)} requests by id were answered in the first half of a list's TTL"
            f"{_otherwise(requests)}"
        )
        return results.too_few(served, what, cached.SERVED, numbers)
    return results.held(f"{served} served without a fetch", numbers)


def _again_by_id(
    start: StartHistory, played: PlayedRound, its: list[ListFetch], ttl: int, promised: ModelList
) -> Witness | None:
    """A fetch in the fresh half of the one before that only a request by id could prompt."""
    for first, second in pairwise(its):
        until = fetches.half_fresh_until_ns(first, ttl, promised, its)
        if not fetches.stored(first) or not first.outer_end_ns < second.read_ns < until:
            continue
        # A request for the whole list since the first was answered may have prompted the second.
        since = [
            r
            for r in start.lists
            if r.started_ns <= second.read_ns and r.end_ns > first.outer_end_ns
        ]
        blamed = fetches.blamed(start, first, second)
        if blamed and all(request.model for request in since):
            return cached.fetched_again(start, played, (first, second), blamed[-1])
    return None


def _missing(history: History) -> Witness | None:
    """An id that the list names and that is refused as not there, in whichever spelling."""
    for start, played in history.rounds("list-by-id"):
        asked: defaultdict[str, list[ListObservation]] = defaultdict(list)
        for request in played.lists:
            if request.model and request.spelling:
                asked[request.model].append(request)
        for model, requests in asked.items():
            before, after = _naming(played, model, requests)
            if before and after and _never_there(requests):
                return _not_found(start, played, (before, after), requests)
    return None


def _never_there(requests: list[ListObservation]) -> bool:
    spelt = Counter(request.spelling for request in requests)
    return min(spelt.values()) >= TRIES and all(r.status in NOT_THERE for r in requests)


def _naming(
    played: PlayedRound, model: str, requests: list[ListObservation]
) -> tuple[ListObservation | None, ListObservation | None]:
    """Lists that named the model before and after all of these requests."""
    naming = [asked for asked in played.lists if model in asked.named and fetches.answered(asked)]
    first = min(request.started_ns for request in requests)
    last = max(request.end_ns for request in requests)
    return (
        next((asked for asked in reversed(naming) if asked.end_ns <= first), None),
        next((asked for asked in naming if asked.started_ns >= last), None),
    )


def _not_found(
    start: StartHistory,
    played: PlayedRound,
    naming: tuple[ListObservation, ListObservation],
    requests: list[ListObservation],
) -> Witness:
    before, after = naming
    spelt = ", ".join(dict.fromkeys(request.spelling for request in requests))
    return Witness(
        sentence=(
            f"The list names the model {requests[0].model}, and every one of {len(requests)} "
            f"requests for it by its id, written {spelt}, was answered as if it were not there."
        ),
        facts=(
            witness.where(start, played),
            witness.list_line(played, before),
            *(f"{witness.list_line(played, r)}, for {r.spelling}" for r in requests),
            witness.list_line(played, after),
        ),
    )


def _otherwise(requests: Iterable[ListObservation]) -> str:
    """How those were answered that got no model, as a clause; mostly empty."""
    others = Counter(
        "no status" if request.status is None else str(request.status)
        for request in requests
        if request.models != 1
    )
    if not others:
        return ""
    return f" ({', '.join(f'{count} got {status}' for status, count in others.items())})"


def _not_by_id(promises: Promises) -> str:
    lists = promises.model_list
    if lists is not None and lists.by_id:
        return ""
    return "one model by its id is not promised to be answered from the cache"


BY_ID = Check(
    id="models/by-id",
    promise=ModelList,
    exempt=_not_by_id,
    scenarios=("list-by-id",),
    judge=_by_id,
    promised="A request for a model by its id, with its slashes plain or as %2F, is answered from "
    "the cached list.",
    proved="Every request for an id that the list named before and after was refused as not there, "
    "three times in each spelling of the id. Or a list was fetched again in the first half of the "
    "TTL of one that the provider had answered, while a client requested one model by id and no "
    "client the whole list; the request was sent after a client had the list.",
    doubt="In the router's favour: one spelling that is answered is enough, other errors than 404, "
    "405, 410 and 501 accuse nobody, and the second half of the TTL never accuses. Inconclusive "
    "for a router that fetches lists without a client's request or has several workers. Requests "
    "to a provider's own /v1/models/{id} are not recorded.",
    bug="Only the list is cached, and each lookup of one model goes to the providers: the class of "
    "BerriAI/litellm #10849 with open-webui, open-webui/open-webui #15665. A path that ends at the "
    "first slash of the id: BerriAI/litellm #37271.",
    fix="Look the id up in the cached list; let the path's last part have slashes.",
)
