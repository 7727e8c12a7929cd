"""Anthropic's messages: a stream of named events, or one object.

A stream is read as the official libraries read it: an event without its name is passed over, a
delta belongs to the block of its index, the last ``message_delta`` replaces what was said before,
and ``event: error`` ends it with an error. They do not stop at ``message_stop``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from routerspec.wire.answer import Answer, Thought, Usage, decoded, json_text, quoted
from routerspec.wire.choices import OpenCall, Reading, count_of, text_of
from routerspec.wire.events import Event, EventStream, Oddity, read_events

NOT_JSON: Final = "anthropic-python raises JSONDecodeError"
NOT_UTF8: Final = "anthropic-python raises UnicodeDecodeError"
NOT_DISPATCHED: Final = (
    "by the standard no client dispatches it, and the libraries of Anthropic lose it"
)
IGNORED: Final = "by the standard every client ignores it, and anthropic-python does"
NO_NAME: Final = "anthropic-python and the TypeScript library pass over it without an error"
NO_START: Final = "the stream helper of anthropic-python raises AssertionError"
TWO_STARTS: Final = (
    "the stream helper of the TypeScript library raises an error, that of anthropic-python passes "
    "over it"
)
NO_BLOCK: Final = "the stream helper of anthropic-python raises IndexError"
CLOSED_BLOCK: Final = "the stream helpers add to a block that they have reported as complete"
REUSED: Final = "the stream helpers add its deltas to the block that had the index before"
NOT_DENSE: Final = (
    "the stream helper of anthropic-python raises IndexError, that of the TypeScript library loses "
    "its content"
)
NO_USAGE: Final = "the stream helper of anthropic-python raises AttributeError"
NOT_TEXT: Final = "the stream helper of anthropic-python raises TypeError"
NOT_OBJECT: Final = "anthropic-python passes it on, and whoever reads its fields raises"

_BLOCKS: Final = frozenset({"content_block_start", "content_block_delta", "content_block_stop"})
_NAMED: Final = frozenset({"message_start", "message_delta", "message_stop", "error", *_BLOCKS})
"""The events that say something; ``ping`` and what a later version adds do not."""
_CALLS: Final = frozenset({"tool_use"})


def read_stream(body: bytes) -> Answer:
    """A streamed message. Raises nothing."""
    stream = read_events(body)
    reading = _Events()
    for event in stream.events:
        reading.take(event)
    for oddity in stream.oddities:
        reading.odd(oddity, stream)
    return reading.answer(stream=True, comments=stream.comments)


def read_whole(body: bytes) -> Answer:
    """A message that came as one object. Raises nothing."""
    reading = _Events()
    reading.events = 1
    message = reading.message(body.decode("utf-8-sig", "replace"), 0)
    if message is not None:
        if message.get("type") == "error" or message.get("error"):
            reading.errors.append(quoted(message.get("error") or message))
        else:
            reading.whole(message)
    return reading.answer(stream=False)


@dataclass(slots=True)
class _Block:
    """A content block while it is read."""

    kind: str
    call: OpenCall | None = None
    input: str = ""
    """Arguments that its start has already."""
    texts: list[str] = field(default_factory=list)
    """Of its reasoning."""
    signature: str = ""
    redacted: str = ""
    stopped: bool = False


class _Events(Reading):
    """A message while it is read."""

    not_json, not_utf8, not_object = NOT_JSON, NOT_UTF8, NOT_OBJECT
    ignored = IGNORED

    def __init__(self) -> None:
        super().__init__()
        self._usage: dict[str, Any] | None = None
        self._starts = 0
        self._stop_reason = ""
        self._blocks: dict[int, _Block] = {}

    # -- events ----------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """One event of the stream."""
        if self.errors:
            return
        if event.name not in _NAMED:
            self._unnamed(event)
            return
        self.events += 1
        if event.name == "message_stop":
            self.ends += 1
            self.message(event.data, event.number)
            return
        self.after_end += 1 if self.ends else 0
        self.expect_utf8(event)
        if event.name == "error":
            self.errors.append(quoted(_error_in(event.data)))
            return
        message = self.message(event.data, event.number)
        if message is not None:
            self._take(text_of(message.get("type")) or event.name, message, event.number)

    def _unnamed(self, event: Event) -> None:
        """An event that no client reads: a fault where it says something."""
        if event.name == "ping" or not event.data.startswith("{"):
            return
        try:
            message = decoded(event.data)
        except ValueError:
            return
        kind = message.get("type") if isinstance(message, dict) else None
        said = kind in _NAMED or (isinstance(message, dict) and message.get("error"))
        if said and event.name in {"", "message"}:
            text = f"event {event.number} has no name: {quoted(event.data)}"
            self.fault("no-event-name", event.number, text, NO_NAME)

    def odd(self, oddity: Oddity, stream: EventStream) -> None:
        """Something of the stream that was not dispatched."""
        number, text = oddity.number, oddity.text
        if oddity.kind == "ignored":
            self.ignored_line(oddity)
        elif oddity.kind == "no-data":
            name = text.removeprefix("event:").strip()
            if name in _NAMED:
                line = f"event {number} has no data: {quoted(text)}"
                self.fault("no-data", number, line, NOT_JSON)
        elif stream.tail is not None and stream.tail.name == "message_stop":
            self.loose_end = not self.errors
            self.ends += self.loose_end
        elif stream.tail is not None and stream.tail.name in _NAMED:
            line = f"the stream ends within event {number}: {quoted(text)}"
            self.fault("unterminated", number, line, NOT_DISPATCHED)

    def _take(self, kind: str, message: dict[str, Any], number: int) -> None:
        if kind == "message_start":
            self._start(message, number)
            return
        if kind not in _NAMED:
            return
        if not self._starts:
            text = f"event {number} comes before message_start: {quoted(message)}"
            self.fault("no-start", number, text, NO_START)
            self._starts = 1  # One fault is enough.
        if kind == "message_delta":
            self._end(message, number)
        elif kind in _BLOCKS:
            self._block(kind, message, number)

    def _start(self, message: dict[str, Any], number: int) -> None:
        self._starts += 1
        if self._starts > 1:
            text = f"event {number} is another message_start: {quoted(message)}"
            self.fault("two-starts", number, text, TWO_STARTS)
            return
        begun = message.get("message")
        begun = begun if isinstance(begun, dict) else {}
        self.choice(0)
        if id_ := text_of(begun.get("id")):
            self.ids[id_] = None
        self._stop_reason = text_of(begun.get("stop_reason"))
        self._count(begun, number)
        for index, block in enumerate(_list(begun.get("content"))):
            if isinstance(block, dict):
                self._begin(index, block, number)

    def _end(self, message: dict[str, Any], number: int) -> None:
        """A ``message_delta``: its values replace those before, a null one too."""
        delta = message.get("delta")
        if isinstance(delta, dict):
            self._stop_reason = text_of(delta.get("stop_reason"))
        self._count(message, number)

    def _count(self, message: dict[str, Any], number: int) -> None:
        """Counts are cumulative: each that is stated replaces the one before."""
        usage = message.get("usage")
        if not isinstance(usage, dict):
            text = f"event {number} has no usage: {quoted(message)}"
            self.fault("no-usage", number, text, NO_USAGE)
            return
        stated = {name: value for name, value in usage.items() if value is not None}
        self._usage = {**(self._usage or {}), **stated}

    # -- blocks ----------------------------------------------------------------------------------

    def _block(self, kind: str, message: dict[str, Any], number: int) -> None:
        index = count_of(message.get("index"))
        index = 0 if index is None else index
        if kind == "content_block_start":
            begun = message.get("content_block")
            self._begin(index, begun if isinstance(begun, dict) else {}, number)
            return
        block = self._blocks.get(index)
        if kind == "content_block_stop":
            if block is not None:
                block.stopped = True
            return
        if block is None or block.stopped:
            what = "was not begun" if block is None else "had its end"
            text = f"event {number} adds to block {index}, which {what}: {quoted(message)}"
            client = NO_BLOCK if block is None else CLOSED_BLOCK
            self.fault("outside-block", number, text, client)
        if block is None:
            return
        delta = message.get("delta")
        self._add(index, block, delta if isinstance(delta, dict) else {}, number)

    def _begin(self, index: int, begun: dict[str, Any], number: int) -> None:
        place = index
        if index in self._blocks:
            text = f"event {number} begins another block {index}: {quoted(begun)}"
            self.fault("index-reused", number, text, REUSED)
            place = max(self._blocks) + 1
        elif index != len(self._blocks):
            text = f"event {number} begins block {index} as number {len(self._blocks)}"
            self.fault("block-index", number, text, NOT_DENSE)
        block = self._blocks[place] = _Block(kind=text_of(begun.get("type")))
        its = self.choice(0)
        if block.kind in _CALLS:
            block.call = its.call(place)
            block.call.named(text_of(begun.get("id")), text_of(begun.get("name")))
            given = begun.get("input")
            if given is not None and not isinstance(given, dict):
                text = f"the input of a tool call is no object: {quoted(given)}"
                self.fault("arguments", number, text, NOT_OBJECT)
            block.input = json_text(given) if given else ""
        its.content(its.texts, text_of(begun.get("text")))
        its.annotations += _list(begun.get("citations"))
        block.texts.append(text_of(begun.get("thinking")))
        its.content(its.reasonings, block.texts[0])
        block.signature = text_of(begun.get("signature"))
        if block.kind == "redacted_thinking":
            block.redacted = text_of(begun.get("data"))

    def _add(self, index: int, block: _Block, delta: dict[str, Any], number: int) -> None:
        its = self.choice(0)
        kind = delta.get("type")
        if kind == "text_delta":
            its.content(its.texts, self._text(delta, "text", number))
        elif kind == "input_json_delta" and block.call is not None:
            its.call(index).arguments.append(self._text(delta, "partial_json", number))
        elif kind == "thinking_delta":
            block.texts.append(self._text(delta, "thinking", number))
            its.content(its.reasonings, block.texts[-1])
        elif kind == "signature_delta":
            block.signature = self._text(delta, "signature", number)
        elif kind == "citations_delta":
            its.annotations.append(delta.get("citation"))

    def _text(self, delta: dict[str, Any], name: str, number: int) -> str:
        value = delta.get(name)
        if not isinstance(value, str):
            text = f"event {number} has a {name} that is no text: {quoted(value)}"
            self.fault("content", number, text, NOT_TEXT)
        return text_of(value)

    # -- the end ---------------------------------------------------------------------------------

    def whole(self, message: dict[str, Any]) -> None:
        """A message in one object."""
        if not isinstance(message.get("content"), list):
            text = f"the body has no content: {quoted(message)}"
            self.fault("no-message", 0, text, NOT_OBJECT)
            return
        self.choice(0)
        if id_ := text_of(message.get("id")):
            self.ids[id_] = None
        for index, block in enumerate(message["content"]):
            if isinstance(block, dict):
                self._begin(index, block, 0)
        self._stop_reason = text_of(message.get("stop_reason"))
        usage = message.get("usage")
        self._usage = usage if isinstance(usage, dict) else None

    def answer(self, *, stream: bool, comments: int = 0) -> Answer:
        """The normal form, nothing more comes."""
        for _, block in sorted(self._blocks.items()):
            if block.call is not None and not "".join(block.call.arguments):
                block.call.arguments.append(block.input)
            if block.signature or block.redacted:
                self.choice(0).thoughts.append(
                    Thought(
                        text="".join(block.texts),
                        signature=block.signature,
                        redacted=block.redacted,
                    )
                )
        if self.choices:
            self.choice(0).finish(self._stop_reason)
        usage = usage_of(self._usage) if self._usage is not None else None
        return Answer(
            dialect="anthropic",
            stream=stream,
            choices=self.closed(),
            usages=(usage,) if usage is not None else (),
            ids=tuple(self.ids),
            ends=self.ends,
            loose_end=self.loose_end,
            after_end=self.after_end,
            errors=tuple(self.errors),
            faults=tuple(sorted(self.faults, key=lambda fault: fault.number)),
            events=self.events,
            comments=comments,
        )


def usage_of(usage: dict[str, Any]) -> Usage | None:
    """The token counts of a ``usage`` object; None where it states none."""
    stated, output = count_of(usage.get("input_tokens")), count_of(usage.get("output_tokens"))
    if stated is None and output is None:
        return None
    read = count_of(usage.get("cache_read_input_tokens"))
    written = count_of(usage.get("cache_creation_input_tokens"))
    details = usage.get("output_tokens_details")
    thinking = details.get("thinking_tokens") if isinstance(details, dict) else None
    return Usage(
        input=None if stated is None else stated + (read or 0) + (written or 0),
        output=output,
        cached=read,
        written=written,
        reasoning=count_of(thinking),
    )


def _error_in(data: str) -> object:
    """What an error event says."""
    try:
        message = decoded(data)
    except ValueError:
        return data
    error = message.get("error") if isinstance(message, dict) else None
    return error or data


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
