"""The answers of Ollama's native API: chats and generations, whole or as JSON lines; embeddings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.logprobs import chat_logprobs
from fake_providers.content.schemas import json_frame
from fake_providers.content.text import tokens, vectors
from fake_providers.content.tool_calls import tool_calls, tools_to_call
from fake_providers.content.usage import Counts, reported
from fake_providers.http.answers import Stream, WholeAnswer, whole_answer
from fake_providers.ollama.objects import error_text
from fake_providers.pacing.keep_alive import keep_alive_ns
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.forms import PLAIN
from fake_providers.prompt.sizes import answer_tokens, prompt_tokens, truncated
from fake_providers.records.clock import Clock

JSON: Final = b"application/json; charset=utf-8"
LINES: Final = b"application/x-ndjson"
MALFORMED: Final = b'{"model":"fake-chat","created_at":"2026-01-01T00:0\n'
LOAD_NS: Final = 1_000_000
"""Load duration of a loaded model, as reported in every answer."""

_encode = msgspec.json.Encoder().encode

ToolCalls = tuple[dict[str, Any], ...]


class Answer:
    """The answer to one call."""

    def __init__(
        self,
        request: Request,
        call: OpenCall,
        behaviour: Behaviour,
        *,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._request = request
        self._call = call
        self._behaviour = behaviour
        self._clock = clock
        self._chance = chance
        self._began_ns = clock.stamp()

    def loaded(self) -> WholeAnswer:
        """To a call that only loads or unloads its model."""
        unloads = keep_alive_ns(self._request.fields.get("keep_alive")) == 0
        return json_answer(
            200, {**self._line(()), **_done("unload" if unloads else "load")}, finished=True
        )

    def whole(self) -> WholeAnswer:
        """To a chat or a generation, whole."""
        calls, with_text = self._calls()
        found = tuple(self._tokens()) if with_text else ()
        line = self._line(found, calls, thought="".join(self._request.thoughts))
        return json_answer(200, {**line, **self._end()}, finished=True)

    def stream(self) -> Stream:
        """The same in lines."""
        calls, with_text = self._calls()

        def lines() -> Iterator[bytes]:
            for thought in self._request.thoughts:
                yield _encode({**self._line((), thought=thought), "done": False}) + b"\n"
            for token in self._tokens() if with_text else ():
                yield _encode({**self._line((token,)), "done": False}) + b"\n"
            for some in self._in_lines(calls):
                yield _encode({**self._line((), some), "done": False}) + b"\n"

        return Stream(
            headers=[(b"content-type", LINES)],
            opening=b"",
            pieces=lines(),
            finish=lambda: _encode({**self._line(()), **self._end()}) + b"\n",
            failure=lambda: _encode({"error": error_text(500)}) + b"\n",
            malformed=MALFORMED,
        )

    def _in_lines(self, calls: ToolCalls) -> Iterator[ToolCalls]:
        """Tool calls in one line; where several are to come by turns, each in its own."""
        if self._behaviour.content.order == "interleaved":
            yield from ((call,) for call in calls)
        elif calls:
            yield calls

    def embeddings(self) -> WholeAnswer:
        """The vectors of the inputs; on the older route, of its one prompt."""
        request, call = self._request, self._call
        if call.route == "/api/embeddings":
            found = vectors(request.fields.get("prompt")) if request.inputs else None
            return json_answer(200, {"embedding": found[0] if found else []}, finished=True)
        if not request.inputs:
            return json_answer(200, {"model": request.model, "embeddings": []}, finished=True)
        now = self._clock.stamp()
        took = {"total_duration": now - call.read_ns + LOAD_NS, "load_duration": LOAD_NS}
        if call.pace is not None:
            durations = call.pace.durations(now)
            took = {name: durations[name] for name in took}
        content = {
            "model": request.model,
            "embeddings": vectors(request.fields["input"]) or [],
            **took,
            "prompt_eval_count": sum(request.inputs),
        }
        return json_answer(200, content, finished=True)

    def _line(
        self, found: tuple[str, ...], calls: ToolCalls = (), *, thought: str = ""
    ) -> dict[str, Any]:
        text, fields = "".join(found), self._request.fields
        line: dict[str, Any] = {
            "model": self._request.model,
            "created_at": self._clock.rfc3339(),
        }
        thinking = {"thinking": thought} if thought else {}
        if self._call.family == "chat":
            message = {"role": "assistant", "content": text, **thinking}
            line["message"] = {**message, "tool_calls": calls} if calls else message
        else:
            line |= {"response": text, **thinking}
        if text and fields.get("logprobs"):
            line["logprobs"] = _logprobs(found, fields.get("top_logprobs") or 0)
        return line

    def _tokens(self) -> Iterator[str]:
        form = self._request.fields.get("format")
        frame = json_frame(form) if form else ("", "")
        return tokens(self._call, self._behaviour, limit=self._request.limit, frame=frame)

    def _calls(self) -> tuple[ToolCalls, bool]:
        """The tool calls, and whether there is a text, which they follow or replace."""
        if self._call.family != "chat":
            return (), True
        content = self._behaviour.content
        functions = tools_to_call(self._request.fields, self._behaviour)
        if not functions:
            return (), True
        if content.before and truncated(self._behaviour, self._request.limit):
            return (), True
        found = tool_calls(
            functions, self._call, self._behaviour, self._call_id, limit=self._request.limit
        )
        calls = (
            {
                "id": call.id,
                "function": {"index": index, "name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(found)
        )
        return tuple(calls), bool(content.before)

    def _call_id(self) -> str:
        return f"call_{self._chance.getrandbits(32):08x}"

    def _end(self) -> dict[str, Any]:
        """The reason for the end, and the durations; the rest of the total was spent waiting."""
        request, call, now = self._request, self._call, self._clock.stamp()
        content = self._behaviour.content
        reason = "length" if truncated(self._behaviour, request.limit) else "stop"
        end = _done(content.finish or reason)
        count = answer_tokens(self._behaviour, request.limit) + len(request.thoughts)
        if call.family == "generate" and not request.fields.get("raw"):
            end["context"] = list(range(1, count + 1))
        took = self._took(now) if call.pace is None else call.pace.durations(now)
        end = {
            **end,
            "total_duration": took["total_duration"],
            "load_duration": took["load_duration"],
            "prompt_eval_count": prompt_tokens(request.size),
            "prompt_eval_duration": took["prompt_eval_duration"],
            "eval_count": count,
            "eval_duration": took["eval_duration"],
        }
        return end if content is PLAIN else self._reported(end)

    def _reported(self, end: dict[str, Any]) -> dict[str, Any]:
        """The end with the counts that are to be reported. Like Go, Ollama omits zeros."""
        true = Counts(end.pop("prompt_eval_count"), end.pop("eval_count"))
        counts = reported(self._behaviour.content, self._call, true)
        if counts is None or not counts.output:
            return end
        return {**end, "prompt_eval_count": counts.input, "eval_count": counts.output}

    def _took(self, now: int) -> dict[str, int]:
        # A timer may fire a little early: no part is longer than the time that passed.
        read_ns = self._call.read_ns
        first_ns = min(round(self._behaviour.first_s * 1e9), self._began_ns - read_ns)
        return {
            "total_duration": now - read_ns + LOAD_NS,
            "load_duration": LOAD_NS,
            "prompt_eval_duration": max(1, first_ns),
            "eval_duration": max(1, now - self._began_ns),
        }


def json_answer(status: int, content: object, *, finished: bool = False) -> WholeAnswer:
    """A whole answer of Ollama."""
    return whole_answer(status, JSON, _encode(content), finished=finished)


def _logprobs(found: tuple[str, ...], top: int) -> list[dict[str, Any]]:
    """As Ollama sends them: empty fields are omitted."""
    entries = chat_logprobs(found, top)
    return [{name: value for name, value in one.items() if value != []} for one in entries]


def _done(reason: str) -> dict[str, Any]:
    return {"done": True, "done_reason": reason}
