"""Which list clients see: models/refreshed, models/no-going-back.

The epochs that the lists carry show whether a list is renewed, and whether it ever goes back. A
provider that is missing from an answer is not an old epoch.
"""

from __future__ import annotations

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.limits import COARSE_CLOCK_S
from routerspec.promises import ModelList
from routerspec.records.observations import ListObservation
from routerspec.records.providers import base_of
from routerspec.verdict import Finding, Witness

IN_VAIN = 10
"""Requests answered long after expiry, with no fetch, that it takes to accuse."""
AFTERWARDS = 5
"""Requests that must have been sent after a client saw a new epoch."""
LIST_SCENARIOS = (
    "list-refresh",
    "list-cold",
    "list-expiry",
    "list-warm",
    "list-slow",
    "list-behind-cap",
)

_COARSE_NS = round(COARSE_CLOCK_S * 1e9)


def _refreshed(history: History, promised: ModelList) -> Finding:
    reasons: list[str] = []
    renewed = 0
    for start, played in history.rounds("list-refresh"):
        ttl = fetches.ttl_ns(start, promised)
        answered = list(filter(fetches.answered, played.lists))
        shown = _never_again(start, played, answered, ttl) or _old_list(
            start, played, answered, ttl
        )
        if shown and history.promises.workers > 1:
            reasons.append(fetches.WORKERS)
        elif shown and fetches.stalled(start, played, ttl):
            reasons.append(fetches.STALLED)
        elif shown:
            return results.violated("the old list stays", shown)
        for provider in sorted({name for request in answered for name in request.epochs}):
            new = max((move.epoch for move in played.moves), default=None)
            if new is not None and any(a.epochs.get(provider, -1) >= new for a in answered):
                renewed += 1
            else:
                reasons.append(f"no client saw the new list of {provider}")
    if reasons or not renewed:
        return results.never_exercised("; ".join(reasons) or "no client saw a new list")
    return results.held(f"{renewed} lists renewed in time", {"renewed": renewed})


def _of_provider(start: StartHistory) -> dict[str, list[ListFetch]]:
    providers: dict[str, list[ListFetch]] = {}
    for fetch in start.fetches:
        providers.setdefault(base_of(fetch.provider), []).append(fetch)
    return providers


def _never_again(
    start: StartHistory, played: PlayedRound, answered: list[ListObservation], ttl: int
) -> Witness | None:
    for provider, its in sorted(_of_provider(start).items()):
        for fetch in filter(fetches.stored, its):
            following = min((f.read_ns for f in its if f.read_ns > fetch.read_ns), default=None)
            late = fetch.outer_end_ns + 2 * ttl + _COARSE_NS
            in_vain = [
                request
                for request in answered
                if request.started_ns > late
                and provider in request.epochs
                and (following is None or request.end_ns < following)
            ]
            if len(in_vain) >= IN_VAIN:
                return Witness(
                    sentence=(
                        f"{len(in_vain)} requests for the list were answered more than two TTLs "
                        f"after the last fetch from {provider}, and it was not fetched again."
                    ),
                    facts=(
                        witness.where(start, played),
                        witness.fetch_line(played, fetch),
                        witness.list_line(played, in_vain[0]),
                        witness.list_line(played, in_vain[-1]),
                    ),
                )
    return None


def _had(start: StartHistory, fetch: ListFetch) -> bool:
    """The router has this list: a client had it, or it came so soon that nobody gave it up."""
    quick = fetches.is_quick(fetch)
    return fetches.stored(fetch) and (quick or fetches.received_ns(start, fetch) is not None)


def _old_list(
    start: StartHistory, played: PlayedRound, answered: list[ListObservation], ttl: int
) -> Witness | None:
    for move in played.moves:
        for provider, its in sorted(_of_provider(start).items()):
            new = next((f for f in its if _had(start, f) and f.epoch >= move.epoch), None)
            if new is None:
                continue
            late = new.outer_end_ns + ttl + _COARSE_NS
            for request in answered:
                if (
                    request.started_ns > late
                    and request.epochs.get(provider, move.epoch) < move.epoch
                ):
                    return Witness(
                        sentence=(
                            f"{provider} answered the list of epoch {new.epoch}, and "
                            f"{witness.seconds(request.started_ns - new.outer_end_ns)} later, more "
                            "than one TTL, a client still received epoch "
                            f"{request.epochs[provider]}."
                        ),
                        facts=(
                            witness.where(start, played),
                            witness.fetch_line(played, new),
                            witness.list_line(played, request),
                        ),
                    )
    return None


