"""One fetch for all: models/one-fetch-cold, -on-expiry, -uncapped. Pure.

Decides whether a crowd of clients that found no fresh list made the router fetch it more than
once. Refuses to know how the router keeps the crowd waiting.

Direction of doubt: fetches count per provider and path. Two count as open at once only if the
second arrived before the first was being answered, and the first was not closed by the router
within 100 ms of that (then it may be a second try after a first was given up). A second one after
an answered one counts only in the first half of the TTL, and only if nothing stalled. A router
that fetches lists by itself, fetches one list several times over for a single client, or has
several workers with a cache each, is ``inconclusive`` where it might be accused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fake_providers.records.evidence import ListFetch
from routerspec.checks import results, witness
from routerspec.checks.check import Check, needs_model_list
from routerspec.checks.models import fetches
from routerspec.history import sweep
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.promises import ModelList, Promises
from routerspec.records.run import StartInfo
from routerspec.verdict import Finding, Number, Witness

CLIENTS = 10
"""Clients that must have been waiting for one fetch."""
GIVEN_UP_NS = 100_000_000

Exposed = Callable[[PlayedRound, ListFetch], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crowd:
    """What one round showed."""

    fetched: int
    """Most fetches of one provider and path."""
    clients: int
    """Most clients that one fetch was for."""
    prefetched: bool
    doubles: int
    """Fetches too many, whoever may have caused them."""
    doubtful: int
    """Lists that were fetched again so soon that only a stall of the machine may excuse it."""
    witness: Witness | None


def cold(history: History, promises: Promises) -> Finding:
    """50 clients at once ask a fresh router that has its cap set (or was promised none).

    Doubt: as the module says. A list fetched at start, before anyone asked, is not applicable.
    """
    return _judge("list-cold", history, promises, _with_cap)


def uncapped(history: History, promises: Promises) -> Finding:
    """The same with no cap set: a lock borrowed from the limiter is no lock then.

    Doubt: as the module says.
    """
    return _judge("list-cold", history, promises, _without_cap)


def on_expiry(history: History, promises: Promises) -> Finding:
    """The same after the TTL has passed.

    Doubt: as the module says. Clients that were served a stale list meanwhile count as clients:
    that is sound.
    """
    return _judge("list-expiry", history, promises, _any_cap)


def _with_cap(info: StartInfo, promises: Promises) -> bool:
    return promises.cap is None or info.settings.cap is not None


def _without_cap(info: StartInfo, _promises: Promises) -> bool:
    return info.settings.cap is None


def _any_cap(_info: StartInfo, _promises: Promises) -> bool:
    return True


def _judge(
    scenario: str,
    history: History,
    promises: Promises,
    reads: Callable[[StartInfo, Promises], bool],
) -> Finding:
    assert promises.model_list is not None
    exposed = fetches.waiting_while_open if scenario == "list-cold" else fetches.sent_before_answer
    crowds = [
        _read(start, played, promises.model_list, promises.workers, exposed)
        for start, played in history.rounds(scenario)
        if reads(start.info, promises)
    ]
    if not crowds:
        return results.inconclusive(f"no round of {scenario} was played as it needs")
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
    return _outcome(scenario, crowds, numbers)


def _outcome(scenario: str, crowds: list[_Crowd], numbers: dict[str, Number]) -> Finding:
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
        excuse = "and a machine that stood still between them"
    elif any(crowd.doubles for crowd in crowds):
        excuse = "which its several workers may excuse"
    if excuse:
        return results.inconclusive(f"{most} fetches of one list, {excuse}", numbers)
    if scenario == "list-cold" and not most and any(crowd.prefetched for crowd in crowds):
        return results.not_applicable("the lists were fetched at start, before anyone asked")
    if not most:
        return results.inconclusive("never exercised: nothing was fetched", numbers)
    clients = max(crowd.clients for crowd in crowds)
    if clients < CLIENTS:
        return results.inconclusive(
            f"never exercised: at most {clients} clients were waiting for one fetch, "
            f"{CLIENTS} are needed",
            numbers,
        )
    return results.held(f"one fetch of each list, {clients} clients", numbers)


def _read(
    start: StartHistory,
    played: PlayedRound,
    promised: ModelList,
    workers: int,
    exposed: Exposed,
) -> _Crowd:
    sources = fetches.by_source(start, played.from_ns, played.until_ns)
    ttl = fetches.ttl_ns(start, promised)
    doubles = doubtful = 0
    shown: Witness | None = None
    for its in sources.values():
        pair = _open_at_once(its)
        if pair is None:
            pair = _too_soon(its, ttl, promised)
            if pair is not None and fetches.stalled(start, played, ttl):
                doubtful += 1
                continue
        if pair is None:
            continue
        doubles += 1
        if workers <= 1 or _overlapping(its) > workers:
            shown = shown or _witness(start, played, its, pair)
    return _Crowd(
        fetched=max((len(its) for its in sources.values()), default=0),
        clients=max((exposed(played, f) for its in sources.values() for f in its), default=0),
        prefetched=any(f.read_ns < played.from_ns and fetches.stored(f) for f in start.fetches),
        doubles=doubles,
        doubtful=doubtful,
        witness=shown,
    )


def _open_at_once(its: list[ListFetch]) -> tuple[ListFetch, ListFetch] | None:
    for index, first in enumerate(its):
        for second in its[index + 1 :]:
            if second.read_ns >= first.inner_end_ns:
                continue
            closed = first.peer_closed_ns
            if closed is None or closed >= second.read_ns + GIVEN_UP_NS:
                return first, second
    return None


def _too_soon(
    its: list[ListFetch], ttl: int, promised: ModelList
) -> tuple[ListFetch, ListFetch] | None:
    for index, first in enumerate(its):
        if not fetches.stored(first):
            continue
        until = fetches.half_fresh_until_ns(first, ttl, promised)
        for second in its[index + 1 :]:
            if first.outer_end_ns < second.read_ns < until:
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
        how = "a second fetch arrived in the first half of the TTL of one that was answered"
    return Witness(
        sentence=(
            f"{len(played.lists)} clients asked for the model list, and {how}: "
            f"{len(its)} fetches of {first.route} at {first.provider} in all."
        ),
        facts=(
            witness.where(start, played),
            witness.fetch_line(played, first),
            witness.fetch_line(played, second),
            f"{clients} list requests were fully written and unanswered while the first was open",
            *(witness.list_line(played, asked) for asked in played.lists[:2]),
        ),
    )


_STAMPEDE = (
    "A cache that checks, fetches and stores with no lock, so that every client that finds it "
    "expired fetches: microsoft/amplifier-foundation PR #302 (80 calls a wave), Zoo-Code PR #1072, "
    "open-webui/open-webui #15665, maximhq/bifrost PR #2362."
)
_FIX = (
    "One fetch in flight per provider: a lock of its own (not the request limiter) with a second "
    "look at the cache inside, or a shared future that all waiters await."
)
_PROVED = (
    "Two fetches of one provider and path were open at once (the second arrived before the first "
    "was being answered, and the router had not closed the first), or a second one arrived in the "
    "first half of the TTL of an answered one."
)
_DOUBT = (
    "In the router's favour: a fetch that was closed and tried again does not count; a router that "
    "fetches lists by itself or has several workers is inconclusive, as is a round in which fewer "
    "than ten clients waited for one fetch."
)

CHECKS = (
    Check(
        id="models/one-fetch-cold",
        needs=needs_model_list,
        scenarios=("list-cold",),
        reads=_with_cap,
        judge=cold,
        promised="Clients that ask a fresh router for its list at once cause one fetch a provider.",
        proved=_PROVED,
        doubt=_DOUBT + " A list fetched at start is not applicable.",
        bug=_STAMPEDE,
        fix=_FIX,
    ),
    Check(
        id="models/one-fetch-on-expiry",
        needs=needs_model_list,
        scenarios=("list-expiry",),
        judge=on_expiry,
        promised="Clients that ask at once after the TTL has passed cause one fetch a provider.",
        proved=_PROVED,
        doubt=_DOUBT + " Serving the stale list meanwhile is sound.",
        bug=_STAMPEDE,
        fix=_FIX,
    ),
    Check(
        id="models/one-fetch-uncapped",
        needs=fetches.needs_model_list_and_cap,
        scenarios=("list-cold",),
        start="uncapped",
        reads=_without_cap,
        judge=uncapped,
        promised="With no cap set, clients that ask at once still cause one fetch a provider.",
        proved=_PROVED,
        doubt=_DOUBT + " A list fetched at start is not applicable.",
        bug="The request limiter used as the cache's lock: with no cap set there is no lock at "
        "all. " + _STAMPEDE,
        fix=_FIX,
    ),
)
