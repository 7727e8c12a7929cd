"""The fresh starts on which is played what a start owes whose router failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from routerspec.plan.starts import SUPPORT, StartPlan

_BY_THEMSELVES: Final = frozenset(
    {"attempts", "hang-ups", "hang-up", "hang-up-queued", "keys"}
    | {"client-errors", "cache-probes", "provider-busy", "request-retries"}
    | {"leave-before-error", "cut-stream", "upstream-error", "retry-after", "load"}
)
"""Requests end badly in them, as in those after an ending: a router that leaks loses slots there,
and would owe again what follows."""


def fresh_starts(
    start: StartPlan, owed: Iterable[str], *, together: bool = False
) -> list[StartPlan]:
    """The starts that play these scenarios of ``start``, each of them once.

    ``together``: all on one start, since no slot was lost.
    """
    chosen = [name for name in start.scenarios if name in set(owed) - SUPPORT]
    groups = [[name] for name in chosen if disturbs(name) and not together]
    if others := [name for name in chosen if [name] not in groups]:
        groups.insert(0, others)
    return [
        replace(
            start,
            name=f"{start.name}-fresh" + (f"-{number}" if number > 1 else ""),
            scenarios=tuple(n for n in start.scenarios if n in group or _helps(n, group)),
            fresh_of=start.name,
        )
        for number, group in enumerate(groups, start=1)
    ]


def disturbs(name: str) -> bool:
    """Whether requests are made to end badly in this scenario."""
    return name in _BY_THEMSELVES or name.startswith("after-")


def _helps(name: str, group: list[str]) -> bool:
    if name in {"smoke-list", "idle"}:
        return any(other.startswith("list-") for other in group)
    return name in SUPPORT
