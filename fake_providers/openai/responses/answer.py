"""The answer to a request to /v1/responses: the response object, or its events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.schemas import json_frame
from fake_providers.content.text import NO_FRAME, asks_for_json, chunked, pieces, tokens
from fake_providers.content.tool_calls import ToolCall, fragments, in_order, tool_calls
from fake_providers.content.usage import Counts, of_response, reported
from fake_providers.http.answers import Stream
from fake_providers.http.heads import Headers
from fake_providers.openai.responses.calls import CUSTOM, FUNCTION, CallItem
from fake_providers.openai.responses.events import MALFORMED, Events, ItemEvents
from fake_providers.openai.responses.items import Item
from fake_providers.openai.responses.message import Message
from fake_providers.openai.responses.reasoning import Reasoning, encrypted_content, summary
from fake_providers.openai.responses.tools import FREE_TEXT
from fake_providers.openai.sse import COMMENT
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.sizes import answer_tokens, prompt_tokens, truncated

OVERLOADED: Final = {
    "code": "server_is_overloaded",
    "message": "The server is overloaded, please try again later.",
}
INCOMPLETE: Final = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "steered": "steered",
}
"""Finish reason of a chat -> why a response is not complete."""
FAILED: Final = frozenset({"failed", "error"})
"""Finish reasons with which a response fails; with ``error``, in an event of that name."""
LOGPROBS: Final = "message.output_text.logprobs"
"""What ``include`` must name."""


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
        extras: bool,
        on_end: Callable[[dict[str, Any]], None],
    ) -> None:
        """``new_id`` makes an identifier from its prefix; ``tools`` are called.

        ``extras``: the server has refusals, annotations and log probabilities. ``on_end`` is
        called with the response as it is in the end.
        """
        self._request = request
        self._call = call
        self._behaviour = behaviour
        self._new_id = new_id
        self._id = new_id("resp")
        self._created = created
        self._extras = extras
        self._on_end = on_end
        self._events = Events()
        self._unsent = b""
        """Events that belong before the next piece, or before the finish."""
        content = behaviour.content
        has_text = not tools or bool(content.before)
        ends_early = truncated(behaviour, request.limit)
        cut_short = has_text and ends_early
        row_ends_early = ends_early and content.args == "row"
        self._incomplete = "max_output_tokens" if cut_short or row_ends_early else ""
        if content.finish:
            self._incomplete = INCOMPLETE.get(content.finish, "")
        self._failed = content.finish in FAILED
        called = () if cut_short else tools[:1] if row_ends_early else tools
        calls = tool_calls(called, call, behaviour, call_id, limit=request.limit)
        self._items: list[Item] = []
        if request.thoughts:
            self._items.append(self._reasoning())
        if has_text and not (request.thoughts and request.limit == 0):
            self._items.append(self._message())
        self._groups: list[list[Item]] = [[item] for item in self._items]
        """Items whose pieces come by turns."""
        for tool, one in zip(called, calls, strict=True):
            self._items.append(self._tool_call(tool, one))
        made = self._items[len(self._groups) :]
        together = content.order == "interleaved" and bool(made)
        self._groups += [made] if together else [[item] for item in made]

    def whole(self) -> dict[str, Any]:
        """The whole response."""
        return self._ended()

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

    # -- items -------------------------------------------------------------------------------

    def _reasoning(self) -> Reasoning:
        fields, thoughts = self._request.fields, self._request.thoughts
        sealed = encrypted_content(fields, self._call)
        return Reasoning(self._item_events("rs"), summary(fields, thoughts), sealed)

    def _message(self) -> Message:
        fields, content = self._request.fields, self._behaviour.content
        include, top = fields.get("include"), None
        if self._extras and isinstance(include, list) and LOGPROBS in include:
            top = fields.get("top_logprobs") or 0
        return Message(
            self._item_events("msg"),
            self._texts(),
            top=top,
            cites=content.annotations and self._extras,
            refuses=content.refusal and self._extras,
        )

    def _tool_call(self, tool: dict[str, Any], call: ToolCall) -> Item:
        form, cuts = FUNCTION, self._behaviour.content.cuts or 1
        if tool.get("type") == "custom":
            form, parts = CUSTOM, list(self._free_text(call, cuts))
        else:
            parts = list(call.fragments(cuts))
        return CallItem(self._item_events(form.prefix), form, call.id, call.name, parts)

    def _free_text(self, call: ToolCall, cuts: int) -> Iterator[str]:
        """The parts of what a custom tool is given: no JSON."""
        if call.row is not None:
            return pieces(self._call, self._behaviour, limit=self._request.limit)
        return fragments(call.arguments.get(FREE_TEXT, ""), cuts)

    def _item_events(self, prefix: str) -> ItemEvents:
        return ItemEvents(self._events, self._new_id(prefix), len(self._items))

    def _texts(self) -> Iterator[Sequence[str]]:
        frame = NO_FRAME
        text = self._request.fields.get("text")
        wanted = text.get("format") if isinstance(text, dict) else None
        if isinstance(wanted, dict) and asks_for_json(wanted):
            frame = json_frame(wanted.get("schema"))
        row = tokens(self._call, self._behaviour, limit=self._request.limit, frame=frame)
        return chunked(row, self._behaviour.chunks)

    # -- events ------------------------------------------------------------------------------

    def _opening(self) -> bytes:
        begun = self._object("in_progress", [])
        events = self._events("response.created", response=begun)
        events += self._events("response.in_progress", response=begun)
        return events + b"".join(item.begin() for item in self._groups[0])

    def _pieces(self) -> Iterator[bytes]:
        for number, group in enumerate(self._groups):
            if number:
                self._unsent += self._ends(self._groups[number - 1])
                self._unsent += b"".join(item.begin() for item in group)
            for piece in self._by_turns(group):
                before, self._unsent = self._unsent, b""
                yield before + piece

    def _by_turns(self, group: Sequence[Item]) -> Iterator[bytes]:
        if len(group) == 1:
            return group[0].pieces()
        return in_order([item.pieces() for item in group], self._behaviour.content)

    def _ends(self, group: Sequence[Item]) -> bytes:
        return b"".join(item.end(self._status_of(item)) for item in group)

    def _finish(self) -> bytes:
        events = self._unsent + self._ends(self._groups[-1])
        ended = self._ended()
        if self._behaviour.content.finish == "error":
            return events + self._flat_error()
        return events + self._events(f"response.{ended['status']}", response=ended)

    def _failure(self) -> bytes:
        if self._behaviour.content.finish == "error":
            return self._flat_error()
        failed = {**self._object("failed", []), "error": OVERLOADED}
        return self._events("response.failed", response=failed)

    def _flat_error(self) -> bytes:
        return self._events("error", **OVERLOADED, param=None)

    # -- objects -----------------------------------------------------------------------------

    def _status(self) -> str:
        if self._failed:
            return "failed"
        return "incomplete" if self._incomplete else "completed"

    def _status_of(self, item: Item) -> str:
        cut = item is self._items[-1] and self._status() != "completed"
        return "incomplete" if cut else "completed"

    def _ended(self) -> dict[str, Any]:
        status = self._status()
        response = self._object(status, [item.shown(self._status_of(item)) for item in self._items])
        if self._failed:
            response["error"] = OVERLOADED
        else:
            response["usage"] = self._usage()
        if self._incomplete:
            response["incomplete_details"] = {"reason": self._incomplete}
        if status == "completed":
            response["completed_at"] = self._created
        self._on_end(response)
        return response

    def _object(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        fields = self._request.fields
        reasoning = fields.get("reasoning")
        asked = reasoning if isinstance(reasoning, dict) else {}
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "instructions": fields.get("instructions"),
            "max_output_tokens": fields.get("max_output_tokens"),
            "max_tool_calls": fields.get("max_tool_calls"),
            "model": self._request.model,
            "output": output,
            "parallel_tool_calls": fields.get("parallel_tool_calls", True),
            "previous_response_id": fields.get("previous_response_id"),
            "prompt_cache_key": fields.get("prompt_cache_key"),
            "reasoning": {"effort": asked.get("effort"), "summary": asked.get("summary")},
            "safety_identifier": fields.get("safety_identifier"),
            "service_tier": "default",
            "store": fields.get("store") is not False,
            "temperature": fields.get("temperature", 1.0),
            "text": fields.get("text", {"format": {"type": "text"}}),
            "tool_choice": fields.get("tool_choice", "auto"),
            "tools": fields.get("tools", []),
            "top_logprobs": fields.get("top_logprobs") or 0,
            "top_p": fields.get("top_p", 1.0),
            "truncation": fields.get("truncation", "disabled"),
            "usage": None,
            "user": fields.get("user"),
            "metadata": fields.get("metadata", {}),
        }

    def _usage(self) -> dict[str, Any] | None:
        request, behaviour = self._request, self._behaviour
        thoughts = len(request.thoughts)
        answered = answer_tokens(behaviour, request.limit) + thoughts
        true = Counts(prompt_tokens(request.size), answered, reasoning=thoughts)
        counts = reported(behaviour.content, self._call, true)
        return None if counts is None else of_response(counts)
