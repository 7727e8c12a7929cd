"""Rounds on how a router spreads calls over instances, and on which it leaves alone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

from routerspec.repro.kit.clients import Client, label
from routerspec.repro.kit.lab import (
    Lab,
    NotExercisedError,
    any_cell,
    idle,
    listed,
    release,
    say,
    settled,
    wait_until,
)
from routerspec.repro.kit.providers import Answer, Provider


def spread_wrongly(lab: Lab) -> bool:
    """Send requests one after the other, and count who is asked; of least-busy, hold each call.

    True when a count is off by much more than the tolerance, or a busy instance is asked while
    another is idle.
    """
    promise = _promise(lab, "tolerance")
    calls = 40 if promise["policy"] == "round-robin" else 120

    def trial(cell: dict[str, Any]) -> bool:
        pool = _pool(lab, cell)
        if promise["policy"] == "least-busy":
            return _busy_chosen(lab, cell, pool)
        _well(lab)
        served = _asked(lab, cell, calls * len(pool))
        total = sum(served[one.name] for one in pool)
        weights = [*promise["weights"], *(1 for _ in pool)][: len(pool)]
        wrong = False
        for one, weight in zip(pool, weights, strict=True):
            due = total * weight / sum(weights)
            edge = promise["tolerance"] * due + 1
            if promise["policy"] != "round-robin":
                edge += 6 * (total / 4) ** 0.5  # six standard deviations at most: no chance
            say(f"{label(cell)}: {one.name} was asked {served[one.name]} times, {due:.0f} are due")
            wrong = wrong or abs(served[one.name] - due) > edge
        return wrong

    return any_cell(lab, trial)


def _busy_chosen(lab: Lab, cell: dict[str, Any], pool: list[Provider]) -> bool:
    wrong = 0
    for _ in range(3):
        gate, clients = lab.hold(), []
        for _ in range(min(2 * len(pool), lab.cap)):
            before = Counter(call.provider for call in lab.open_calls())
            clients.append(lab.request(cell))
            if not lab.arrived(clients[-1], within_s=2):
                break
            name = lab.calls_of(clients[-1])[0].provider
            idle_ones = [one.name for one in pool if not before[one.name] and one.name != name]
            if before[name] and idle_ones:
                wrong += 1
                say(f"{label(cell)}: {name} had {before[name]} calls, {idle_ones[0]} had none")
        release(gate, clients)
        idle(lab)
    return wrong >= 2


def dead_asked(lab: Lab) -> bool:
    """Let one instance answer 503 until it is to be left alone, and send more requests.

    True when it is asked again and again within its cooldown, or nobody is served by the others;
    and when no model list has this provider's models while it is dead.
    """
    promised = int(_promise(lab, "ejected_within")["ejected_within"])

    def trial(cell: dict[str, Any]) -> bool:
        _rest(lab)
        _well(lab)
        pool = _pool(lab, cell)
        served = _asked(lab, cell, 2 * len(pool))
        one = max(pool, key=lambda each: served[each.name])
        had_list = one.name.partition("-")[0] in listed(lab.get_list())
        one.on_call = lambda answer: answer.error(503)
        one.on_list = lambda answer: answer.error(503)
        try:
            return _asked_while_dead(lab, cell, one, promised) or (had_list and _unlisted(lab, one))
        finally:
            _well(lab)

    return any_cell(lab, trial)


def _asked_while_dead(lab: Lab, cell: dict[str, Any], one: Provider, promised: int) -> bool:
    failures = 0
    for _ in range(40 * promised):
        failures += _asked(lab, cell, 1)[one.name]
        if failures >= promised:
            break
    if failures < promised:
        raise NotExercisedError(f"{one.name} was asked {failures} times.")
    until = time.monotonic() + 0.7 * lab.settings["recovery_s"]
    clients: list[Client] = []
    while time.monotonic() < until:
        clients.append(_answered(lab, cell))
    asked = sum(call.provider == one.name for each in clients for call in lab.calls_of(each))
    served = sum(client.succeeded for client in clients)
    say(
        f"{label(cell)}: {one.name} failed {failures} times; of the next {len(clients)} requests "
        f"it was asked {asked} times, and {served} were served"
    )
    return asked > promised or (len(clients) >= 3 and not served)


def _unlisted(lab: Lab, one: Provider) -> bool:
    """Whether three lists of three lack this provider's models, once no earlier one is kept."""
    if lab.settings["ttl_s"] > 3 or not lab.settings["balance"]["lists"]:
        return False  # not waited for, or not promised
    base = one.name.partition("-")[0]
    lists = []
    for _ in range(3):
        time.sleep(lab.settings["ttl_s"] + 0.1)
        lists.append(listed(lab.get_list()))
    say(f"{one.name} is dead: {sum(base in each for each in lists)} of 3 lists have its models")
    return not any(base in each for each in lists)


