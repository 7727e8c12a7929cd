"""A router that queues refuses no client: overload/queued.

A queue with a bound or a timeout may refuse; that is judged by ``overload/answer``.
"""

from __future__ import annotations

from typing import Final

from routerspec.checks import results
from routerspec.checks.check import Check
from routerspec.checks.overload import saturation
from routerspec.history.history import History
from routerspec.promises import Cap, Promises
from routerspec.verdict import Finding

REFUSED: Final = 2
"""Clients refused in one round that it takes to accuse: a single one may be an accident."""
WAITED: Final = 2
"""Clients that must have waited for a slot."""


def _queued(history: History, cap: Cap) -> Finding:
    waited = 0
    doubt = ""
    for saturated in saturation.saturated_rounds(history, cap):
        waited += len(saturated.waiting)
        refused = saturated.refused
        other = saturation.other_limit(history, {client.status for client in refused})
        if len(refused) >= REFUSED and not other:
            statuses = " and ".join(sorted({str(client.status) for client in refused}))
            sentence = (
                f"All slots were occupied and the queue has no bound, but {len(refused)} clients "
                f"were refused with {statuses}."
            )
            shown = saturation.witness_of(saturated, list(refused), sentence)
            return results.violated(f"refused with {statuses}", shown, {"waited": waited})
        if refused:
            doubt = other or (
                f"one client was refused with {refused[0].status} while all slots were occupied"
            )
    numbers = {"waited": waited}
    if doubt:
        return results.inconclusive(doubt, numbers)
    if waited < WAITED:
        return results.too_few(waited, "clients waited for a slot", WAITED, numbers)
    return results.held(f"{waited} waited, none refused", numbers)


def _may_refuse(promises: Promises) -> str:
    cap = promises.cap
    if cap is not None and cap.overload != "queue":
        return "no queue is promised: a saturated router refuses"
    if cap is not None and (cap.queue_limit is not None or cap.queue_timeout_s is not None):
        return "the promised queue has a bound or a timeout"
    return ""


QUEUED = Check(
    id="overload/queued",
    promise=Cap,
    exempt=_may_refuse,
    scenarios=("overload",),
    judge=_queued,
    promised="A client that finds all slots occupied waits for one, where the router is promised "
    "to queue (`cap.overload`) without a bound or a timeout.",
    proved="All slots are held, clients come, and no provider receives anything of them. At least "
    "two are refused with a status before any slot is released.",
    doubt="In the router's favour: a connection that breaks is no refusal, and one refusal alone "
    "accuses nobody. Where clients were refused, as many requests follow one at a time: refused "
    "with the same status, they show another limit than the cap, and nothing is judged. "
    "Inconclusive unless two clients waited for the release.",
    bug="A concurrency limit that works by refusing, which clients cannot tell from the provider's "
    "own 429 or 503: askalf/dario #80, praxis-proxy/praxis #930.",
    fix='Wait for the slot; or promise what is done: `overload = "reject"`.',
)
