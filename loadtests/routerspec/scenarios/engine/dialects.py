"""The OpenAI and Ollama APIs as a client reads them: the content of answers, and model lists.

Knows no sockets, no times, and not what the content should have been. Takes whatever JSON there is:
what has no sense in either dialect sets ``error`` and is no content.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fake_providers.prompt import directives
from routerspec.scrub import SECRETS

_EPOCH: Final = re.compile(r"(openai|ollama)-epoch-([0-9]{1,15})(?![0-9])")
_BOM: Final = b"\xef\xbb\xbf"
_KINDS: Final = (
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/embeddings",
    "/chat/completions",
    "/completions",
)
"""How the paths of generation requests end."""
EVENT_PATHS: Final = ("/chat/completions", "/completions")
"""How the paths end whose streams are events."""
_KEPT: Final = 300
"""Characters that are kept of an error."""


def decoded(raw: bytes) -> Any:
    """The JSON value, as liberal clients read it. Raises ValueError where it is none.

    Python's own decoder takes what many clients take and the strict one does not: NaN, numbers
    out of range, half a surrogate pair.
    """
    raw = raw.removeprefix(_BOM)
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _beginning(raw: bytes) -> str:
    """The beginning of an answer; secrets are hidden before it is cut."""
    return encodable(SECRETS.hide(raw[:1000].decode(errors="replace"))[:120])


def encodable(text: str) -> str:
    """The text in characters that a record can hold: no half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


@dataclass(slots=True)
class Content:
    """The content of one answer, as read so far."""

    run: str
    path: str = ""
    """Of the request: its dialect and its kind."""
    parts: list[str] = field(default_factory=list)
    pieces: int = 0
    finish: str | None = None
    done: bool = False
    error: str = ""
    events_only: bool = False
    """A client of this path reads the events of a stream, and nothing that stands beside them."""
    length: int = 0
    """Characters of content so far."""
    closed: bool = False
    """A stream of events had its end."""
    deltas: bool = False
    """Its choices have deltas: a whole message beside them is none of the stream."""
    _had_event: bool = False
    """An event had data, other than its end."""
    _event: list[bytes] = field(default_factory=list)
    """The data of an event that is not over, and no JSON so far."""

    @property
    def text(self) -> str:
        """All content, joined."""
        return "".join(self.parts)

    @property
    def unframed_error(self) -> bool:
        """The error stood in a stream of events without any: no client of events sees it."""
        return self.events_only and bool(self.error) and not self._had_event

    def add_stream_line(self, line: bytes) -> bool:
        """Read one line of SSE or NDJSON; True when it had non-empty content.

        An event whose JSON is split over several ``data`` lines is read at the empty line, or the
        end of the stream, that ends it.
        """
        line = line.removeprefix(_BOM).strip()
        is_data = line.startswith(b"data:")
        if is_data:
            line = line[5:].strip()
        if self.closed or line.startswith((b":", b"event:", b"id:", b"retry:")):
            return False  # After its end no client of this dialect reads on.
        if line == b"[DONE]":
            came = self._end_event()
            self.done = self.closed = True
            return came
        if not line:
            return False if is_data else self._end_event()
        if self._event and is_data:
            self._event.append(line)
            return False
        self._had_event = self._had_event or is_data
        return self.add_json(line, may_go_on=is_data)

    def _end_event(self) -> bool:
        """Read the event that came in several lines, if there is one."""
        lines, self._event = self._event, []
        return bool(lines) and self.add_json(b"\n".join(lines))

    def add_json(self, raw: bytes, *, may_go_on: bool = False) -> bool:
        """Read one JSON answer or event; True when it had non-empty content.

        ``may_go_on``: what is no JSON by itself is the first line of an event.
        """
        try:
            message = decoded(raw)
        except ValueError:
            if may_go_on:
                self._event.append(raw)
                return False
            self.error = f"not JSON: {_beginning(raw)}"
            return False
        if not isinstance(message, dict):
            self.error = f"not a JSON object: {_beginning(raw)}"
            return False
        if message.get("error"):
            self.error = _excerpt(message["error"])
        before = self.pieces
        self._take(message)
        return self.pieces > before

    def _take(self, message: dict[str, Any]) -> None:
        """Read what the path's own client reads; no other field of the message is the answer.

        On a path of neither dialect everything that either has is read.
        """
        kind = next((kind for kind in _KINDS if self.path.endswith(kind)), "")
        if kind in {"", "/api/chat", "/api/generate"} and message.get("done") is True:
            self.done = True
            self._end(message.get("done_reason"), "done_reason")
        if kind in {"", "/api/embed", "/embeddings"}:
            of_ollama = message.get("embeddings") if kind != "/embeddings" else None
            vectors = of_ollama or (message.get("data") if kind != "/api/embed" else None)
            if isinstance(vectors, list) and vectors:
                self._add(_embedded(self.run, vectors[0]))
                self.finish = "embedded"
                return
        if kind in {"", "/chat/completions", "/completions"}:
            for choice in self._choices(message.get("choices")):
                self._add(self._of_choice(choice, kind))
                self._end(choice.get("finish_reason"), "finish_reason")
        if kind in {"", "/api/chat"} and isinstance(message.get("message"), dict):
            self._add(message["message"].get("content"))
        if kind in {"", "/api/generate"}:
            self._add(message.get("response"))

    def _of_choice(self, choice: dict[str, Any], kind: str) -> object:
        """The text of a completion, or of a chat: in a stream a client reads nothing but deltas."""
        if kind == "/completions":
            return choice.get("text")
        self.deltas = self.deltas or "delta" in choice
        said = choice.get("delta" if self.deltas else "message")
        if said is None and not kind:
            return choice.get("text")
        if said is not None and not isinstance(said, dict):
            self._odd("a choice", said)
        return said.get("content") if isinstance(said, dict) else None

    def _choices(self, value: Any) -> list[dict[str, Any]]:
        """The first choice: no other was requested."""
        if value is not None and not isinstance(value, list):
            self._odd("choices", value)
            return []
        for choice in value or ():
            if not isinstance(choice, dict):
                self._odd("a choice", choice)
        return [
            choice
            for position, choice in enumerate(value or ())
            if isinstance(choice, dict) and _index(choice, position) == 0
        ]

    def _end(self, reason: Any, name: str) -> None:
        """Only a text is a finish marker: no client could take anything else for one."""
        if isinstance(reason, str):
            self.finish = encodable(reason)[:_KEPT] or self.finish
        elif reason:
            self._odd(name, reason)

    def _odd(self, name: str, value: Any) -> None:
        self.error = self.error or f"{name}: {_excerpt(value)}"

    def _add(self, text: object) -> None:
        if isinstance(text, str) and text:
            self.parts.append(encodable(text))
            self.pieces += 1
            self.length += len(text)


