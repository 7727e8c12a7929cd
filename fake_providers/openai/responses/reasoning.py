"""The reasoning that a request asks for, and its encrypted content, which a client sends back."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from fake_providers.calls.recorder import OpenCall
from fake_providers.content.thoughts import THOUGHTS
from fake_providers.openai.responses.events import ItemEvents

ENCRYPTED: Final = "reasoning.encrypted_content"
"""What ``include`` must name."""
_PREFIX: Final = "gAAAAAB"


def thoughts(fields: dict[str, Any], limit: int | None) -> tuple[str, ...]:
    """The thoughts before the answer, ``limit`` at most; none unless reasoning is requested."""
    asked = fields.get("reasoning")
    if not isinstance(asked, dict) or asked.get("effort") == "none":
        return ()
    return THOUGHTS[:limit]


def summary(fields: dict[str, Any], thought: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The pieces of each part of the summary; empty: none is requested."""
    match fields["reasoning"].get("summary"):
        case "detailed":
            return [(one,) for one in thought]
        case "auto" | "concise":
            return [thought]
    return []


def encrypted_content(fields: dict[str, Any], call: OpenCall) -> str | None:
    """The thoughts of a call, unreadable; None: they are not requested."""
    include = fields.get("include")
    if not isinstance(include, list) or ENCRYPTED not in include:
        return None
    nonce = call.nonces[-1] if call.nonces else 0
    text = f"{call.run}:{nonce}:{call.provider}-{call.call}".encode()
    sealed = text + b"=%08x" % zlib.crc32(text)
    return _PREFIX + base64.urlsafe_b64encode(sealed).decode()


def is_intact(content: str) -> bool:
    """Whether a fake made this encrypted content, and nobody has changed it."""
    try:
        sealed = base64.b64decode(content.removeprefix(_PREFIX), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    text, _, check = sealed.rpartition(b"=")
    return content.startswith(_PREFIX) and check == b"%08x" % zlib.crc32(text)


class Reasoning:
    """What the model thought: only its summary is shown, and only where that is requested."""

    def __init__(
        self, events: ItemEvents, summary: Sequence[Sequence[str]], encrypted: str | None
    ) -> None:
        """``summary``: the pieces of each of its parts. ``encrypted``: the thoughts themselves."""
        self._events = events
        self._summary = summary
        self._encrypted = {} if encrypted is None else {"encrypted_content": encrypted}

    def begin(self) -> bytes:
        """It is added, without its summary."""
        return self._events.added({"id": self._events.id, "type": "reasoning", "summary": []})

    def pieces(self) -> Iterator[bytes]:
        """The summary: a delta each."""
        before = b""
        for index, texts in enumerate(self._summary):
            if index:
                before = self._part_ends(index - 1)
            before += self._part("reasoning_summary_part.added", index, "")
            for text in texts:
                delta = "reasoning_summary_text.delta"
                yield before + self._events(delta, summary_index=index, delta=text)
                before = b""

    def end(self, status: str) -> bytes:
        """The last part of the summary and the item are done."""
        events = self._part_ends(len(self._summary) - 1) if self._summary else b""
        return events + self._events.done(self.shown(status))

    def shown(self, status: str) -> dict[str, Any]:
        """The whole item."""
        return {
            "id": self._events.id,
            "type": "reasoning",
            "summary": [_summary_text("".join(texts)) for texts in self._summary],
            **self._encrypted,
        }

    def _part_ends(self, index: int) -> bytes:
        text = "".join(self._summary[index])
        events = self._events("reasoning_summary_text.done", summary_index=index, text=text)
        return events + self._part("reasoning_summary_part.done", index, text)

    def _part(self, kind: str, index: int, text: str) -> bytes:
        return self._events(kind, summary_index=index, part=_summary_text(text))


def _summary_text(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}
