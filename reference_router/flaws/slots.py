"""Defects of the slots: permits that are lost, or were never there."""

from __future__ import annotations

from reference_router.flaws.cap import with_permits
from reference_router.flaws.flaw import Flaw

FLAWS = (
    Flaw(
        name="one-at-a-time",
        story="A mutex instead of a semaphore: the cap is never reached.",
        spoil=with_permits(lambda _: 1),
        trips=("slots/reached",),
    ),
)
