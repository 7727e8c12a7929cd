"""What somebody asked to have verified, and the words they may choose checks by.

Decides nothing about how it is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.targets import Target

QUICK: Final = ("cap/each-route", "cap/streams", "models/one-fetch")
"""The sharpest few, as words for ``select``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """What somebody asked to have verified."""

    target: Target
    checks: tuple[str, ...]
    """Ids, in the registry's order."""
    runs: Path
    command: str
    seed: int
    flaw: str = ""
    url: str = ""
    """A router that runs already; empty: start it."""
    fakes: str = ""
    """Control URL of fakes that run already behind the router at ``url``; empty: start some."""
    ports: tuple[int, int, int] = (0, 0, 0)
    """Ports of the OpenAI fake, the Ollama fake and the control API; 0: any free one."""
    load_s: float = 10.0
    allow_remote: bool = False
    """``url`` may be on another machine."""
    only_smoke: bool = False


def select(words: tuple[str, ...]) -> tuple[str, ...]:
    """Check ids for ``--only`` words: an id, a group (``cap``), or the beginning of ids.

    Raises UsageError for a word that selects nothing.
    """
    chosen: set[str] = set()
    for word in words:
        found = {name for name in REGISTRY if name == word or name.startswith(word)}
        if not found:
            raise UsageError(
                f"No check is called {word!r}. `routerspec list` shows them all; a group such as "
                "`cap` selects all of its checks."
            )
        chosen |= found
    return tuple(name for name in REGISTRY if name in chosen)
