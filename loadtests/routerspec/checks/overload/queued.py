"""The queue of a full house: overload/queued. Pure.

Decides whether a router that says it queues sends clients away for want of a slot. A queue with a
bound or a timeout may send away, and is the business of ``checks.overload``.

Direction of doubt: only clients that came while the house was seen full, and of whom no provider
saw anything before it was let go, are read. One that is refused may be an accident: two accuse,
and only with a status; a broken connection does not.
"""

from __future__ import annotations

from typing import Final

from routerspec.checks import results
from routerspec.checks.check import Check, needs_cap
from routerspec.checks.overload import saturation
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding

REFUSED: Final = 2
"""Clients sent away by one full house that it takes to accuse."""
WAITED: Final = 2
"""Clients that must have waited for a slot."""

_ID = "overload/queued"


def queued(history: History, promises: Promises) -> Finding:
    """With the house full, everybody waits and nobody is refused.

    Doubt: as the module says. Inconclusive unless two clients waited for the release.
    """
    cap = promises.cap
    assert cap is not None
    waited = 0
    doubt = ""
    for house in saturation.houses(history, cap):
        waited += len(house.waiting)
        if len(house.refused) >= REFUSED:
            statuses = " and ".join(sorted({str(client.status) for client in house.refused}))
            sentence = (
                f"The house was full and its queue has no bound, and {len(house.refused)} clients "
                f"were refused with {statuses}."
            )
            shown = saturation.shown(house, list(house.refused), sentence)
            return results.violated(f"refused with {statuses}", shown, {"waited": waited})
        if house.refused:
            doubt = f"one client was refused with {house.refused[0].status} by a full house"
    if doubt or waited < WAITED:
        reason = doubt or f"never exercised: {waited} waited for a slot, {WAITED} are needed"
        return results.inconclusive(reason, {"waited": waited})
    return results.held(f"{waited} waited, nobody refused", {"waited": waited})


def _needs_queue(promises: Promises) -> str:
    if reason := needs_cap(promises):
        return reason
    cap = promises.cap
    assert cap is not None
    if cap.overload != "queue":
        return "no queue is promised: a full house refuses"
    if cap.queue_limit is not None or cap.queue_timeout_s is not None:
        return "the queue that is promised has a bound or a timeout"
    return ""


CHECKS = (
    Check(
        id=_ID,
        needs=_needs_queue,
        scenarios=("overload",),
        judge=queued,
        promised="Whoever finds every slot taken waits for one, where the router says that it "
        "queues (`cap.overload`) and names no bound and no timeout.",
        proved="The house is held full, clients come, and no provider sees anything of them. At "
        "least two are refused with a status before anything is let go.",
        doubt="In the router's favour: a connection that breaks is no refusal, and one refusal "
        "alone accuses nobody. Inconclusive unless two clients were seen to wait.",
        bug="A limit of concurrency that works by refusing, which clients cannot tell from the "
        "provider's own 429 or 503: askalf/dario #80, praxis-proxy/praxis #930.",
        fix='Wait for the permit; or promise what is so: `overload = "reject"`.',
    ),
)
