"""Rounds under a steady mixed load, in which no call is held for long."""

from __future__ import annotations

import random
import threading
import time

from routerspec.repro.kit.clients import Client
from routerspec.repro.kit.lab import Lab, NotExercisedError, say
from routerspec.repro.kit.providers import Answer, Call


def loaded(lab: Lab, load_s: float = 10.0) -> bool:
    """Send requests from four times as many clients as the cap allows, with errors and disconnects.

    A call counts from when its provider has read it until just before the provider sends anything
    that could tell the router of its end, or its client disconnects; one that the router has closed
    by itself does not count. True when more calls than the cap are open at one instant.
    """
    watch = _Watch(lab)
    lab.answer_with(watch.answer)
    until, cap, calls = time.monotonic() + load_s, lab.cap, len(lab.calls)
    threads = [
        threading.Thread(target=_send_on, args=(lab, watch, until, number), daemon=True)
        for number in range(4 * cap)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(load_s + 40)
    beyond = watch.beyond()
    say(
        f"{len(lab.calls) - calls} calls under a mixed load of {4 * cap} clients, cap {cap}: all "
        f"slots occupied {watch.full} times, more than the cap open at once {len(beyond)} times, "
        f"{max(beyond, default=cap)} at most"
    )
    if not beyond and watch.full < 20:
        raise NotExercisedError(f"All slots were occupied {watch.full} times, not 20.")
    return bool(beyond)


class _Watch:
    """Counts what is open at the providers; one lock, so that no instant is missed."""

    def __init__(self, lab: Lab) -> None:
        self.full = 0  # how often a call came that made the cap full, or more than full
        self._beyond: list[tuple[Call, ...]] = []  # what was open whenever it was above the cap
        self._lab = lab
        self._lock = threading.Lock()
        self._open: list[Call] = []
        self._left: set[int] = set()

    def answer(self, answer: Answer) -> None:
        """Answer within some 50 ms; one in seven fails."""
        draw = random.Random(answer.call.number)  # noqa: S311 - no secret
        fate, last_s = draw.random(), draw.uniform(0.005, 0.05)
        with self._lock:
            if answer.call.number not in self._left:
                self._open.append(answer.call)
            busy = self._lab.busy(self._open)
            self.full += busy >= self._lab.cap
            if busy > self._lab.cap:
                self._beyond.append(tuple(self._open))
        try:
            if answer.call.stream and fate > 0.1:
                answer.pieces(1)
            time.sleep(last_s)
            answer.abandoned()
        finally:
            self.over(answer.call.number)
        if fate < 0.1:
            answer.error(500)
        elif fate < 0.15:
            answer.reset()
        else:
            answer.whole()

    def over(self, number: int, *, for_good: bool = False) -> None:
        """From now on the router may know that this client's calls are over."""
        with self._lock:
            self._open = [call for call in self._open if call.number != number]
            if for_good:
                self._left.add(number)

    def beyond(self) -> list[int]:
        """How many were open, whenever above the cap, without those that the router closed."""
        counts = [
            self._lab.busy(call for call in calls if call.router_left is None)
            for calls in self._beyond
        ]
        return [count for count in counts if count > self._lab.cap]


def _send_on(lab: Lab, watch: _Watch, until: float, number: int) -> None:
    while time.monotonic() < until:
        client: Client = lab.request(lab.cells[number % len(lab.cells)])
        if number % 7 == 0:
            client.done(0.02)
            watch.over(client.number, for_good=True)
            client.leave()
        client.done()
        if client.status != 200:
            time.sleep(0.005)
        number += 1
