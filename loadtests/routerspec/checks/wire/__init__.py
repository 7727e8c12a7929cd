"""Answers on the wire: what the provider sent is what the client reads, event by event."""

from routerspec.checks.wire import (
    content,
    ending,
    extras,
    failures,
    first_delta,
    framing,
    http,
    keep_alive,
)

CHECKS = (
    ending.ENDING,
    framing.FRAMING,
    content.TEXT,
    content.FINISH_REASON,
    content.CHOICES,
    failures.FAILURE_VISIBLE,
    first_delta.FIRST_DELTA,
    http.HTTP,
    keep_alive.KEEP_ALIVE,
    ending.CONVENTIONS,
    extras.IDS,
    extras.EXTRAS,
)
"""In the order in which they are listed and reported; one that is missing here comes last."""
