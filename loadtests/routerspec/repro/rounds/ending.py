"""Slots that do not come back: a full house, requests that end badly, and a full house again.

What a full house holds after it is compared with what it held just before. A breaker that shuts
out for a while is no loss: single requests must be answered well first.
"""

from __future__ import annotations

import threading
import time

from routerspec.repro.kit import Answer, Lab, cannot_try, quiet, reached, room, say, succeeds


def show(lab: Lab) -> bool:
    """True when two full houses after the endings were smaller than the one before them."""
    cap = lab.told["cap"]
    if not succeeds(lab, within_s=10):
        cannot_try("No request was answered well: nothing can be told of the slots.")
    before = room(lab)
    if before < min(2, cap):
        cannot_try(f"{before} of {cap} slots were in use at most: the house was never full.")
    for number in range(min(6, max(1, before - 1))):
        _end_badly(lab, number)
    if lab.told["how"] == "hang-up-queued":
        _leave_the_queue(lab)
    elif lab.told["how"] == "hang-up-before-head":
        _leave_at_once(lab)
    quiet(lambda: len(lab.open_calls()))
    time.sleep(lab.told["recovery_s"])
    if not succeeds(lab):
        say("No request was answered well afterwards: it may be shutting out on purpose.")
        return False
    after = [room(lab)]
    if after[0] < before:
        time.sleep(2)  # those that come back late are not lost
        after.append(room(lab))
    say(f"cap {cap}: {before} calls fit before, {' and then '.join(map(str, after))} after")
    return 0 < max(after) < before


def _end_badly(lab: Lab, number: int) -> None:
    """One request that ends as the check's name says."""
    how, gate = lab.told["how"], threading.Event()
    cells = [cell for cell in lab.told["cells"] if lab.told["mode"] in ("", cell[1])]
    route, mode = cells[number % len(cells)]

    def ending(answer: Answer) -> None:
        if how == "error":
            answer.error(500)
        elif how == "reset":
            answer.reset()
        elif how in ("cut", "malformed"):
            if answer.call.embeds:
                answer.whole()
                return
            answer.pieces(1) if answer.call.stream else None
            answer.garbage() if how == "malformed" else answer.reset()
        else:
            if how == "hang-up-mid-stream" and answer.call.stream:
                answer.pieces(1)
            answer.wait(gate)

    lab.answer_with(ending)
    if how == "hang-up-queued":
        return
    client = lab.client(route, mode).ask()
    if how.startswith("hang-up"):
        reached(lambda: len(lab.open_calls()), 1, within_s=5.0)
        if how == "hang-up-mid-stream":
            reached(lambda: len(client.text), 1, within_s=2.0)
        client.leave()
        reached(lambda: -len(lab.open_calls()), 0, within_s=1.0)
    else:
        client.over.wait(lab.told["timeout_s"] + 10 if how == "timeout" else 30)
    gate.set()


def _leave_the_queue(lab: Lab) -> None:
    """A few leave it, so that a slot is left if each takes one along; then many, 24 times."""
    cap = lab.told["cap"]
    for leavers in (cap - 1, *[9 * cap] * 24):
        if not _full_house(lab, leavers):
            return


def _full_house(lab: Lab, leavers: int) -> bool:
    """Those who wait leave it in their order, while one call is let go; False if it is not full."""
    cap, cell = lab.told["cap"], lab.told["cells"][0]
    one, every = threading.Event(), threading.Event()

    def held(answer: Answer) -> None:
        if answer.wait(one if answer.call.number == first else every):
            answer.whole()

    lab.answer_with(held)
    inside = [lab.client(*cell) for _ in range(cap)]
    first = inside[0].number
    for client in inside:
        client.ask()
    reached(lambda: len(lab.open_calls()), cap, within_s=2)
    if len(lab.open_calls()) < cap:
        every.set()
        one.set()
        return False
    queued = [lab.client(*cell).ask() for _ in range(leavers)]
    reached(lambda: sum(bool(client.asked) for client in queued), len(queued), within_s=3)
    time.sleep(0.05)
    one.set()
    for client in sorted(queued, key=lambda client: client.asked):
        client.leave()
        time.sleep(0.0003)
    every.set()
    for client in (*inside, *queued):
        client.over.wait(5)
    quiet(lambda: len(lab.open_calls()), for_s=0.05)
    return True


def _leave_at_once(lab: Lab) -> None:
    """Three hundred who leave as the router reaches out to the provider, a few at a time.

    After every ten times the house must still be full when it is filled: what is lost is seen
    before all of it is lost.
    """
    cell, gate = lab.told["cells"][0], threading.Event()

    def held(answer: Answer) -> None:
        answer.wait(gate)

    few, after_s = max(1, min(lab.told["cap"] - 1, 4)), 0.02
    for turn in range(300 // few):
        if turn % 10 == 0 and not _full_house(lab, 0):
            break
        lab.answer_with(held)
        before = len(lab.calls)
        leavers = [lab.client(*cell).ask() for _ in range(few)]
        for number, client in enumerate(leavers):
            reached(lambda client=client: bool(client.asked), 1, within_s=1)  # type: ignore[misc]
            time.sleep(after_s * (0.75 + number / few / 2) / few)
            client.leave()
        for client in leavers:
            client.over.wait(2)
        arrived = len(lab.calls) - before
        after_s = max(0.0005, after_s / 1.15) if arrived > 0.3 * few else min(0.05, after_s * 1.15)
    gate.set()
