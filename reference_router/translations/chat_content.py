"""What a message of a chat request says: a text, or parts."""

from __future__ import annotations

from typing import Any

from reference_router.answer import understood


def text_of(content: Any) -> str:
    """The text of a message's content. Raises ApiError 400 where it has not the right shape."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    with understood(400, "A message's content must be a text or a list of parts."):
        return "".join(str(part["text"]) for part in content if part["type"] == "text")
