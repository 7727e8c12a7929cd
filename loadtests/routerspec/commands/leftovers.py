"""What an earlier run left running, named before the next one starts."""

from __future__ import annotations

import sys
import time
from typing import Final

from routerspec.processes.child import printable
from routerspec.processes.keeper import left_behind

_GOING_S: Final = 2.0
"""What a run that was just killed has left is gone after that."""
_POLL_S: Final = 0.1
_WIDTH: Final = 80


def name_leftovers() -> None:
    """Print what is left of earlier runs, and how to stop it; mostly nothing."""
    if text := leftovers_text(left_behind()):
        give_up = time.monotonic() + _GOING_S
        while text and time.monotonic() < give_up:
            time.sleep(_POLL_S)
            text = leftovers_text(left_behind())
    if text:
        print(text, file=sys.stderr)


def leftovers_text(found: dict[int, str]) -> str:
    """The message about these processes, by number; empty for none."""
    if not found:
        return ""
    lines = [f"  {pid}  {printable(command)[:_WIDTH]}" for pid, command in sorted(found.items())]
    numbers = " ".join(map(str, sorted(found)))
    return "\n".join(
        [
            "routerspec: an earlier run was killed, and left these processes, which may hold ports "
            "and slow this run down:",
            *lines,
            f"To stop them: kill -9 {numbers}",
        ]
    )
