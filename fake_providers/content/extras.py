"""What OpenAI's answers may have beside their text: a refusal, annotations, a fingerprint."""

from __future__ import annotations

from typing import Any, Final

from fake_providers.calls.recorder import OpenCall

REFUSAL: Final = (
    "I\u2019m sorry, ",
    "I can\u2019t help with that",
    " \u2014 \u4e0d\u53ef \U0001f6ab.",
)
"""In the pieces in which a stream has it."""


def citations(text_length: int) -> list[dict[str, Any]]:
    """Annotations of a chat: a page, and the place in the text that cites it."""
    page = {"title": 'Caf\u00e9 "\u6f22\u5b57"', "url": "https://example.com/a%2Fb?c=d&e=f#g"}
    kind = "url_citation"
    return [{"type": kind, kind: {"start_index": 0, "end_index": text_length, **page}}]


def fingerprint(call: OpenCall) -> str:
    """A system fingerprint, a different one for each call."""
    return f"fp_{call.call:010x}"
