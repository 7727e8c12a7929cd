"""The cap under a steady mixed load: answers of some ten milliseconds, errors, cuts, hang-ups.

A call counts from when its provider had read it until just before the provider says anything
that could tell the router of its end, or its client leaves; one that the router has closed by
itself does not count at all. No call is held for long, so a router
that counts rightly, however tightly, is within its cap at every instant.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from routerspec.repro.kit import Answer, Call, Lab, say

LOAD_S = 10.0


def show(lab: Lab) -> bool:
    """True when more calls than the cap were open at one instant."""
    watch = _Watch(lab)
    lab.answer_with(watch.answer)
    until = time.monotonic() + min(LOAD_S, lab.told["for_s"])
    clients = [
        threading.Thread(target=_ask_on, args=(lab, watch, until, number), daemon=True)
        for number in range(4 * lab.told["cap"])
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(LOAD_S + 40)
    cap, beyond = lab.told["cap"], watch.beyond()
    say(
        f"{len(lab.calls)} calls under a mixed load of {4 * cap} clients, cap {cap}: "
        f"{len(beyond)} times more than {cap} were open at once, {max(beyond, default=cap)} at most"
    )
    return bool(beyond)


class _Watch:
    """Counts what is open at both providers; one lock, so that every instant is seen."""

    def __init__(self, lab: Lab) -> None:
        self._beyond: list[tuple[Call, ...]] = []
        """What was open whenever it was more than the cap."""
        self._lab = lab
        self._lock = threading.Lock()
        self._open: list[Call] = []
        self._left: set[int] = set()

    def answer(self, answer: Answer) -> None:
        """As a provider that is sometimes unwell."""
        draw = random.Random(answer.call.number)  # noqa: S311 - no secret
        fate, last_s = draw.random(), draw.uniform(0.005, 0.05)
        with self._lock:
            if answer.call.number not in self._left:
                self._open.append(answer.call)
            if self._lab.busy(self._open) > self._lab.told["cap"]:
                self._beyond.append(tuple(self._open))
        try:
            if answer.call.stream and not answer.call.embeds and fate > 0.1:
                answer.pieces(1)
            time.sleep(last_s)
            answer.left()
        finally:
            self.over(answer.call.number)
        if fate < 0.1:
            answer.error(500)
        elif fate < 0.15:
            answer.reset()
        else:
            answer.whole()

    def over(self, number: int, *, for_good: bool = False) -> None:
        """From now on a router may know that this client's calls are over."""
        with self._lock:
            self._open = [call for call in self._open if call.number != number]
            if for_good:
                self._left.add(number)

    def beyond(self) -> list[int]:
        """How many were open, whenever it was more than the cap, all of them to a good end."""
        counts = [
            self._lab.busy(call for call in calls if call.router_left is None)
            for calls in self._beyond
        ]
        return [count for count in counts if count > self._lab.told["cap"]]


def _ask_on(lab: Lab, watch: _Watch, until: float, first: int) -> None:
    cells: list[Any] = lab.told["cells"]
    number = first
    while time.monotonic() < until:
        client = lab.client(*cells[number % len(cells)])
        client.ask()
        if number % 7 == 0:
            client.over.wait(0.02)
            watch.over(client.number, for_good=True)
            client.leave()
        client.over.wait(30)
        if client.status != 200:
            time.sleep(0.005)
        number += 1
