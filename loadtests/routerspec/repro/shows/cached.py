"""A model list that is fresh, and asked for again: who is asked?"""

from __future__ import annotations

import time

from routerspec.repro.kit import Lab, say


def show(lab: Lab) -> bool:
    """True when a list was fetched again in the first half of its TTL."""
    ttl = lab.told["ttl_s"]
    lab.ask_list()
    came = {p.dialect: len(p.lists) for p in (lab.openai, lab.ollama)}
    time.sleep(0.3 * ttl)
    for _ in range(5):
        lab.ask_list()
    again = {p.dialect: len(p.lists) - came[p.dialect] for p in (lab.openai, lab.ollama)}
    say(f"TTL {ttl:g} s, asked five times at {0.3 * ttl:g} s of age: fetched again {again}")
    return any(again.values())
