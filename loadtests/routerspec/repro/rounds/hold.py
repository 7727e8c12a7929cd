"""Rounds that hold the answers: how many calls does the router let through meanwhile?"""

from __future__ import annotations

import threading
import time
from typing import Any

from routerspec.repro.kit.clients import Client, label, send_at_once, streams
from routerspec.repro.kit.lab import (
    Lab,
    NotExercisedError,
    admitted,
    all_over,
    any_cell,
    end_badly,
    idle,
    occupy,
    release,
    retry_refused,
    say,
    settled,
    wait_until,
)
from routerspec.repro.kit.providers import Answer


def held(
    lab: Lab,
    *,
    times: int = 5,
    at_once: bool = False,
    first: int = 0,
    settle_s: float = 0.7,
    together: bool = False,
) -> bool:
    """Send several times as many requests as the cap allows to providers that hold every answer.

    The calls that are open at the providers are counted twice, a quarter of a second apart, while
    their clients still wait. Streams are held after the ``first`` pieces where there are any.
    """

    def trial(cells: list[dict[str, Any]]) -> bool:
        gate = lab.hold(first, only_streams=first > 0)
        clients = [lab.client(cells[n % len(cells)]) for n in range(times * lab.cap)]
        if at_once:
            send_at_once(clients)
        else:
            for client in clients:
                client.send()
        return more_than_cap(lab, gate, clients, settle_s)

    return trial(lab.cells) if together else any_cell(lab, lambda cell: trial([cell]))


def held_after_failures(lab: Lab) -> bool:
    """Let requests fail or be abandoned, then send five times as many as the cap allows.

    None of these is answered. The calls that are open at the providers are counted twice, a quarter
    of a second apart, while their clients still wait.
    """

    def trial(cell: dict[str, Any]) -> bool:
        for number in range(2 * lab.cap):
            end_badly(lab, cell, ("error", "reset", "hang-up")[number % 3])
        idle(lab, for_s=0.7)
        time.sleep(lab.settings["recovery_s"])
        return more_than_cap(lab, lab.hold(), five_times(lab, cell))

    return any_cell(lab, trial)


def held_at_second_attempt(lab: Lab) -> bool:
    """Send five times as many requests as the cap allows; first attempts fail, others are held.

    The calls that are open at the providers are counted twice, a quarter of a second apart, while
    their clients still wait.
    """

    def trial(cell: dict[str, Any]) -> bool:
        gate = threading.Event()

        def answered(answer: Answer) -> None:
            if answer.call.attempt == 1:
                answer.error(500)
            elif answer.held_until(gate):
                answer.whole()

        lab.answer_with(answered)
        return more_than_cap(lab, gate, five_times(lab, cell))

    return any_cell(lab, trial)


def five_times(lab: Lab, cell: dict[str, Any]) -> list[Client]:
    """Five times as many clients as the cap allows, their requests sent."""
    return [lab.request(cell) for _ in range(5 * lab.cap)]


def more_than_cap(
    lab: Lab, gate: threading.Event, clients: list[Client], settle_s: float = 0.7
) -> bool:
    """Count what is open for these clients, then release them; True above the cap."""
    cap, count = lab.cap, len(clients)
    on = " + ".join(dict.fromkeys(label(client.cell) for client in clients))
    wait_until(lambda: lab.busy() >= cap or all_over(clients), within_s=5)
    retry_refused(lab, clients, for_s=settle_s)
    first = set(lab.open_for(clients))
    time.sleep(0.27)
    most = lab.busy(call for call in lab.open_for(clients) if call in first)
    release(gate, clients)
    idle(lab)
    say(
        f"{on}: {count} requests, cap {cap}: {most} calls were open at the providers at once for "
        f"at least a quarter of a second, with their clients waiting"
        f"{': MORE THAN THE CAP' if most > cap else ''}"
    )
    if most < cap:
        raise NotExercisedError(f"Could not occupy all slots: {most} of {cap}.")
    return most > cap


def disconnects(lab: Lab) -> bool:
    """Occupy all slots, disconnect those clients, and send five times as many requests.

    First with no answer begun, then with a piece of a stream received. Calls whose clients have
    disconnected count while they are open. True when old and new calls together exceed the cap for
    a second.
    """

    def trial(cell: dict[str, Any], first: int) -> bool:
        cap, gate = lab.cap, lab.hold(first)
        old = [lab.request(cell) for _ in range(cap)]
        wait_until(lambda: lab.busy() >= cap or all_over(old), within_s=5)
        if first:
            wait_until(lambda: all(client.text for client in old), within_s=2)
        full = lab.busy() >= cap
        for client in old:
            client.leave()
        new = five_times(lab, cell)
        retry_refused(lab, new, for_s=0.7)
        before = set(lab.open_calls())
        retry_refused(lab, new, for_s=1.1, at_most_s=1.1)
        numbers = {client.number for client in old}
        left = [call for call in lab.open_calls() if call.number in numbers]
        counted = [call for call in (*left, *lab.open_for(new)) if call in before]
        most, stayed = lab.busy(counted), sum(call.number in numbers for call in counted)
        release(gate, new)
        idle(lab)
        say(
            f"{label(cell)}, cap {cap}: {most} calls were open at the providers for a second or "
            f"more, {stayed} of them of clients that had disconnected"
            f"{' after a piece' if first else ''}"
            f"{': MORE THAN THE CAP' if most > cap else ''}"
        )
        if most < cap or (most == cap and not full):
            raise NotExercisedError(f"Could not occupy all slots: {most} of {cap}.")
        return most > cap

    def trials(cell: dict[str, Any]) -> bool:
        return trial(cell, 0) or (streams(cell) and trial(cell, 1))

    return any_cell(lab, trials)


