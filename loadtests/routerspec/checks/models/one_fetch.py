"""One fetch for all: models/one-fetch-cold, one-fetch-on-expiry, one-fetch-uncapped.

Fetches are counted per provider and path. Two are open at once if the second arrived before the
first was being answered, unless the router closed the first within 100 ms of that: the second may
be a retry of a fetch that was given up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check, TargetFacts
from routerspec.checks.models import fetches
from routerspec.history import sweep
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import ModelList, Promises
from routerspec.records.run import StartInfo
from routerspec.verdict import Finding, Number, Witness

CLIENTS = 10
"""Clients that must have waited for one fetch."""
STALL_NS = 250_000_000
"""In a stall of either side for so long the router may have stood still, too: clients whose
requests it reads only after the fetch have shared none."""

Exposed = Callable[[PlayedRound, ListFetch], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What one round showed."""

    fetched: int
    """Most fetches of one provider and path."""
    clients: int
    """Most clients that waited for one fetch."""
    stalled: bool
    """The machine stalled while they did."""
    prefetched: bool
    doubles: int
    """Lists that were fetched more than once, whatever may excuse it."""
    doubtful: int
    """Lists that were fetched again too soon, during a stall of the machine."""
    witness: Witness | None


def _cold(history: History, promised: ModelList) -> Finding:
    return _judge("list-cold", history, promised, _with_cap)


def _uncapped(history: History, promised: ModelList) -> Finding:
    return _judge("list-cold", history, promised, _without_cap)


def _on_expiry(history: History, promised: ModelList) -> Finding:
    return _judge("list-expiry", history, promised, lambda _info, _promises: True)


def _with_cap(info: StartInfo, promises: Promises) -> bool:
    return promises.cap is None or info.settings.cap is not None


def _without_cap(info: StartInfo, _promises: Promises) -> bool:
    return info.settings.cap is None


def _judge(
    scenario: str,
    history: History,
    promised: ModelList,
    reads: Callable[[StartInfo, Promises], bool],
) -> Finding:
    exposed = fetches.waiting_while_open if scenario == "list-cold" else fetches.sent_before_answer
    crowds = [
        read(start, played, promised, history.promises.workers, exposed)
        for start, played in history.rounds(scenario)
        if reads(start.info, history.promises)
    ]
    if not crowds:
        return results.inconclusive(f"no round of {scenario} was played on such a start")
    numbers: dict[str, Number] = {
        "fetches": max(crowd.fetched for crowd in crowds),
        "clients": max(crowd.clients for crowd in crowds),
    }
    reason = fetches.unattributable(history)
    alone = fetches.for_one_client(history)
    if not reason and alone > 1:
        reason = f"a single client, alone at the time, caused {alone} fetches of one list at once"
    if reason:
        return results.inconclusive(reason, numbers)
    return outcome(scenario, crowds, numbers)


def outcome(scenario: str, crowds: list[Crowd], numbers: dict[str, Number]) -> Finding:
    """What all rounds of a scenario come to together."""
    most = max(crowd.fetched for crowd in crowds)
    for crowd in crowds:
        if crowd.witness:
            return results.violated(
                f"{most} fetches for {crowd.clients} clients",
                crowd.witness,
                numbers,
            )
    excuse = ""
    if any(crowd.doubtful for crowd in crowds):
        excuse = "but the machine stalled between them"
    elif any(crowd.doubles for crowd in crowds):
        excuse = "but each of several workers may have made one"
    if excuse:
        return results.inconclusive(f"{most} fetches of one list, {excuse}", numbers)
    if scenario == "list-cold" and not most and any(crowd.prefetched for crowd in crowds):
        return results.not_applicable("the lists were fetched at start, before anyone asked")
    if not most:
        return results.never_exercised("no list was fetched", numbers)
    return _shared(crowds, numbers)


def _shared(crowds: list[Crowd], numbers: dict[str, Number]) -> Finding:
    """Each list was fetched once: whether clients enough had shared the fetch."""
    steady = [crowd.clients for crowd in crowds if not crowd.stalled]
    if not steady:
        return results.inconclusive("the machine stalled while the clients waited", numbers)
    clients = max(steady)
    if clients < CLIENTS:
        return results.too_few(clients, "clients waited for one fetch", CLIENTS, numbers)
    return results.held(f"one fetch of each list, {clients} clients", numbers)


