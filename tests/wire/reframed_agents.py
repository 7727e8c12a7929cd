"""Sound forms of what was said as Anthropic's messages and as OpenAI's responses.

Written apart from the readers under test, as ``reframed`` is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.wire.reframed import Json, Variation

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


@dataclass(slots=True)
class Part:
    """A block or an item of an answer."""

    kind: str
    texts: list[str] = field(default_factory=list)
    id: str = ""
    name: str = ""
    annotations: list[Any] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)


class AgentsVariation(Variation):
    """One random sound form of what was said."""

    def _parts(self, *, refusals: bool) -> list[Part]:
        """What was said by its first choice. ``refusals``: they have a form of their own."""
        parts: list[Part] = []
        calls: dict[int, Part] = {}
        for piece in self._of_first():
            if piece.call is not None:
                if piece.call not in calls:
                    calls[piece.call] = Part("call")
                    parts.append(calls[piece.call])
                its = calls[piece.call]
                its.id, its.name = its.id + piece.id, its.name + piece.name
                its.texts.append(piece.arguments)
                continue
            kind = "refusal" if piece.refusal and refusals else "text"
            if not parts or parts[-1].kind != kind:
                parts.append(Part(kind))
            parts[-1].texts.append(piece.text + piece.refusal)
            parts[-1].annotations += piece.annotations
        return parts

    # -- Anthropic's dialect ----------------------------------------------------------------------

    def messages(self) -> bytes:
        """A stream of events."""
        usage = self._of_anthropic()
        first = usage if self._maybe() else {"input_tokens": 0, "output_tokens": 0}
        begun = {**self._message(), "content": [], "stop_reason": None, "usage": first}
        events: list[Json] = [{"type": "message_start", "message": begun}]
        for index, part in enumerate(self._parts(refusals=False)):
            events += self._block(index, part)
        if self._maybe(4):
            delta: Json = {"stop_reason": None}
            events.append({"type": "message_delta", "delta": delta, "usage": usage})
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": None}
        events.append({"type": "message_delta", "delta": delta, "usage": usage})
        events.append({"type": "message_stop"})
        return self._named(events, names=True, done=self._maybe(6))

    def _block(self, index: int, part: Part) -> list[Json]:
        if part.kind == "text":
            begun: Json = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": text} for text in part.texts]
        else:
            begun = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": text} for text in part.texts]
            if self._maybe(3):
                deltas.insert(0, {"type": "input_json_delta", "partial_json": ""})
            if self._maybe(4) and (given := _object(part.text)):
                begun["input"], deltas = given, []
        start = {"type": "content_block_start", "index": index, "content_block": begun}
        made = [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        return [start, *made, {"type": "content_block_stop", "index": index}]

    def message(self) -> bytes:
        """The same in one object."""
        content: list[Json] = []
        for part in self._parts(refusals=False):
            if part.kind == "text":
                content.append({"type": "text", "text": part.text})
            else:
                given = _object(part.text)
                content.append(
                    {"type": "tool_use", "id": part.id, "name": part.name, "input": given}
                )
        answer = {
            **self._message(),
            "content": content,
            "stop_reason": self._stop_reason(),
            "usage": self._of_anthropic(),
        }
        return self._json(answer).encode()

    def _message(self) -> Json:
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": "fake-chat"}

    def _stop_reason(self) -> str:
        return STOP_REASONS.get(self._reason(0), self._reason(0))

    def _of_anthropic(self) -> Json:
        counts = self._said.usage or {}
        cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        thinking = (counts.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
        usage: Json = {
            "input_tokens": counts.get("prompt_tokens", 0) - cached,
            "output_tokens": counts.get("completion_tokens", 0),
        }
        if cached:
            usage["cache_read_input_tokens"] = cached
        elif self._maybe():
            usage["cache_creation_input_tokens"] = self._random.choice((0, None))
        if thinking:
            usage["output_tokens_details"] = {"thinking_tokens": thinking}
        return usage

    # -- OpenAI's responses -----------------------------------------------------------------------

    def responses(self) -> bytes:
        """A stream of events."""
        items = [(part, self._item(n, part)) for n, part in enumerate(self._parts(refusals=True))]
        begun = self._response("in_progress", [])
        events: list[Json] = [{"type": "response.created", "response": begun}]
        if self._maybe():
            events.append({"type": "response.in_progress", "response": begun})
        for index, (part, item) in enumerate(items):
            events += self._item_events(index, part, item)
        output = [item for _, item in items]
        if self._maybe(5):
            events.insert(1, {"type": "keepalive"})
        status = self._status()
        ended: Json = self._response(status, output)
        if self._maybe(5) and all(event.get("item") for event in events[-1:]):
            ended["output"] = None
        events.append({"type": f"response.{status}", "response": ended})
        if self._maybe():
            for number, event in enumerate(events):
                event["sequence_number"] = number
        return self._named(events, names=self._maybe(), done=self._maybe(4))

    def _item(self, number: int, part: Part) -> Json:
        if part.kind == "call":
            return {
                "type": "function_call",
                "id": f"fc_{number}",
                "call_id": part.id,
                "name": part.name,
                "arguments": part.text,
                "status": "completed",
            }
        content: Json = {"type": "refusal", "refusal": part.text}
        if part.kind == "text":
            content = {"type": "output_text", "text": part.text, "annotations": part.annotations}
        return {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [content]}

    def _item_events(self, index: int, part: Part, item: Json) -> list[Json]:
        place = {"output_index": index, "item_id": item["id"]}
        empty: Json = {"arguments": ""} if part.kind == "call" else {"content": []}
        kind, field_ = {
            "call": ("function_call_arguments", "arguments"),
            "text": ("output_text", "text"),
            "refusal": ("refusal", "refusal"),
        }[part.kind]
        kind = f"response.{kind}"
        inner = {} if part.kind == "call" else {"content_index": 0}
        deltas = [{"type": f"{kind}.delta", **place, **inner, "delta": t} for t in part.texts]
        done = {"type": f"{kind}.done", **place, **inner, field_: part.text}
        if part.kind == "call" and self._maybe(3):
            deltas = []
        events = [
            {"type": "response.output_item.added", "output_index": index, "item": {**item, **empty}}
        ]
        if part.kind != "call" and self._maybe():
            added = {"type": "response.content_part.added", **place, **inner, "part": {}}
            events.append(added)
        events += deltas
        if not deltas or self._maybe():
            events.append(done)
        end = {"type": "response.output_item.done", "output_index": index, "item": item}
        return [*events, end]

    def response(self) -> bytes:
        """The same in one object."""
        output = [self._item(n, part) for n, part in enumerate(self._parts(refusals=True))]
        return self._json(self._response(self._status(), output)).encode()

    def _status(self) -> str:
        return "completed" if self._reason(0) in {"stop", "tool_calls"} else "incomplete"

    def _response(self, status: str, output: list[Json]) -> Json:
        made: Json = {"id": "resp_1", "object": "response", "status": status, "output": output}
        if status == "incomplete":
            reason = self._reason(0)
            reason = "max_output_tokens" if reason == "length" else reason
            made["incomplete_details"] = {"reason": reason}
        made["usage"] = None if status == "in_progress" else self._of_response()
        return made

    def _of_response(self) -> Json:
        counts = self._said.usage or {}
        cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        reasoning = (counts.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
        whole, output = counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0)
        return {
            "input_tokens": whole,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": reasoning},
            "total_tokens": whole + output,
        }

    # -- bytes ------------------------------------------------------------------------------------

    def _named(self, events: list[Json], *, names: bool, done: bool) -> bytes:
        eol = self._random.choice(("\n", "\r\n"))
        space = self._random.choice(("", " "))
        out = ""
        for event in events:
            while self._maybe(5):
                out += self._random.choice((f": ping{eol}{eol}", f":{eol}{eol}"))
            if names and event is not events[0] and self._maybe(5):
                out += f'event: ping{eol}data: {{"type": "ping"}}{eol}{eol}'
            name = f"event:{space}{event['type']}{eol}" if names else ""
            out += f"{name}data:{space}{self._json(event)}{eol}{eol}"
        return (out + ("data: [DONE]\n\n" if done else "")).encode()


def _object(text: str) -> Json:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