def free_slots(lab: Lab) -> bool:
    """Send five times as many requests as the cap allows, twice, and answer none of them.

    True when fewer calls than the cap are let through both times.
    """
    seen = [admitted(lab) for _ in range(2)]
    cap = lab.cap
    say(f"cap {cap}, {5 * cap} requests waiting: {seen[0]} and then {seen[1]} calls came through")
    if not max(seen):
        raise NotExercisedError("No call reached a provider.")
    return max(seen) < cap


def served_alone(lab: Lab) -> bool:
    """With a cap of one, send one request at a time on each route and mode.

    True when it gets no answer in 10 s, twice, while nothing is open at the providers for the last
    3 s: a route that calls a model several times waits for itself.
    """
    if lab.cap != 1:
        raise NotExercisedError("The router was not started with a cap of one.")

    def stuck(cell: dict[str, Any]) -> bool:
        lab.answer_with(lambda answer: answer.whole())
        for number in range(2):
            began = time.monotonic()
            client = lab.request(cell)
            client.done(10)
            last = max([began, *(call.ended or 0.0 for call in lab.calls)])
            open_now = bool(lab.open_calls())
            waits = client.waiting and not open_now and time.monotonic() - last > 3
            client.leave()
            time.sleep(0.3)
            if not waits:
                say(f"{label(cell)}: status {client.status}")
                if not client.succeeded or not lab.calls_of(client):
                    raise NotExercisedError(f"It was not served: {client.failure or client.text}")
                return False
            say(f"{label(cell)}, request {number + 1}: no answer in 10 s, and no call open for 3 s")
        return True

    return any_cell(lab, stuck)


def handover(lab: Lab) -> bool:
    """Occupy all slots with four more clients queued, and release three calls one by one.

    True when no queued request comes through for any of them.
    """
    gates: dict[int, threading.Event] = {}

    def held(answer: Answer) -> None:
        own = gates.setdefault(answer.call.number, threading.Event())
        if answer.held_until(own):
            answer.whole()

    lab.answer_with(held)
    clients = [lab.request(lab.cells[0]) for _ in range(lab.cap + 4)]
    wait_until(lambda: lab.busy() >= lab.cap or all_over(clients))
    settled(lambda: len(lab.open_calls()))
    full = lab.busy() >= lab.cap
    queued = [client for client in clients if client.waiting and not lab.calls_of(client)]
    before, released = len(lab.calls), lab.open_calls()[: min(3, lab.cap)]
    for call in released if full else ():
        gates[call.number].set()
        wait_until(lambda: len(lab.calls) > before, within_s=2.5)
    passed = len(lab.calls) - before
    left = sum(client.waiting and not lab.calls_of(client) for client in queued)
    for client in clients:
        gates.setdefault(client.number, threading.Event()).set()
    time.sleep(0.1)
    for client in clients:
        client.leave()
    if not full or not queued:
        raise NotExercisedError("Could not occupy all slots with clients queued.")
    say(f"{len(released)} calls were released, {passed} came through, {left} still wait for a slot")
    return passed == 0 and left > 0


def left_queue(lab: Lab) -> bool:
    """Occupy all slots, let queued clients disconnect, and release the slots a second later.

    True when two or more of the abandoned requests still reach a provider.
    """
    gate, inside = occupy(lab)
    limit = lab.settings["queue_limit"]
    count = 2 * len(lab.cells) if limit is None else min(limit, 2 * len(lab.cells))
    clients = [lab.request(lab.cells[number % len(lab.cells)]) for number in range(count)]
    settled(lambda: len(lab.open_calls()) + sum(c.waiting for c in clients), for_s=0.3)
    queued = [client for client in clients if client.waiting and not lab.calls_of(client)]
    for client in queued:
        client.leave()
    margin_s = max(1.0, lab.settings["within_s"])
    left = time.monotonic()
    time.sleep(margin_s + 0.3)
    release(gate, inside, within_s=30)
    settled(lambda: len(lab.calls))
    ran = [c for c in queued if any(x.began > left + margin_s for x in lab.calls_of(c))]
    say(
        f"{len(queued)} clients left the queue; {margin_s + 0.3:g} s later all slots were "
        f"released, and {len(ran)} of their requests were sent to a provider"
    )
    if len(queued) < 2:
        raise NotExercisedError("Fewer than two clients were queued.")
    return len(ran) >= 2


