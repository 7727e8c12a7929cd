"""The cap when clients hang up: calls whose clients have left still count while they are open."""

from __future__ import annotations

import threading
import time

from routerspec.repro.kit import Answer, Lab, reached, say


def show(lab: Lab) -> bool:
    """True when old calls and new ones together were more than the cap for a second."""
    cap, gate = lab.told["cap"], threading.Event()

    def held(answer: Answer) -> None:
        if answer.wait(gate):
            answer.whole()

    lab.answer_with(held)
    cells = lab.told["cells"]
    old = [lab.client(*cells[number % len(cells)]).ask() for number in range(cap)]
    reached(lambda: len(lab.open_calls()), cap)
    for client in old:
        client.leave()
    new = [lab.client(*cells[number % len(cells)]).ask() for number in range(2 * cap)]
    time.sleep(0.5)
    first = {id(call) for call in lab.open_calls()}
    time.sleep(1.0)
    both = [call for call in lab.open_calls() if id(call) in first]
    stayed = sum(call.number in {client.number for client in old} for call in both)
    gate.set()
    for client in new:
        client.over.wait(30)
    say(
        f"cap {cap}: {len(both)} calls were open at the providers for a second or more, {stayed} "
        f"of them of clients that had hung up: "
        f"{'MORE THAN THE CAP' if len(both) > cap else 'within the cap'}"
    )
    return bool(len(both) > cap)
