"""The dialects as bytes: what a provider is to answer, and what the bytes of an answer say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from routerspec.repro.kit.providers import Call
from routerspec.repro.kit.spoken import dialect_at, is_ollama, spoken_at

FINISHED = "[DONE]"


def answer_of(call: Call, probe: dict[str, Any]) -> list[bytes]:
    """The probe's answer to this call, one write after the other, in the probe's ``frames``.

    ``<9 bytes>`` stands for so many.
    """
    spoken, frames = spoken_at(call.path), probe.get("frames", {})
    ollama = spoken == "ollama"
    texts: list[str] = list(probe["answers"][f"{spoken} {'stream' if call.stream else 'chat'}"])
    texts = [re.sub(r"<(\d+) bytes>", lambda found: "x" * int(found[1]), each) for each in texts]
    asked = call.sent_body.get("stream_options") or {}
    if call.stream and spoken == "openai" and asked.get("include_usage") and "usage_event" in probe:
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
    fields = frames.get("fields") and text != FINISHED
    kind = re.match(r'\{"type": "([\w.]+)"', text)  # where events have names, it comes first
    lines = ["id: 7"] if fields else []
    if kind or fields:
        lines.append(f"event:{space}{kind[1] if kind else 'message'}")
    if frames.get("lines"):
        text = text.replace(', "', ',\n"')  # between two words of the JSON
    lines += [f"data:{space}{line}" for line in text.split("\n")]
    comment = f": {frames['comment']}{end}{end}" if "comment" in frames else ""
    return (comment + end.join(lines) + end + end).encode()


def events(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Name and data of each event by the standard, and the lines that clients ignore."""
    found, ignored, data = list[tuple[str, str]](), list[str](), list[str]()
    began, kind = False, ""
    *lines, rest = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff"))
    for line in lines:
        name, _, value = line.partition(":")
        if not line and began:
            found.append((kind, "\n".join(data)))
        if not line:
            began, kind, data = False, "", []
            continue
        began = began or bool(name)
        if name == "data":
            data.append(value.removeprefix(" "))
        elif name == "event":
            kind = value.removeprefix(" ")
        elif name not in ("", "id", "retry"):
            ignored.append(line)
    return found, ignored + ([rest] if rest else data)


