"""A message of a response: a text, and what may follow it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fake_providers.content.extras import REFUSAL, citations
from fake_providers.content.logprobs import chat_logprobs
from fake_providers.openai.responses.events import ItemEvents


class Message:
    """A text, and what may follow it: citations of the text, a refusal."""

    def __init__(
        self,
        events: ItemEvents,
        texts: Iterator[Sequence[str]],
        *,
        top: int | None,
        cites: bool,
        refuses: bool,
    ) -> None:
        """``texts``: the tokens of each piece. ``top``: alternatives to report for each token.

        ``top`` None: no log probabilities.
        """
        self._events = events
        self._texts = texts
        self._top = top
        self._cites = cites
        self._refuses = refuses
        self._text = ""
        self._logprobs: list[dict[str, Any]] = []

    def begin(self) -> bytes:
        """It is added, and the part with its text."""
        begun = {"id": self._events.id, "type": "message", "status": "in_progress"}
        events = self._events.added({**begun, "role": "assistant", "content": []})
        return events + self._of_part("content_part.added", 0, part=_text_part("", [], []))

    def pieces(self) -> Iterator[bytes]:
        """A delta of the text, a citation, or a delta of the refusal each."""
        for tokens in self._texts:
            text, logprobs = self._said(tokens)
            said = {"delta": text, "logprobs": _without_bytes(logprobs)}
            yield self._of_part("output_text.delta", 0, **said)
        for number, citation in enumerate(self._citations()):
            cited = {"annotation_index": number, "annotation": citation}
            yield self._of_part("output_text.annotation.added", 0, **cited)
        if not self._refuses:
            return
        before = self._text_ends()
        before += self._of_part("content_part.added", 1, part=_refusal_part(""))
        for text in REFUSAL:
            yield before + self._of_part("refusal.delta", 1, delta=text)
            before = b""

    def end(self, status: str) -> bytes:
        """The last part and the item are done."""
        if self._refuses:
            refusal = "".join(REFUSAL)
            events = self._of_part("refusal.done", 1, refusal=refusal)
            events += self._of_part("content_part.done", 1, part=_refusal_part(refusal))
        else:
            events = self._text_ends()
        return events + self._events.done(self.shown(status))

    def shown(self, status: str) -> dict[str, Any]:
        """The whole item, whether its pieces were sent or not."""
        for tokens in self._texts:
            self._said(tokens)
        content = [self._text_part()]
        if self._refuses:
            content.append(_refusal_part("".join(REFUSAL)))
        return {
            "id": self._events.id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _said(self, tokens: Sequence[str]) -> tuple[str, list[dict[str, Any]]]:
        text = "".join(tokens)
        logprobs = [] if self._top is None else chat_logprobs(tokens, self._top)
        self._text += text
        self._logprobs += logprobs
        return text, logprobs

    def _text_ends(self) -> bytes:
        said = {"text": self._text, "logprobs": _without_bytes(self._logprobs)}
        events = self._of_part("output_text.done", 0, **said)
        return events + self._of_part("content_part.done", 0, part=self._text_part())

    def _text_part(self) -> dict[str, Any]:
        return _text_part(self._text, self._citations(), self._logprobs)

    def _citations(self) -> list[dict[str, Any]]:
        # In a response a citation has its page's fields in itself.
        found = citations(len(self._text)) if self._cites else []
        return [{"type": one["type"], **one[one["type"]]} for one in found]

    def _of_part(self, kind: str, index: int, **content: Any) -> bytes:
        return self._events(kind, content_index=index, **content)


def _text_part(
    text: str, annotations: list[dict[str, Any]], logprobs: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "type": "output_text",
        "text": text,
        "annotations": annotations,
        "logprobs": logprobs,
    }


def _refusal_part(text: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": text}


def _without_bytes(logprobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the events of a text have them."""
    return [
        {"token": one["token"], "logprob": one["logprob"]}
        | ({"top_logprobs": _without_bytes(one["top_logprobs"])} if "top_logprobs" in one else {})
        for one in logprobs
    ]
