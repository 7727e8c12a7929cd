"""Ollama's chats and generations: JSON lines, or one object.

Tool calls come whole and are joined by their order. A stream is read as ollama-python reads it: an
object with a true ``error`` ends it with a ResponseError; it does not stop at ``done: true``.
"""

from __future__ import annotations

import re
from typing import Any, Final

from routerspec.wire.answer import Answer, Usage, json_text, quoted
from routerspec.wire.choices import OpenChoice, Reading, count_of, text_of
from routerspec.wire.events import Line, read_lines

NOT_JSON: Final = "ollama-python raises JSONDecodeError"
NOT_UTF8: Final = "ollama-python puts U+FFFD in its place"
NO_MESSAGE: Final = "ollama-python raises ValidationError"
DIVIDED: Final = "ollama-python ends the line there and raises JSONDecodeError"

_LINE_ENDS: Final = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
"""Where Python's ``splitlines`` ends a line and no JSON does."""


def read_stream(body: bytes) -> Answer:
    """A streamed answer. Raises nothing."""
    reading = _Lines()
    for line in read_lines(body):
        reading.take(line)
    return reading.answer(stream=True)


def read_whole(body: bytes) -> Answer:
    """An answer that came as one object. Raises nothing."""
    reading = _Lines()
    reading.events = 1
    message = reading.message(body.decode("utf-8-sig", "replace"), 0)
    if message is not None:
        if message.get("error"):
            reading.errors.append(quoted(message["error"]))
        else:
            reading.add(message, 0)
    return reading.answer(stream=False)


class _Lines(Reading):
    """An answer while it is read."""

    unit = "line"
    not_json, not_utf8, not_object = NOT_JSON, NOT_UTF8, NO_MESSAGE

    def __init__(self) -> None:
        super().__init__()
        self.usages: list[Usage] = []

    def take(self, line: Line) -> None:
        """One line of the stream."""
        if self.errors:
            return
        self.events += 1
        self.after_end += 1 if self.ends else 0
        if not line.utf8:
            text = f"line {line.number} is no UTF-8: {quoted(line.text)}"
            self.fault("not-utf8", line.number, text, NOT_UTF8)
        if _LINE_ENDS.search(line.text):
            text = f"line {line.number} has an unescaped line separator: {quoted(line.text)}"
            self.fault("separator", line.number, text, DIVIDED)
        message = self.message(line.text, line.number)
        if message is None:
            return
        if message.get("error"):
            self.errors.append(quoted(message["error"]))
            return
        self.add(message, line.number)

    def unreadable(self, where: str, text: str) -> str:
        """As ``Reading`` has it; an empty line is called so."""
        return super().unreadable(where, text) if text.strip() else f"{where} is empty"

    def add(self, message: dict[str, Any], number: int) -> None:
        """What one object adds to the answer."""
        its = self.choice(0)
        said = message.get("message")
        if isinstance(said, dict):
            self._said(its, said, number)
        elif "response" in message:
            its.content(its.texts, text_of(message["response"]))
            its.content(its.reasonings, text_of(message.get("thinking")))
        else:
            where = f"line {number}" if number else "the body"
            text = f"{where} has no message: {quoted(message)}"
            self.fault("no-message", number, text, NO_MESSAGE)
        if isinstance(logprobs := message.get("logprobs"), list):
            its.logprobs = [*(its.logprobs or ()), *logprobs]
        if message.get("done") is True:
            self.ends += 1
            its.finish(text_of(message.get("done_reason")) or "stop")
            self._usage(message)

    def _said(self, its: OpenChoice, said: dict[str, Any], number: int) -> None:
        its.content(its.texts, text_of(said.get("content")))
        its.content(its.reasonings, text_of(said.get("thinking")))
        calls = said.get("tool_calls")
        its.interleaved = its.interleaved or bool(calls and its.calls)
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._call(its, call, number)

    def _call(self, its: OpenChoice, call: dict[str, Any], number: int) -> None:
        open_ = its.call(len(its.calls))
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        open_.named(text_of(call.get("id")), text_of(function.get("name")))
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, dict):
            text = f"arguments of a tool call are no object: {quoted(arguments)}"
            self.fault("arguments", number, text, NO_MESSAGE)
        if isinstance(arguments, str):
            open_.arguments.append(arguments)
        elif arguments is not None:
            open_.arguments.append(json_text(arguments))

    def _usage(self, message: dict[str, Any]) -> None:
        # Counts of zero are omitted: a line without any says nothing.
        counts = [count_of(message.get(name)) for name in ("prompt_eval_count", "eval_count")]
        if any(count is not None for count in counts):
            self.usages.append(Usage(input=counts[0], output=counts[1]))

    def answer(self, *, stream: bool) -> Answer:
        """The normal form, nothing more comes."""
        return Answer(
            dialect="ollama",
            stream=stream,
            choices=self.closed(),
            usages=tuple(self.usages),
            ends=self.ends,
            after_end=self.after_end,
            errors=tuple(self.errors),
            faults=tuple(self.faults),
            events=self.events,
        )
