"""One provider's list is down, is nonsense or never comes: are the other's models listed?"""

from __future__ import annotations

import threading

from routerspec.repro.kit import Answer, Lab, Provider, cannot_try, expire, listed, say


def show(lab: Lab) -> bool:
    """True when two clients at once did not get the other's models, three times of three."""
    if len(listed(lab.ask_list())) < 2:
        cannot_try("The list of the router does not show the models of both providers.")
    return any(
        _always(lab, dead, other, how)
        for dead, other in (lab.providers, lab.providers[::-1])
        for how in ("down", "nonsense", "hangs")
    )


def _always(lab: Lab, dead: Provider, other: Provider, how: str) -> bool:
    within, failed = lab.told["partial_within_s"], 0
    for _ in range(3):
        dead.on_list = Answer.models
        expire(lab)
        if len(listed(lab.ask_list())) < 2:
            continue  # it has not yet come back to a provider that is well again
        expire(lab)
        gate, before = threading.Event(), len(dead.lists)

        def answered(answer: Answer, gate: threading.Event = gate) -> None:
            if how == "down":
                answer.error(503)
            elif how == "nonsense":
                answer.garbage()
            else:
                answer.wait(gate)

        dead.on_list = answered
        asked = [lab.lister().ask() for _ in range(2)]
        for each in asked:
            each.over.wait(within + 0.5)
        lacking = [other.dialect not in listed(each) for each in asked]
        gate.set()
        if len(dead.lists) == before or not all(lacking):
            break
        failed += 1
    dead.on_list = Answer.models
    say(
        f"{dead.dialect} {how}: two clients at once got no model of {other.dialect} within "
        f"{within:g} s, {failed} times of 3"
    )
    return failed == 3
