"""OpenAI's /v1/responses: the response object, and the events that build it up.

Decides the smallest row of events from which the official SDK can put a response together.
Refuses to know headers and identifiers, and keeps nothing: no response is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.text import json_frame, pieces, tool_arguments, wants_json
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

_encode = msgspec.json.Encoder().encode


class Response:
    """One answer to /v1/responses."""

    def __init__(
        self,
        request: Request,
        call: OpenCall,
        behaviour: Behaviour,
        *,
        new_id: Callable[[str], str],
        created: int,
        tool: dict[str, Any] | None,
    ) -> None:
        """``new_id`` makes an identifier from its prefix; ``tool`` is called instead of text."""
        self._request = request
        self._call = call
        self._behaviour = behaviour
        self._tool = tool
        self._id = new_id("resp")
        self._item_id = new_id("msg" if tool is None else "fc")
        self._call_id = new_id("call")
        self._created = created
        self._number = -1
        self._cut_short = tool is None and truncated(behaviour, request.limit)

    def whole(self) -> dict[str, Any]:
        """The response in one go."""
        return self._finished("".join(self._texts()))

    def stream(self, headers: Headers) -> Stream:
        """The response in events."""
        said: list[str] = []
        return Stream(
            headers=headers,
            opening=self._opening(),
            pieces=self._pieces(said),
            finish=lambda: self._finish("".join(said)),
            failure=self._failure,
            malformed=MALFORMED,
            comment=COMMENT,
        )

    # -- events ------------------------------------------------------------------------------

    def _opening(self) -> bytes:
        begun = self._object("in_progress", [])
        events = self._event("response.created", response=begun)
        events += self._event("response.in_progress", response=begun)
        item = self._item("in_progress", "")
        if self._tool is None:
            item["content"] = []
        events += self._event("response.output_item.added", output_index=0, item=item)
        if self._tool is None:
            events += self._part("response.content_part.added", part=_text_part(""))
        return events

    def _pieces(self, said: list[str]) -> Iterator[bytes]:
        kind = "output_text" if self._tool is None else "function_call_arguments"
        place: dict[str, Any] = {"item_id": self._item_id, "output_index": 0}
        if self._tool is None:
            place |= {"content_index": 0, "logprobs": []}
        for text in self._texts():
            said.append(text)
            yield self._event(f"response.{kind}.delta", **place, delta=text)

    def _finish(self, text: str) -> bytes:
        if self._tool is None:
            events = self._part("response.output_text.done", text=text, logprobs=[])
            events += self._part("response.content_part.done", part=_text_part(text))
        else:
            events = self._event(
                "response.function_call_arguments.done",
                item_id=self._item_id,
                output_index=0,
                name=str(self._tool.get("name", "")),
                arguments=text,
            )
        finished = self._finished(text)
        item = finished["output"][0]
        events += self._event("response.output_item.done", output_index=0, item=item)
        return events + self._event(f"response.{finished['status']}", response=finished)

    def _failure(self) -> bytes:
        told = self._event("error", **OVERLOADED, param=None)
        failed = {**self._object("failed", []), "error": OVERLOADED}
        return told + self._event("response.failed", response=failed)

    def _part(self, kind: str, **content: Any) -> bytes:
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        return self._event(kind, **place, **content)

    def _event(self, kind: str, **content: Any) -> bytes:
        self._number += 1
        data = _encode({"type": kind, "sequence_number": self._number, **content})
        return f"event: {kind}\ndata: ".encode() + data + b"\n\n"

    # -- objects -----------------------------------------------------------------------------

    def _texts(self) -> Iterator[str]:
        if self._tool is not None:
            yield _encode(tool_arguments(self._tool, self._call)).decode()
            return
        frame = ("", "")
        text = self._request.fields.get("text")
        wanted = text.get("format") if isinstance(text, dict) else None
        if isinstance(wanted, dict) and wants_json(wanted):
            frame = json_frame(wanted.get("schema"))
        yield from pieces(self._call, self._behaviour, limit=self._request.limit, frame=frame)

    def _finished(self, text: str) -> dict[str, Any]:
        status = "incomplete" if self._cut_short else "completed"
        told = self._object(status, [self._item(status, text)])
        told["usage"] = self._usage()
        if self._cut_short:
            told["incomplete_details"] = {"reason": "max_output_tokens"}
        return told

    def _item(self, status: str, text: str) -> dict[str, Any]:
        if self._tool is not None:
            return {
                "id": self._item_id,
                "type": "function_call",
                "status": status,
                "call_id": self._call_id,
                "name": str(self._tool.get("name", "")),
                "arguments": text,
            }
        return {
            "id": self._item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [_text_part(text)],
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

    def _usage(self) -> dict[str, Any]:
        prompt = prompt_tokens(self._request.size)
        completion = answer_tokens(self._behaviour, self._request.limit)
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + completion,
        }


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
