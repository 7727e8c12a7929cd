"""The dialects as bytes: what a provider is to answer, and what the bytes of an answer say."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any

from routerspec.repro.kit.providers import Call

FINISHED = "[DONE]"


def is_ollama(path: str) -> bool:
    """The path is one of Ollama's own API."""
    return path.partition("?")[0].endswith(("/api/chat", "/api/generate"))


def answer_of(call: Call, probe: dict[str, Any]) -> list[bytes]:
    """The probe's answer to this call, one write after the other, in the probe's ``frames``."""
    ollama, frames = is_ollama(call.path), probe.get("frames", {})
    mode = "stream" if call.stream else "chat"
    texts: list[str] = list(probe["answers"][f"{'ollama' if ollama else 'openai'} {mode}"])
    asked = call.sent_body.get("stream_options") or {}
    if call.stream and not ollama and asked.get("include_usage") and "usage_event" in probe:
        texts.insert(-1, probe["usage_event"])
    if not call.stream:
        parts = [text.encode() for text in texts]
    elif ollama:
        parts = [f"{text}\n".encode() for text in texts]
    else:
        parts = [event(text, frames) for text in texts]
    if not frames.get("newline", True):
        parts[-1] = parts[-1].rstrip(b"\r\n")
    if size := frames.get("split"):
        every = b"".join(parts)
        return [every[n : n + size] for n in range(0, len(every), size)]
    join = frames.get("join", 1)
    return [b"".join(parts[n : n + join]) for n in range(0, len(parts), join)]


def event(text: str, frames: dict[str, Any]) -> bytes:
    """One event of a stream; by the standard all these framings mean the same."""
    end, space = str(frames.get("eol", "\n")), " " * int(frames.get("space", 1))
    lines = ["id: 7", "event: message"] if frames.get("fields") and text != FINISHED else []
    if frames.get("lines"):
        text = text.replace(', "', ',\n"')  # between two words of the JSON
    lines += [f"data:{space}{line}" for line in text.split("\n")]
    comment = f": {frames['comment']}{end}{end}" if "comment" in frames else ""
    return (comment + end.join(lines) + end + end).encode()


def events(body: bytes) -> tuple[list[str], list[str]]:
    """The data of each event of a stream by the standard, and the lines that clients ignore."""
    found, ignored, data = list[str](), list[str](), list[str]()
    began = False
    text = body.decode("utf-8", errors="replace").removeprefix("\ufeff")
    *lines, rest = re.split(r"\r\n|\r|\n", text)
    for line in lines:
        name, _, value = line.partition(":")
        if not line and began:
            found.append("\n".join(data))
        if not line:
            began, data = False, []
            continue
        began = began or bool(name)
        if name == "data":
            data.append(value.removeprefix(" "))
        elif name not in ("", "event", "id", "retry"):
            ignored.append(line)
    return found, ignored + ([rest] if rest else data)


class Said:
    """What the bytes of a chat answer say, whatever their dialect and framing."""

    def __init__(self, path: str, streamed: bool, body: bytes) -> None:
        self.text: defaultdict[int, str] = defaultdict(str)  # by choice, as all that follows
        self.refusal: defaultdict[int, str] = defaultdict(str)
        self.finishes: defaultdict[int, list[str]] = defaultdict(list)
        self.calls: dict[tuple[int, int], dict[str, str]] = {}  # by the dialect's rule
        self.logprobs: defaultdict[int, list[str]] = defaultdict(list)
        self.usage: dict[str, int] = {}
        self.ids: list[str] = []  # of the answer, each once
        self.errors: list[str] = []
        self.faults: list[str] = []  # what an official client cannot read
        self.ends = 0  # data: [DONE], or done: true
        self.cited: list[str] = []  # annotations
        self.empty = 0  # events without data
        self.late = 0  # pieces of a choice that has a finish reason, or after the end
        self._streamed, self._ollama = streamed, is_ollama(path)
        for text in self._parts(body):
            self._add(text)

    @property
    def tools(self) -> list[tuple[str, str]]:
        """Name and arguments of each call; equal JSON is equal text."""
        return sorted((its["name"], canonical(its["arguments"])) for its in self.calls.values())

    def _parts(self, body: bytes) -> list[str]:
        try:
            body.decode()
        except UnicodeDecodeError as error:
            self.faults.append(f"no UTF-8: {body[max(0, error.start - 8) : error.end + 8]!r}")
        if not self._streamed:
            return [body.decode(errors="replace")]
        if self._ollama:
            return [line for line in body.decode(errors="replace").split("\n") if line.strip()]
        found, ignored = events(body)
        self.faults += [f"not in any event: {line[:60]!r}" for line in ignored]
        self.empty = found.count("")
        return list(filter(None, found))

    def _add(self, text: str) -> None:
        self.late += self.ends > 0 and text != FINISHED
        if text == FINISHED and not self._ollama:
            self.ends += 1
            return
        try:
            part = json.loads(text)
        except ValueError:
            part = None
        if not isinstance(part, dict):
            self.faults.append(f"no JSON object: {text[:60]!r}")
            return
        if part.get("error"):
            self.errors.append(json.dumps(part["error"]))
        if (ident := part.get("id")) not in (None, *self.ids):
            self.ids.append(str(ident))
        if self._ollama:
            self._add_line(part)
            return
        self._count(part.get("usage") or {})
        for choice in part.get("choices") or ():
            self._add_choice(choice)

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        its = choice.get("delta") or choice.get("message") or {}
        said = its.get("content") or choice.get("text") or ""
        self.late += index in self.finishes and bool(said or its.get("tool_calls"))
        self.text[index] += said
        self.refusal[index] += its.get("refusal") or ""
        self.cited += [json.dumps(each, sort_keys=True) for each in its.get("annotations") or ()]
        for token in (choice.get("logprobs") or {}).get("content") or ():
            self.logprobs[index].append(json.dumps(token, sort_keys=True))
        for number, part in enumerate(its.get("tool_calls") or ()):
            key = index, part.get("index", number)
            call = self.calls.setdefault(key, {"id": "", "name": "", "arguments": ""})
            function = part.get("function") or {}
            call["id"] += part.get("id") or ""
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""
        if choice.get("finish_reason"):
            self.finishes[index].append(choice["finish_reason"])

    def _add_line(self, part: dict[str, Any]) -> None:
        its = part.get("message") or {}
        self.text[0] += its.get("content") or part.get("response") or ""
        for call in its.get("tool_calls") or ():
            function, number = call.get("function") or {}, len(self.calls)
            arguments = json.dumps(function.get("arguments") or {})
            said = {"id": str(number), "name": function.get("name", ""), "arguments": arguments}
            self.calls[0, number] = said
        if part.get("done"):
            self.ends += 1
            self.finishes[0].append(part.get("done_reason") or "stop")
            self._count(part)

    def _count(self, usage: dict[str, Any]) -> None:
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        counts = {
            "input": usage.get("prompt_tokens", usage.get("prompt_eval_count")),
            "output": usage.get("completion_tokens", usage.get("eval_count")),
            "cached": cached,
        }
        self.usage |= {name: count for name, count in counts.items() if count is not None}


def canonical(arguments: str) -> str:
    """The arguments with their keys in order, numbers exact; none at all are ``{}``."""
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except ValueError:
        return arguments
