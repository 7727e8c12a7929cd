"""Rounds on the model list: how often it is fetched, and what clients get of it."""

from __future__ import annotations

import threading
import time
from urllib.parse import quote

from routerspec.repro.kit.clients import Exchange, json_parts, send_at_once
from routerspec.repro.kit.lab import (
    Lab,
    NotExercisedError,
    expire,
    fetches,
    fetches_since,
    listed,
    say,
    settled,
    times_in_row,
    wait_until,
)
from routerspec.repro.kit.providers import Answer, Call, Provider


def fetched_at_once(lab: Lab, *, expired: bool = False) -> bool:
    """Let fifty clients request the list in one instant, with each provider's list taking a second.

    True when two fetches from one provider are open at once, or one begins within the TTL of
    another that was answered.
    """
    broken = _stampede(lab, "empty")
    if expired:
        expire(lab)
        broken = _stampede(lab, "expired")
    return broken


def _stampede(lab: Lab, cache: str) -> bool:
    before, ttl_s, slow = fetches(lab), lab.settings["ttl_s"], {each.name for each in lab.providers}

    def first_slowly(answer: Answer) -> None:
        if answer.call.provider in slow:
            slow.discard(answer.call.provider)
            time.sleep(1.0)
        answer.models()

    lab.list_with(first_slowly)
    clients = [lab.lister() for _ in range(50)]
    send_at_once(clients)
    for client in clients:
        client.done()
    broken = False
    for provider in lab.providers:
        its = provider.lists[before[provider.name] :]
        at_once = max((sum(_open_at(f, fetch.began) for f in its) for fetch in its), default=0)
        early = sum(
            any(f.ended is not None and f.ended < fetch.began < f.ended + ttl_s for f in its)
            for fetch in its
        )
        broken = broken or at_once > 1 or early > 0
        say(
            f"{cache} cache, 50 clients: {len(its)} fetches of {provider.name}'s list, {at_once} "
            f"of them open at once, {early} within the TTL of an answered one"
        )
    if not any(fetches_since(lab, before).values()):
        raise NotExercisedError("No provider's list was fetched.")
    return broken


def _open_at(fetch: Call, moment: float) -> bool:
    return fetch.began <= moment and (fetch.ended is None or moment < fetch.ended)


def fetched_by_id(lab: Lab) -> bool:
    """Request a model of the list by its id, five times in the first half of the list's TTL.

    True when it is not found in any spelling, three times, though the list names it before and
    after; or when a provider's list is fetched again.
    """
    name = first_id(lab)
    spellings = sorted({quote(name, safe=safe) for safe in ("/:", "")})
    answers = {each: [lab.get_list(each).status for _ in range(3)] for each in spellings}
    for each, statuses in answers.items():
        say(f"GET {lab.settings['list_path']}/{each}: {statuses}")
    missing = {404, 405, 410, 501}
    if all(missing.issuperset(statuses) for statuses in answers.values()):
        return first_id(lab) == name
    found = [each for each, statuses in answers.items() if set(statuses) == {200}]
    if not found:
        raise NotExercisedError("The router does not answer requests for one model.")
    return fetched_while_fresh(lab, found[0])


def first_id(lab: Lab) -> str:
    """The first id in the list, of a model that is always there."""
    whole = lab.get_list()
    items = [item for part in json_parts(whole.text) for item in part.get("data") or ()]
    names = [str(item.get("id")) for item in items if "epoch" not in str(item.get("id"))]
    if not names:
        raise NotExercisedError("The router's list has no models.")
    return names[0]


def fetched_while_fresh(lab: Lab, model: str = "") -> bool:
    """Request the list (or one model, by its id) five times in the first half of its TTL.

    True when a provider's list is fetched again.
    """
    half_s, before, answered = half_of_ttl(lab), fetches(lab), 0
    for _ in range(5):
        answered += lab.get_list(model).succeeded
        time.sleep(0.03 * lab.settings["ttl_s"])
    again = {
        provider.name: sum(f.began < half_s for f in provider.lists[before[provider.name] :])
        for provider in lab.providers
    }
    say(
        f"TTL {lab.settings['ttl_s']:g} s, {model or 'the list'} requested five times in the first "
        f"half of it, {answered} answered: fetched again {again}"
    )
    if answered < 3:
        raise NotExercisedError("Fewer than three requests succeeded.")
    return any(again.values())


def half_of_ttl(lab: Lab) -> float:
    """Have every list fetched anew; when the first of them is half-way through its TTL."""
    ttl_s = lab.settings["ttl_s"]
    for _ in range(3):
        lab.get_list()
        settled(lambda: sum(fetches(lab).values()), for_s=min(0.2, 0.05 * ttl_s))
        ended = [provider.lists[-1].ended for provider in lab.providers if provider.lists]
        if ended and all(end and time.monotonic() - end < 0.3 * ttl_s for end in ended):
            return float(min(end for end in ended if end) + 0.5 * ttl_s)
        expire(lab)
    raise NotExercisedError("The router did not fetch a list when it was requested.")


