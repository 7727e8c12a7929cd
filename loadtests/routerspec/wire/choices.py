"""Choices while they are read, the same for every dialect: pieces in, a ``Choice`` out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from routerspec.wire.answer import Choice, Fault, Thought, ToolCall, decoded, paired, quoted
from routerspec.wire.events import Event, Oddity


@dataclass(slots=True)
class OpenCall:
    """A tool call whose fragments are still being read."""

    index: int
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    restated: bool = False

    def named(self, id_: str, name: str) -> None:
        """Take an id and a name, as the official accumulators do: they are appended."""
        if (id_ and self.id) or (name and self.name):
            self.restated = True
        self.id += id_
        self.name += name


@dataclass(slots=True)
class OpenChoice:
    """A choice whose pieces are still being read."""

    index: int
    texts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    reasonings: list[str] = field(default_factory=list)
    thoughts: list[Thought] = field(default_factory=list)
    calls: dict[int, OpenCall] = field(default_factory=dict)
    finishes: list[str] = field(default_factory=list)
    logprobs: list[Any] | None = None
    annotations: list[Any] = field(default_factory=list)
    after_finish: list[str] = field(default_factory=list)
    interleaved: bool = False
    _latest: int | None = None

    def content(self, into: list[str], text: str) -> None:
        """A piece of one of the texts."""
        if text:
            into.append(text)
            self._came(text)

    def call(self, index: int) -> OpenCall:
        """The tool call with this index, new or begun."""
        known = index in self.calls
        self.interleaved = self.interleaved or (known and index != self._latest)
        self._latest = index
        self._came(f"tool call {index}")
        return self.calls.setdefault(index, OpenCall(index))

    def finish(self, reason: str) -> None:
        """A finish reason."""
        if reason:
            self.finishes.append(reason)

    def _came(self, what: str) -> None:
        if self.finishes:
            self.after_finish.append(quoted(what))

    def closed(self) -> Choice:
        """The choice, nothing more comes."""
        return Choice(
            index=self.index,
            text=paired("".join(self.texts)),
            refusal=paired("".join(self.refusals)),
            reasoning=paired("".join(self.reasonings)),
            thoughts=tuple(self.thoughts),
            calls=tuple(
                ToolCall(
                    index=call.index,
                    id=call.id,
                    name=call.name,
                    arguments=paired("".join(call.arguments)),
                    restated=call.restated,
                )
                for _, call in sorted(self.calls.items())
            ),
            finishes=tuple(self.finishes),
            logprobs=None if self.logprobs is None else tuple(self.logprobs),
            annotations=tuple(self.annotations),
            after_finish=tuple(self.after_finish),
            interleaved=self.interleaved,
        )


@dataclass(slots=True)
class Reading:
    """An answer while it is read, whatever its dialect."""

    unit: ClassVar[str] = "event"
    """What a stream of the dialect consists of."""
    not_json: ClassVar[str]
    not_utf8: ClassVar[str]
    not_object: ClassVar[str]
    ignored: ClassVar[str] = ""
    """What the official client does with a text that is no JSON, with bytes that are no UTF-8, with
    JSON that is no object, with a line of an event that is no field."""

    choices: dict[int, OpenChoice] = field(default_factory=dict)
    ids: dict[str, None] = field(default_factory=dict)
    fingerprints: dict[str, None] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ends: int = 0
    loose_end: bool = False
    after_end: int = 0
    events: int = 0

    def choice(self, index: int) -> OpenChoice:
        """The choice with this index, new or begun."""
        return self.choices.setdefault(index, OpenChoice(index))

    def message(self, text: str, number: int) -> dict[str, Any] | None:
        """The JSON object of an event, a line or (0) the body; None, and a fault, for none."""
        where = f"{self.unit} {number}" if number else "the body"
        try:
            message = decoded(text)
        except ValueError:
            self.fault("not-json", number, self.unreadable(where, text), self.not_json)
            return None
        if not isinstance(message, dict):
            line = f"{where} is no JSON object: {quoted(text)}"
            self.fault("not-object", number, line, self.not_object)
            return None
        return message

    def unreadable(self, where: str, text: str) -> str:
        """What is said of a text that is no JSON."""
        return f"{where} is no JSON: {quoted(text)}"

    def expect_utf8(self, event: Event) -> None:
        """Keep a fault where the event is no UTF-8."""
        if not event.utf8:
            text = f"event {event.number} is no UTF-8: {quoted(event.data)}"
            self.fault("not-utf8", event.number, text, self.not_utf8)

    def ignored_line(self, oddity: Oddity) -> None:
        """Keep a fault for a line of an event that no client reads."""
        line = f"a line of event {oddity.number} is no field: {quoted(oddity.text)}"
        self.fault("ignored-line", oddity.number, line, self.ignored)

    def fault(self, kind: str, number: int, text: str, client: str) -> None:
        """Keep a fault."""
        self.faults.append(Fault(kind=kind, number=number, text=text, client=client))

    def closed(self) -> tuple[Choice, ...]:
        """The choices by index, nothing more comes."""
        return tuple(choice.closed() for _, choice in sorted(self.choices.items()))


def text_of(value: object) -> str:
    """The value where it is a text; empty otherwise."""
    return value if isinstance(value, str) else ""


def count_of(value: object) -> int | None:
    """The value where it is a whole number; None otherwise."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
