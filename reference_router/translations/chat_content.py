"""What a message of a chat request says: a text or parts, and calls with their arguments."""

from __future__ import annotations

from typing import Any

import msgspec

from reference_router.answer import understood

_DATA = "data:"
_BASE64 = ";base64,"
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def text_of(content: Any) -> str:
    """The text of a message's content. Raises ApiError 400 where it has not the right shape."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    with understood(400, "A message's content must be a text or a list of parts."):
        return "".join(str(part["text"]) for part in content if part["type"] == "text")


def in_base64(url: str) -> tuple[str, str] | None:
    """The media type and the data of an image whose URL has both; None where it has not."""
    media_type, inline, data = url.partition(_BASE64)
    if not url.startswith(_DATA) or not inline:
        return None
    return media_type.removeprefix(_DATA), data


def as_object(arguments: str | None) -> msgspec.Raw:
    """A call's arguments as the object that they say. Raises DecodeError where they say none."""
    text = (arguments or "{}").encode()
    _object(text)
    return msgspec.Raw(text)
