"""A full house, and more clients than there is room for: who is refused, when, and in what words?

The house is full while as many calls as the cap are held. Who comes then, and of whom no provider
sees anything, is read.
"""

from __future__ import annotations

import json
import time
from typing import Any

from routerspec.repro.kit import Client, Lab, full_house, let_go, quiet, say


def show(lab: Lab) -> bool:
    """True when the refusals of a full house were not as promised, in the way that is named."""
    gate, inside = full_house(lab)
    room = 0 if lab.told["overload"] == "reject" else lab.told["queue_limit"]
    late = [lab.client(*lab.told["cells"][0]).ask() for _ in range(6 + (room or 0))]
    quiet(lambda: sum(client.over.is_set() for client in late), for_s=0.5)
    wrong = _wrong(lab, late, room)
    full = lab.busy() >= lab.told["cap"]
    let_go(gate, (*inside, *late))
    return wrong and full


def _wrong(lab: Lab, late: list[Client], room: int | None) -> bool:
    timeout_s = lab.told["queue_timeout_s"]
    waiting = _waiting_on(lab, late, 0)
    if room is not None:
        # A client that is kept waiting is one that waits for longer than it takes to refuse it.
        waiting = _waiting_on(lab, late, 2.0 if timeout_s is None else min(2.0, timeout_s / 2))
    crowded = room is not None and waiting > room
    overdue = False
    if timeout_s is not None:
        overdue = _waiting_on(lab, late, timeout_s + max(0.5, timeout_s / 2)) >= 3
    unserved = [client for client in late if not lab.calls_of(client)]
    refused = [client for client in unserved if client.over.is_set()]
    for client in refused[:1]:
        say(
            f"refused: {client.status}, Retry-After {client.headers.get('retry-after')!r}, "
            f"{client.text[:80]!r}{client.failed}"
        )
    if lab.told["how"] == "queued":
        say(
            f"the house is full, its queue has no bound, {len(late)} more came: "
            f"{len(refused)} were sent away"
        )
        return sum(client.status is not None for client in refused) >= 2
    if lab.told["how"] == "Retry-After":
        return sum("retry-after" not in c.headers for c in _by_status(lab, refused)) >= 2
    if lab.told["how"] == "JSON":
        return sum(not _is_json(c.text) for c in _by_status(lab, refused)) >= 2
    promised = lab.told["reject_status"]
    odd = sum(client.status not in promised for client in refused)
    say(
        f"the house is full, {len(late)} more came: {odd} refused with another status than "
        f"{promised}; {waiting} kept waiting (room for {'any' if room is None else room}); "
        f"{'some wait' if overdue else 'nobody waits'} far beyond the queue's timeout ({timeout_s})"
    )
    return odd >= 2 or crowded or overdue


def _waiting_on(lab: Lab, late: list[Client], until_s: float) -> int:
    """How many still wait so long after they had asked, and reached no provider."""
    asked = max(client.asked for client in late)
    time.sleep(max(0.0, asked + until_s - time.monotonic()))
    return sum(client.waiting and not lab.calls_of(client) for client in late)


def _by_status(lab: Lab, refused: list[Client]) -> list[Client]:
    return [client for client in refused if client.status in lab.told["reject_status"]]


def _is_json(text: str) -> bool:
    try:
        said: Any = json.loads(text)
    except ValueError:
        return False
    return isinstance(said, dict)
