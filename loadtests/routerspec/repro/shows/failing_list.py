"""Both providers' lists fail: is that kept as an empty list, is every client's ask passed on?

An error that the router tells its client is no fault, however long it lasts: what is looked for is
a good answer without models while nobody is asked, or a fetch for each of twenty clients.
"""

from __future__ import annotations

import time

from routerspec.repro.kit import Answer, Exchange, Lab, cannot_try, expire, fetches, listed, say


def show(lab: Lab) -> bool:
    """True when the promise that is named was broken."""
    if not listed(lab.ask_list()):
        cannot_try("The list of the router does not show its providers' models.")
    expire(lab)
    lab.list_with(lambda answer: answer.error(500))
    seen = _kept(lab) if lab.told["how"] == "kept" else _asked_by_all(lab)
    lab.list_with(Answer.models)
    return seen


def _kept(lab: Lab) -> bool:
    for asked in (lab.lister().ask(), lab.lister().ask()):
        asked.over.wait(30)
    lab.list_with(Answer.models)
    time.sleep(lab.told["recovery_s"])
    long_s, empty, since = min(0.4 * lab.told["ttl_s"], 1.5), 0, time.monotonic()
    before = fetches(lab)
    until = since + lab.told["ttl_s"] + 1.4
    while time.monotonic() < until and fetches(lab) == before:
        asked = lab.ask_list()
        if asked.well and not listed(asked):
            empty += 1
            if empty >= 4 and time.monotonic() - since >= long_s:
                break
        time.sleep(min(0.04 * lab.told["ttl_s"], 0.1))
    kept = empty >= 4 and time.monotonic() - since >= long_s and fetches(lab) == before
    say(
        f"both lists failed and are well again: {empty} clients were answered a list without "
        f"models over {time.monotonic() - since:.1f} s, and {'nobody' if kept else 'a provider'} "
        "was asked meanwhile"
    )
    return kept


def _asked_by_all(lab: Lab) -> bool:
    before, began = fetches(lab), time.monotonic()
    asked: list[Exchange] = []
    for _ in range(20):
        asked.append(lab.ask_list())
        time.sleep(0.005)
    pace = (time.monotonic() - began) / len(asked)
    more = {name: count - before[name] for name, count in fetches(lab).items()}
    say(f"20 clients one by one, {pace:.3f} s apart, while lists fail: fetches of them {more}")
    return max(more.values()) >= len(asked) and pace <= 0.05