def _no_going_back(history: History, _promised: ModelList) -> Finding:
    afterwards = 0
    shown: Witness | None = None
    for start in history.starts:
        rounds = start.played(*LIST_SCENARIOS, "smoke")
        answered = [a for played in rounds for a in played.lists if fetches.answered(a)]
        afterwards = max(afterwards, _afterwards(answered))
        pair = _went_back(answered)
        if pair and shown is None:
            shown = _back(start, rounds, pair)
    numbers = {"afterwards": afterwards}
    if shown and history.promises.workers > 1:
        return results.inconclusive(fetches.WORKERS, numbers)
    if shown:
        return results.violated("an older list came after a newer one", shown, numbers)
    if afterwards < AFTERWARDS:
        what = "requests came after a client had seen a new list"
        return results.too_few(afterwards, what, AFTERWARDS, numbers)
    return results.held(f"{afterwards} requests after a new list", numbers)


def _afterwards(answered: list[ListObservation]) -> int:
    """Requests begun after some client had seen a provider's list move on."""
    first: dict[str, int] = {}
    moved_ns: list[int] = []
    for request in sorted(answered, key=lambda request: request.end_ns):
        for provider, epoch in request.epochs.items():
            if epoch > first.setdefault(provider, epoch):
                moved_ns.append(request.end_ns)
    since = min(moved_ns, default=None)
    return 0 if since is None else sum(request.started_ns > since for request in answered)


def _went_back(
    answered: list[ListObservation],
) -> tuple[str, ListObservation, ListObservation] | None:
    ended = sorted(answered, key=lambda request: request.end_ns)
    newest: dict[str, ListObservation] = {}
    index = 0
    for later in sorted(answered, key=lambda request: request.started_ns):
        while index < len(ended) and ended[index].end_ns < later.started_ns:
            for provider, epoch in ended[index].epochs.items():
                if provider not in newest or newest[provider].epochs[provider] < epoch:
                    newest[provider] = ended[index]
            index += 1
        for provider, epoch in sorted(later.epochs.items()):
            if provider in newest and newest[provider].epochs[provider] > epoch:
                return provider, newest[provider], later
    return None


def _back(
    start: StartHistory,
    rounds: tuple[PlayedRound, ...],
    pair: tuple[str, ListObservation, ListObservation],
) -> Witness:
    provider, earlier, later = pair
    played = next(p for p in rounds if p.round.round == earlier.round)
    return Witness(
        sentence=(
            f"A client received epoch {earlier.epochs[provider]} of {provider}'s list; a request "
            f"begun {witness.seconds(later.started_ns - earlier.end_ns)} after the end of that "
            f"answer received epoch {later.epochs[provider]}."
        ),
        facts=(
            witness.where(start, played),
            witness.list_line(played, earlier),
            witness.list_line(played, later),
            *(
                witness.fetch_line(played, fetch)
                for fetch in start.fetches
                if base_of(fetch.provider) == provider
                and fetch.read_ns < later.end_ns
                and fetch.outer_end_ns > earlier.started_ns
            ),
        ),
    )


REFRESHED = Check(
    id="models/refreshed",
    promise=ModelList,
    scenarios=("list-refresh",),
    judge=_refreshed,
    promised="While clients keep requesting it, the list is fetched again after its TTL, and the "
    "old list is gone one more TTL after the new one was answered.",
    proved="Ten requests were answered later than two TTLs and 1.3 s after the last answered fetch "
    "from a provider, which was not fetched from again; or a request begun one TTL and 1.3 s after "
    "the new list was answered still received the old one.",
    doubt="In the router's favour: serving stale while fetching is sound, any fetch counts as a "
    "new one (a slow one only once a client had it), and 1.3 s are granted to caches that count in "
    "whole seconds. Inconclusive where no client saw the new list, or with several workers.",
    bug="A refresh that fails or is lost is never retried, or reading an entry renews its age: "
    "open-webui/open-webui #15665, router-for-me/pi-cliproxyapi-provider #34.",
    fix="Compare the age of the entry with the TTL at every read, and renew it only with a new "
    "answer.",
)
NO_GOING_BACK = Check(
    id="models/no-going-back",
    promise=ModelList,
    scenarios=LIST_SCENARIOS,
    plays=("list-refresh",),
    judge=_no_going_back,
    promised="After a client saw a list, later requests never receive an older one.",
    proved="A request begun after another had ended received an older epoch of the same provider.",
    doubt="In the router's favour: only real-time order accuses; answers that overlap prove "
    "nothing. Inconclusive with several workers, or where no client ever saw a new list.",
    bug="A slow fetch of an old list overwrites a newer one (last writer wins): "
    "Zoo-Code-Org/Zoo-Code PR #1072, router-for-me/pi-cliproxyapi-provider #34.",
    fix="Number the fetches, and store an answer only over that of an older fetch; or keep one "
    "fetch in flight at a time.",
)
