"""Slots that do not come back: requests that end badly, one by one, and then a full house."""

from __future__ import annotations

import threading
import time

from routerspec.repro.kit import Answer, Lab, quiet, reached, room, say


def show(lab: Lab) -> bool:
    """True when as many calls as the cap fitted before, and fewer after it, twice."""
    before = room(lab)
    for number in range(2 * lab.told["cap"]):
        _end_badly(lab, number)
    quiet(lambda: len(lab.open_calls()))
    time.sleep(lab.told["recovery_s"])
    after = [room(lab) for _ in range(2)]
    say(f"cap {lab.told['cap']}: {before} calls fit before, {after[0]} and then {after[1]} after")
    return before == int(lab.told["cap"]) > max(after)


def _end_badly(lab: Lab, number: int) -> None:
    """One request that ends as the check's name says."""
    how, gate = lab.told["how"], threading.Event()
    route, mode = next(
        (cell for cell in lab.told["cells"] if cell[1] == lab.told["mode"]), lab.told["cells"][0]
    )

    def ending(answer: Answer) -> None:
        if how == "error":
            answer.error(500)
        elif how == "reset":
            answer.reset()
        elif how in ("cut", "malformed"):
            answer.pieces(1) if answer.call.stream else None
            answer.garbage() if how == "malformed" else answer.reset()
        else:
            if how == "hang-up-mid-stream" and answer.call.stream:
                answer.pieces(1)
            answer.wait(gate)

    lab.answer_with(ending)
    client = lab.client(route, mode).ask()
    if how.startswith("hang-up"):
        reached(lambda: len(lab.open_calls()), 1, within_s=5.0)
        client.leave()
        time.sleep(0.1)
    else:
        client.over.wait(lab.told["timeout_s"] + 10 if how == "timeout" else 30)
    gate.set()