def others_spared(lab: Lab) -> bool:
    """Hold three calls side by side and disconnect one client, twice on each route and mode.

    True when another client loses its call or its answer in two rounds.
    """
    rounds = 0

    def trial(cell: dict[str, Any]) -> bool:
        nonlocal rounds
        rounds += sum(_another_ends(lab, cell) for _ in range(2))
        return rounds >= 2

    return any_cell(lab, trial)


def _another_ends(lab: Lab, cell: dict[str, Any]) -> bool:
    gate = lab.hold(first=1)
    clients: list[Client] = []
    for _ in range(min(lab.cap, 3)):
        clients.append(lab.request(cell))
        wait_until(
            lambda: len(lab.open_calls()) >= len(clients) or clients[-1].over.is_set(), within_s=3
        )
    time.sleep(0.5)  # what the router ends by itself, it ends now
    beside = [c for c in clients if lab.calls_of(c) and all(x.open for x in lab.calls_of(c))]
    leaver = clients[len(clients) // 2]
    others = [client for client in beside if client is not leaver and client.waiting]
    held = leaver in beside
    leaver.leave()
    time.sleep(0.5)
    ended = sum(c.over.is_set() or not all(x.open for x in lab.calls_of(c)) for c in others)
    release(gate, clients, within_s=30)
    say(
        f"{label(cell)}: one of {len(clients)} clients disconnected; {ended} of the others lost "
        "their call, or their answer, before anything was released"
    )
    if not held or not others:
        raise NotExercisedError("Fewer than two calls were held side by side.")
    return ended > 0


def list_behind_cap(lab: Lab) -> bool:
    """Occupy all slots with held chats and request the model list.

    True when the list is not answered while they are held, and is once they are released.
    """
    gate = lab.hold()
    clients = [lab.request(lab.cells[0]) for _ in range(2 * lab.cap)]
    wait_until(lambda: lab.busy() >= lab.cap or all_over(clients))
    say(f"{settled(lab.busy)} chats are held, cap {lab.cap}; requesting the model list")
    listing = lab.lister().send()
    blocked = not listing.done(3)
    full = lab.busy() >= lab.cap
    gate.set()
    came = listing.done(10)
    release(gate, clients, within_s=30)
    if not full:
        raise NotExercisedError("Could not occupy all slots.")
    if not came or (not blocked and not listing.succeeded):
        raise NotExercisedError(f"The list did not come: status {listing.status}.")
    say(
        "the list was not answered for 3 s, and came once the chats were released"
        if blocked
        else "the list was answered while all slots were occupied"
    )
    return blocked


def counts_behind_cap(lab: Lab) -> bool:
    """Occupy all slots with held calls and have the tokens of three prompts counted.

    True when none is counted while they are held and all are with free slots, before and after; or
    when a count makes a call.
    """

    def count(cell: dict[str, Any]) -> list[Client]:
        body = {name: cell["body"][name] for name in ("model", "messages")}
        counting = {**cell, "path": f"{cell['path']}/count_tokens", "body": body}
        return [lab.request(counting) for _ in range(3)]

    def come(counts: list[Client], within_s: float) -> list[bool]:
        give_up = time.monotonic() + within_s
        return [c.done(max(0.0, give_up - time.monotonic())) and c.succeeded for c in counts]

    def trial(cell: dict[str, Any]) -> bool:
        if not cell["path"].endswith("/messages"):
            raise NotExercisedError("The route does not speak Anthropic's Messages.")
        lab.answer_with(lambda answer: answer.whole())
        free = count(cell)
        if not all(come(free, 10)):
            raise NotExercisedError(f"Counting tokens is not served: status {free[0].status}.")
        gate = lab.hold()
        clients = [lab.request(cell) for _ in range(lab.cap)]
        wait_until(lambda: lab.busy() >= lab.cap or all_over(clients))
        full = lab.busy() >= lab.cap
        beside = count(cell)
        counted = come(beside, 3)
        full = full and lab.busy() >= lab.cap
        release(gate, clients, within_s=30)
        if not full:
            raise NotExercisedError("Could not occupy all slots.")
        lab.answer_with(lambda answer: answer.whole())
        again = count(cell)
        generated = [c for c in (*free, *beside, *again) if lab.calls_of(c)]
        say(
            f"{label(cell)}: with {lab.cap} calls held, cap {lab.cap}, {sum(counted)} of 3 counts "
            f"were answered within 3 s; {len(generated)} counts made a call"
        )
        late = [c.done(10) and c.status is not None for c in beside]
        return bool(generated) or (not any(counted) and all(late) and all(come(again, 10)))

    return any_cell(lab, trial)
