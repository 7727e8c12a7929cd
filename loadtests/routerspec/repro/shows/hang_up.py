"""A client that hangs up: does the router let go of the provider?"""

from __future__ import annotations

import threading
import time
from typing import Any

from routerspec.repro.kit import Answer, Lab, quiet, reached, say


def show(lab: Lab) -> bool:
    """True when a provider was still listened to long after its client had left, each time."""
    return any(
        _leaves(lab, route, mode, where)
        for route, mode in lab.told["cells"]
        for where in (("head", "piece") if mode == "stream" else ("answer",))
    )


def _leaves(lab: Lab, route: dict[str, Any], mode: str, where: str) -> bool:
    within, late = lab.told["within_s"], 0
    for _ in range(3):
        gate = threading.Event()

        def held(answer: Answer, gate: threading.Event = gate) -> None:
            if where == "piece" and answer.call.stream and not answer.call.embeds:
                answer.pieces(1)
            if answer.wait(gate):
                answer.whole()

        lab.answer_with(held)
        client = lab.client(route, mode).ask()
        reached(lambda client=client: len(lab.calls_of(client)), 1)  # type: ignore[misc]
        quiet(lambda: len(lab.open_calls()), for_s=0.3)
        its = [call for call in lab.calls_of(client) if call.open]
        client.leave()
        time.sleep(within + 0.5)
        still = any(call.open for call in its)
        late += still
        gate.set()
        client.over.wait(30)
        quiet(lambda: len(lab.open_calls()), for_s=0.3)  # it may only now be at work on it
        if not still:
            break
    say(
        f"{route['name']} {mode}, before the {where}: {late} times of 3 the call was still open at "
        f"the provider {within + 0.5:g} s after its client had hung up (promised: {within:g} s)"
    )
    return late == 3
