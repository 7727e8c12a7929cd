"""OpenAI's Responses: the events of an answer, as they are made and as they are read."""

from __future__ import annotations

from typing import Any

from routerspec.repro.kit.spoken import ERROR, Dialect, chat_call, chat_part

Item = dict[str, Any]


class Responses(Dialect, path="/responses"):
    """One answer."""

    name = "responses"
    lasts = ("response.completed", "response.incomplete", "response.failed", "error")

    def __init__(self) -> None:
        super().__init__()
        self._model, self._tool, self._text, self._number = "", "", "", 0
        self._over = ""  # the event that has ended the stream
        self._said = dict[int, str]()  # the output's texts so far, by the index of the item
        self._calls = dict[int, int]()  # index of an item -> number of its call
        self._ids = dict[tuple[int, str], Any]()  # of each item, by the name of the field
        self._named = set[int]()  # items whose call has a name
        self._done = set[int]()

    def error(self) -> dict[str, Any]:
        """The body of an answer with an error status."""
        return {"error": {"message": ERROR, "type": "server_error", "code": None}}

    def begin(self, model: str, tool: str) -> list[dict[str, Any]]:
        """The events before the first piece."""
        self._model, self._tool = model, tool
        events = [
            self._event("response.created", response=self._response("in_progress", [])),
            self._event("response.in_progress", response=self._response("in_progress", [])),
            self._event("response.output_item.added", output_index=0, item=self._item("")),
        ]
        if not tool:
            events.append(self._event("response.content_part.added", **self._part("")))
        return events

    def piece(self, text: str) -> dict[str, Any]:
        """The event of one piece."""
        self._text += text
        its = {"item_id": "item_repro", "output_index": 0, "delta": text}
        if self._tool:
            return self._event("response.function_call_arguments.delta", **its)
        its |= {"content_index": 0, "logprobs": []}
        return self._event("response.output_text.delta", **its)

    def end(self) -> list[dict[str, Any]]:
        """The events after the last piece."""
        its = {"item_id": "item_repro", "output_index": 0}
        item = self._item(self._text, "completed")
        if self._tool:
            kind = "response.function_call_arguments.done"
            events = [self._event(kind, **its, arguments=self._text)]
        else:
            its |= {"content_index": 0, "logprobs": []}
            events = [
                self._event("response.output_text.done", **its, text=self._text),
                self._event("response.content_part.done", **self._part(self._text)),
            ]
        done = self._response("completed", [item])
        return [
            *events,
            self._event("response.output_item.done", output_index=0, item=item),
            self._event("response.completed", response=done),
        ]

    def whole(self, model: str, tool: str, text: str) -> dict[str, Any]:
        """A whole answer."""
        self._model, self._tool = model, tool
        return self._response("completed", [self._item(text, "completed")])

    def heard(self, part: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: PLR0911 - one for each kind
        """An event, or a whole answer, in the terms of OpenAI's chat."""
        kind, index = str(part.get("type")), part.get("output_index", 0)
        if part.get("object") == "response":
            return self._ended(part)
        if kind == "error" or (part.get("error") and "response" not in part):
            return [{"error": part.get("error") or part}]
        if self._over and kind.startswith("response."):
            self.faults.append(f"{kind} after {self._over}")
        response = part.get("response") or {}
        if kind in self.lasts:
            self._over = kind
            return self._ended(response)
        if kind.startswith("response.output_item."):
            return self._item_event(index, part.get("item") or {}, done=kind.endswith("done"))
        if kind == "response.refusal.delta":
            refusal = {"refusal": part.get("delta") or ""}
            return [{"choices": [{"index": 0, "delta": refusal, "finish_reason": None}]}]
        arguments = kind == "response.function_call_arguments.delta"
        if not arguments and kind != "response.output_text.delta":
            return [{"id": response.get("id")}]
        if index in self._done:
            self.faults.append(f"a delta of item {index}, which is done")
        if arguments:
            self._calls.setdefault(index, len(self._calls))
        return self._fragment(index, part.get("delta") or "")

    def _fragment(self, index: int, text: str) -> list[dict[str, Any]]:
        self._said[index] = self._said.get(index, "") + text
        call = self._calls.get(index)
        return [chat_part(text) if call is None else chat_call(call, text)]

    def _item_event(self, index: int, item: Item, *, done: bool) -> list[dict[str, Any]]:
        """What the item has beyond its deltas."""
        heard: list[dict[str, Any]] = []
        self._done |= {index} if done else set()
        for name in ("id", "call_id"):
            if item.get(name) and self._ids.setdefault((index, name), item[name]) != item[name]:
                self.renamed.append(f"the {name} of item {index} changes")
        texts = [part.get("text") for part in item.get("content") or ()]
        text = "".join(filter(None, texts)) if item.get("type") == "message" else ""
        if item.get("type") == "function_call":
            call = self._calls.setdefault(index, len(self._calls))
            text = item.get("arguments") or ""
            if index not in self._named:
                heard.append(chat_call(call, "", item.get("call_id"), item.get("name") or ""))
            self._named.add(index)
        return heard if self._said.get(index) else [*heard, *self._fragment(index, text)]

    def _ended(self, response: dict[str, Any]) -> list[dict[str, Any]]:
        if response.get("status") == "failed" or response.get("error"):
            return [{"id": response.get("id"), "error": response.get("error") or ERROR}]
        heard = []
        if not self._calls and not any(self._said.values()):
            for index, item in enumerate(response.get("output") or ()):
                heard += self._item_event(index, item, done=True)
        details = response.get("incomplete_details") or {}
        why = {"max_output_tokens": "length", "content_filter": "content_filter"}
        cut = response.get("status") == "incomplete"
        reason = why.get(str(details.get("reason")), "length" if cut else "stop")
        usage = response.get("usage") or {}
        counts = {
            "prompt_tokens": usage.get("input_tokens"),
            "completion_tokens": usage.get("output_tokens"),
            "prompt_tokens_details": usage.get("input_tokens_details"),
        }
        return [{"id": response.get("id")}, *heard, chat_part(finish=reason, usage=counts)]

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **fields}

    def _part(self, text: str) -> dict[str, Any]:
        part = {"type": "output_text", "text": text, "annotations": []}
        return {"item_id": "item_repro", "output_index": 0, "content_index": 0, "part": part}

    def _item(self, text: str, status: str = "in_progress") -> Item:
        its: Item = {"id": "item_repro", "status": status}
        if self._tool:
            its |= {"type": "function_call", "call_id": "call_repro"}
            return its | {"name": self._tool, "arguments": text}
        content = self._part(text)["part"]
        return its | {"type": "message", "role": "assistant", "content": [content] if text else []}

    def _response(self, status: str, output: list[Item]) -> dict[str, Any]:
        usage = {"input_tokens": 5, "output_tokens": 4, "total_tokens": 9}
        details = {
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        its: dict[str, Any] = {"id": "resp_repro", "object": "response", "created_at": 1}
        its |= {"status": status, "model": self._model, "output": output, "error": None}
        its |= {"incomplete_details": None, "instructions": None, "metadata": {}}
        its |= {"parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0}
        its |= {"tool_choice": "auto", "tools": []}
        return its | {"usage": {**usage, **details} if output else None}
