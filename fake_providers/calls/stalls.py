"""The heartbeat: notices when this process was kept from running, and confesses it.

Decides what a stall is. Refuses to know why it happened.
"""

from __future__ import annotations

import asyncio
from typing import Final

from fake_providers.calls.recorder import Recorder
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import Stall

BEAT_NS: Final = 5_000_000
STALL_NS: Final = 5_000_000
"""A beat that comes later than this is a stall."""


async def beat(recorder: Recorder, clock: Clock) -> None:
    """Beat until cancelled. A stall is told to within one beat."""
    while True:
        due_ns = clock.stamp() + BEAT_NS
        await asyncio.sleep(BEAT_NS / 1e9)
        now = clock.stamp()
        if now - due_ns > STALL_NS:
            recorder.stalled(Stall(at_ns=now, stalled_ns=now - due_ns))
