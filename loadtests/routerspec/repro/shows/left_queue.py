"""Clients that leave while they wait for a slot: are their requests run all the same?"""

from __future__ import annotations

import time

from routerspec.repro.kit import Lab, full_house, quiet, say


def show(lab: Lab) -> bool:
    """True when two requests or more reached a provider long after their clients had left."""
    gate, inside = full_house(lab)
    cells = lab.told["cells"]
    limit = lab.told["queue_limit"]
    count = 2 * len(cells) if limit is None else min(limit, 2 * len(cells))
    waiting = [lab.client(*cells[number % len(cells)]).ask() for number in range(count)]
    quiet(lambda: len(lab.open_calls()) + sum(client.waiting for client in waiting), for_s=0.3)
    queued = [client for client in waiting if client.waiting and not lab.calls_of(client)]
    for client in queued:
        client.leave()
    margin_s = max(1.0, lab.told["within_s"])
    left = time.monotonic()
    time.sleep(margin_s + 0.3)
    gate.set()
    for client in inside:
        client.over.wait(30)
    quiet(lambda: len(lab.calls), for_s=0.7)
    ran = [c for c in queued if any(x.began > left + margin_s for x in lab.calls_of(c))]
    say(
        f"{len(queued)} clients left the queue; {margin_s + 0.3:g} s later the house was let go, "
        f"and {len(ran)} of their requests were sent to a provider"
    )
    return len(ran) >= 2