def session_moved(lab: Lab) -> bool:
    """Send four requests of each of twelve sessions, one after the other.

    True when three sessions are served by several instances.
    """
    header = _promise(lab, "affinity")["affinity"]

    def trial(cell: dict[str, Any]) -> bool:
        pool = {one.name for one in _pool(lab, cell)}
        _well(lab)
        moved = 0
        for session in range(12):
            own = {**cell, "headers": {**cell["headers"], header: f"repro-session-{session}"}}
            names = [name for name in _asked(lab, own, 4) if name in pool]
            moved += len(names) > 1
            if len(names) > 1:
                say(f"{label(cell)}: session {session} was served by {', '.join(names)}")
        return moved >= 3

    return any_cell(lab, trial)


def instance_overfull(lab: Lab) -> bool:
    """Hold more calls than the instances may have, and of one session more than one may have.

    True when more than its cap are open at one instance, or one is idle while clients wait.
    """
    promise = _promise(lab, "instance_cap")
    limit = int(promise["instance_cap"])

    def trial(cell: dict[str, Any]) -> bool:
        pool = _pool(lab, cell)
        tried = [(cell, limit * len(pool) + len(pool), False)]
        if promise["affinity"]:
            own = {**cell["headers"], promise["affinity"]: "repro-session"}
            tried.append(({**cell, "headers": own}, limit + 2, True))
        for its, count, in_session in tried:
            gate = lab.hold()
            clients = [lab.request(its) for _ in range(min(count, 40))]
            wait_until(lambda clients=clients: lab.open_for(clients), within_s=5)  # type: ignore[misc]
            settled(lambda: len(lab.open_calls()))
            calls = lab.open_for(clients)
            waiting = sum(client.waiting for client in clients) - len(calls)
            counts = {one.name: sum(c.provider == one.name for c in calls) for one in pool}
            release(gate, clients)
            idle(lab)
            say(f"{label(cell)}: {counts}, {waiting} clients wait; {limit} at each are promised")
            spare = len(calls) < lab.cap
            starved = waiting and not in_session and spare and not all(counts.values())
            if max(counts.values()) > limit or starved:
                return True
        return False

    return any_cell(lab, trial)


def open_for_clients(lab: Lab) -> bool:
    """Let one instance answer 400, or have its clients disconnect, eight times in a row.

    True when the good requests that follow at once are all kept from it.
    """

    def trial(cell: dict[str, Any]) -> bool:
        return any(_left_alone_after(lab, cell, leaving=each) for each in (False, True))

    return any_cell(lab, trial)


