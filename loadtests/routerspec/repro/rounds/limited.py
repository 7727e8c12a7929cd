"""Rounds about limits of requests and tokens: at the edge, across windows, and after refusals."""

from __future__ import annotations

import itertools
import time
from typing import Any

from routerspec.repro.kit.clients import Client, label, send_at_once
from routerspec.repro.kit.lab import Lab, NotExercisedError, all_over, release, say, wait_until

_numbers = itertools.count(1)


def more_at_edge(lab: Lab) -> bool:
    """Use a limit of requests up but for one, then send many more at one instant.

    Where the limit is of tokens, each request may have six tenths of it, and all are held at the
    provider. True when more reach a provider within one length of a window than two windows admit
    (one, where windows slide), each with one request beyond a limit of tokens.
    """
    limits = lab.settings["limits"]
    if not limits["requests"]:
        return _tokens_at_edge(lab)
    limit, began = limits["requests"], time.monotonic()
    lab.answer_with(lambda answer: answer.whole())
    cell = _with_own_key(lab)
    one_by_one = [_one(lab, cell) for _ in range(limit - 1)]
    clients = [lab.client(cell) for _ in range(max(4 * limit, 24))]
    send_at_once(clients)
    _await(clients)
    count = sum(map(bool, map(lab.calls_of, (*one_by_one, *clients))))
    took_s = time.monotonic() - began
    say(
        f"{label(cell)}: {limit - 1} requests one by one and {len(clients)} at once: {count} reach "
        f"a provider within {took_s:.2f} s, {limit} are promised in {limits['window_s']:g} s"
    )
    if not count:
        raise NotExercisedError("No request reached a provider.")
    windows = 1 if limits["sliding"] else 2
    if count > windows * limit and took_s >= limits["window_s"]:
        raise NotExercisedError("The requests took longer than a window.")
    return bool(count > windows * limit)


def _tokens_at_edge(lab: Lab) -> bool:
    limits = lab.settings["limits"]
    limit = limits["tokens"] or limits["budget"]
    each = int(0.6 * limit)
    cell = _with_own_key(lab)
    cell = {**cell, "body": {**cell["body"], **_at_most(cell, each)}}
    gate = lab.hold()
    clients = [lab.client(cell) for _ in range(16)]
    send_at_once(clients)
    wait_until(lambda: lab.open_for(clients) or all_over(clients))
    wait_until(lambda: len(lab.open_for(clients)) == len(clients), 1.0)
    count = len(lab.open_for(clients))
    release(gate, clients)
    windows = 2 if limits["tokens"] and not limits["sliding"] else 1
    say(
        f"{label(cell)}: 16 requests at once, each of at most {each} tokens: {count} are open at "
        f"one instant, {limit} tokens are promised"
    )
    if not count:
        raise NotExercisedError("No request reached a provider.")
    return bool(count * each > windows * (limit + each))


def more_across_windows(lab: Lab) -> bool:
    """Send requests all the time, for longer than a window, and as many again after a pause.

    True when more reach a provider than windows of the promised length admit, wherever they begin;
    or when three are refused with 429 although none was admitted for two lengths of a window.
    """
    limits = lab.settings["limits"]
    limit, window_s = limits["requests"], limits["window_s"]
    lab.answer_with(lambda answer: answer.whole())
    cell = _with_own_key(lab)
    times: list[tuple[float, float]] = []
    begun = time.monotonic()
    if limits["sliding"]:
        times += _sent(lab, cell, 1)
        time.sleep(0.75 * window_s)
    while time.monotonic() < begun + 1.9 * window_s:
        times += _sent(lab, cell, limit + 1)
        if not times:
            raise NotExercisedError("No request reached a provider.")
        time.sleep(window_s / 16)
    say(f"{label(cell)}: {len(times)} requests reach a provider in {1.9 * window_s:.1f} s")
    if _too_many(times, limit, window_s, limits["sliding"]):
        return True
    time.sleep(2 * window_s + _slack_s(window_s))
    after = [_one(lab, cell) for _ in range(limit)]
    say(f"after a pause: {', '.join(str(client.status) for client in after)}")
    return sum(client.status == 429 and not lab.calls_of(client) for client in after) >= 3


def refused_again(lab: Lab) -> bool:
    """Use a limit up, and send requests again as much later as the refusals say.

    True when all refusals have another status than 429, or no Retry-After; or when three of three
    that come again, up to a second later than told, are refused once more.
    """
    limits = lab.settings["limits"]
    lab.answer_with(lambda answer: answer.whole())
    cell = _with_own_key(lab)
    refused = [each for each in _use_up(lab, cell) if each.status and each.status >= 400]
    told = [(each.status, each.headers.get("retry-after", "")) for each in refused]
    say(f"{label(cell)}: refused with {told}")
    if all(status != 429 for status, _ in told) or not any(text for _, text in told):
        return True
    due = [time.monotonic() + float(text) for _, text in told if text.isdecimal()]
    again = []
    for at in sorted(due):
        if at - time.monotonic() > 2 * limits["window_s"]:
            raise NotExercisedError("A longer time was told than two windows.")
        time.sleep(max(0.0, at + min(1.0, limits["window_s"] / 8) - time.monotonic()))
        again.append(_one(lab, cell))
    say(f"as much later as told: {', '.join(str(client.status) for client in again)}")
    return len(again) >= 3 and all(each.status == 429 for each in again)


