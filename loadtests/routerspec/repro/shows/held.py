"""The cap: five times as many requests as it allows, and providers that answer none of them.

For every route and mode that is named, or over all of them together, the calls that are open at
the providers are counted twice, a quarter of a second apart, while every client still waits.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from routerspec.repro.kit import Answer, Lab, quiet, reached, say


def show(lab: Lab) -> bool:
    """True when more calls than the cap were open at once."""
    cells = lab.told["cells"]
    tries = [cells] if lab.told["together"] else [[cell] for cell in cells]
    seen = [_offered(lab, cells) for cells in tries]
    return any(seen)


def _offered(lab: Lab, cells: list[tuple[dict[str, Any], str]]) -> bool:
    cap, gate = lab.told["cap"], threading.Event()
    after_first = lab.told["how"] == "first"
    if lab.told["how"] == "failures":
        _fail(lab, cells)

    def held(answer: Answer) -> None:
        if after_first and "embed" in answer.call.path:
            answer.whole()  # what a RAG route asks first; its stream is what is looked at
        elif after_first and answer.call.stream:
            answer.pieces(1)
            if answer.wait(gate):
                answer.rest(1)
        elif answer.wait(gate):
            answer.whole()

    lab.answer_with(held)
    clients = [lab.client(*cells[number % len(cells)]).ask() for number in range(5 * cap)]
    reached(lambda: len(lab.open_calls()), cap)
    quiet(lambda: len(lab.open_calls()))
    if lab.told["how"] == "long":
        time.sleep(2.5)  # longer than the window of a limiter that counts by the second
        quiet(lambda: len(lab.open_calls()))
    first = {id(call) for call in lab.open_calls()}
    time.sleep(0.27)
    both = [call for call in lab.open_calls() if id(call) in first]
    waiting = sum(not client.over.is_set() for client in clients)
    gate.set()
    for client in clients:
        client.over.wait(30)
    more = len(both) > cap and waiting >= len(both)
    tried = " + ".join(f"{route['name']} {mode}" for route, mode in cells)
    say(
        f"{tried}: {len(clients)} requests, cap {cap}: {len(both)} calls were open "
        f"at the providers at once, for at least a quarter of a second, with {waiting} clients "
        f"waiting: {'MORE THAN THE CAP' if more else 'within the cap'}"
    )
    return more


def _fail(lab: Lab, cells: list[tuple[dict[str, Any], str]]) -> None:
    """A storm of errors and broken connections, twice as many as the cap allows calls."""
    for number in range(2 * lab.told["cap"]):
        lab.answer_with(lambda answer: answer.reset() if answer.call.stream else answer.error(500))
        lab.client(*cells[number % len(cells)]).ask().over.wait(30)
    quiet(lambda: len(lab.open_calls()))
    time.sleep(lab.told["recovery_s"])