class Said:
    """What the bytes of a chat answer say, whatever their dialect and framing."""

    def __init__(self, path: str, streamed: bool, body: bytes) -> None:
        self.faults: list[str] = []  # what an official client cannot read
        self.ends = 0  # data: [DONE], done: true, or the event that ends a stream
        self.after_end = 0  # events or lines after that
        self.empty = 0  # events without data
        self._parts: list[dict[str, Any]] = []
        self._ollama, self._spoken = is_ollama(path), dialect_at(path)
        text = body.decode(errors="replace")
        texts = [("", text)]
        if "\ufffd" in text and b"\xef\xbf\xbd" not in body:
            self.faults.append("no UTF-8")
        if streamed and self._ollama:
            texts = [("", line) for line in text.split("\n") if line.strip()]
        elif streamed:
            texts, ignored = events(text)
            self.faults += [f"not in any event: {line[:60]!r}" for line in ignored]
        for kind, text in texts:
            if streamed and self._spoken and self._spoken.by_name and not kind and text != FINISHED:
                self.faults.append(f"an event without its name: {text[:60]!r}")
            else:
                self._add(text)

    @property
    def disorder(self) -> list[str]:
        """What breaks the order of events."""
        return self._spoken.faults if self._spoken else []

    @property
    def renamed(self) -> list[str]:
        """The ids within it that change."""
        return self._spoken.renamed if self._spoken else []

    @property
    def errors(self) -> list[str]:
        """The errors that it reports."""
        return [json.dumps(part["error"]) for part in self._parts if part.get("error")]

    @property
    def ids(self) -> list[str]:
        """Its ids, each once."""
        return list(dict.fromkeys(str(part["id"]) for part in self._parts if part.get("id")))

    @property
    def text(self) -> dict[int, str]:
        """The text of each choice."""
        return self._joined("content")

    @property
    def refusal(self) -> dict[int, str]:
        """The refusal of each choice."""
        return self._joined("refusal")

    @property
    def finishes(self) -> dict[int, list[str]]:
        """The finish reasons of each choice, in their order."""
        found: dict[int, list[str]] = {}
        for index, choice in self._choices():
            reason = choice.get("finish_reason")
            found.setdefault(index, []).extend([reason] if reason else [])
        return found

    @property
    def late(self) -> int:
        """How often content of a choice comes after its finish reason."""
        over, late = set[int](), 0
        for index, choice in self._choices():
            its = choice["said"]
            late += index in over and bool(its.get("content") or its.get("tool_calls"))
            over |= {index} if choice.get("finish_reason") else set()
        return late

    @property
    def calls(self) -> dict[tuple[int, int], dict[str, str]]:
        """Id, name and arguments of each tool call, joined by choice and index."""
        found: dict[tuple[int, int], dict[str, str]] = {}
        for index, choice in self._choices():
            for part in choice["said"].get("tool_calls") or ():
                key = index, len(found) if self._ollama else part.get("index", len(found))
                call = found.setdefault(key, {"id": "", "name": "", "arguments": ""})
                function = part.get("function") or {}
                arguments = function.get("arguments") or ""
                call["id"] += str(key[1]) if self._ollama else part.get("id") or ""
                call["name"] += function.get("name") or ""
                call["arguments"] += json.dumps(arguments or {}) if self._ollama else arguments
        return found

    @property
    def tools(self) -> list[tuple[str, str]]:
        """Name and arguments of each call; equal JSON is equal text."""
        return sorted((its["name"], canonical(its["arguments"])) for its in self.calls.values())

    @property
    def logprobs(self) -> list[str]:
        """Token and log probability of each entry."""
        logs = [choice.get("logprobs") or {} for _, choice in self._choices()]
        entries = [entry for log in logs for entry in log.get("content") or ()]
        return [str((entry.get("token"), entry.get("logprob"))) for entry in entries]

    @property
    def cited(self) -> list[str]:
        """The annotations."""
        its = [choice["said"].get("annotations") or () for _, choice in self._choices()]
        return [json.dumps(each, sort_keys=True) for several in its for each in several]

    @property
    def usage(self) -> dict[str, int]:
        """The counts of tokens, by what is counted."""
        found: dict[str, int] = {}
        for part in self._parts:
            usage = part if self._ollama else part.get("usage") or {}
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
            counts = {
                "input": usage.get("prompt_tokens", usage.get("prompt_eval_count")),
                "output": usage.get("completion_tokens", usage.get("eval_count")),
                "cached": cached,
            }
            found |= {name: count for name, count in counts.items() if count is not None}
        return found

    def _add(self, text: str) -> None:
        if not text:
            self.empty += 1
            return
        self.after_end += self.ends > 0 and text != FINISHED
        if text == FINISHED and not self._ollama:
            self.ends += not self._spoken
            return
        try:
            part = json.loads(text)
        except ValueError:
            part = None
        if isinstance(part, dict):
            self._parts += self._spoken.heard(part) if self._spoken else [part]
            last = self._spoken is not None and part.get("type") in self._spoken.lasts
            self.ends += last or (self._ollama and bool(part.get("done")))
        else:
            self.faults.append(f"no JSON object: {text[:60]!r}")

    def _choices(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Index and choice, in the order in which they came; ``said`` is the delta or message."""
        for part in self._parts:
            if self._ollama and "error" not in part:
                said = part.get("message") or {"content": part.get("response")}
                reason = (part.get("done_reason") or "stop") if part.get("done") else None
                yield 0, {"said": said, "finish_reason": reason}
            for choice in part.get("choices") or ():
                said = choice.get("delta") or choice.get("message") or {}
                yield choice.get("index", 0), {**choice, "said": said}

    def _joined(self, name: str) -> dict[int, str]:
        found: dict[int, str] = {}
        for index, choice in self._choices():
            found[index] = found.get(index, "") + (choice["said"].get(name) or "")
        return found


def canonical(arguments: str) -> str:
    """The arguments with their keys in order, numbers exact; none at all are ``{}``."""
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except ValueError:
        return arguments
