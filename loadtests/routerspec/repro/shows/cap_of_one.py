"""A cap of one: is every route still served, those that call a model several times too?"""

from __future__ import annotations

import time
from typing import Any

from routerspec.repro.kit import Answer, Lab, cannot_try, say


def show(lab: Lab) -> bool:
    """True when a request, alone with the router, got no answer while nothing was open, twice."""
    if lab.told["cap"] != 1:
        cannot_try("The router was not started with a cap of one.")
    return any(_waits_for_itself(lab, route, mode) for route, mode in lab.told["cells"])


def _waits_for_itself(lab: Lab, route: dict[str, Any], mode: str) -> bool:
    lab.answer_with(Answer.whole)
    for number in range(2):
        client = lab.client(route, mode).ask()
        began = time.monotonic()
        while not client.over.wait(0.1) and time.monotonic() - began < 10:
            pass
        idle = not lab.open_calls()
        last = max([call.ended or 0.0 for call in lab.calls], default=0.0)
        stuck = not client.over.is_set() and idle and time.monotonic() - max(last, began) > 3
        client.leave()
        time.sleep(0.3)
        if not stuck:
            say(f"{route['name']} {mode}: status {client.status}")
            return False
        say(
            f"{route['name']} {mode}, try {number + 1}: no answer after 10 s, with nothing open at "
            f"any provider for the last 3 s and more"
        )
    return True
