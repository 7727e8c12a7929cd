"""Rounds in which requests end badly: what the router does with slots, errors, retries and keys."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from routerspec.repro.kit.clients import Client, Exchange, is_object, label, says_error, streams
from routerspec.repro.kit.lab import (
    Lab,
    NotExercisedError,
    admitted,
    any_cell,
    end_badly,
    idle,
    release,
    say,
    settled,
    stop,
    succeeds,
    times_in_row,
    wait_until,
)
from routerspec.repro.kit.providers import Answer


def slots_after(lab: Lab, how: str, mode: str = "") -> bool:
    """Count how many calls the router lets through, let requests end badly, and count again.

    True when fewer come through, twice. A circuit breaker is no loss: single requests must succeed
    first.
    """

    def endings(before: int) -> int:
        cells = [c for c in lab.cells if not mode or streams(c) == (mode == "stream")]
        count = min(6, max(1, before - 1))
        return sum(end_badly(lab, cells[number % len(cells)], how) for number in range(count))

    return fewer_after(lab, endings)


def slots_after_queue(lab: Lab) -> bool:
    """Count how many calls the router lets through, let queued clients disconnect, count again.

    True when fewer come through, twice. A circuit breaker is no loss: single requests must succeed
    first.
    """

    def endings(_before: int) -> int:
        # a few first, so that a slot is left if each takes one along; then many, 24 times
        counts = (lab.cap - 1, *[9 * lab.cap] * 24)
        return next((n for n, leavers in enumerate(counts) if not queue_left(lab, leavers)), 25)

    return fewer_after(lab, endings)


def slots_after_early(lab: Lab) -> bool:
    """Count how many calls the router lets through, let 300 clients disconnect early, count again.

    They disconnect as the router reaches out to the provider. True when fewer calls come through,
    twice. A circuit breaker is no loss: single requests must succeed first.
    """

    def endings(before: int) -> int:
        streamed = [cell for cell in lab.cells if streams(cell)]
        for number in range(min(6, max(1, before - 1)) if streamed else 0):
            end_badly(lab, streamed[number % len(streamed)], "hang-up-before-head")
        cell = lab.cells[0]
        few, after_s, full = max(1, min(lab.cap - 1, 4)), 0.02, 0
        for turn in range(300 // few):
            if turn % 10 == 0:  # all slots must still be occupied: some loss is seen, not all
                if not queue_left(lab, 0):
                    break
                full += 1
            gate = lab.hold()
            calls = len(lab.calls)
            leavers = [lab.request(cell) for _ in range(few)]
            for number, client in enumerate(leavers):
                wait_until(lambda client=client: client.sent_at, within_s=1)  # type: ignore[misc]
                time.sleep(after_s * (0.75 + number / few / 2) / few)
                client.leave()
            for client in leavers:
                client.done(2)
            early = len(lab.calls) - calls <= 0.3 * few
            after_s = min(0.05, after_s * 1.15) if early else max(0.0005, after_s / 1.15)
            gate.set()
        return full

    return fewer_after(lab, endings)


def fewer_after(lab: Lab, endings: Callable[[int], int]) -> bool:
    """Fewer calls come through after the endings, which return how many there were."""
    if not succeeds(lab, within_s=10):
        raise NotExercisedError("No request succeeded.")
    before = admitted(lab)
    if before < min(2, lab.cap):
        raise NotExercisedError(f"Could not occupy all slots: {before} of {lab.cap}.")
    count = endings(before)
    idle(lab, for_s=0.7)
    time.sleep(lab.settings["recovery_s"])
    if not succeeds(lab):
        raise NotExercisedError("No request succeeded afterwards: a circuit breaker may be open.")
    after = [admitted(lab)]
    if after[0] < before:
        time.sleep(2)  # slots that are returned late are not lost
        after.append(admitted(lab))
    say(
        f"cap {lab.cap}: {before} calls came through before, "
        f"{' and then '.join(map(str, after))} after"
    )
    if not count and max(after) >= before:
        raise NotExercisedError("None of the requests that were to end badly reached a provider.")
    if not max(after):
        raise NotExercisedError("No call came through afterwards.")
    return max(after) < before


def queue_left(lab: Lab, leavers: int) -> bool:
    """Occupy all slots; queued clients disconnect one by one while one call is released.

    False when not all slots could be occupied.
    """
    cell = lab.cells[0]
    one, every = threading.Event(), threading.Event()
    inside = [lab.client(cell) for _ in range(lab.cap)]

    def held(answer: Answer) -> None:
        if answer.held_until(one if answer.call.number == inside[0].number else every):
            answer.whole()

    lab.answer_with(held)
    for client in inside:
        client.send()
    wait_until(lambda: len(lab.open_calls()) >= lab.cap, within_s=2)
    full = len(lab.open_calls()) >= lab.cap
    queued = [lab.request(cell) for _ in range(leavers if full else 0)]
    wait_until(lambda: all(client.sent_at for client in queued), within_s=3)
    time.sleep(0.05)
    one.set()
    for client in sorted(queued, key=lambda client: client.sent_at):
        client.leave()
        time.sleep(0.0003)
    release(every, (*inside, *queued), within_s=5)
    idle(lab, for_s=0.05)
    return full


def disconnected(lab: Lab) -> bool:
    """Disconnect a client while its call is held at the provider: before and within the answer.

    True when the call is still open long after the promised time, three times of three.
    """

    def trial(cell: dict[str, Any]) -> bool:
        if streams(cell):
            return any(_stays_open(lab, cell, first) for first in (0, 1))
        return _stays_open(lab, cell, first=0)

    return any_cell(lab, trial)


def _stays_open(lab: Lab, cell: dict[str, Any], first: int) -> bool:
    within, seen = lab.settings["within_s"], 0

    def late() -> bool:
        nonlocal seen
        gate = lab.hold(first)
        client = lab.request(cell)
        lab.arrived(client)
        idle(lab)
        held = [call for call in lab.calls_of(client) if call.open]
        seen += bool(held) and client.waiting
        client.leave()
        time.sleep(within + 0.5)
        still = any(call.open for call in held)
        gate.set()
        client.done()
        idle(lab)  # a router that blocks may only now get to it
        return still

    late_times = times_in_row(late)
    say(
        f"{label(cell)}, {'after a piece' if first else 'before the answer'}: {late_times} times "
        f"of 3 the call was still open at the provider {within + 0.5:g} s after its client had "
        f"disconnected (promised: {within:g} s)"
    )
    if not seen:
        raise NotExercisedError("No call was open when its client disconnected.")
    return late_times == 3


def errors(lab: Lab, *, body: bool = False) -> bool:
    """Let the provider answer 500, 503 and 429, one request each on every route and mode.

    True when two of them on one route and mode are no errors to the client or, with ``body``, have
    a body that is no JSON object.
    """

    def trial(cell: dict[str, Any]) -> bool:
        seen = count = 0
        for status in (500, 503, 429):
            lab.answer_with(lambda answer, status=status: answer.error(status))  # type: ignore[misc]
            client = lab.request(cell)
            client.done()
            if not lab.calls_of(client):
                continue
            wrong = _no_json(client) if body else _no_error(client)
            seen += 1
            count += wrong
            say(
                f"{label(cell)}: the provider answered {status}, the client got {client.status}: "
                f"{client.text[:120]!r} {client.failure}{': WRONG' if wrong else ''}"
            )
        if seen < 2:
            raise NotExercisedError("Fewer than two requests reached a provider.")
        return count >= 2

    return any_cell(lab, trial)


def _no_error(client: Client) -> bool:
    """Reported as a success, or broken off without a status."""
    if client.status is None:
        return client.over.is_set() and "Timeout" not in client.failure
    if streams(client.cell) and (client.failure or says_error(client.text)):
        return False
    return client.status < 400 and not client.failure


def _no_json(client: Client) -> bool:
    """An error status with a body that is no JSON object."""
    if client.status is None or client.status < 400 or client.failure:
        return False
    return not is_object(client.text)


def attempts(lab: Lab) -> bool:
    """Let the provider fail, and count how often the router sends the same request, and when.

    True when it does so too often, earlier than Retry-After says, or for a client that had
    disconnected.
    """

    def trial(cell: dict[str, Any]) -> bool:
        hows = ("reset", "error", "cut") if streams(cell) else ("reset", "error")
        if any(_too_often(lab, cell, how) for how in hows):
            return True
        return cell["mode"] == "chat" and (_for_nobody(lab, cell) or _too_early(lab, cell))

    return any_cell(lab, trial)


def _too_often(lab: Lab, cell: dict[str, Any], how: str) -> bool:
    lab.answer_with(lambda answer: answer.whole())
    good = lab.request(cell)
    good.done()
    single = len(lab.calls_of(good)) == 1  # so that further calls are attempts, whatever they say
    lab.answer_with(lambda answer: answer.fail(how))
    client, promised = lab.request(cell), 1 + int(lab.settings["retries"])
    wait_until(lambda: client.over.is_set() or _sent(lab, client, single) > promised, within_s=30)
    settled(lambda: len(lab.calls), for_s=1.0, at_most_s=3.0)
    most = _sent(lab, client, single)
    client.leave()
    say(
        f"{label(cell)}: the provider failed ({how}) and got the same request {most} times "
        f"(promised: {promised} at most)"
    )
    if not most:
        raise NotExercisedError("The request did not reach a provider.")
    return most > promised


def _sent(lab: Lab, client: Client, single: bool) -> int:
    """How often the same request was sent, each time after the last had failed."""
    sent: Counter[tuple[str, str, str]] = Counter()
    ended: dict[tuple[str, str, str], float] = {}
    for call in sorted(lab.calls_of(client), key=lambda call: call.began):
        body = call.model if single else json.dumps(call.sent_body, sort_keys=True)
        same = call.provider, call.path, body
        if call.began >= ended.get(same, 0.0):
            sent[same] += 1
            ended[same] = call.ended or time.monotonic()
    return max(sent.values(), default=0)


def _for_nobody(lab: Lab, cell: dict[str, Any]) -> bool:
    """Clients disconnect, and a good while later their calls fail."""
    gone_s = max(1.0, lab.settings["within_s"]) + 0.2

    def again() -> bool:
        gate = threading.Event()

        def late(answer: Answer) -> None:
            answer.held_until(gate)
            answer.error(503)

        lab.answer_with(late)
        client = lab.request(cell)
        lab.arrived(client, within_s=5)
        client.leave()
        left = time.monotonic()
        time.sleep(gone_s)
        gate.set()
        time.sleep(0.2)
        settled(lambda: len(lab.calls))
        return any(call.began > left + gone_s - 0.2 for call in lab.calls_of(client))

    times = times_in_row(again)
    say(f"{label(cell)}: {times} times of 3 it was retried for a client that had disconnected")
    return times == 3


def _too_early(lab: Lab, cell: dict[str, Any]) -> bool:
    """The first attempt is answered with Retry-After: 2."""
    if not (lab.settings["retries"] and lab.settings["honours_retry_after"]):
        return False

    def busy(answer: Answer) -> None:
        if answer.call.attempt == 1:
            answer.error(503, Retry_After="2")
        else:
            answer.whole()

    lab.answer_with(busy)
    client = lab.request(cell)
    client.done()
    first, *later = sorted(lab.calls_of(client), key=lambda call: call.began)
    again = [call for call in later if call.attempt > 1]
    if not again:
        return False
    apart = again[0].began - first.began
    say(f"{label(cell)}: Retry-After: 2, and the next attempt after {apart:.2f} s")
    return apart < 1.95


def keys_astray(lab: Lab) -> bool:
    """Let calls succeed and fail in every way on every route, and search both sides for keys.

    True when a provider gets another's key or the client's, or a client sees a provider's.
    """
    keys: dict[str, str] = lab.settings["keys"]
    if not keys:
        stop("No keys are known.")
    exchanges: list[Exchange] = []
    for status in (200, 401, 429, 500, 0):  # 0: the connection is reset

        def answered(answer: Answer, status: int = status) -> None:
            if status == 200:
                answer.whole()
            elif status:
                answer.error(status)
            else:
                answer.reset()

        well = status in (0, 200)
        lab.answer_with(answered)
        lab.list_with(lambda answer, well=well: answer.models() if well else answer.error(401))  # type: ignore[misc]
        sent = [*(lab.request(cell) for cell in with_either_key(lab)), lab.lister().send()]
        for exchange in sent:
            exchange.done()
        exchanges += sent
    astray = Counter(
        f"{name} was sent to {provider.name}, in {call.path}"
        for provider in lab.providers
        for call in (*provider.received, *provider.lists)
        for name, key in keys.items()
        if name != f"{provider.name}_key" and key in f"{call.headers} {call.path} {call.sent_body}"
    )
    astray += Counter(
        f"{name} was shown to a client, in an answer of status {exchange.status}"
        for exchange in exchanges
        for name, key in keys.items()
        if name != "client_key" and key in f"{exchange.headers} {exchange.text}"
    )
    for sentence, times in astray.items():
        say(f"{sentence}, {times} times")
    say(f"{len(lab.calls)} calls and {len(exchanges)} answers were searched for keys")
    if not astray and not lab.calls:
        raise NotExercisedError("No call reached a provider.")
    return bool(astray)


def with_either_key(lab: Lab) -> list[dict[str, Any]]:
    """The routes and modes, where a key is in x-api-key once more with it as a bearer token."""
    more = []
    for cell in lab.cells:
        key = cell["headers"].get("x-api-key")
        headers = {name: text for name, text in cell["headers"].items() if name != "x-api-key"}
        if key:
            more.append({**cell, "headers": headers | {"Authorization": f"Bearer {key}"}})
    return [*lab.cells, *more]
