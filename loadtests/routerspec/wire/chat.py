"""OpenAI's chat completions: a stream of chunks, or one object.

Tool calls are joined by choice and index. A stream is read as openai-python reads it: an object
with a true ``error`` ends it with an APIError, and after ``[DONE]`` nothing is read.
"""

from __future__ import annotations

from typing import Any, Final

from routerspec.wire.answer import Answer, Usage, json_text, quoted
from routerspec.wire.choices import OpenCall, OpenChoice, Reading, count_of, text_of
from routerspec.wire.events import Event, Oddity, read_events

DONE: Final = "[DONE]"
NOT_JSON: Final = "openai-python raises JSONDecodeError"
NOT_UTF8: Final = "openai-python raises UnicodeDecodeError"
NO_DATA: Final = "openai-python raises JSONDecodeError, though the standard ignores it"
NOT_DISPATCHED: Final = "by the standard no client dispatches it, and openai-python does not"
IGNORED: Final = "by the standard every client ignores it, and openai-python does"
NO_CHUNK: Final = "openai-python yields it as a chunk whose choices are None"
NO_DELTA: Final = "openai-python yields a choice whose delta is None"
NOT_TEXT: Final = "openai-python passes it on, and whoever joins texts raises TypeError"
NO_INDEX: Final = "the stream helper of openai-python raises TypeError"
NO_STRING: Final = "openai-python passes it on, and whoever decodes the arguments raises TypeError"


def read_stream(body: bytes) -> Answer:
    """A streamed chat completion. Raises nothing."""
    stream = read_events(body)
    reading = _Chunks()
    for event in stream.events:
        reading.take(event)
    for oddity in stream.oddities:
        reading.odd(oddity)
    return reading.answer(stream=True, comments=stream.comments)


def read_whole(body: bytes) -> Answer:
    """A chat completion that came as one object. Raises nothing."""
    reading = _Chunks()
    reading.events = 1
    message = reading.message(body.decode("utf-8-sig", "replace"), 0)
    if message is not None:
        if message.get("error"):
            reading.errors.append(quoted(message["error"]))
        reading.add(message, 0, "message")
    return reading.answer(stream=False)


class _Chunks(Reading):
    """A chat completion while it is read."""

    not_json, not_utf8, not_object = NOT_JSON, NOT_UTF8, "openai-python yields it as it is"
    ignored = IGNORED

    def __init__(self) -> None:
        super().__init__()
        self.usages: list[Usage] = []

    def take(self, event: Event) -> None:
        """One event of the stream."""
        if self.ends or self.errors:
            done = event.data.startswith(DONE)
            self.ends += 1 if self.ends and done else 0
            self.after_end += 1 if self.ends and not done else 0
            return
        self.events += 1
        self.expect_utf8(event)
        if event.data.startswith(DONE):
            self.ends += 1
            return
        message = self.message(event.data, event.number)
        if message is None:
            return
        if message.get("error"):
            self.errors.append(quoted(message["error"]))
            return
        if not isinstance(message.get("choices"), list) and not message.get("usage"):
            text = f"event {event.number} has no choices: {quoted(event.data)}"
            self.fault("no-choices", event.number, text, NO_CHUNK)
        self.add(message, event.number, "delta")

    def odd(self, oddity: Oddity) -> None:
        """Something of the stream that was not dispatched."""
        number, text = oddity.number, oddity.text
        if oddity.kind == "ignored":
            self.ignored_line(oddity)
        elif oddity.kind == "no-data":
            line = f"event {number} has no data: {quoted(text)}"
            self.fault("no-data", number, line, NO_DATA)
        elif text.startswith(DONE):
            self.loose_end = not self.errors
            self.ends += self.loose_end  # Nothing is lost where nobody dispatches it.
        else:
            line = f"the stream ends within event {number}: {quoted(text)}"
            self.fault("unterminated", number, line, NOT_DISPATCHED)

    def add(self, message: dict[str, Any], number: int, part: str) -> None:
        """What one object adds to the answer."""
        if id_ := text_of(message.get("id")):
            self.ids[id_] = None
        if fingerprint := text_of(message.get("system_fingerprint")):
            self.fingerprints[fingerprint] = None
        if isinstance(usage := message.get("usage"), dict):
            self.usages.append(usage_of(usage))
        choices = message.get("choices")
        for position, choice in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(choice, dict):
                self._choice(choice, position, number, part)

    def _choice(self, choice: dict[str, Any], position: int, number: int, part: str) -> None:
        index = count_of(choice.get("index"))
        its = self.choice(position if index is None else index)
        said = choice.get(part)
        if isinstance(said, dict):
            self._said(its, said, number)
        elif part == "delta":
            text = f"a choice of event {number} has no delta: {quoted(choice)}"
            self.fault("no-delta", number, text, NO_DELTA)
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
            its.logprobs = [*(its.logprobs or ()), *logprobs["content"]]
        its.finish(text_of(choice.get("finish_reason")))

    def _said(self, its: OpenChoice, said: dict[str, Any], number: int) -> None:
        content = said.get("content")
        if content is not None and not isinstance(content, str):
            text = f"event {number} has content that is no text: {quoted(content)}"
            self.fault("content", number, text, NOT_TEXT)
        its.content(its.texts, text_of(content))
        its.content(its.refusals, text_of(said.get("refusal")))
        reasoning = said.get("reasoning_content") or said.get("reasoning")
        its.content(its.reasonings, text_of(reasoning))
        if isinstance(annotations := said.get("annotations"), list):
            its.annotations += annotations
        calls = said.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                self._call(its, call, position, number)

    def _call(self, its: OpenChoice, call: dict[str, Any], position: int, number: int) -> None:
        index = count_of(call.get("index"))
        if number and index is None:
            text = f"a tool call of event {number} has no index: {quoted(call)}"
            self.fault("no-index", number, text, NO_INDEX)
        # A whole answer lists its calls in order; an index there means nothing to a client.
        open_ = its.call(position if index is None or not number else index)
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        open_.named(text_of(call.get("id")), text_of(function.get("name")))
        self._arguments(open_, function.get("arguments"), number)

    def _arguments(self, call: OpenCall, arguments: object, number: int) -> None:
        if isinstance(arguments, str):
            call.arguments.append(arguments)
        elif arguments is not None:
            call.arguments.append(json_text(arguments))
            text = f"arguments of a tool call are no string: {quoted(arguments)}"
            self.fault("arguments", number, text, NO_STRING)

    def answer(self, *, stream: bool, comments: int = 0) -> Answer:
        """The normal form, nothing more comes."""
        return Answer(
            dialect="chat",
            stream=stream,
            choices=self.closed(),
            usages=tuple(self.usages),
            ids=tuple(self.ids),
            fingerprints=tuple(self.fingerprints),
            ends=self.ends,
            loose_end=self.loose_end,
            after_end=self.after_end,
            errors=tuple(self.errors),
            faults=tuple(sorted(self.faults, key=lambda fault: fault.number)),
            events=self.events,
            comments=comments,
        )


def usage_of(usage: dict[str, Any]) -> Usage:
    """The token counts of a ``usage`` object."""
    return Usage(
        input=count_of(usage.get("prompt_tokens")),
        output=count_of(usage.get("completion_tokens")),
        total=count_of(usage.get("total_tokens")),
        cached=_detail(usage, "prompt_tokens_details", "cached_tokens"),
        reasoning=_detail(usage, "completion_tokens_details", "reasoning_tokens"),
    )


def _detail(usage: dict[str, Any], name: str, field: str) -> int | None:
    details = usage.get(name)
    return count_of(details.get(field)) if isinstance(details, dict) else None
