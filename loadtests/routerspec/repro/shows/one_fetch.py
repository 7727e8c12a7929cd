"""The model list: fifty clients at once on a cache that has nothing, and a provider that is slow.

The providers keep the list back for a second. What is counted is how many fetches of one
provider were open at once, or came within the TTL of one that had been answered.
"""

from __future__ import annotations

import threading
import time

from routerspec.repro.kit import Answer, Call, Lab, say


def show(lab: Lab) -> bool:
    """True when one expiry caused more than one fetch of a provider."""
    lab.list_with(_slowly)
    broken = _stampede(lab, "cold")
    if lab.told["how"] == "expiry":
        time.sleep(lab.told["ttl_s"] + 1.5)
        broken = _stampede(lab, "expired")
    return broken


def _slowly(answer: Answer) -> None:
    time.sleep(1.0)
    answer.models()


def _stampede(lab: Lab, state: str) -> bool:
    before = {p.dialect: len(p.lists) for p in (lab.openai, lab.ollama)}
    together = threading.Barrier(50)

    def ask() -> None:
        together.wait(10)
        lab.ask_list()

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(50)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(30)
    broken = False
    for provider in (lab.openai, lab.ollama):
        fetches = provider.lists[before[provider.dialect] :]
        at_once = max((_open_at(fetches, fetch.began) for fetch in fetches), default=0)
        early = _within_ttl(fetches, lab.told["ttl_s"])
        broken = broken or at_once > 1 or early > 0
        say(
            f"{state} cache, 50 clients: {len(fetches)} fetches of {provider.dialect}'s list, "
            f"{at_once} of them open at once, {early} within the TTL of an answered one"
        )
    return broken


def _open_at(fetches: list[Call], moment: float) -> int:
    return sum(f.began <= moment and (f.ended is None or moment < f.ended) for f in fetches)


def _within_ttl(fetches: list[Call], ttl_s: float) -> int:
    return sum(
        any(other.ended is not None and other.ended < f.began < other.ended + ttl_s
            for other in fetches)
        for f in fetches
    )  # fmt: skip
