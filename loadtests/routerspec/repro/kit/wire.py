"""The two dialects: what a provider's answer looks like, and how to read one.

Decides the JSON of both. Refuses to know who asks and why. Every piece of an answer says whose it
is: ``[3.1.2]`` is piece 2 of attempt 1 at the answer of client 3.
"""

from __future__ import annotations

import json
import re
from typing import Any

PIECES = 4
PATHS = {
    ("openai", "chat"): "/v1/chat/completions",
    ("openai", "stream"): "/v1/chat/completions",
    ("openai", "completions"): "/v1/completions",
    ("openai", "embeddings"): "/v1/embeddings",
    ("ollama", "chat"): "/api/chat",
    ("ollama", "stream"): "/api/chat",
    ("ollama", "completions"): "/api/generate",
    ("ollama", "embeddings"): "/api/embed",
}


def message(provider: str, path: str, model: str, text: str) -> dict[str, Any]:
    """A whole answer."""
    if path == "/api/generate":
        return {"model": model, "response": text, "done": True, "done_reason": "stop"}
    if provider == "ollama":
        return {"model": model, "message": spoken(text), "done": True, "done_reason": "stop"}
    part = {"text": text} if path == "/v1/completions" else {"message": spoken(text)}
    choice = {"index": 0, "finish_reason": "stop", **part}
    return {"id": "repro", "object": "chat.completion", "model": model, "choices": [choice]}


def piece(provider: str, path: str, model: str, text: str) -> bytes:
    """One piece of a stream."""
    if provider == "ollama":
        part = {"response": text} if path == "/api/generate" else {"message": spoken(text)}
        return json.dumps({"model": model, **part, "done": False}).encode() + b"\n"
    part = {"text": text} if path == "/v1/completions" else {"delta": {"content": text}}
    return event({"index": 0, "finish_reason": None, **part}, model)


def finish(provider: str, path: str, model: str) -> tuple[bytes, ...]:
    """The end of a stream, as it should be."""
    if provider == "ollama":
        part = {"response": ""} if path == "/api/generate" else {"message": spoken("")}
        last = {"model": model, **part, "done": True, "done_reason": "stop"}
        return (json.dumps(last).encode() + b"\n",)
    return event({"index": 0, "finish_reason": "stop", "delta": {}}, model), b"data: [DONE]\n\n"


def event(choice: dict[str, Any], model: str) -> bytes:
    """One event of an OpenAI stream."""
    chunk = {"id": "repro", "object": "chat.completion.chunk", "model": model, "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def spoken(text: str) -> dict[str, str]:
    """What the assistant says."""
    return {"role": "assistant", "content": text}


def vectors(provider: str, path: str) -> dict[str, Any]:
    """The answer to a request for an embedding."""
    vector = [0.1] * 8
    if path == "/api/embeddings":
        return {"embedding": vector}
    if provider == "ollama":
        return {"embeddings": [vector]}
    return {"object": "list", "data": [{"index": 0, "object": "embedding", "embedding": vector}]}


def parts(text: str) -> list[Any]:
    """The JSON objects of an answer: of all of it, or of each of its lines or events."""
    whole = _json(text)
    lines = [whole] if whole is not None else map(_json, text.replace("data:", "\n").splitlines())
    return [line for line in lines if isinstance(line, dict)]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def content(text: str) -> str:
    """The text of an answer, streamed or not, its pieces joined."""
    said = []
    for part in parts(text):
        choices = part.get("choices") or [part]
        its = choices[0].get("delta") or choices[0].get("message") or choices[0]
        said.append(its.get("content") or its.get("text") or its.get("response") or "")
    return "".join(map(str, said))


def pieces_in(text: str) -> list[tuple[int, int, int]]:
    """(client, attempt, number) of every piece, in the order of the text."""
    found = re.findall(r"\[(\d+)\.(\d+)\.(\d+)\]", content(text))
    return [(int(client), int(attempt), int(number)) for client, attempt, number in found]
