"""A call and a loaded model, as the engine sees them.

Decides what is kept of each. Refuses to know what becomes of it: that is the engine's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

Phase = Literal["new", "queued", "loading", "waiting", "running", "refused", "over"]

FOREVER: Final = -1
"""A keep-alive without end."""


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """One call, as the engine sees it."""

    model: str
    load_ns: int = 0
    """What loading costs, should it fall to this job."""
    prompt_ns: int = 0
    """How long the others on its model stand still while its prompt is read."""
    options: tuple[tuple[str, object], ...] = ()
    """Of those that a model is loaded with."""
    keep_alive_ns: int | None = None
    """How long its model stays when idle; None: as it was."""
    slots: int | None = None
    """Its model can do no more than this at once, whatever the server is told."""
    needs_slot: bool = True
    phase: Phase = "new"
    arrived_ns: int = 0
    loaded_ns: int = 0
    """Its model was handed over to it."""
    slot_ns: int = 0
    streaming: bool = False
    """It is past its prompt: other prompts hold it up."""
    stall_ns: int = 0
    """What other prompts still hold it up by."""


@dataclass(slots=True, eq=False, kw_only=True)
class Runner:
    """A loaded model."""

    model: str
    options: tuple[tuple[str, object], ...]
    slots: int | None
    keep_alive_ns: int
    expires_ns: int
    """When it is unloaded, if it stays idle. FOREVER: it is not."""
    running: dict[Job, None] = field(default_factory=dict)
    slotless: dict[Job, None] = field(default_factory=dict)
    waiting: deque[Job] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        """Nobody needs it now."""
        return not (self.running or self.slotless or self.waiting)
