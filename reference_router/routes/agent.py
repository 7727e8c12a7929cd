"""``agent/...``: the model may use a calculator before it answers, a bounded number of times.

Decides which tool is offered, who runs it, and which events of a streamed step the client gets.
Refuses to know the providers. All upstream calls of a request run one after the other, under the
client's one permit.

Each step is asked for in the client's own mode. So a streamed answer is passed on while it comes:
that a step was about the tool is seen in its events, and those are kept back. The last step is
offered no tool, so the loop ends in an answer.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from reference_router import sse
from reference_router.answer import Answer, ApiError, begun
from reference_router.body import Body, choices_of, field
from reference_router.upstream import Provider, nonsense

Message = dict[str, Any]

LONGEST = 200
"""Characters of an expression that are looked at: no model may keep the router busy."""

CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculate",
        "description": "Works out an arithmetic expression of numbers, + - * / and parentheses.",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"],
        },
    },
}


async def run(provider: Provider, request: Body, steps: int) -> Answer:
    """The answer to ``request`` after ``steps`` upstream calls at most. Raises ApiError.

    A client that brings tools of its own runs them itself, and several answers cannot share the
    calculator: both get the model's own answer.
    """
    if field(request, "tools") or choices_of(request) > 1:
        return await provider.chat(request)
    if request.get("stream"):
        events = _streamed(provider, request, steps)
        return Answer(body=await begun(events), content_type=sse.CONTENT_TYPE, close=events.aclose)
    for left in reversed(range(steps)):
        answer = await provider.chat(_offer(request, left))
        with nonsense():
            message = answer.json()["choices"][0]["message"]
            calls = message.get("tool_calls")
            if not calls:
                return answer
            request["messages"] += [message, *map(_result, calls)]
    raise _no_end()


async def _streamed(provider: Provider, request: Body, steps: int) -> AsyncGenerator[bytes, None]:
    for left in reversed(range(steps)):
        step = _Step()
        async with aclosing(await provider.chat(_offer(request, left))) as answer:
            if isinstance(answer.body, bytes):
                raise ApiError(502, "The provider did not stream its answer.")
            async with aclosing(sse.events(answer.body)) as events:
                async for row in events:
                    event = row if sse.is_whole(row) else row + b"\n\n"
                    if passed_on := step.take(event):
                        yield passed_on
        if not step.finished:
            raise ApiError(502, "The provider broke off its answer.")
        calls = step.calls()
        if not calls:
            if rest := step.released():
                yield rest
            return
        message = {"role": "assistant", "content": step.text, "tool_calls": calls}
        request["messages"] += [message, *map(_result, calls)]
    raise _no_end()


class _Step:
    """One streamed upstream call: what it says, and which of its events are for the client."""

    def __init__(self) -> None:
        self.text = ""
        self.finished = False
        self._kept = b""  # events that say nothing yet: the step may turn out to be the tool's
        self._calls: dict[int, dict[str, str]] = {}

    def take(self, event: bytes) -> bytes:
        """What the client gets of ``event`` and of what was kept before it."""
        data = sse.data_of(event)
        if data == b"[DONE]":
            self.finished = True
            return b"" if self._calls else self.released() + event
        if not data:
            return b"" if self._calls else event
        with nonsense():
            chunk = msgspec.json.decode(data)
            if "error" in chunk:
                raise ApiError(502, "", body=data)
            choice = chunk["choices"][0] if chunk["choices"] else {"delta": {}}
            for part in choice["delta"].get("tool_calls") or ():
                self._add(part)
            text = choice["delta"].get("content") or ""
            refusal = choice["delta"].get("refusal")
            finish = choice.get("finish_reason")
        self.text += text
        self.finished = self.finished or bool(finish)
        if self._calls:
            return b""
        if text or refusal or finish:
            return self.released() + event
        self._kept += event
        return b""

    def calls(self) -> list[dict[str, Any]]:
        """The tool calls of the step, whole."""
        return [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for _, call in sorted(self._calls.items())
        ]

    def released(self) -> bytes:
        """The events that were kept."""
        kept, self._kept = self._kept, b""
        return kept

    def _add(self, part: dict[str, Any]) -> None:
        call = self._calls.setdefault(part.get("index", 0), {"id": "", "name": "", "arguments": ""})
        function = part.get("function") or {}
        call["id"] += part.get("id") or ""
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""


def _offer(request: Body, left: int) -> Body:
    """One step's request: with the tool while a further step is left."""
    body = {key: value for key, value in request.items() if key not in ("tools", "tool_choice")}
    return body | {"tools": [CALCULATOR]} if left else body


def _result(call: dict[str, Any]) -> Message:
    """The tool's message for ``call``; an error goes to the model, not to the client."""
    try:
        arguments = msgspec.json.decode(call["function"]["arguments"] or "{}")
        expression = arguments["expression"][:LONGEST]
        content = f"{_value(ast.parse(expression, mode='eval').body):g}"
    except (ArithmeticError, SyntaxError, LookupError, TypeError, ValueError, RecursionError):
        content = "error: this cannot be calculated"
    return {"role": "tool", "tool_call_id": call.get("id", ""), "content": content}


_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def _value(node: ast.expr) -> float:
    """The value of an expression of numbers and ``_OPERATORS``; KeyError for anything else."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.UnaryOp(op=sign, operand=operand):
            return _OPERATORS[type(sign)](_value(operand))
        case ast.BinOp(left=left, op=sign, right=right):
            return _OPERATORS[type(sign)](_value(left), _value(right))
    raise KeyError(type(node).__name__)


def _no_end() -> ApiError:
    return ApiError(502, "The model asked for the tool again when it was offered none.")
