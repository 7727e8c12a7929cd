"""OpenAI's responses: a stream of typed events, or one object.

A stream is read as openai-python reads it: the type is in the data, an object with a true
``error`` ends it with an APIError, and after ``[DONE]`` nothing is read. Its stream helper raises
where an id changes, and gives the output of the last response for the whole answer: what the
deltas, the finished items and that response say must be the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from routerspec.wire.answer import Answer, Thought, Usage, decoded, json_text, paired, quoted
from routerspec.wire.choices import OpenCall, Reading, count_of, text_of
from routerspec.wire.events import Event, Oddity, read_events

DONE: Final = "[DONE]"
NOT_JSON: Final = "openai-python raises JSONDecodeError"
NOT_UTF8: Final = "openai-python raises UnicodeDecodeError"
NO_DATA: Final = "openai-python raises JSONDecodeError, though the standard ignores it"
NOT_DISPATCHED: Final = "by the standard no client dispatches it, and openai-python does not"
IGNORED: Final = "by the standard every client ignores it, and openai-python does"
RAISES: Final = "the stream helper of openai-python raises RuntimeError"
LATE: Final = "openai-python's stream helper adds to an item that it has reported as complete"
DISAGREES: Final = (
    "the stream helper of openai-python gives the output of the last response for the whole answer"
)
NO_STRING: Final = "openai-python passes it on, and whoever decodes the arguments raises TypeError"
NO_OUTPUT: Final = "openai-python has no output to show"

_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_MADE: Final = frozenset({"function_call", "custom_tool_call"})


def read_stream(body: bytes) -> Answer:
    """A streamed response. Raises nothing."""
    stream = read_events(body)
    reading = _Events()
    for event in stream.events:
        reading.take(event)
    for oddity in stream.oddities:
        reading.odd(oddity)
    return reading.answer(stream=True, comments=stream.comments)


def read_whole(body: bytes) -> Answer:
    """A response that came as one object. Raises nothing."""
    reading = _Events()
    reading.events = 1
    message = reading.message(body.decode("utf-8-sig", "replace"), 0)
    if message is not None:
        reading.whole(message)
    return reading.answer(stream=False)


@dataclass(slots=True)
class _Item:
    """An item of the output while it is read."""

    kind: str = ""
    id: str = ""
    call_id: str = ""
    name: str = ""
    added: bool = False
    done: dict[str, Any] | None = None
    """The item as it was told complete."""
    texts: dict[int, list[str]] = field(default_factory=dict)
    """Pieces of text, by the index of their part."""
    refusals: dict[int, list[str]] = field(default_factory=dict)
    reasonings: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    stated: str | None = None
    """The arguments as they were told complete."""


class _Events(Reading):
    """A response while it is read."""

    not_json, not_utf8, not_object = NOT_JSON, NOT_UTF8, "openai-python yields it as it is"
    ignored = IGNORED

    def __init__(self) -> None:
        super().__init__()
        self._created = False
        self._items: dict[int, _Item] = {}
        self._places: dict[str, int] = {}
        self._last: dict[str, Any] | None = None
        self._usage: Usage | None = None
        self._finish = ""
        self._latest_call: int | None = None
        self._interleaved = False
        self._over = False

    # -- events ----------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """One event of the stream."""
        if self._over:
            return
        if event.data.startswith(DONE):
            self._over = True
            return
        self.events += 1
        self.after_end += 1 if self.ends else 0
        self.expect_utf8(event)
        message = self.message(event.data, event.number)
        if message is None:
            return
        kind = text_of(message.get("type"))
        if message.get("error"):
            self.errors.append(quoted(message["error"]))
            self._over = True
        elif kind == "error":
            self.errors.append(quoted(message))
        else:
            self._take(kind, message, event.number)

    def odd(self, oddity: Oddity) -> None:
        """Something of the stream that was not dispatched."""
        number, text = oddity.number, oddity.text
        if oddity.kind == "ignored":
            self.ignored_line(oddity)
        elif oddity.kind == "no-data":
            if not self._over:
                line = f"event {number} has no data: {quoted(text)}"
                self.fault("no-data", number, line, NO_DATA)
        elif not text.startswith(DONE) and not self._over:
            self._unterminated(text, number)

    def _unterminated(self, text: str, number: int) -> None:
        """The last event lacks its empty line: its end is kept as a loose one."""
        try:
            message = decoded(text)
        except ValueError:
            message = None
        kind = message.get("type") if isinstance(message, dict) else None
        if isinstance(message, dict) and kind in _ENDS and not self.errors:
            self.loose_end = True
            self._take(str(kind), message, number)
            return
        line = f"the stream ends within event {number}: {quoted(text)}"
        self.fault("unterminated", number, line, NOT_DISPATCHED)

    def _take(self, kind: str, message: dict[str, Any], number: int) -> None:
        if not kind.startswith("response."):
            return  # A keep-alive, or what a later version adds.
        if kind == "response.created":
            self._created = True
            self.choice(0)
        elif not self._created:
            text = f"event {number} comes before response.created: {quoted(message)}"
            self.fault("no-created", number, text, RAISES)
            self._created = True  # One fault is enough.
        response = message.get("response")
        if isinstance(response, dict) and (id_ := text_of(response.get("id"))):
            self.ids[id_] = None
        if kind in _ENDS:
            self.ends += 1
            if self.ends == 1:
                self._end(kind, response if isinstance(response, dict) else {})
        elif kind == "response.output_item.added":
            self._added(message, number)
        elif kind == "response.output_item.done":
            self._done(message, number)
        elif "output_index" in message or "item_id" in message:
            self._part(kind, message, number)

    # -- items -----------------------------------------------------------------------------------

    def _place(self, message: dict[str, Any]) -> int:
        """The place of the item that an event is about."""
        index = count_of(message.get("output_index"))
        if index is not None:
            return index
        item = message.get("item")
        id_ = text_of(item.get("id")) if isinstance(item, dict) else text_of(message.get("item_id"))
        return self._places.get(id_, len(self._items))

    def _added(self, message: dict[str, Any], number: int) -> None:
        told = message.get("item")
        told = told if isinstance(told, dict) else {}
        place = self._place(message)
        if place in self._items and self._items[place].added:
            text = f"event {number} adds another item {place}: {quoted(message)}"
            self.fault("item-twice", number, text, RAISES)
            place = max(self._items) + 1
        item = self._items.setdefault(place, _Item())
        item.added = True
        item.kind = text_of(told.get("type"))
        item.id, item.call_id = text_of(told.get("id")), text_of(told.get("call_id"))
        item.name = text_of(told.get("name"))
        if item.id:
            self._places[item.id] = place
        if item.kind in _MADE:
            self._call_came(place)
            begun = _arguments(told)
            if isinstance(begun, str) and begun:
                item.arguments.append(begun)

    def _done(self, message: dict[str, Any], number: int) -> None:
        told = message.get("item")
        told = told if isinstance(told, dict) else {}
        place = self._place(message)
        item = self._items.setdefault(place, _Item())
        if not item.added:
            text = f"event {number} ends an item that was not added: {quoted(message)}"
            self.fault("no-item", number, text, RAISES)
            item.kind = text_of(told.get("type"))
        for name in ("id", "call_id"):
            before, now = getattr(item, name), text_of(told.get(name))
            if before and now and before != now:
                text = f"event {number} changes the {name} {quoted(before)}: {quoted(now)}"
                self.fault("id-changed", number, text, RAISES)
        item.done = told

    def _part(self, kind: str, message: dict[str, Any], number: int) -> None:
        """An event about the content of an item."""
        place = self._place(message)
        item = self._items.get(place)
        if item is None:
            text = f"event {number} is about an item that was not added: {quoted(message)}"
            self.fault("no-item", number, text, RAISES)
            item = self._items[place] = _Item()
        if kind.endswith(".delta") and item.done is not None:
            text = f"event {number} adds to item {place}, which had its end: {quoted(message)}"
            self.fault("after-item", number, text, LATE)
        part = count_of(message.get("content_index")) or 0
        delta = text_of(message.get("delta"))
        if kind == "response.output_text.delta":
            item.texts.setdefault(part, []).append(delta)
        elif kind == "response.output_text.done" and not item.texts.get(part):
            item.texts[part] = [text_of(message.get("text"))]
        elif kind == "response.refusal.delta":
            item.refusals.setdefault(part, []).append(delta)
        elif kind == "response.refusal.done" and not item.refusals.get(part):
            item.refusals[part] = [text_of(message.get("refusal"))]
        elif kind in {"response.reasoning_summary_text.delta", "response.reasoning_text.delta"}:
            item.reasonings.append(delta)
        elif kind in {
            "response.function_call_arguments.delta", "response.custom_tool_call_input.delta",
        }:  # fmt: skip
            self._call_came(place)
            item.arguments.append(delta)
        elif kind in {
            "response.function_call_arguments.done", "response.custom_tool_call_input.done",
        }:  # fmt: skip
            item.stated = text_of(_arguments(message))

    def _call_came(self, place: int) -> None:
        if self._latest_call is not None and place < self._latest_call:
            self._interleaved = True
        self._latest_call = place

    # -- the end ---------------------------------------------------------------------------------

    def _end(self, kind: str, response: dict[str, Any]) -> None:
        self.choice(0)
        usage = response.get("usage")
        if isinstance(usage, dict):
            self._usage = usage_of(usage)
        if kind == "response.failed":
            self.errors.append(quoted(response.get("error") or "response.failed"))
        elif kind == "response.completed":
            self._finish = "completed"
            self._last = response
        else:
            self._finish = _reason(response)

    def whole(self, response: dict[str, Any]) -> None:
        """A response in one object."""
        if id_ := text_of(response.get("id")):
            self.ids[id_] = None
        if response.get("error") or response.get("status") == "failed":
            self.errors.append(quoted(response.get("error") or "failed"))
            return
        output = response.get("output")
        if not isinstance(output, list):
            text = f"the body has no output: {quoted(response)}"
            self.fault("no-message", 0, text, NO_OUTPUT)
            return
        self.choice(0)
        for place, told in enumerate(output):
            if isinstance(told, dict):
                item = self._items[place] = _Item(kind=text_of(told.get("type")), done=told)
                item.added = True
        status = text_of(response.get("status"))
        self._finish = _reason(response) if status == "incomplete" else status or "completed"
        usage = response.get("usage")
        self._usage = usage_of(usage) if isinstance(usage, dict) else None

    def answer(self, *, stream: bool, comments: int = 0) -> Answer:
        """The normal form, nothing more comes."""
        for place, item in sorted(self._items.items()):
            self._close(place, item)
        if self._last is not None:
            self._told_last(self._last.get("output"))
        if self.choices:
            its = self.choice(0)
            its.interleaved = self._interleaved
            its.finish(self._finish)
        return Answer(
            dialect="responses",
            stream=stream,
            choices=self.closed(),
            usages=(self._usage,) if self._usage is not None else (),
            ids=tuple(self.ids),
            ends=self.ends,
            loose_end=self.loose_end,
            after_end=self.after_end,
            errors=tuple(self.errors),
            faults=tuple(sorted(self.faults, key=lambda fault: fault.number)),
            events=self.events,
            comments=comments,
        )

    def _close(self, place: int, item: _Item) -> None:
        """What one item adds to the answer: its pieces, or where it has none its end."""
        its, told = self.choice(0), item.done or {}
        parts = [part for part in _list(told.get("content")) if isinstance(part, dict)]
        if item.kind in _MADE or item.arguments or item.stated:
            its.calls[place] = self._call(place, item, told)
        elif item.kind == "reasoning":
            text = "".join(item.reasonings) or _reasoning(told)
            its.content(its.reasonings, text)
            if signature := text_of(told.get("encrypted_content")):
                its.thoughts.append(Thought(text=text, signature=signature))
        else:
            said, refused = _joined(item.texts), _joined(item.refusals)
            shown, withheld = _texts(parts, "text"), _texts(parts, "refusal")
            if item.texts and parts and shown != said:
                self._disagree("text-disagrees", place, said, shown)
            if item.refusals and parts and withheld != refused:
                self._disagree("text-disagrees", place, refused, withheld)
            its.content(its.texts, said or shown)
            its.content(its.refusals, refused or withheld)
            for part in parts:
                its.annotations += _list(part.get("annotations"))
                entries = part.get("logprobs")
                if isinstance(entries, list) and entries:
                    its.logprobs = [*(its.logprobs or ()), *entries]

    def _call(self, place: int, item: _Item, told: dict[str, Any]) -> OpenCall:
        call = OpenCall(place)
        call.id = item.call_id or text_of(told.get("call_id"))
        call.name = item.name or text_of(told.get("name"))
        given = _arguments(told)
        if given is not None and not isinstance(given, str):
            text = f"arguments of a tool call are no string: {quoted(given)}"
            self.fault("arguments", 0, text, NO_STRING)
            given = json_text(given)
        joined = paired("".join(item.arguments))
        forms = [form for form in (joined or None, item.stated, text_of(given) or None) if form]
        for other in forms[1:]:
            if not _same(forms[0], other):
                self._disagree("call-disagrees", place, forms[0], other)
        call.arguments.append(forms[-1] if forms else "")
        return call

    def _told_last(self, output: object) -> None:
        """The output of the last response; the helper makes it from the items where it is null."""
        if isinstance(output, list):
            self._compare([told for told in output if isinstance(told, dict)])
            return
        for place, item in self._items.items():
            if item.done is None:
                text = f"item {place} of the output had no end: {quoted(item.kind)}"
                self.fault("item-unfinished", 0, text, RAISES)

    def _compare(self, output: list[dict[str, Any]]) -> None:
        """The last response against the items: what it lacks, the helper does not show."""
        its = self.choice(0)
        made = [told for told in output if text_of(told.get("type")) in _MADE]
        if len(made) != len(its.calls):
            self._disagree("call-disagrees", None, f"{len(its.calls)} calls", f"{len(made)} calls")
        else:
            for (place, call), told in zip(sorted(its.calls.items()), made, strict=True):
                shown = text_of(_arguments(told))
                if call.name != told.get("name") or not _same("".join(call.arguments), shown):
                    said = f"{call.name}({''.join(call.arguments)})"
                    self._disagree("call-disagrees", place, said, f"{told.get('name')}({shown})")
        parts = [
            part
            for told in output
            if text_of(told.get("type")) not in {*_MADE, "reasoning"}
            for part in _list(told.get("content"))
            if isinstance(part, dict)
        ]
        for name, pieces in (("text", its.texts), ("refusal", its.refusals)):
            if (said := paired("".join(pieces))) != (shown := _texts(parts, name)):
                self._disagree("text-disagrees", None, said, shown)

    def _disagree(self, kind: str, place: int | None, said: str, shown: str) -> None:
        where = "the output" if place is None else f"item {place}"
        text = f"{where} is {quoted(said)} by its events and then stated as: {quoted(shown)}"
        self.fault(kind, 0, text, DISAGREES)


def usage_of(usage: dict[str, Any]) -> Usage:
    """The token counts of a ``usage`` object."""
    return Usage(
        input=count_of(usage.get("input_tokens")),
        output=count_of(usage.get("output_tokens")),
        total=count_of(usage.get("total_tokens")),
        cached=_detail(usage, "input_tokens_details", "cached_tokens"),
        written=_detail(usage, "input_tokens_details", "cache_write_tokens"),
        reasoning=_detail(usage, "output_tokens_details", "reasoning_tokens"),
    )


def _detail(usage: dict[str, Any], name: str, field: str) -> int | None:
    details = usage.get(name)
    return count_of(details.get(field)) if isinstance(details, dict) else None


def _reason(response: dict[str, Any]) -> str:
    """Why a response is incomplete."""
    details = response.get("incomplete_details")
    reason = text_of(details.get("reason")) if isinstance(details, dict) else ""
    return reason or "incomplete"


def _arguments(told: dict[str, Any]) -> object:
    """The arguments of a call; the input of one of a custom tool."""
    return told["arguments"] if "arguments" in told else told.get("input")


def _texts(parts: list[dict[str, Any]], name: str) -> str:
    return paired("".join(text_of(part.get(name)) for part in parts))


def _joined(parts: dict[int, list[str]]) -> str:
    """Pieces by the index of their part, as one text."""
    return paired("".join(text for _, its in sorted(parts.items()) for text in its))


def _reasoning(told: dict[str, Any]) -> str:
    parts = [*_list(told.get("summary")), *_list(told.get("content"))]
    return _texts([part for part in parts if isinstance(part, dict)], "text")


def _same(one: str, other: str) -> bool:
    """Equal as JSON values, or as text where they are none."""
    if one == other:
        return True
    try:
        return bool(decoded(one or "{}") == decoded(other or "{}"))
    except ValueError:
        return False


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
