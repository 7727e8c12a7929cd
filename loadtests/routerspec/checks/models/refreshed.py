"""Which list clients see: models/refreshed, models/no-going-back. Pure.

Decides from the epochs that the lists carry whether a list is renewed, and never goes back.
Refuses to know how lists are fetched.

Direction of doubt: 1.3 s are granted beyond what the promise says, for caches that count in whole
seconds; serving the stale list while the new one is fetched is sound; a provider that is missing
from an answer is not an old epoch; several workers may have a cache each, so they are
``inconclusive`` where one would be accused.
"""

from __future__ import annotations

from collections.abc import Iterable

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check, needs_model_list
from routerspec.checks.models import fetches
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import ListObservation
from routerspec.verdict import Finding, Witness

IN_VAIN = 10
"""Requests that must have been answered long after expiry, with no fetch, to accuse."""
AFTERWARDS = 5
"""Requests that must have been sent after a new epoch was seen."""
LIST_SCENARIOS = (
    "list-refresh",
    "list-cold",
    "list-expiry",
    "list-warm",
    "list-slow",
    "list-behind-cap",
)

_WORKERS = "several workers may have a cache each"


def refreshed(history: History, promises: Promises) -> Finding:
    """With clients asking on, the list is fetched again after its TTL, and the old one goes.

    Doubt: (a) accuses only after ten requests were answered later than two TTLs and 1.3 s after
    the last answered fetch of a provider, whatever its path, and a failed fetch is a fetch;
    (b) only an answer to a request that began one TTL and 1.3 s after the new list was answered.
    """
    assert promises.model_list is not None
    reasons: list[str] = []
    renewed = 0
    for start, played in history.rounds("list-refresh"):
        ttl = fetches.ttl_ns(start, promises.model_list)
        answered = _answered(played.lists)
        shown = _never_again(start, played, answered, ttl) or _old_list(
            start, played, answered, ttl
        )
        if shown and promises.workers > 1:
            reasons.append(_WORKERS)
        elif shown and fetches.stalled(start, played, ttl):
            reasons.append(fetches.STALLED)
        elif shown:
            return results.violated("the old list stays", shown)
        for provider in sorted({name for asked in answered for name in asked.epochs}):
            new = max((move.epoch for move in played.moves), default=None)
            if new is not None and any(a.epochs.get(provider, -1) >= new for a in answered):
                renewed += 1
            else:
                reasons.append(f"no client saw the new list of {provider}")
    if reasons or not renewed:
        return results.inconclusive(
            "never exercised: " + ("; ".join(reasons) or "no client saw a new list")
        )
    return results.held(f"{renewed} lists renewed in time", {"renewed": renewed})


def _answered(lists: Iterable[ListObservation]) -> list[ListObservation]:
    return [asked for asked in lists if asked.outcome == "answered" and asked.status == 200]


def _of_provider(start: StartHistory) -> dict[str, list[ListFetch]]:
    providers: dict[str, list[ListFetch]] = {}
    for fetch in start.fetches:
        providers.setdefault(fetch.provider, []).append(fetch)
    return providers


def _never_again(
    start: StartHistory, played: PlayedRound, answered: list[ListObservation], ttl: int
) -> Witness | None:
    for provider, its in sorted(_of_provider(start).items()):
        for fetch in filter(fetches.stored, its):
            following = min((f.read_ns for f in its if f.read_ns > fetch.read_ns), default=None)
            late = fetch.outer_end_ns + 2 * ttl + fetches.COARSE_CLOCK_NS
            in_vain = [
                asked
                for asked in answered
                if asked.started_ns > late
                and provider in asked.epochs
                and (following is None or asked.end_ns < following)
            ]
            if len(in_vain) >= IN_VAIN:
                return Witness(
                    sentence=(
                        f"{len(in_vain)} requests for the list were answered more than two TTLs "
                        f"after {provider} had last been asked for it, and it was not asked again."
                    ),
                    facts=(
                        witness.where(start, played),
                        witness.fetch_line(played, fetch),
                        witness.list_line(played, in_vain[0]),
                        witness.list_line(played, in_vain[-1]),
                    ),
                )
    return None


def _old_list(
    start: StartHistory, played: PlayedRound, answered: list[ListObservation], ttl: int
) -> Witness | None:
    for move in played.moves:
        for provider, its in sorted(_of_provider(start).items()):
            new = next((f for f in its if fetches.stored(f) and f.epoch >= move.epoch), None)
            if new is None:
                continue
            late = new.outer_end_ns + ttl + fetches.COARSE_CLOCK_NS
            for asked in answered:
                if asked.started_ns > late and asked.epochs.get(provider, move.epoch) < move.epoch:
                    return Witness(
                        sentence=(
                            f"{provider} answered the list of epoch {new.epoch}, and "
                            f"{witness.seconds(asked.started_ns - new.outer_end_ns)} later, more "
                            f"than one TTL, a client still got epoch {asked.epochs[provider]}."
                        ),
                        facts=(
                            witness.where(start, played),
                            witness.fetch_line(played, new),
                            witness.list_line(played, asked),
                        ),
                    )
    return None


