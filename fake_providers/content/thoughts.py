"""What a model thinks before it answers.

No thought contains a nonce, so it cannot be mistaken for a part of the answer.
"""

from __future__ import annotations

from typing import Final

THOUGHTS: Final = ("Let ", "me ", "think. ")
"""A token each."""


def remaining(limit: int | None, thought: tuple[str, ...]) -> int | None:
    """What remains of a limit for the answer itself."""
    return None if limit is None else limit - len(thought)