def _left_alone_after(lab: Lab, cell: dict[str, Any], *, leaving: bool) -> bool:
    _rest(lab)
    _well(lab)
    pool = _pool(lab, cell, 1)
    count = 24 * len(pool)
    served = _asked(lab, cell, count)
    one = max(pool, key=lambda each: served[each.name])
    if not served[one.name]:
        raise NotExercisedError("No request was served before.")
    over = threading.Event()

    def silent(answer: Answer) -> None:
        answer.held_until(over)

    one.on_call = silent if leaving else lambda answer: answer.error(400)
    caused = 0
    for _ in range(40 * len(pool)):
        client = lab.request(cell)
        if leaving and lab.arrived(client) and not client.over.is_set():
            wait_until(lambda client=client: client.over.is_set(), within_s=0.1)  # type: ignore[misc]
            client.leave()
        client.done(5)
        caused += any(call.provider == one.name for call in lab.calls_of(client))
        if caused >= 8:
            break
    if leaving:
        wait_until(lambda: not lab.open_calls(), within_s=2)
    over.set()
    _well(lab)
    until = time.monotonic() + 0.7 * lab.settings["recovery_s"]
    after = 0
    while time.monotonic() < until and after < count:
        after += 1
        if _asked(lab, cell, 1)[one.name]:
            return False
    what = "clients disconnected from it" if leaving else "errors 400"
    say(
        f"{label(cell)}: {one.name} was asked {served[one.name]} times in {count} requests; after "
        f"{caused} {what} not once in {after}"
    )
    return after >= 10


def herd_let_in(lab: Lab) -> bool:
    """Let one instance fail until it is left alone, wait for the cooldown, and hold its calls then.

    True when several are let through to it before one of them is answered.
    """

    def trial(cell: dict[str, Any]) -> bool:
        _rest(lab)
        _well(lab)
        one = _pool(lab, cell, 1)[0]
        one.on_call = lambda answer: answer.error(503)
        _asked(lab, cell, 8 * len(lab.providers))
        time.sleep(1.3 * lab.settings["recovery_s"])
        gate = threading.Event()

        def held(answer: Answer) -> None:
            if answer.held_until(gate):
                answer.whole()

        one.on_call = held
        clients: list[Client] = []
        for _ in range(4 * len(lab.providers)):
            client = lab.request(cell)
            clients.append(client)
            client.done(0.2)
            if sum(each.waiting for each in clients) >= min(3, lab.cap - 1):
                break
        time.sleep(0.3)
        through = [call for call in lab.open_for(clients) if call.provider == one.name]
        release(gate, clients)
        _well(lab)
        say(f"{label(cell)}: after its cooldown {one.name} holds {len(through)} calls")
        if not through:
            raise NotExercisedError("It was not tried again.")
        return len(through) > 1

    return any_cell(lab, trial)


def _promise(lab: Lab, name: str) -> dict[str, Any]:
    """What is promised of the spread, this among it."""
    promise: dict[str, Any] = lab.settings["balance"]
    if not promise.get(name):
        raise NotExercisedError(f"{name} is not promised.")
    return promise


def _pool(lab: Lab, cell: dict[str, Any], least: int = 2) -> list[Provider]:
    """The instances of the route's provider."""
    names = lab.settings["pools"][cell["route"]]
    base = names[0].partition("-")[0]
    pool = [each for each in lab.providers if each.name.partition("-")[0] == base]
    if len(pool) < least:
        raise NotExercisedError("The route's provider has one instance.")
    return pool


def _well(lab: Lab) -> None:
    lab.answer_with(lambda answer: answer.whole())
    lab.list_with(lambda answer: answer.models())


def _rest(lab: Lab) -> None:
    """Wait until no instance is left alone any more."""
    if not lab.settings["recovery_s"]:
        raise NotExercisedError("No cooldown is promised.")
    time.sleep(1.1 * lab.settings["recovery_s"])


def _answered(lab: Lab, cell: dict[str, Any]) -> Client:
    client = lab.request(cell)
    if not client.done(20):
        client.leave()
        client.done()
    return client


def _asked(lab: Lab, cell: dict[str, Any], count: int) -> Counter[str]:
    """Instance -> how many of so many requests, one after the other, were first given to it."""
    names: Counter[str] = Counter()
    for _ in range(count):
        calls = sorted(lab.calls_of(_answered(lab, cell)), key=lambda call: call.began)
        names.update(call.provider for call in calls[:1])
    return names
