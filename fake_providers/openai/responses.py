"""OpenAI's /v1/responses: the response object, and the smallest sequence of events for it.

Nothing is stored: no response can be retrieved later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.schemas import json_frame
from fake_providers.content.text import asks_for_json, pieces
from fake_providers.content.tool_calls import ToolCall, tool_calls
from fake_providers.content.usage import Counts, of_response, reported
from fake_providers.http.answers import Stream
from fake_providers.http.heads import Headers
from fake_providers.openai.sse import COMMENT
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.sizes import answer_tokens, prompt_tokens, truncated

MALFORMED: Final = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","del\n\n'
)
OVERLOADED: Final = {
    "code": "server_is_overloaded",
    "message": "The server is overloaded, please try again later.",
}

INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reason of a chat -> why a response is not complete."""

_encode = msgspec.json.Encoder().encode


class _Item(msgspec.Struct):
    """One item of the output: a message, or a function call."""

    id: str
    call: ToolCall | None
    text: str = ""
    """Of a message, as far as it was sent."""


class Response:
    """One answer to /v1/responses."""

    def __init__(
        self,
        request: Request,
        call: OpenCall,
        behaviour: Behaviour,
        *,
        new_id: Callable[[str], str],
        call_id: Callable[[], str],
        created: int,
        tools: tuple[dict[str, Any], ...],
    ) -> None:
        """``new_id`` makes an identifier from its prefix; ``tools`` are called."""
        self._request = request
        self._call = call
        self._behaviour = behaviour
        self._id = new_id("resp")
        self._created = created
        self._number = -1
        has_text = not tools or bool(behaviour.content.before)
        cut_short = has_text and truncated(behaviour, request.limit)
        self._incomplete = "max_output_tokens" if cut_short else ""
        if behaviour.content.finish:
            self._incomplete = INCOMPLETE.get(behaviour.content.finish, "")
        calls = tool_calls(
            () if cut_short else tools, call, behaviour, call_id, limit=request.limit
        )
        self._items = [_Item(new_id("msg"), None)] if has_text else []
        self._items += [_Item(new_id("fc"), one) for one in calls]

    def whole(self) -> dict[str, Any]:
        """The whole response."""
        for item in self._items:
            if item.call is None:
                item.text = "".join(self._texts())
        return self._finished()

    def stream(self, headers: Headers) -> Stream:
        """The response as events."""
        return Stream(
            headers=headers,
            opening=self._opening(),
            pieces=self._pieces(),
            finish=self._finish,
            failure=self._failure,
            malformed=MALFORMED,
            comment=COMMENT,
        )

    # -- events ------------------------------------------------------------------------------

    def _opening(self) -> bytes:
        begun = self._object("in_progress", [])
        events = self._event("response.created", response=begun)
        events += self._event("response.in_progress", response=begun)
        return events + self._begin(0)

    def _begin(self, index: int) -> bytes:
        """The events with which an item of the output begins."""
        item = self._items[index]
        shown = self._item(item, "in_progress", begun=True)
        events = self._event("response.output_item.added", output_index=index, item=shown)
        if item.call is None:
            events += self._part("response.content_part.added", index, part=_text_part(""))
        return events

    def _pieces(self) -> Iterator[bytes]:
        before = b""
        for index, item in enumerate(self._items):
            if index:
                before = self._end(index - 1) + self._begin(index)
            for delta in self._deltas(index, item):
                yield before + delta
                before = b""

    def _deltas(self, index: int, item: _Item) -> Iterator[bytes]:
        place: dict[str, Any] = {"item_id": item.id, "output_index": index}
        if item.call is not None:
            cuts = self._behaviour.content.cuts
            for part in item.call.fragments(cuts or 1):
                yield self._event("response.function_call_arguments.delta", **place, delta=part)
            return
        place |= {"content_index": 0, "logprobs": []}
        for text in self._texts():
            item.text += text
            yield self._event("response.output_text.delta", **place, delta=text)

    def _end(self, index: int) -> bytes:
        """The events with which an item of the output ends."""
        item = self._items[index]
        if item.call is None:
            events = self._part("response.output_text.done", index, text=item.text, logprobs=[])
            part = _text_part(item.text)
            events += self._part("response.content_part.done", index, part=part)
        else:
            events = self._event(
                "response.function_call_arguments.done",
                item_id=item.id,
                output_index=index,
                name=item.call.name,
                arguments=item.call.written,
            )
        shown = self._item(item, self._status())
        return events + self._event("response.output_item.done", output_index=index, item=shown)

    def _finish(self) -> bytes:
        finished = self._finished()
        events = self._end(len(self._items) - 1)
        return events + self._event(f"response.{finished['status']}", response=finished)

    def _failure(self) -> bytes:
        error = self._event("error", **OVERLOADED, param=None)
        failed = {**self._object("failed", []), "error": OVERLOADED}
        return error + self._event("response.failed", response=failed)

    def _part(self, kind: str, index: int, **content: Any) -> bytes:
        item_id = self._items[index].id
        place = {"item_id": item_id, "output_index": index, "content_index": 0}
        return self._event(kind, **place, **content)

    def _event(self, kind: str, **content: Any) -> bytes:
        self._number += 1
        data = _encode({"type": kind, "sequence_number": self._number, **content})
        return f"event: {kind}\ndata: ".encode() + data + b"\n\n"

    # -- objects -----------------------------------------------------------------------------

    def _texts(self) -> Iterator[str]:
        frame = ("", "")
        text = self._request.fields.get("text")
        wanted = text.get("format") if isinstance(text, dict) else None
        if isinstance(wanted, dict) and asks_for_json(wanted):
            frame = json_frame(wanted.get("schema"))
        yield from pieces(self._call, self._behaviour, limit=self._request.limit, frame=frame)

    def _status(self) -> str:
        return "incomplete" if self._incomplete else "completed"

    def _finished(self) -> dict[str, Any]:
        status = self._status()
        response = self._object(status, [self._item(item, status) for item in self._items])
        response["usage"] = self._usage()
        if self._incomplete:
            response["incomplete_details"] = {"reason": self._incomplete}
        return response

    def _item(self, item: _Item, status: str, *, begun: bool = False) -> dict[str, Any]:
        """An item as events show it. ``begun``: without its content, which follows."""
        if item.call is not None:
            return {
                "id": item.id,
                "type": "function_call",
                "status": status,
                "call_id": item.call.id,
                "name": item.call.name,
                "arguments": "" if begun else item.call.written,
            }
        return {
            "id": item.id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [] if begun else [_text_part(item.text)],
        }

    def _object(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        fields = self._request.fields
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": fields.get("instructions"),
            "max_output_tokens": fields.get("max_output_tokens"),
            "model": self._request.model,
            "output": output,
            "parallel_tool_calls": fields.get("parallel_tool_calls", True),
            "previous_response_id": fields.get("previous_response_id"),
            "temperature": fields.get("temperature", 1.0),
            "text": fields.get("text", {"format": {"type": "text"}}),
            "tool_choice": fields.get("tool_choice", "auto"),
            "tools": fields.get("tools", []),
            "top_p": fields.get("top_p", 1.0),
            "truncation": "disabled",
            "usage": None,
            "metadata": fields.get("metadata", {}),
        }

    def _usage(self) -> dict[str, Any] | None:
        request, behaviour = self._request, self._behaviour
        true = Counts(prompt_tokens(request.size), answer_tokens(behaviour, request.limit))
        counts = reported(behaviour.content, self._call, true)
        return None if counts is None else of_response(counts)


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
