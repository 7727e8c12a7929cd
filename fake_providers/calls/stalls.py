"""The stall detector: records when this process was kept from running."""

from __future__ import annotations

import asyncio
from typing import Final

from fake_providers.calls.recorder import Recorder
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import Stall

INTERVAL_NS: Final = 5_000_000
STALL_NS: Final = 5_000_000
"""A wake-up that is later than this is a stall."""


async def watch_for_stalls(recorder: Recorder, clock: Clock) -> None:
    """Wake up at each interval until cancelled. A stall is measured to within one interval."""
    while True:
        due_ns = clock.stamp() + INTERVAL_NS
        await asyncio.sleep(INTERVAL_NS / 1e9)
        now = clock.stamp()
        if now - due_ns > STALL_NS:
            recorder.record_stall(Stall(at_ns=now, stalled_ns=now - due_ns))