def fetched_before_expiry(lab: Lab) -> bool:
    """Let the list take 0.8 TTL to come, and request it again 0.4 TTL after it came.

    True when a provider's list is fetched again.
    """
    ttl_s = lab.settings["ttl_s"]

    def slowly(answer: Answer) -> None:
        time.sleep(0.8 * ttl_s)
        answer.models()

    if any(fetches(lab).values()):
        expire(lab)  # fetched at start: that list must be out of date first
    lab.list_with(slowly)
    before = fetches(lab)
    came = lab.get_list()
    fetched, first = fetches(lab), fetches_since(lab, before)
    time.sleep(0.4 * ttl_s)
    lab.get_list()
    again = {name: count for name, count in fetches_since(lab, fetched).items() if count}
    say(
        f"TTL {ttl_s:g} s, requested again {0.4 * ttl_s:g} s after the list had come: fetched "
        f"again {again}"
    )
    if not came.succeeded or not any(first.values()):
        raise NotExercisedError(f"The list was not fetched: status {came.status}.")
    return bool(again)


def moved(lab: Lab, *, back: bool = False) -> bool:
    """Change the models while a fetch of the old list is under way, and request on for two TTLs.

    True when the list still shows the old models or, with ``back``, when a client gets an older
    list than a client before it.
    """
    ttl_s = lab.settings["ttl_s"]
    has_lists(lab, of=1)
    expire(lab)
    (newest, fetched), older = _moved_while_fetched(lab), False
    until = time.monotonic() + 2 * ttl_s + 2.9
    while time.monotonic() < until:
        now = listed(lab.get_list())
        older = older or any(epoch < newest.get(name, 0) for name, epoch in now.items())
        newest |= {name: max(epoch, newest.get(name, 0)) for name, epoch in now.items()}
        time.sleep(min(0.1 * ttl_s, 1.0))
    last = listed(lab.get_list())
    current = {provider.name: provider.epoch for provider in lab.providers}
    old = [name for name, epoch in last.items() if epoch < current[name]]
    say(
        f"TTL {ttl_s:g} s: after two TTLs the list shows "
        f"{'the OLD models of ' + ', '.join(old) if old else 'the new models'}"
        f"{'; a client got an OLDER list than one before it' if older else ''}"
    )
    if not last or not (fetched or old):
        raise NotExercisedError("No fetch was under way, or the list shows no models in the end.")
    return older if back else bool(old)


def _moved_while_fetched(lab: Lab) -> tuple[dict[str, int], bool]:
    """Hold each provider's next fetch, change its models and release the old list.

    Other fetches bring the new one. The newest epochs that clients got before the release, and
    whether a fetch was held.
    """
    gate, held = threading.Event(), set[str]()

    def answered(answer: Answer) -> None:
        provider = next(p for p in lab.providers if p.name == answer.call.provider)
        epoch = provider.epoch
        if provider.name not in held:
            held.add(provider.name)
            gate.wait(5)
        answer.models(epoch)

    lab.list_with(answered)
    first = lab.lister().send()
    settled(lambda: sum(fetches(lab).values()), for_s=0.3)
    fetched = bool(held)
    for provider in lab.providers:
        provider.epoch += 1
    others = [lab.lister().send() for _ in range(10)]
    time.sleep(0.4)
    seen: dict[str, int] = {}
    for answer in [listed(listing) for listing in others if listing.over.is_set()]:
        seen |= {name: max(epoch, seen.get(name, 0)) for name, epoch in answer.items()}
    gate.set()
    for listing in (first, *others):
        listing.done()
    return seen, fetched