def read(
    start: StartHistory,
    played: PlayedRound,
    promised: ModelList,
    workers: int,
    exposed: Exposed,
) -> Crowd:
    """What one round shows of a router with so many workers."""
    sources = fetches.by_source(start, played.from_ns, played.until_ns)
    ttl = fetches.ttl_ns(start, promised)
    doubles = doubtful = 0
    shown: Witness | None = None
    for its in sources.values():
        pair = fetches.open_at_once(its)
        if pair is None:
            pair = _too_soon(start, its, ttl, promised)
            if pair is not None and fetches.stalled(start, played, ttl):
                doubtful += 1
                continue
        if pair is None:
            continue
        doubles += 1
        if workers <= 1 or _overlapping(its) > workers:
            shown = shown or _witness(start, played, its, pair)
    return Crowd(
        fetched=max((len(its) for its in sources.values()), default=0),
        clients=max((exposed(played, f) for its in sources.values() for f in its), default=0),
        stalled=start.worst_stall_ns(played.from_ns, played.until_ns) >= STALL_NS,
        prefetched=any(f.read_ns < played.from_ns and fetches.stored(f) for f in start.fetches),
        doubles=doubles,
        doubtful=doubtful,
        witness=shown,
    )


def _too_soon(
    start: StartHistory, its: list[ListFetch], ttl: int, promised: ModelList
) -> tuple[ListFetch, ListFetch] | None:
    for index, first in enumerate(its):
        received = fetches.received_ns(start, first) if fetches.stored(first) else None
        if received is None:
            continue
        until = fetches.half_fresh_until_ns(first, ttl, promised, its)
        for second in its[index + 1 :]:
            if received < second.read_ns < until:
                return first, second
    return None


def _overlapping(its: list[ListFetch]) -> int:
    return sweep.sweep((fetch.read_ns, fetch.inner_end_ns) for fetch in its).peak


def _witness(
    start: StartHistory,
    played: PlayedRound,
    its: list[ListFetch],
    pair: tuple[ListFetch, ListFetch],
) -> Witness:
    first, second = pair
    clients = fetches.waiting_while_open(played, first)
    if second.read_ns < first.inner_end_ns:
        how = "a second fetch arrived while the first was not yet being answered"
    else:
        how = "a second fetch arrived in the first half of the TTL of an answered one"
    return Witness(
        sentence=(
            f"{len(played.lists)} clients requested the model list, and {how}: "
            f"{len(its)} fetches of {first.route} at {first.provider} in all."
        ),
        facts=(
            witness.where(start, played),
            witness.fetch_line(played, first),
            witness.fetch_line(played, second),
            f"{clients} list requests were fully written and unanswered while the first was open",
            *(witness.list_line(played, request) for request in played.lists[:2]),
        ),
    )


def _no_cap(promises: Promises) -> str:
    return "" if promises.cap else "no cap is promised"


def _warm(target: TargetFacts) -> str:
    return "" if target.is_started else "the router was running already: its cache is not cold"


_STAMPEDE = (
    "A cache that checks, fetches and stores without a lock, so that every client that finds it "
    "expired fetches: microsoft/amplifier-foundation PR #302 (80 calls a wave), "
    "Zoo-Code-Org/Zoo-Code PR #1072, open-webui/open-webui #15665, maximhq/bifrost PR #2362."
)
_FIX = (
    "Keep one fetch in flight per provider: a lock of its own (not the request limiter) with a "
    "second check of the cache inside, or a shared future that all waiters await."
)
_PROVED = (
    "Two fetches of one provider and path were open at once (the second arrived before the first "
    "was being answered, and the router had not closed the first), or a second one arrived in the "
    "first half of the TTL of an answered one."
)
_DOUBT = (
    "In the router's favour: a fetch that was closed and retried does not count. Inconclusive for "
    "a router that fetches lists without a client's request, fetches one several times for a "
    "single client or has several workers, and for a round in which fewer than ten clients waited "
    "for one fetch or something stalled."
)

COLD = Check(
    id="models/one-fetch-cold",
    promise=ModelList,
    needs_target=_warm,
    scenarios=("list-cold",),
    reads=_with_cap,
    judge=_cold,
    quick=True,
    promised="Clients that request the list of a fresh router at once cause one fetch per "
    "provider.",
    proved=_PROVED,
    doubt=_DOUBT + " A router that fetches its list at start is not applicable.",
    bug=_STAMPEDE,
    fix=_FIX,
)
ON_EXPIRY = Check(
    id="models/one-fetch-on-expiry",
    promise=ModelList,
    scenarios=("list-expiry",),
    judge=_on_expiry,
    quick=True,
    promised="Clients that request the list at once after the TTL has passed cause one fetch per "
    "provider.",
    proved=_PROVED,
    doubt=_DOUBT + " Serving the stale list meanwhile is sound.",
    bug=_STAMPEDE,
    fix=_FIX,
)
UNCAPPED = Check(
    id="models/one-fetch-uncapped",
    promise=ModelList,
    exempt=_no_cap,
    scenarios=("list-cold",),
    start="uncapped",
    reads=_without_cap,
    judge=_uncapped,
    quick=True,
    promised="With no cap set, clients that request the list at once still cause one fetch per "
    "provider.",
    proved=_PROVED,
    doubt=_DOUBT + " A router that fetches its list at start is not applicable.",
    bug="The request limiter is used as the lock of the cache: with no cap set there is no lock at "
    "all. " + _STAMPEDE,
    fix=_FIX,
)
