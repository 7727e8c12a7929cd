"""A dialect beside OpenAI's chat and Ollama's: how its answers are made, and how they are read."""

from __future__ import annotations

import json
from typing import Any, ClassVar

ERROR = "The server had an error."


class Dialect:
    """One answer in a dialect. A script has the dialects that it needs, each by its path."""

    at: ClassVar[dict[str, type[Dialect]]] = {}
    name = ""
    lasts: tuple[str, ...] = ()  # the types of events that end a stream
    by_name = False  # clients drop an event without its name

    def __init_subclass__(cls, path: str) -> None:
        Dialect.at[path] = cls

    def __init__(self) -> None:
        self.faults: list[str] = []  # what breaks the order of events
        self.renamed: list[str] = []  # ids that change

    def error(self) -> dict[str, Any]:
        """The body of an answer with an error status."""
        raise NotImplementedError

    def begin(self, model: str, tool: str) -> list[dict[str, Any]]:
        """The events before the first piece: of a call of ``tool``, or of a text."""
        raise NotImplementedError

    def piece(self, text: str) -> dict[str, Any]:
        """The event of one piece."""
        raise NotImplementedError

    def end(self) -> list[dict[str, Any]]:
        """The events after the last piece."""
        raise NotImplementedError

    def whole(self, model: str, tool: str, text: str) -> dict[str, Any]:
        """A whole answer."""
        raise NotImplementedError

    def heard(self, part: dict[str, Any]) -> list[dict[str, Any]]:
        """An event, or a whole answer, in the terms of OpenAI's chat."""
        raise NotImplementedError


def dialect_at(path: str) -> Dialect | None:
    """For an answer at this path; None: of OpenAI's chat, or of Ollama's API."""
    plain = path.partition("?")[0]
    return next((its() for end, its in Dialect.at.items() if plain.endswith(end)), None)


def spoken_at(path: str) -> str:
    """The name of the dialect at this path."""
    if dialect := dialect_at(path):
        return dialect.name
    return "ollama" if is_ollama(path) else "openai"


def is_ollama(path: str) -> bool:
    """The path is one of Ollama's own API."""
    return path.partition("?")[0].endswith(("/api/chat", "/api/generate"))


def framed(part: dict[str, Any]) -> bytes:
    """An event with its name."""
    return b"event: %s\ndata: %s\n\n" % (part["type"].encode(), json.dumps(part).encode())


def chat_part(
    text: str | None = None,
    *,
    call: dict[str, Any] | None = None,
    finish: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """An event of OpenAI's chat: a text, or a fragment of a tool call, or the end."""
    delta: dict[str, Any] = {} if text is None else {"content": text}
    if call is not None:
        delta["tool_calls"] = [call]
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def chat_call(
    index: int, arguments: str, ident: str | None = None, name: str = ""
) -> dict[str, Any]:
    """An event of OpenAI's chat: a tool call, or a fragment of its arguments."""
    function = {"name": name, "arguments": arguments}
    return chat_part(call={"index": index, "id": ident, "function": function})


def tool_in(body: dict[str, Any]) -> str:
    """The tool of the mode ``tools``, where the request has it; empty: no call is asked for."""
    tools = [tool for tool in body.get("tools") or () if isinstance(tool, dict)]
    names = [tool.get("name") or (tool.get("function") or {}).get("name") for tool in tools]
    return "answer" if "answer" in names else ""
