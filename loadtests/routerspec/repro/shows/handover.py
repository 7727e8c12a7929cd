"""A full house with a queue, and one call let go: does somebody who waits come in?"""

from __future__ import annotations

import threading
import time

from routerspec.repro.kit import Answer, Lab, cannot_try, quiet, reached, say


def show(lab: Lab) -> bool:
    """True when three were let go, one after the other, and nobody came in for each of them."""
    cap = lab.told["cap"]
    gates: dict[int, threading.Event] = {}

    def held(answer: Answer) -> None:
        own = gates.setdefault(answer.call.number, threading.Event())
        if answer.wait(own):
            answer.whole()

    lab.answer_with(held)
    cell = lab.told["cells"][0]
    clients = [lab.client(*cell).ask() for _ in range(cap + 4)]
    reached(lab.busy, cap)
    quiet(lambda: len(lab.open_calls()))
    if lab.busy() < cap:
        cannot_try("The house did not get full.")
    came = len(lab.calls)
    for call in lab.open_calls()[: min(3, cap)]:
        gates[call.number].set()
        reached(lambda: len(lab.calls), came + 1, within_s=2.5)
    waiting = sum(client.waiting and not lab.calls_of(client) for client in clients)
    passed = len(lab.calls) - came
    say(f"{min(3, cap)} calls were let go, {passed} came in, {waiting} still wait for a slot")
    for client in clients:
        gates.setdefault(client.number, threading.Event()).set()
    time.sleep(0.1)
    for client in clients:
        client.leave()
    return passed == 0 and waiting > 0
