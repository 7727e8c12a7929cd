"""A model list that changes while a fetch of it is under way: which one do clients get, and when?

Each provider's list names its epoch. The fetch that is held brings the old one; any other fetch
brings the new one.
"""

from __future__ import annotations

import threading
import time

from routerspec.repro.kit import Answer, Lab, cannot_try, expire, fetches, listed, quiet, say


def show(lab: Lab) -> bool:
    """True when a client got an older list than an earlier one, or the old one for ever."""
    ttl = lab.told["ttl_s"]
    if not listed(lab.ask_list()):
        cannot_try("The list of the router does not show its providers' models.")
    expire(lab)
    seen = _moved(lab)
    until = time.monotonic() + 2 * ttl + 2.9
    back, newest = False, dict(seen)
    while time.monotonic() < until:
        now = listed(lab.ask_list())
        back = back or any(epoch < newest.get(name, 0) for name, epoch in now.items())
        newest.update({name: max(epoch, newest.get(name, 0)) for name, epoch in now.items()})
        time.sleep(min(0.1 * ttl, 1.0))
    last = listed(lab.ask_list())
    old = [name for name, epoch in last.items() if epoch < _epoch(lab, name)]
    say(
        f"TTL {ttl:g} s: after two TTLs of asking on the list shows "
        f"{'the OLD models of ' + ', '.join(old) if old else 'the new models'}"
        f"{'; a client got an OLDER list than one before it' if back else ''}"
    )
    return bool(old) if lab.told["how"] == "refreshed" else back


def _moved(lab: Lab) -> dict[str, int]:
    """Hold the first fetch, move on, let others ask, and let the old list go; what they saw."""
    gate, held = threading.Event(), set[str]()

    def answered(answer: Answer) -> None:
        name = answer.call.provider
        epoch = _epoch(lab, name)
        if name not in held:
            held.add(name)
            gate.wait(5)
        answer.models(epoch)

    lab.list_with(answered)
    before = sum(fetches(lab).values())
    first = lab.lister().ask()
    quiet(lambda: sum(fetches(lab).values()) - before, for_s=0.3)
    for provider in lab.providers:
        provider.epoch += 1
    others = [lab.lister().ask() for _ in range(10)]
    time.sleep(0.4)
    seen: dict[str, int] = {}
    for asked in others:
        if asked.over.is_set():
            seen.update({name: max(e, seen.get(name, 0)) for name, e in listed(asked).items()})
    gate.set()
    for asked in (first, *others):
        asked.over.wait(30)
    return seen


def _epoch(lab: Lab, name: str) -> int:
    return next(p.epoch for p in lab.providers if p.dialect == name)
