"""A client asks for the model list, others join, and it hangs up: do the others get their list?"""

from __future__ import annotations

import threading
import time

from routerspec.repro.kit import Answer, Lab, cannot_try, expire, fetches, reached, say


def show(lab: Lab) -> bool:
    """True when two clients or more were left without a list."""
    without, joined = _left(lab)
    if not joined:
        expire(lab)
        without, joined = _left(lab)
    if not joined:
        cannot_try("No fetch of the list was seen to wait for its provider.")
    say(f"{joined} clients had joined the fetch of one that hung up; {without} got no list")
    return without >= 2


def _left(lab: Lab) -> tuple[int, int]:
    gate, before = threading.Event(), sum(fetches(lab).values())

    def held(answer: Answer) -> None:
        gate.wait(5)
        answer.models()

    lab.list_with(held)
    leader = lab.lister().ask()
    reached(lambda: sum(fetches(lab).values()), before + 1, within_s=2)
    others = [lab.lister().ask() for _ in range(10)]
    reached(lambda: sum(bool(asked.asked) for asked in others), 10, within_s=2)
    time.sleep(0.15)
    joined = [asked for asked in others if asked.waiting] if leader.waiting else []
    leader.leave()
    time.sleep(0.3)
    gate.set()
    for asked in others:
        asked.over.wait(10)
    return sum(not asked.well for asked in joined), len(joined)
