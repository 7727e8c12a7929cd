"""The loads that a router is put under, and the record of one interval of load. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from routerspec.bench.processor_time import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """So many clients at once, and what they do with their connections."""

    number: int
    kept: bool


NO_ANSWER: Final = "no answer"
"""What has failed where clients gave up waiting."""
LOADS: Final = (
    Clients(number=1, kept=True),
    Clients(number=32, kept=True),
    Clients(number=128, kept=True),
    Clients(number=32, kept=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One router under load for one interval."""

    name: str
    clients: Clients
    seconds: float
    answered: int
    """Right answers in the interval."""
    sent: int
    """Requests, from before the interval to after it."""
    opened: int
    """Connections, likewise."""
    refused: tuple[tuple[int, int], ...]
    """(nonce, status)."""
    failed: Mapping[str, int]
    """What else went wrong -> requests."""
    usage: Usage
    rss_bytes: int

    @property
    def serves_nobody(self) -> bool:
        """Every client waited in vain for an answer, whichever."""
        return not (self.answered or self.refused) and NO_ANSWER in self.failed
