"""A client that hangs up: does the router let go of the provider?"""

from __future__ import annotations

import threading
import time
from typing import Any

from routerspec.repro.kit import Answer, Lab, quiet, say


def show(lab: Lab) -> bool:
    """True when a provider was still listened to long after its client had left, each time."""
    seen = [_leaves(lab, route, mode) for route, mode in lab.told["cells"]]
    return any(seen)


def _leaves(lab: Lab, route: dict[str, Any], mode: str) -> bool:
    within, late = lab.told["within_s"], 0
    for _ in range(3):
        gate = threading.Event()

        def held(answer: Answer, gate: threading.Event = gate) -> None:
            if answer.call.stream and "embed" not in answer.call.path:
                answer.pieces(1)
            if answer.wait(gate):
                answer.rest(1) if answer.call.stream else answer.whole()

        lab.answer_with(held)
        client = lab.client(route, mode).ask()
        quiet(lambda: len(lab.open_calls()), for_s=0.3)
        reached = [call for call in lab.calls if call.number == client.number]
        client.leave()
        time.sleep(within + 0.5)
        late += any(call.open and call.router_left is None for call in reached)
        gate.set()
        client.over.wait(30)
    say(
        f"{route['name']} {mode}: in {late} of 3 tries the call was still open at the provider "
        f"{within + 0.5:g} s after its client had hung up (promised: {within:g} s)"
    )
    return late == 3
