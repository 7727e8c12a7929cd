"""The TTL of the model list: a list that takes 0.8 TTL to come, asked for 0.4 TTL after it came."""

from __future__ import annotations

import time

from routerspec.repro.kit import Answer, Lab, expire, fetches, say


def show(lab: Lab) -> bool:
    """True when the list was fetched again though it was 0.4 TTL old."""
    ttl = lab.told["ttl_s"]

    def slowly(answer: Answer) -> None:
        time.sleep(0.8 * ttl)
        answer.models()

    if any(fetches(lab).values()):
        expire(lab)  # it asks by itself: what it has must be out of date first
    lab.list_with(slowly)
    lab.ask_list()
    came = fetches(lab)
    time.sleep(0.4 * ttl)
    lab.ask_list()
    again = {name: count - came[name] for name, count in fetches(lab).items() if count > came[name]}
    say(
        f"TTL {ttl:g} s, asked again {0.4 * ttl:g} s after the list had come: fetched again {again}"
    )
    return bool(again)
