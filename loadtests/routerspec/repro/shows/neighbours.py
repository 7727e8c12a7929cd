"""Three calls side by side, and one client hangs up: are the other two left alone?"""

from __future__ import annotations

import threading
import time
from typing import Any

from routerspec.repro.kit import Answer, Client, Lab, reached, say


def show(lab: Lab) -> bool:
    """True when a neighbour's call was ended by somebody else's hang-up, in two rounds."""
    ended = 0
    for route, mode in lab.told["cells"]:
        for _ in range(2):
            ended += _ends_another(lab, route, mode)
        if ended >= 2:
            return True
    return False


def _ends_another(lab: Lab, route: dict[str, Any], mode: str) -> bool:
    gate = threading.Event()

    def held(answer: Answer) -> None:
        if answer.call.stream and not answer.call.embeds:
            answer.pieces(1)
        if answer.wait(gate):
            answer.whole()

    lab.answer_with(held)
    clients: list[Client] = []
    for _ in range(min(lab.told["cap"], 3)):
        clients.append(lab.client(route, mode).ask())
        reached(lambda: len(lab.open_calls()), len(clients), within_s=3)
    time.sleep(0.5)  # what the router ends by itself, it ends now
    beside = [c for c in clients if lab.calls_of(c) and all(x.open for x in lab.calls_of(c))]
    leaver = clients[len(clients) // 2]
    leaver.leave()
    time.sleep(0.5)
    gone = [
        c
        for c in beside
        if c is not leaver and (c.over.is_set() or any(not x.open for x in lab.calls_of(c)))
    ]
    gate.set()
    for client in clients:
        client.over.wait(30)
    say(
        f"{route['name']} {mode}: one of {len(clients)} clients hung up; {len(gone)} of the others "
        "lost their call, or their answer, before anything was let go"
    )
    return bool(gone)
