"""Stories: histories made by hand, by name. ``tests.corpus.make`` writes them down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.corpus.builder import Start

Story = tuple[tuple[Start, ...], dict[str, Any]]
GOOD: dict[str, Callable[[], Story]] = {}
BAD: dict[str, Callable[[], Story]] = {}


def good(name: str) -> Callable[[Callable[[], Story]], Callable[[], Story]]:
    def keep(tell: Callable[[], Story]) -> Callable[[], Story]:
        GOOD[name] = tell
        return tell

    return keep


def bad(check: str) -> Callable[[Callable[[], Story]], Callable[[], Story]]:
    def keep(tell: Callable[[], Story]) -> Callable[[], Story]:
        BAD[check] = tell
        return tell

    return keep
