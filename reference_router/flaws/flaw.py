"""What a deliberate defect is: one part of the sound router replaced, and what must catch it.

``trips`` are the checks that exist for such a defect; ``also`` says what else goes wrong in
consequence, and why. What neither names must stay as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.types import ASGIApp

from reference_router.router import Router


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One deliberate defect."""

    name: str
    story: str
    """How it came to be, in one line."""
    spoil: Callable[[Router], Router]
    """The router with the defect in it."""
    trips: tuple[str, ...]
    """Ids of the checks that must find it."""
    also: Mapping[str, str] = field(default_factory=dict)
    """Id of a further check that finds it -> why that is a consequence."""
    middleware: Callable[[ASGIApp], ASGIApp] | None = None
    """What stands in front of the whole application, where the defect needs to see requests."""
    soak_s: float = 10.0
    """How long what is rare must be looked for; more than 10 s (``--soak``) where it is rarer."""
    variant: str = ""
    """The variant of the target in which it shows; empty: as it comes."""
