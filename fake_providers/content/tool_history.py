"""The tool calls and results in the history of a request: whether they belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class Mention(NamedTuple):
    """An identifier of a tool call, where a message has it."""

    message: int
    """Its index."""
    call: int | None
    """The index of the call that has it; None: it is the one that a result answers."""
    id: str
    """Empty: there is none."""

    @property
    def place(self) -> str:
        """The field, as OpenAI writes it in its errors."""
        if self.call is None:
            return f"messages[{self.message}].tool_call_id"
        return f"messages[{self.message}].tool_calls[{self.call}].id"


def may_have_results(body: bytes) -> bool:
    """Whether a request may have tool results at all: most have none, and need no search."""
    return b"tool" in body or b"call_id" in body


def mentions(messages: Any) -> Iterator[Mention]:
    """All in the messages of a chat, in order; whatever has another shape is passed over."""
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            continue
        if message.get("role") == "tool":
            yield Mention(index, None, _text(message.get("tool_call_id")))
        elif calls := message.get("tool_calls"):
            for number, call in enumerate(calls if isinstance(calls, list) else ()):
                if isinstance(call, dict):
                    yield Mention(index, number, _text(call.get("id")))


def stray_result(found: Iterator[Mention]) -> Mention | None:
    """The first result whose identifier no earlier call has; None: each answers one.

    Nothing is known of results without an identifier, and where no call has one.
    """
    known = set()
    for mention in found:
        if mention.call is not None:
            known.add(mention.id)
        elif mention.id and known - {""} and mention.id not in known:
            return mention
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
