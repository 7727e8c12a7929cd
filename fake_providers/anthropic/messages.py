"""The answers to /v1/messages: a message whole, or as the events of its content blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, Final, NamedTuple

from fake_providers.anthropic.events import (
    MALFORMED,
    PING,
    Deltas,
    changed,
    event,
    started,
    stopped,
)
from fake_providers.anthropic.refusals import error_event
from fake_providers.anthropic.thinking import display_of, signature
from fake_providers.anthropic.tools import Tools
from fake_providers.anthropic.usage import usage_at_end, usage_at_start, usage_of
from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.schemas import json_frame
from fake_providers.content.text import NO_FRAME, pieces, tokens, whole
from fake_providers.content.tool_calls import ToolCall, tool_calls
from fake_providers.content.usage import Counts, reported
from fake_providers.http.answers import Stream
from fake_providers.http.heads import Headers
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.sizes import answer_tokens, prompt_tokens, truncated

REFUSED: Final = {"type": "refusal", "category": None, "explanation": None}


class _Block(NamedTuple):
    """A content block of a stream. What begins and ends it is no piece of its own."""

    begun: bytes
    deltas: Iterator[bytes]
    ended: bytes


class Message:
    """One answer to /v1/messages."""

    def __init__(
        self,
        request: Request,
        call: OpenCall,
        behaviour: Behaviour,
        *,
        new_id: Callable[[str], str],
        request_id: str,
        tools: Tools,
    ) -> None:
        """``new_id`` makes an identifier from its prefix; ``tools`` are called."""
        self._request = request
        self._call = call
        self._behaviour = behaviour
        self._id = new_id("msg")
        self._request_id = request_id
        self._display = display_of(request.fields) if request.thoughts else ""
        content = behaviour.content
        room = request.limit != 0
        self._has_text = room and (not tools or bool(content.before))
        self._stop = self._matched() if self._has_text else None
        cut_short = truncated(behaviour, request.limit) and self._stop is None
        if not room or (self._has_text and (cut_short or self._stop)):
            tools = ()
        self._calls = tool_calls(
            tools, call, behaviour, lambda: new_id("toolu"), limit=request.limit
        )
        self._reason = "tool_use" if tools else "end_turn"
        if cut_short and (not tools or content.args == "row"):
            self._reason = "max_tokens"
        if self._stop:
            self._reason = "stop_sequence"
        if content.refusal:
            self._reason = "refusal"
        self._reason = content.finish or self._reason
        self._before_next = b""
        """What ended and began since the last piece was sent."""

    def whole(self) -> dict[str, Any]:
        """The whole message."""
        usage = usage_of(self._counts())
        return {**self._object(self._content()), **self._ending(), **_given(usage=usage)}

    def stream(self, headers: Headers) -> Stream:
        """The message as events."""
        blocks = list(self._blocks())
        usage = usage_at_start(self._counts())
        begun = {**self._object([]), "stop_reason": None, "stop_sequence": None}
        opening = event("message_start", message={**begun, **_given(usage=usage)})
        if blocks:
            opening += blocks[0].begun
        return Stream(
            headers=headers,
            opening=opening + PING,
            pieces=self._pieces(blocks),
            finish=self._finish,
            failure=lambda: error_event(529, self._request_id),
            malformed=MALFORMED,
            comment=PING,
        )

    # -- events ------------------------------------------------------------------------------

    def _pieces(self, blocks: list[_Block]) -> Iterator[bytes]:
        for number, block in enumerate(blocks):
            if number:
                self._before_next += block.begun
            for delta in block.deltas:
                data, self._before_next = self._before_next + delta, b""
                yield data
            self._before_next += block.ended

    def _blocks(self) -> Iterator[_Block]:
        index = 0
        for kind, block in self._thinking():
            text = Deltas(index, "thinking_delta", "thinking").of
            shown = self._request.thoughts if kind == "thinking" and block["thinking"] else ()
            begun, ended = block, stopped(index)
            if kind == "thinking":
                begun = {**block, "thinking": "", "signature": ""}
                ended = changed(index, "signature_delta", signature=block["signature"]) + ended
            yield _Block(started(index, begun), map(text, shown), ended)
            index += 1
        if self._has_text:
            text = Deltas(index, "text_delta", "text").of
            begun = {"type": "text", "text": ""}
            yield _Block(started(index, begun), map(text, self._texts()), stopped(index))
            index += 1
        for number, call in enumerate(self._calls):
            yield self._tool_block(index + number, number, call)

    def _tool_block(self, index: int, number: int, call: ToolCall) -> _Block:
        begun = started(index, _tool_use(call, {}))
        if not call.arguments and number % 2:
            # The other form of a call without arguments: it has no delta at all.
            return _Block(b"", iter([begun]), stopped(index))
        return _Block(begun, self._arguments(index, call), stopped(index))

    def _arguments(self, index: int, call: ToolCall) -> Iterator[bytes]:
        """The fragments of the arguments.

        The first one is empty. It is a piece of its own, but for a row: of that each piece carries
        a part.
        """
        part = Deltas(index, "input_json_delta", "partial_json").of
        first = part("")
        if call.row is None:
            yield first
            first = b""
        for text in call.fragments(self._behaviour.content.cuts) if call.arguments else ():
            yield first + part(text)
            first = b""

    def _finish(self) -> bytes:
        usage = usage_at_end(self._counts())
        delta = event("message_delta", delta=self._ending(), **_given(usage=usage))
        return self._before_next + delta + event("message_stop")

    # -- objects -----------------------------------------------------------------------------

    def _object(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._request.model,
            "content": content,
        }

    def _content(self) -> list[dict[str, Any]]:
        content = [block for _, block in self._thinking()]
        if self._has_text:
            content.append({"type": "text", "text": self._text()})
        return content + [_tool_use(call, call.arguments) for call in self._calls]

    def _thinking(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The blocks of thinking, and their types."""
        if not self._display:
            return
        text = "".join(self._request.thoughts) if self._display == "shown" else ""
        signed = signature(text, self._call.call)
        yield "thinking", {"type": "thinking", "thinking": text, "signature": signed}
        if self._behaviour.content.thinking == "redacted":
            data = signature("", self._call.call)
            yield "redacted", {"type": "redacted_thinking", "data": data}

    def _ending(self) -> dict[str, Any]:
        stop = self._stop.sequence if self._stop and self._reason == "stop_sequence" else None
        ending = {"stop_reason": self._reason, "stop_sequence": stop}
        return {**ending, "stop_details": REFUSED} if self._reason == "refusal" else ending

    def _counts(self) -> Counts | None:
        request, behaviour = self._request, self._behaviour
        thought = len(request.thoughts)
        output = answer_tokens(behaviour, request.limit)
        if self._stop:
            output = self._stop.tokens
        true = Counts(prompt_tokens(request.size), output + thought, reasoning=thought or None)
        return reported(behaviour.content, self._call, true, apart=True)

    # -- text --------------------------------------------------------------------------------

    def _texts(self) -> Iterator[str]:
        limit, frame = self._request.limit, self._frame()
        found = pieces(self._call, self._behaviour, limit=limit, frame=frame)
        return found if self._stop is None else _up_to(found, self._stop.length)

    def _text(self) -> str:
        limit, frame = self._request.limit, self._frame()
        text = whole(self._call, self._behaviour, limit=limit, frame=frame)
        return text if self._stop is None else text[: self._stop.length]

    def _frame(self) -> tuple[str, str]:
        fields = self._request.fields
        config = fields.get("output_config")
        form = config.get("format") if isinstance(config, dict) else fields.get("output_format")
        if not isinstance(form, dict) or form.get("type") != "json_schema":
            return NO_FRAME
        return json_frame(form.get("schema"))

    def _matched(self) -> _Stop | None:
        """The first stop sequence in the text."""
        sequences = self._request.fields.get("stop_sequences")
        if not sequences:
            return None
        limit, frame = self._request.limit, self._frame()
        found = tuple(tokens(self._call, self._behaviour, limit=limit, frame=frame))
        text = "".join(found)
        places = [(text.find(one), one) for one in sequences if one in text]
        if not places:
            return None
        length, sequence = min(places)
        count = sum(end < length + len(sequence) for end in accumulate(map(len, found))) + 1
        return _Stop(sequence, length, count)


class _Stop(NamedTuple):
    """Where a stop sequence ends the text."""

    sequence: str
    length: int
    """Characters before it."""
    tokens: int
    """Up to its end."""


def _up_to(found: Iterator[str], length: int) -> Iterator[str]:
    """The texts, up to this many characters in all."""
    for text in found:
        if length <= 0:
            return
        yield text[:length]
        length -= len(text)


def _tool_use(call: ToolCall, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _given(**fields: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
