"""The TTL of the model list: a list that takes 0.8 TTL to come, asked for 0.4 TTL after it came."""

from __future__ import annotations

import time

from routerspec.repro.kit import Answer, Lab, say


def show(lab: Lab) -> bool:
    """True when the list was fetched again though it was 0.4 TTL old."""
    ttl = lab.told["ttl_s"]

    def slowly(answer: Answer) -> None:
        time.sleep(0.8 * ttl)
        answer.models()

    lab.list_with(slowly)
    lab.ask_list()
    came = {p.dialect: len(p.lists) for p in (lab.openai, lab.ollama)}
    time.sleep(0.4 * ttl)
    lab.ask_list()
    again = {
        p.dialect: len(p.lists) - came[p.dialect]
        for p in (lab.openai, lab.ollama)
        if len(p.lists) > came[p.dialect]
    }
    say(
        f"TTL {ttl:g} s, asked again {0.4 * ttl:g} s after the list had come: fetched again {again}"
    )
    return bool(again)
