"""Rounds with all slots occupied and more clients than may wait: who is refused, when, and how?"""

from __future__ import annotations

import time

from routerspec.repro.kit.clients import Client, is_object
from routerspec.repro.kit.lab import Lab, NotExercisedError, occupy, release, say, settled


def refusals(lab: Lab, wrong: str = "") -> bool:
    """Occupy all slots and send more requests than may wait.

    True when two or more are refused with another status than promised, or at once with places left
    in the queue; when more clients wait than it is promised to hold, or three wait far beyond its
    timeout. ``wrong`` looks for something
    else in two or more: that they are refused at all, without Retry-After, or with no JSON object.
    """
    gate, inside = occupy(lab)
    late = [lab.request(lab.cells[0]) for _ in range(6 + (may_wait(lab) or 0))]
    try:
        settled(lambda: sum(client.over.is_set() for client in late), for_s=0.5)
        outside = unserved(lab, late)
        sent = min(client.sent_at for client in late)
        soon_s = time.monotonic() - sent
        over = [client for client in outside if client.over.is_set()]
        say(
            f"all slots are occupied, {len(late)} more requests: {len(over)} are refused, "
            f"{len(outside) - len(over)} wait"
        )
        for client in over[:1]:
            say(
                f"refused: {client.status}, Retry-After {client.headers.get('retry-after')!r}, "
                f"{client.text[:80]!r}{client.failure}"
            )
        if len(outside) < 2:
            raise NotExercisedError("Fewer than two clients found all slots occupied.")
        seen = (
            _refused_wrongly(lab, over, wrong)
            if wrong
            else _odd(lab, late, _early(lab, late, len(over), soon_s))
        )
        if lab.busy() < lab.cap:
            raise NotExercisedError("The slots did not stay occupied.")
        return seen
    finally:
        release(gate, (*inside, *late))


def _refused_wrongly(lab: Lab, over: list[Client], wrong: str) -> bool:
    if wrong == "at all":
        return sum(client.status is not None for client in over) >= 2
    refused = [client for client in over if client.status in lab.settings["reject_status"]]
    if len(refused) < 2:
        raise NotExercisedError("Fewer than two requests were refused with a promised status.")
    if wrong == "Retry-After":
        return sum("retry-after" not in client.headers for client in refused) >= 2
    return sum(not is_object(client.text) for client in refused) >= 2


def may_wait(lab: Lab) -> int | None:
    """How many clients may wait in the queue; None: any number."""
    queues = lab.settings["overload"] == "queue"
    return lab.settings["queue_limit"] if queues else 0


def unserved(lab: Lab, late: list[Client]) -> list[Client]:
    """Those without a call at any provider."""
    return [client for client in late if not lab.calls_of(client)]


def _early(lab: Lab, late: list[Client], refused: int, soon_s: float) -> bool:
    """More were refused, long before the queue's timeout, than it could not hold."""
    places, timeout_s = lab.settings["promised_places"], lab.settings["promised_wait_s"]
    if lab.settings["overload"] != "queue" or timeout_s is None or soon_s >= timeout_s / 2:
        return False
    spared = refused - (0 if places is None else max(0, len(late) - places))
    say(f"{max(0, spared)} were refused within {soon_s:.2f} s with places left in the queue")
    return spared >= 2


def _odd(lab: Lab, late: list[Client], early: bool) -> bool:
    """Refused at once or with another status, or more clients wait than may, or for longer."""
    limit, timeout_s = may_wait(lab), lab.settings["queue_timeout_s"]
    crowded = overdue = False
    if limit is not None:  # who waits for longer than a refusal takes is kept waiting
        waiting = waiting_after(lab, late, 2.0 if timeout_s is None else min(2.0, timeout_s / 2))
        crowded = waiting > limit
        say(f"{waiting} clients wait in the queue (promised: {limit} at most)")
    if timeout_s is not None:
        after_s = timeout_s + max(0.5, timeout_s / 2)
        waiting = waiting_after(lab, late, after_s)
        overdue = waiting >= 3
        say(f"{waiting} still wait after {after_s:g} s (promised: {timeout_s:g} s at most)")
    promised = lab.settings["reject_status"]
    over = [client for client in unserved(lab, late) if client.over.is_set()]
    odd = sum(client.status not in promised for client in over)
    say(f"{odd} requests were refused with another status than {promised}")
    return early or odd >= 2 or crowded or overdue


def waiting_after(lab: Lab, late: list[Client], after_s: float) -> int:
    """How many still wait so long after they had been sent, and reached no provider."""
    sent = max(client.sent_at for client in late)
    time.sleep(max(0.0, sent + after_s - time.monotonic()))
    return sum(client.waiting for client in unserved(lab, late))
