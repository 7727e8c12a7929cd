"""The model list: fifty clients at once on a cache that has nothing, and a provider that is slow.

Each provider keeps the first list back for a second. What is counted is how many fetches of one
provider were open at once, or came within the TTL of one that had been answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from routerspec.repro.kit import Answer, Call, Lab, expire, fetches, say


def show(lab: Lab) -> bool:
    """True when one expiry caused more than one fetch of a provider."""
    broken = _stampede(lab, "cold")
    if lab.told["how"] == "expiry":
        expire(lab)
        broken = _stampede(lab, "expired")
    return broken


def _first_slowly() -> Callable[[Answer], None]:
    """Each provider's first answer takes a second, so that all who are to come are there."""
    slow = {"openai", "ollama"}

    def answered(answer: Answer) -> None:
        if answer.call.provider in slow:
            slow.discard(answer.call.provider)
            time.sleep(1.0)
        answer.models()

    return answered


def _stampede(lab: Lab, state: str) -> bool:
    before = fetches(lab)
    lab.list_with(_first_slowly())
    go = threading.Event()
    clients = [lab.lister().ask(go) for _ in range(50)]
    time.sleep(0.3)
    go.set()
    for client in clients:
        client.over.wait(30)
    broken = False
    for provider in lab.providers:
        its = provider.lists[before[provider.dialect] :]
        at_once = max((_open_at(its, fetch.began) for fetch in its), default=0)
        early = _within_ttl(its, lab.told["ttl_s"])
        broken = broken or at_once > 1 or early > 0
        say(
            f"{state} cache, 50 clients: {len(its)} fetches of {provider.dialect}'s list, "
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
