"""Ids of tool calls that the other side refuses, each as one that it takes.

The same id always becomes the same: a call and its result stay together, and nothing is kept.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 40
"""Characters of an id that every server of chat completions takes."""
_TAKEN_BY_ANTHROPIC = re.compile(r"[a-zA-Z0-9_-]+")


def for_anthropic(id_: str) -> str:
    """An id of letters, digits, ``_`` and ``-``."""
    return id_ if _TAKEN_BY_ANTHROPIC.fullmatch(id_) else f"toolu_{_digest(id_)}"


def for_chat(id_: str) -> str:
    """An id that is not too long."""
    return id_ if len(id_) <= LONGEST else f"call_{_digest(id_)}"


def _digest(id_: str) -> str:
    return hashlib.sha256(id_.encode()).hexdigest()[:24]
