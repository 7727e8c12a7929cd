"""A provider's answer as JSON, in each dialect and mode, from deltas of OpenAI's chat stream."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from routerspec.repro.spoken_answers import spoken_answers

Deltas = Sequence[tuple[int, dict[str, Any]]]
"""The index of a choice, and a delta of it."""

_ERROR: Final = {"message": "The server had an error.", "type": "server_error"}
_CHUNK: Final[Mapping[str, Any]] = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "fake-chat",
}
_LINE: Final[Mapping[str, Any]] = {"model": "fake-chat", "created_at": "2026-01-01T00:00:00Z"}


def answers(
    deltas: Deltas,
    *,
    finish: Mapping[int, str],
    usage: Mapping[str, Any] | None = None,
    logprobs: Any = None,
    ends: str = "",
    escapes: bool = False,
) -> dict[str, list[str]]:
    """The events or lines of streams, and the one text of whole answers, by dialect and mode.

    ``finish`` maps the index of each choice to its reason; ``ends`` says how a stream is broken
    off; with ``escapes`` the JSON is ASCII.
    """

    def texts(*parts: Mapping[str, Any]) -> list[str]:
        return [json.dumps(part, ensure_ascii=escapes) for part in parts]

    choices = _choices(deltas, finish)
    events = [chunk(index, {"role": "assistant", "content": ""}) for index in finish]
    events += [chunk(index, delta) for index, delta in deltas]
    if logprobs:
        events[-1]["choices"][0]["logprobs"] = choices[0]["logprobs"] = logprobs
    if ends == "error":
        events.append({"error": _ERROR})
    elif not ends:
        events += [chunk(n, {}) | {"choices": [_ended(n, its)]} for n, its in finish.items()]
    whole = {"choices": choices, **_CHUNK, "object": "chat.completion"}
    *lines, end, alone = _lines(deltas, choices, finish.get(0, ""), usage)
    if ends == "error":
        lines.append({"error": _ERROR["message"]})
    elif not ends:
        lines.append(end)
    spoken = {}
    if not logprobs:
        spoken = spoken_answers(deltas, finish, usage, ends)
    return {
        **{form: texts(*events) for form, events in spoken.items()},
        "openai stream": texts(*events) + ["[DONE]"] * (not ends),
        "openai chat": texts({"usage": usage, **whole} if usage else whole),
        "ollama stream": texts(*lines),
        "ollama chat": texts(alone),
    }


def chunk(index: int, delta: Mapping[str, Any]) -> dict[str, Any]:
    """One event of OpenAI's stream."""
    return {"choices": [{"index": index, "delta": delta, "finish_reason": None}], **_CHUNK}


def usage_event(usage: Mapping[str, Any], *, beside_delta: bool) -> str:
    """The event of a stream that counts tokens: without choices, or beside an empty delta."""
    choices = chunk(0, {})["choices"] if beside_delta else []
    return json.dumps({"choices": choices, "usage": usage, **_CHUNK})


def _ended(index: int, reason: str) -> dict[str, Any]:
    return {"index": index, "delta": {}, "finish_reason": reason}


def _choices(deltas: Deltas, finish: Mapping[int, str]) -> list[dict[str, Any]]:
    """The choices of OpenAI's whole answer."""
    messages: dict[int, dict[str, Any]] = {
        index: {"role": "assistant", "content": None} for index in finish
    }
    for index, delta in deltas:
        message = messages[index]
        for name in delta.keys() - {"tool_calls"}:
            before = message.get(name)
            message[name] = delta[name] if before is None else before + delta[name]
        for part in delta.get("tool_calls", ()):
            calls = message.setdefault("tool_calls", [])
            if part["index"] == len(calls):
                function = {"name": part["function"]["name"], "arguments": ""}
                calls.append({"id": part["id"], "type": "function", "function": function})
            calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    return [
        {"index": index, "message": messages[index], "finish_reason": reason}
        for index, reason in finish.items()
    ]


def _lines(
    deltas: Deltas,
    choices: Sequence[Mapping[str, Any]],
    finish: str,
    usage: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """Ollama's stream, its end, and its whole answer: the first choice."""
    texts = [delta["content"] for index, delta in deltas if not index and "content" in delta]
    called = [
        {"function": {"name": its["name"], "arguments": json.loads(its["arguments"] or "{}")}}
        for choice in choices[:1]
        for its in (call["function"] for call in choice["message"].get("tool_calls", ()))
    ]
    end: dict[str, Any] = {"done": True, "done_reason": "length" if finish == "length" else "stop"}
    if usage:
        counts = {"prompt_tokens": "prompt_eval_count", "completion_tokens": "eval_count"}
        end |= {name: usage[its] for its, name in counts.items()}

    def line(text: str, calls: Sequence[Any], more: Mapping[str, Any]) -> dict[str, Any]:
        said = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
        return {"message": said, **more, **_LINE}

    lines = [line(text, (), {"done": False}) for text in texts]
    return [*lines, line("", called, end), line("".join(texts), called, end)]
