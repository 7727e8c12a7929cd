"""Rounds with all slots occupied and more clients than may wait: who is refused, when, and how?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from routerspec.repro.kit.clients import Client
from routerspec.repro.kit.lab import Lab, NotExercisedError, occupy, release, say, settled


def refusals(lab: Lab) -> bool:
    """Occupy all slots and send more requests than may wait.

    True when two or more are refused with another status than promised, more clients wait than the
    queue is promised to hold, or three wait far beyond its timeout.
    """
    return refused_wrongly(lab, odd_refusals)


def queue_refuses(lab: Lab) -> bool:
    """Occupy all slots of a router whose queue has no bound, and send more requests.

    True when two or more are refused.
    """

    def wrong(lab: Lab, late: list[Client]) -> bool:
        return sum(c.over.is_set() and c.status is not None for c in unserved(lab, late)) >= 2

    return refused_wrongly(lab, wrong)


def no_retry_after(lab: Lab) -> bool:
    """Occupy all slots and send more requests than may wait.

    True when two or more are refused without Retry-After.
    """

    def wrong(lab: Lab, late: list[Client]) -> bool:
        return sum("retry-after" not in client.headers for client in refused(lab, late)) >= 2

    return refused_wrongly(lab, wrong)


def refused_in_text(lab: Lab) -> bool:
    """Occupy all slots and send more requests than may wait.

    True when two or more are refused with a body that is no JSON object.
    """

    def is_object(text: str) -> bool:
        try:
            return isinstance(json.loads(text), dict)
        except ValueError:
            return False

    def wrong(lab: Lab, late: list[Client]) -> bool:
        return sum(not is_object(client.text) for client in refused(lab, late)) >= 2

    return refused_wrongly(lab, wrong)


def refused_wrongly(lab: Lab, wrong: Callable[[Lab, list[Client]], bool]) -> bool:
    """All slots stay occupied, and what becomes of those who come late is wrong."""
    gate, inside = occupy(lab)
    late = [lab.request(lab.cells[0]) for _ in range(6 + (may_wait(lab) or 0))]
    try:
        settled(lambda: sum(client.over.is_set() for client in late), for_s=0.5)
        outside = unserved(lab, late)
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
        seen = wrong(lab, late)
        if lab.busy() < lab.cap:
            raise NotExercisedError("The slots did not stay occupied.")
        return seen
    finally:
        release(gate, (*inside, *late))


def may_wait(lab: Lab) -> int | None:
    """How many clients may wait in the queue; None: any number."""
    queues = lab.settings["overload"] == "queue"
    return lab.settings["queue_limit"] if queues else 0


def unserved(lab: Lab, late: list[Client]) -> list[Client]:
    """Those of whom no provider has seen anything."""
    return [client for client in late if not lab.calls_of(client)]


def refused(lab: Lab, late: list[Client]) -> list[Client]:
    """Those that were refused with a promised status; there must be two."""
    clients = [c for c in unserved(lab, late) if c.status in lab.settings["reject_status"]]
    if len(clients) < 2:
        raise NotExercisedError("Fewer than two requests were refused with a promised status.")
    return clients


def odd_refusals(lab: Lab, late: list[Client]) -> bool:
    """Another status, more clients waiting than may, or for longer than they may."""
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
    return odd >= 2 or crowded or overdue


def waiting_after(lab: Lab, late: list[Client], after_s: float) -> int:
    """How many still wait so long after they had been sent, and reached no provider."""
    sent = max(client.sent_at for client in late)
    time.sleep(max(0.0, sent + after_s - time.monotonic()))
    return sum(client.waiting for client in unserved(lab, late))
