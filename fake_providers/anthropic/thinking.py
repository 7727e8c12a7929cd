"""Thinking in messages: when it is asked for, and the signatures that bind it.

A signature belongs to one text, so a changed thought is noticed when it comes back.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import blake2b
from typing import Any, Final, Literal

from fake_providers.content.thoughts import THOUGHTS

Display = Literal["", "shown", "omitted"]
"""Empty: there is no thinking."""

ASKED: Final = ("enabled", "adaptive")
_NUMBER: Final = 8
"""Bytes of the number of the call in a signature."""


def display_of(fields: dict[str, Any]) -> Display:
    """Whether a message thinks, and whether that is shown."""
    asked = fields.get("thinking")
    if not isinstance(asked, dict) or asked.get("type") not in ASKED:
        return ""
    return "omitted" if asked.get("display") == "omitted" else "shown"


def thoughts(fields: dict[str, Any], limit: int | None) -> tuple[str, ...]:
    """The thinking tokens, ``limit`` at most."""
    return THOUGHTS[:limit] if display_of(fields) else ()


def signature(text: str, call: int) -> str:
    """The signature of a thought of this call; of a redacted one, whose text is empty, its data."""
    number = call.to_bytes(_NUMBER, "big")
    digest = blake2b(number + text.encode("utf-8", "surrogatepass"), digest_size=40)
    return b64encode(number + digest.digest()).decode()


def is_signed(text: str, given: object) -> bool:
    """Whether ``given`` is a signature of ``text``."""
    try:
        number = int.from_bytes(b64decode(str(given), validate=True)[:_NUMBER], "big")
    except ValueError:
        return False
    return given == signature(text, number)
