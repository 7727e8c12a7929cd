"""Defects of the slots: permits that are lost, or were never there."""

from __future__ import annotations

from reference_router.flaws.cap import with_permits
from reference_router.flaws.flaw import Flaw

FLAWS = (
    Flaw(
        name="one-at-a-time",
        story="A mutex where a semaphore was meant: within any cap, and never near it.",
        spoil=with_permits(lambda _: 1),
        trips=("slots/reached",),
    ),
)
