"""A call and a loaded model, as the scheduler sees them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

Phase = Literal["new", "queued", "loading", "waiting", "running", "refused", "over"]

FOREVER: Final = -1
"""A keep-alive that never expires."""


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """One call."""

    model: str
    load_ns: int = 0
    """Time to load its model, if this job has to load it."""
    prompt_ns: int = 0
    """How long the other streams on its model stall while its prompt is read."""
    options: tuple[tuple[str, object], ...] = ()
    """The options with which its model must be loaded."""
    keep_alive_ns: int | None = None
    """How long its model stays loaded when idle; None: unchanged."""
    slots: int | None = None
    """At most this many calls of its model at once, whatever the server's option; None: no limit
    of its own."""
    needs_slot: bool = True
    phase: Phase = "new"
    arrived_ns: int = 0
    loaded_ns: int = 0
    """When its model was ready for it."""
    slot_ns: int = 0
    streaming: bool = False
    """It is past its prompt: reading other prompts stalls it."""
    stall_ns: int = 0
    """How long other prompts still stall it."""


@dataclass(slots=True, eq=False, kw_only=True)
class Runner:
    """A loaded model."""

    model: str
    options: tuple[tuple[str, object], ...]
    slots: int | None
    keep_alive_ns: int
    expires_ns: int
    """When it is unloaded if it stays idle. FOREVER: never."""
    running: dict[Job, None] = field(default_factory=dict)
    slotless: dict[Job, None] = field(default_factory=dict)
    waiting: deque[Job] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        """No job uses it or waits for it."""
        return not (self.running or self.slotless or self.waiting)
