"""A model list that is fresh, and asked for again (or for one of its models): who is asked?"""

from __future__ import annotations

import time
from urllib.parse import quote

from routerspec.repro.kit import Lab, cannot_try, fetches, fresh, listed, say


def show(lab: Lab) -> bool:
    """True when a list was fetched again in the first half of its TTL."""
    ttl, model = lab.told["ttl_s"], ""
    if lab.told["how"] == "by id":
        model = _found(lab)
    half, before, answered = fresh(lab), fetches(lab), 0
    for _ in range(5):
        answered += lab.ask_list(model).well
        time.sleep(0.03 * ttl)
    again = {
        provider.dialect: sum(
            fetch.began < half for fetch in provider.lists[before[provider.dialect] :]
        )
        for provider in lab.providers
    }
    what = f"the model {model!r}" if model else "the list"
    say(
        f"TTL {ttl:g} s, {what} asked for five times in the first half of it, {answered} answered: "
        f"fetched again {again}"
    )
    return answered >= 3 and any(again.values())


def _found(lab: Lab) -> str:
    """An id of the list, spelt as the router likes it in a path."""
    whole = lab.ask_list()
    items = whole.parts[0].get("data") or [{}] if listed(whole) else [{}]
    names = [str(item.get("id")) for item in items if "epoch" not in str(item.get("id"))]
    for name in names[:1]:
        for spelt in (quote(name, safe="/:"), quote(name, safe="")):
            if lab.ask_list(spelt).well:
                return spelt
    return cannot_try("The router did not answer for one model by its id.")
