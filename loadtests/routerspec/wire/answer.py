"""The normal form of an answer, the same for every dialect, streamed or whole."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

Dialect = Literal["chat", "ollama", "anthropic", "responses"]

TEXT_LIMIT: Final = 160
"""Characters of a piece that are quoted."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a reader of this dialect cannot take as it is."""

    kind: str
    number: int
    """Of the event or line, from 1; 0: of the answer as a whole."""
    text: str
    """What stands there: ``event 3 is no JSON: ': ping'``."""
    client: str
    """What the official client does there: ``openai-python raises JSONDecodeError``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One tool call, its fragments joined by the dialect's rule."""

    index: int
    id: str
    name: str
    arguments: str
    """JSON text; empty for a call without arguments."""
    restated: bool = False
    """Its id or name came more than once, and joining by the rule doubles it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """One piece of reasoning as the provider wants it back: unchanged, in its place."""

    text: str = ""
    signature: str = ""
    """Anthropic's signature, or the encrypted content of an item of OpenAI's."""
    redacted: str = ""
    """What stands in place of the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One choice of an answer."""

    index: int
    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    thoughts: tuple[Thought, ...] = ()
    """Reasoning that has a signature or is redacted, in its order."""
    calls: tuple[ToolCall, ...] = ()
    finishes: tuple[str, ...] = ()
    """Every finish reason, in the order in which they came. In Anthropic's dialect the last
    ``stop_reason`` alone: it replaces those before it. Of a response ``completed``, or the reason
    why it is incomplete."""
    logprobs: tuple[Any, ...] | None = None
    """The entries of all tokens; None: there were none at all."""
    annotations: tuple[Any, ...] = ()
    after_finish: tuple[str, ...] = ()
    """Content that came after the first finish reason, quoted."""
    interleaved: bool = False
    """Fragments of one tool call came after another one had begun; of Ollama's whole calls, one
    came in a later line than another."""

    @property
    def finish(self) -> str:
        """The finish reason that a client ends with; empty: it has none."""
        return self.finishes[-1] if self.finishes else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts as stated; None: not stated."""

    input: int | None = None
    """Tokens that were read from a cache or written to one included."""
    output: int | None = None
    """Reasoning tokens included."""
    total: int | None = None
    cached: int | None = None
    """Read from a cache."""
    written: int | None = None
    """Written to a cache."""
    reasoning: int | None = None

    @property
    def uncached(self) -> int | None:
        """The input that was neither read from a cache nor written to one."""
        return None if self.input is None else self.input - (self.cached or 0) - (self.written or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer in its normal form: what an official client makes of the bytes."""

    dialect: Dialect
    stream: bool
    choices: tuple[Choice, ...] = ()
    """By index."""
    usages: tuple[Usage, ...] = ()
    """In the order in which they came; a client believes the last."""
    ids: tuple[str, ...] = ()
    """The different ids of the answer, in the order of their appearance; not those of its
    items."""
    fingerprints: tuple[str, ...] = ()
    """The different system fingerprints."""
    ends: int = 0
    """``[DONE]`` events, lines with ``done: true``, ``message_stop`` events, or those that end a
    response."""
    loose_end: bool = False
    """The last end marker stands behind the last empty line: by the standard it is discarded."""
    after_end: int = 0
    """Events or lines after the first of these, other than a further one; of Anthropic's, pings
    are not counted."""
    errors: tuple[str, ...] = ()
    """Errors that the official client raises, quoted. It reads nothing after the first."""
    faults: tuple[Fault, ...] = ()
    events: int = 0
    """Events or lines with data; 1 for a whole answer."""
    comments: int = 0

    @property
    def finished(self) -> bool:
        """There is a choice, and every choice has a finish reason."""
        return bool(self.choices) and all(choice.finishes for choice in self.choices)

    @property
    def ended(self) -> bool:
        """It claims to be over: a finish reason or an end marker."""
        return self.ends > 0 or any(choice.finishes for choice in self.choices)

    @property
    def usage(self) -> Usage | None:
        """What a client believes; None: it was told nothing."""
        return self.usages[-1] if self.usages else None

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of all choices."""
        return tuple(call for choice in self.choices for call in choice.calls)

    def choice(self, index: int) -> Choice | None:
        """The choice with this index."""
        return next((choice for choice in self.choices if choice.index == index), None)

    def faults_of(self, *kinds: str) -> tuple[Fault, ...]:
        """The faults of these kinds."""
        return tuple(fault for fault in self.faults if fault.kind in kinds)


def decoded(text: str) -> Any:
    """The JSON value as official clients read it, integers exact. Raises ValueError for none."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def json_text(value: object) -> str:
    """A JSON value as text; empty for one that is nested too deep."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""


def quoted(value: object) -> str:
    """The start of any text or JSON value, for a witness."""
    text = value if isinstance(value, str) else json_text(value)
    text = text.encode("utf-8", "replace").decode()
    return repr(text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "...")


def paired(text: str) -> str:
    """The text with halves of surrogate pairs put together that were cut over two pieces."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