def all_or_nothing(lab: Lab) -> bool:
    """Let one provider's list fail, be nonsense or never come, and request the router's list.

    True when two clients at once get no model of the other provider, three times of three.
    """
    has_lists(lab, of=2)
    seen = 0

    def without(dead: Provider, other: Provider, how: str) -> bool:
        nonlocal seen
        dead.on_list = lambda answer: answer.models()
        expire(lab)
        both = {dead.name, other.name}
        if not both <= listed(lab.get_list()).keys():  # it has not come back to one that is well
            expire(lab)
            if not both <= listed(lab.get_list()).keys():
                return False
        expire(lab)
        gate, before = threading.Event(), len(dead.lists)

        def failing(answer: Answer) -> None:
            if how == "down":
                answer.error(503)
            elif how == "nonsense":
                answer.nonsense()
            elif answer.held_until(gate):
                answer.models()

        dead.on_list = failing
        listings = [lab.lister().send() for _ in range(2)]
        for each in listings:
            each.done(lab.settings["partial_within_s"] + 0.5)
        lacking = all(other.name not in listed(each) for each in listings)
        gate.set()
        seen += len(dead.lists) > before
        return lacking and len(dead.lists) > before

    for number, dead in enumerate(lab.providers):
        other = lab.providers[number - 1]
        for how in ("down", "nonsense", "hanging"):
            times = times_in_row(lambda: without(dead, other, how))  # noqa: B023
            dead.on_list = lambda answer: answer.models()
            say(
                f"{dead.name} {how}: two clients at once got no model of {other.name} within "
                f"{lab.settings['partial_within_s']:g} s, {times} times of 3"
            )
            if times == 3:
                return True
    if not seen:
        raise NotExercisedError("No failing list was fetched.")
    return False


def failure_cached(lab: Lab) -> bool:
    """Let all providers' lists fail once, then be well again, and request the list on.

    True when clients get a list without models and nobody fetches a new one. An error that the
    router reports is no violation, however long it lasts.
    """
    failed = list_fails(lab)
    for listing in (lab.lister().send(), lab.lister().send()):
        listing.done()
    tried = any(fetches_since(lab, failed).values())
    lab.list_with(lambda answer: answer.models())
    time.sleep(lab.settings["recovery_s"])
    ttl_s = lab.settings["ttl_s"]
    long_s, empty, since = min(0.4 * ttl_s, 1.5), 0, time.monotonic()
    before, kept = fetches(lab), False
    while time.monotonic() < since + ttl_s + 1.4 and fetches(lab) == before and not kept:
        listing = lab.get_list()
        empty += listing.succeeded and not listed(listing)
        kept = empty >= 4 and time.monotonic() - since >= long_s and fetches(lab) == before
        time.sleep(min(0.04 * ttl_s, 0.1))
    say(
        f"all lists failed and are well again: {empty} clients got a list without models over "
        f"{time.monotonic() - since:.1f} s, and {'no' if kept else 'a'} list was fetched meanwhile"
    )
    if not tried:
        raise NotExercisedError("No failing list was fetched.")
    return kept


def failure_unthrottled(lab: Lab) -> bool:
    """Let all providers' lists fail, and request the list for twenty clients, one by one.

    True when a provider's list is fetched for each of them.
    """
    before, began = list_fails(lab), time.monotonic()
    for _ in range(20):
        lab.get_list()
        time.sleep(0.005)
    apart_s = (time.monotonic() - began) / 20
    more = fetches_since(lab, before)
    say(f"20 clients one by one, {apart_s:.3f} s apart, while lists fail: {more} fetches")
    if not any(more.values()) or apart_s > 0.05:
        raise NotExercisedError("The requests were too far apart, or no failing list was fetched.")
    return max(more.values()) >= 20


def list_fails(lab: Lab) -> dict[str, int]:
    """All providers' lists fail from now on, with nothing cached; the fetches so far."""
    has_lists(lab, of=1)
    expire(lab)
    lab.list_with(lambda answer: answer.error(500))
    return fetches(lab)


def left_without_list(lab: Lab) -> bool:
    """Disconnect the client whose request has started a fetch of the list, once others have joined.

    True when two or more of the others get no list.
    """
    joined, without = _leader_left(lab)
    if not joined:
        expire(lab)
        joined, without = _leader_left(lab)
    say(f"{joined} clients had joined the fetch of one that disconnected; {without} got no list")
    if joined < 2:
        raise NotExercisedError("No fetch of the list was held with clients waiting for it.")
    return without >= 2


def _leader_left(lab: Lab) -> tuple[int, int]:
    gate, before = threading.Event(), sum(fetches(lab).values())

    def held(answer: Answer) -> None:
        gate.wait(5)
        answer.models()

    lab.list_with(held)
    leader = lab.lister().send()
    wait_until(lambda: sum(fetches(lab).values()) > before, within_s=2)
    others = [lab.lister().send() for _ in range(10)]
    wait_until(lambda: all(listing.sent_at for listing in others), within_s=2)
    time.sleep(0.15)
    fetching = leader.waiting and sum(fetches(lab).values()) > before
    joined: list[Exchange] = [listing for listing in others if listing.waiting] if fetching else []
    leader.leave()
    time.sleep(0.3)
    gate.set()
    for listing in others:
        listing.done(10)
    return len(joined), sum(not listing.succeeded for listing in joined)


def has_lists(lab: Lab, of: int) -> None:
    """The list of the router shows the models of ``of`` providers."""
    if len(listed(lab.get_list())) < of:
        raise NotExercisedError("The router's list does not show its providers' models.")
