"""Rounds in which one instance of a provider fails while others are well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from routerspec.repro.kit.clients import Client, label, pieces_in
from routerspec.repro.kit.lab import (
    Lab,
    NotExercisedError,
    admitted,
    any_cell,
    idle,
    release,
    retry_refused,
    say,
    times_in_row,
)
from routerspec.repro.kit.providers import Answer, Call, Provider

FORMS = {
    "refused": ["refused"],
    "reset": ["reset"],
    "cut-before-first-byte": ["close"],
    "5xx": ["500", "503"],
    "429": ["429"],
    "timeout": ["silence"],
}


def served_elsewhere(lab: Lab) -> bool:
    """Let the instance that serves a route fail, in each way that it is promised for.

    True when a client is not served though the other instances are well.
    """

    def trial(cell: dict[str, Any]) -> bool:
        return any(_unserved(client, calls) for client, calls in _failures(lab, cell))

    return any_cell(lab, trial)


def asked_once(lab: Lab) -> bool:
    """Let the instance that serves a route fail, in each way that it is promised for.

    True when no other instance is asked for a client that gets an error, or others answer one
    request twice.
    """

    def trial(cell: dict[str, Any]) -> bool:
        return any(
            len(calls) > 1 or (not calls and not client.succeeded)
            for client, calls in _failures(lab, cell)
        )

    return any_cell(lab, trial)


def _unserved(client: Client, calls: list[Call]) -> bool:
    return not client.succeeded and all(call.finished or call.router_left for call in calls)


def _failures(lab: Lab, cell: dict[str, Any]) -> Iterator[tuple[Client, list[Call]]]:
    """Each client whose instance failed, and its calls at others."""
    promise, seen = lab.settings["failover"], 0
    for fault in promise["on"]:
        for how in FORMS[fault]:
            one = _serving(lab, cell)
            with _failing(lab, one, how):
                clients = [_asked(lab, cell, how) for _ in range(2 * len(lab.providers))]
            for client in clients:
                calls = _calls(lab, client)
                others = [call for call in calls if call.provider != one.name]
                if len(others) < len(calls) or how == "refused":
                    seen += 1
                    got = client.status or client.failure
                    say(
                        f"{label(cell)}, {one.name} fails ({how}): {len(others)} calls elsewhere, "
                        f"client got {got}"
                    )
                    yield client, others
            _await_return(lab, cell, one)
    if not seen:
        raise NotExercisedError("No request met a failure.")


def one_answer(lab: Lab) -> bool:
    """Let the instance that serves a stream break it off after two pieces.

    True when the client's text goes on with pieces of another answer.
    """

    def trial(cell: dict[str, Any]) -> bool:
        one, cut = _serving(lab, cell), 0
        with _failing(lab, one, "cut"):
            clients = [_asked(lab, cell, "cut") for _ in range(2 * len(lab.providers))]
        for client in clients:
            calls = _calls(lab, client)
            if any(call.provider == one.name for call in calls):
                pieces = pieces_in(client.text, cell["path"])
                cut += bool(pieces)
                say(f"{label(cell)}: {len(pieces)} pieces of {len(calls)} calls, 2 were sent")
                if len(pieces) > 2:
                    return True
        if not cut:
            raise NotExercisedError("No stream broke off.")
        return False

    return any_cell(lab, trial)


def attempts_in_all(lab: Lab) -> bool:
    """Let every instance and fallback answer 503, and send one request.

    True when it makes more calls than promised.
    """

    def trial(cell: dict[str, Any]) -> bool:
        _well(lab)
        time.sleep(lab.settings["recovery_s"])
        lab.answer_with(lambda answer: answer.error(503))
        client = _asked(lab, cell, "503")
        calls, promised = _calls(lab, client), int(lab.settings["failover"]["attempts"])
        where = ", ".join(call.provider for call in calls)
        say(f"{label(cell)}: {len(calls)} calls ({where}), {promised} promised")
        if len(calls) < 2:
            raise NotExercisedError("No second call was made.")
        return len(calls) > promised

    return any_cell(lab, trial)


def one_permit(lab: Lab) -> bool:
    """Count how many calls the router lets through, before, while and after requests fail over.

    True when more than the cap are open at once, or twice fewer than before.
    """
    cell = lab.cells[0]
    one = _serving(lab, cell)
    before = admitted(lab)
    _well(lab)
    if before < min(2, lab.cap):
        raise NotExercisedError(f"Could not occupy all slots: {before} of {lab.cap}.")
    gate = lab.hold()
    one.on_call = lambda answer: answer.error(503)
    clients = [lab.request(cell) for _ in range(5 * lab.cap)]
    retry_refused(lab, clients, for_s=0.7)
    during = lab.busy()
    release(gate, clients)
    _await_return(lab, cell, one)
    with _failing(lab, one, "503"):
        for _ in range(max(1, lab.cap - 1)):
            _asked(lab, cell, "503")
    idle(lab, for_s=0.7)
    _await_return(lab, cell, one)
    after = admitted(lab)
    if after < before:
        time.sleep(2)  # slots that are returned late are not lost
        after = max(after, admitted(lab))
    say(f"cap {lab.cap}: {before} calls came through before, {during} while, {after} after")
    return during > lab.cap or after > lab.cap or 0 < after < before


def own_model(lab: Lab) -> bool:
    """Let all instances of the first provider answer 503, and look at what a fallback is asked.

    True when it is asked for another model than its own.
    """

    def trial(cell: dict[str, Any]) -> bool:
        due: dict[str, str] = lab.settings["fallbacks"][cell["route"]]
        _well(lab)
        time.sleep(lab.settings["recovery_s"])
        for provider in lab.providers:
            if provider.name.partition("-")[0] not in due:
                provider.on_call = lambda answer: answer.error(503)
        client = _asked(lab, cell, "503")
        calls = [call for call in _calls(lab, client) if call.provider in due]
        for call in calls:
            say(f"{label(cell)}: {call.provider} asked for {call.model}, not {due[call.provider]}")
        if not calls:
            raise NotExercisedError("No fallback was asked.")
        return any(call.model.removesuffix(":latest") != due[call.provider] for call in calls)

    return any_cell(lab, trial)


def own_errors(lab: Lab) -> bool:
    """Let providers answer 400, 404 and 413, which are the client's fault.

    True when a second instance is asked for one of them, or the one that answered serves no more.
    """

    def trial(cell: dict[str, Any]) -> bool:
        one, wrong = _serving(lab, cell), 0
        for status in (400, 404, 413):
            lab.answer_with(lambda answer, status=status: answer.error(status))  # type: ignore[misc]
            for _ in range(4):
                names = [call.provider for call in _calls(lab, _asked(lab, cell, "400"))]
                if len(set(names)) > 1:
                    say(f"{label(cell)}: {status} was answered by {' and then '.join(names)}")
                    return True
                wrong += one.name in names
        if not wrong:
            raise NotExercisedError("No instance that served answered an error.")
        _well(lab)
        served = _served_by(lab, cell, 10 * len(lab.providers))
        say(f"{label(cell)}: {one.name} answered {wrong} errors; then served: {sorted(served)}")
        return one.name not in served

    return any_cell(lab, trial)


def asked_again(lab: Lab) -> bool:
    """Let one instance fail and be well by turns, and then be well.

    True when no request reaches it, long after its cooldown.
    """

    def trial(cell: dict[str, Any]) -> bool:
        one = _serving(lab, cell)
        for _ in range(8):
            with _failing(lab, one, "503"):
                for _ in range(len(lab.providers)):
                    _asked(lab, cell, "503")
            time.sleep(0.12)
        time.sleep(lab.settings["recovery_s"] + 2)
        served = _served_by(lab, cell, 10 * len(lab.providers))
        say(f"{label(cell)}: {one.name} was well again; then served: {sorted(served)}")
        return one.name not in served

    return any_cell(lab, trial)


def asked_for_nobody(lab: Lab) -> bool:
    """Let a client disconnect while its call is held, which then fails.

    True when another instance is asked a second or more after the disconnect, three times of three.
    """

    def trial(cell: dict[str, Any]) -> bool:
        def late() -> bool:
            _serving(lab, cell)
            time.sleep(lab.settings["recovery_s"])
            gate = threading.Event()

            def held(answer: Answer) -> None:
                if answer.held_until(gate):
                    answer.error(503)

            lab.answer_with(held)
            client = lab.request(cell)
            if not lab.arrived(client):
                raise NotExercisedError("No call arrived.")
            client.leave()
            left = time.monotonic()
            time.sleep(1.2)
            gate.set()
            time.sleep(0.5)
            after = [call for call in _calls(lab, client) if call.began >= left + 1]
            say(f"{label(cell)}: {len(after)} calls a second after the disconnect")
            return bool(after)

        return times_in_row(late) == 3

    return any_cell(lab, trial)


def _calls(lab: Lab, client: Client) -> list[Call]:
    """The calls for one client, in their order."""
    return sorted(lab.calls_of(client), key=lambda call: call.began)


def _well(lab: Lab) -> None:
    lab.answer_with(lambda answer: answer.whole())


def _asked(lab: Lab, cell: dict[str, Any], how: str) -> Client:
    """A client that has its answer, or waits no longer."""
    client = lab.request(cell)
    if not client.done(2 * lab.settings["timeout_s"] + 10 if how == "silence" else 20):
        client.leave()
        client.done()
    return client


def _served_by(lab: Lab, cell: dict[str, Any], count: int) -> set[str]:
    """The instances that serve so many good requests."""
    clients = [_asked(lab, cell, "") for _ in range(count)]
    return {call.provider for client in clients for call in _calls(lab, client) if call.finished}


def _serving(lab: Lab, cell: dict[str, Any]) -> Provider:
    """The first instance of the route's pool that serves good requests."""
    pool = lab.settings["pools"][cell["route"]]
    if len(pool) < 2:
        raise NotExercisedError("The route has nobody to fail over to.")
    _well(lab)
    served = _served_by(lab, cell, 2 * len(pool))
    for name in pool:
        if name in served:
            return next(each for each in lab.providers if each.name == name)
    raise NotExercisedError("No request was served before.")


def _await_return(lab: Lab, cell: dict[str, Any], one: Provider) -> None:
    """Send good requests until the instance serves again, or is due for long."""
    _well(lab)
    give_up = time.monotonic() + lab.settings["recovery_s"] + 3
    while time.monotonic() < give_up:
        if one.name in _served_by(lab, cell, len(lab.providers)):
            return
        time.sleep(0.1)


@contextmanager
def _failing(lab: Lab, one: Provider, how: str) -> Iterator[None]:
    """One instance fails so, the others are well."""
    over = threading.Event()

    def silent(answer: Answer) -> None:
        answer.held_until(over)

    ways: dict[str, Callable[[Answer], None]] = {
        "reset": lambda answer: answer.fail("reset"),
        "close": lambda answer: answer.drop(),
        "silence": silent,
        "cut": lambda answer: answer.fail("cut"),
        "refused": lambda answer: answer.drop(),
    }
    _well(lab)
    one.on_call = ways.get(how) or (lambda answer: answer.error(int(how)))
    if how == "refused":
        one.refuse()
    try:
        yield
    finally:
        over.set()
        if how == "refused":
            one.accept()
        _well(lab)