def _index(choice: dict[str, Any], position: int) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else position


def _excerpt(value: object) -> str:
    """The start of any JSON value, as text."""
    try:
        return encodable(str(value)[:_KEPT])
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} that cannot be shown"


def _embedded(run: str, item: object) -> str:
    vector = item.get("embedding") if isinstance(item, dict) else item
    try:
        if isinstance(vector, str):
            raw = base64.b64decode(vector)
            vector = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        nonce = directives.embedded_nonce(run, vector) if isinstance(vector, list) else None
    except (ValueError, TypeError, struct.error):
        nonce = None
    return "embedding:?" if nonce is None else f"embedding:{nonce}"


def list_contents(raw: bytes) -> tuple[dict[str, int], int]:
    """(provider -> newest epoch in it, number of ids) of a model list in either dialect.

    Raises ValueError where the body is no model list.
    """
    names = model_ids(raw)
    epochs: dict[str, int] = {}
    for name in names:
        for provider, epoch in _EPOCH.findall(name):
            epochs[provider] = max(int(epoch), epochs.get(provider, -1))
    return epochs, len(names)


def model_ids(raw: bytes) -> list[str]:
    """The ids of a model list in either dialect. Raises ValueError where it is none."""
    try:
        answer = decoded(raw)
        items = answer.get("data", answer.get("models"))
        return [encodable(str(item.get("id") or item.get("model"))) for item in items]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"not a model list: {raw[:120]!r}") from error


def names_model(raw: bytes, model: str) -> bool:
    """Whether the body is an object with the id ``model``. Raises ValueError for no JSON."""
    try:
        answer = decoded(raw)
    except ValueError as error:
        raise ValueError(f"not a model: {raw[:120]!r}") from error
    return isinstance(answer, dict) and answer.get("id") == model
