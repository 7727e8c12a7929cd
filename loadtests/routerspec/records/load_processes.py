"""The processes that make the requests of one start, and how their numbers are kept apart.

Process 0 leads the rounds, and is the only one where there are no others. Numbers of requests are
dense within a process, and have the process in front: they are unique over a start without any
agreement.
"""

from __future__ import annotations

from typing import Final

SHARE_BITS: Final = 40
"""The bits of a number that each process has for itself."""
MOST: Final = 255
"""Processes beyond the first: their numbers have 48 bits."""


def before_first(process: int) -> int:
    """The number before the first request of this process."""
    return process << SHARE_BITS


def process_of(number: int) -> int:
    """The process that made the request with this number."""
    return number >> SHARE_BITS


def name_of(process: int) -> str:
    """What a sentence calls it."""
    return f"load process {process}"


def observations_file(process: int = 0) -> str:
    """The name of the file of records of the clients, or of those of a further load process."""
    return f"observations-{process}.jsonl" if process else "observations.jsonl"