def no_going_back(history: History, promises: Promises) -> Finding:
    """After a client saw an epoch, a request begun later never gets an older one.

    Doubt: only real-time order accuses (the later request began after the earlier one had ended),
    per provider; answers that overlap in time prove nothing.
    """
    afterwards = 0
    shown: Witness | None = None
    for start in history.starts:
        rounds = start.played(*LIST_SCENARIOS, "smoke")
        answered = _answered(asked for played in rounds for asked in played.lists)
        afterwards = max(afterwards, _afterwards(answered))
        pair = _went_back(answered)
        if pair and shown is None:
            shown = _back(start, rounds, pair)
    numbers = {"afterwards": afterwards}
    if shown and promises.workers > 1:
        return results.inconclusive(_WORKERS, numbers)
    if shown:
        return results.violated("an older list came after a newer one", shown, numbers)
    if afterwards < AFTERWARDS:
        return results.inconclusive(
            f"never exercised: {afterwards} requests came after a client had seen a new list, "
            f"{AFTERWARDS} are needed",
            numbers,
        )
    return results.held(f"{afterwards} requests after a new list", numbers)


def _afterwards(answered: list[ListObservation]) -> int:
    """Requests begun after some client had seen a provider's list move on."""
    first: dict[str, int] = {}
    moved_ns: list[int] = []
    for asked in sorted(answered, key=lambda asked: asked.end_ns):
        for provider, epoch in asked.epochs.items():
            if epoch > first.setdefault(provider, epoch):
                moved_ns.append(asked.end_ns)
    since = min(moved_ns, default=None)
    return 0 if since is None else sum(asked.started_ns > since for asked in answered)


def _went_back(
    answered: list[ListObservation],
) -> tuple[str, ListObservation, ListObservation] | None:
    ended = sorted(answered, key=lambda asked: asked.end_ns)
    newest: dict[str, ListObservation] = {}
    index = 0
    for later in sorted(answered, key=lambda asked: asked.started_ns):
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
            f"A client got epoch {earlier.epochs[provider]} of {provider}'s list; a request begun "
            f"{witness.seconds(later.started_ns - earlier.end_ns)} after that answer had ended "
            f"got epoch {later.epochs[provider]}."
        ),
        facts=(
            witness.where(start, played),
            witness.list_line(played, earlier),
            witness.list_line(played, later),
            *(
                witness.fetch_line(played, fetch)
                for fetch in start.fetches
                if fetch.provider == provider
                and fetch.read_ns < later.end_ns
                and fetch.outer_end_ns > earlier.started_ns
            ),
        ),
    )


CHECKS = (
    Check(
        id="models/refreshed",
        needs=needs_model_list,
        scenarios=("list-refresh",),
        judge=refreshed,
        promised="With clients asking on, the list is fetched again after its TTL, and the old one "
        "is gone one more TTL after the new one was answered.",
        proved="Ten requests were answered later than two TTLs and 1.3 s after a provider had last "
        "been asked, or a request begun one TTL and 1.3 s after the new list was answered still "
        "got the old one.",
        doubt="In the router's favour: serving stale while fetching is sound, any fetch counts as "
        "asking again, and 1.3 s are granted to coarse clocks. Inconclusive where no client saw "
        "the new list, or with several workers.",
        bug="A refresh that fails or is lost is never tried again, or an entry's age is renewed by "
        "reading it: open-webui/open-webui #15665, router-for-me/pi-cliproxyapi-provider #34.",
        fix="Let the entry's age decide at every read, and never renew it without a new answer.",
    ),
    Check(
        id="models/no-going-back",
        needs=needs_model_list,
        scenarios=LIST_SCENARIOS,
        plays=("list-refresh",),
        judge=no_going_back,
        promised="After a client saw a list, later requests never get an older one.",
        proved="A request begun after another had ended got an older epoch of the same provider.",
        doubt="In the router's favour: only real-time order accuses. Inconclusive with several "
        "workers, or where no client ever saw a list move on.",
        bug="A slow old fetch that overwrites a newer list (the last writer wins): Zoo-Code "
        "PR #1072, router-for-me/pi-cliproxyapi-provider #34.",
        fix="Number the fetches, and store an answer only over that of an older one; or have one "
        "fetch in flight at a time.",
    ),
)