def refused_for_ever(lab: Lab) -> bool:
    """Use a limit up, and send requests all the time for more than two lengths of a window.

    True when none of them is admitted, and the last three are refused with 429.
    """
    window_s = lab.settings["limits"]["window_s"]
    lab.answer_with(lambda answer: answer.whole())
    cell = _with_own_key(lab)
    _use_up(lab, cell)
    give_up = time.monotonic() + 2 * window_s + _slack_s(window_s) + window_s / 4
    later: list[Client] = []
    while time.monotonic() < give_up or len(later) < 3:
        later.append(_one(lab, cell))
        if lab.calls_of(later[-1]):
            say(f"{label(cell)}: admitted again after {len(later) - 1} that were refused")
            return False
        time.sleep(window_s / 12)
    say(f"{label(cell)}: {len(later)} requests, none admitted for more than two windows")
    return all(client.status == 429 for client in later[-3:])


def failed_limited_wrongly(lab: Lab) -> bool:
    """Have providers answer two of three requests with an error, one request after the other.

    True when more reach a provider than two windows admit, where failed ones count; where they do
    not, when three are refused with 429 before as many were answered as promised.
    """
    limits = lab.settings["limits"]
    limit, began = limits["requests"], time.monotonic()
    cell = _with_own_key(lab)
    reached = answered = refused = 0
    for number in range(3 * limit + 3):
        failing = number % 3 < 2
        lab.answer_with(
            lambda answer, fails=failing: (
                answer.error(limits["failing"]) if fails else answer.whole()
            )  # type: ignore[misc]
        )
        client = _one(lab, cell)
        reached += bool(lab.calls_of(client))
        answered += client.succeeded
        refused += client.status == 429 and not lab.calls_of(client)
    took_s = time.monotonic() - began
    say(
        f"{label(cell)}: {reached} reach a provider, {answered} are answered, {refused} refused; "
        f"{limit} are promised in {limits['window_s']:g} s"
    )
    if reached < limit:
        raise NotExercisedError("Fewer requests reached a provider than are promised.")
    if took_s >= limits["window_s"]:
        raise NotExercisedError("The requests took longer than a window.")
    if limits["failed_count"]:
        return bool(reached > (1 if limits["sliding"] else 2) * limit)
    return bool(refused >= 3 and answered < limit)


def _with_own_key(lab: Lab) -> dict[str, Any]:
    """Where to send requests: with a fresh key, if each has limits of its own and it is taken."""
    cell = lab.cells[0]
    if lab.settings["limits"]["scope"] != "key":
        return cell
    name = "x-api-key" if "x-api-key" in cell["headers"] else "Authorization"
    value = f"sk-repro-{next(_numbers)}-{time.monotonic_ns()}"
    value = value if name == "x-api-key" else f"Bearer {value}"
    own = {**cell, "headers": {**cell["headers"], name: value}}
    probe = {**own, "headers": {**own["headers"], name: f"{value}-0"}}
    return cell if _one(lab, probe).status in (401, 403) else own


def _at_most(cell: dict[str, Any], tokens: int) -> dict[str, Any]:
    """The field of a body that bounds its answer."""
    if "/api/" in cell["path"]:
        return {"options": {"num_predict": tokens}}
    name = "max_output_tokens" if cell["path"].endswith("/responses") else "max_tokens"
    return {name: tokens}


def _one(lab: Lab, cell: dict[str, Any]) -> Client:
    """Send one request and wait for its answer."""
    client = lab.request(cell)
    client.done()
    return client


def _await(clients: list[Client]) -> None:
    wait_until(lambda: all_over(clients), 30)


def _use_up(lab: Lab, cell: dict[str, Any]) -> list[Client]:
    """Requests one by one until three were refused; those."""
    refused: list[Client] = []
    admitted = 0
    for _ in range(2 * lab.settings["limits"]["requests"] + 3):
        client = _one(lab, cell)
        if lab.calls_of(client):
            admitted += 1
        else:
            refused.append(client)
        if len(refused) == 3:
            break
    if not admitted:
        raise NotExercisedError("No request reached a provider.")
    if len(refused) < 3:
        raise NotExercisedError("The limit refused nothing.")
    return refused


def _sent(lab: Lab, cell: dict[str, Any], count: int) -> list[tuple[float, float]]:
    """Begin and end of those of so many requests at once that reach a provider."""
    begun = time.monotonic()
    clients = [lab.client(cell) for _ in range(count)]
    send_at_once(clients)
    _await(clients)
    ended = time.monotonic()
    return [(begun, ended) for client in clients if lab.calls_of(client)]


def _too_many(times: list[tuple[float, float]], limit: int, window_s: float, slides: bool) -> bool:
    """More than windows of this length admit, wherever they begin."""
    for windows in range(1, 4):
        for first, _ in times:
            span_s = windows * window_s
            count = sum(first <= begun and ended < first + span_s for begun, ended in times)
            most = windows if slides else windows + 1
            if count > most * limit:
                say(f"{count} of them within {span_s:g} s, in which {most * limit} are admitted")
                return True
    return False


def _slack_s(window_s: float) -> float:
    """What is granted to windows that are counted in whole seconds."""
    return min(1.3, max(0.1, window_s / 8))
