"""The two routes that call a provider several times, against a provider in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from reference_router import sse
from reference_router.answer import JSON, Answer, ApiError
from reference_router.model_list import Cards
from reference_router.routes import agent, rag

QUESTION = {"role": "user", "content": "rs:a:1:: 2+2?"}


class Scripted:
    """A provider that answers from a list of answers and keeps the requests."""

    name = "scripted"

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[Any] = []
        self.embedded: list[Any] = []
        self.closed = 0

    async def chat(self, body: dict[str, Any]) -> Answer:
        self.requests.append(json.loads(json.dumps(body)))
        answer = self.answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        if not body.get("stream"):
            choice = {"message": answer, "finish_reason": "stop"}
            return Answer(body=json.dumps({"choices": [choice]}).encode())
        return Answer(body=self._stream(answer), content_type=sse.CONTENT_TYPE, close=self._close)

    async def _stream(self, parts: list[bytes]) -> AsyncGenerator[bytes, None]:
        for part in parts:
            yield part

    async def _close(self) -> None:
        self.closed += 1

    async def embed(self, body: dict[str, Any]) -> Answer:
        self.embedded.append(body["input"])
        data = [{"embedding": [float("cap" in t), float("list" in t), 0.1]} for t in body["input"]]
        return Answer(body=json.dumps({"data": data}).encode(), content_type=JSON)

    async def models(self) -> Cards:
        return ()

    async def close(self) -> None: ...


def call(expression: str, **more: Any) -> dict[str, Any]:
    arguments = json.dumps({"expression": expression})
    return {"id": "c1", "function": {"name": "calculate", "arguments": arguments}, **more}


def delta(finish: str | None = None, **fields: Any) -> bytes:
    return sse.event({"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]})


def request(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [dict(QUESTION)], **more}


async def text(answer: Answer) -> bytes:
    assert not isinstance(answer.body, bytes)
    try:
        return b"".join([piece async for piece in answer.body])
    finally:
        await answer.aclose()


async def test_the_tool_is_run_and_its_result_is_returned_to_the_model() -> None:
    provider = Scripted({"content": None, "tool_calls": [call("(2+3)*4")]}, {"content": "20"})
    answer = await agent.run(provider, request(tool_choice="auto"), steps=4)
    assert answer.json()["choices"][0]["message"]["content"] == "20"
    first, second = provider.requests
    assert first["tools"] == second["tools"] == [agent.CALCULATOR]
    assert second["messages"][0] == QUESTION
    assert second["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": "20"}


@pytest.mark.parametrize("more", [{"tools": [{"function": {"name": "f"}}]}, {"n": 2}])
async def test_a_client_with_tools_of_its_own_gets_the_model_s_answer(more: dict[str, Any]) -> None:
    called = {"content": None, "tool_calls": [call("1")]}
    provider = Scripted(called)
    answer = await agent.run(provider, request(**more), steps=4)
    assert answer.json()["choices"][0]["message"] == called
    assert provider.requests == [request(**more)]


@pytest.mark.parametrize(
    "expression",
    ["1/0", "2**9**9", "__import__('os')", "x", "1+", "", "(" * 500, "-" * 10_000 + "1", "True"],
)
async def test_a_calculation_error_is_returned_to_the_model(expression: str) -> None:
    provider = Scripted({"tool_calls": [call(expression)]}, {"content": "sorry"})
    await agent.run(provider, request(), steps=2)
    assert provider.requests[1]["messages"][-1]["content"] == "error: this cannot be calculated"


async def test_the_last_step_is_offered_no_tool() -> None:
    provider = Scripted(*[{"tool_calls": [call("1")]}] * 2, {"content": "enough"})
    await agent.run(provider, request(), steps=3)
    assert ["tools" in requests for requests in provider.requests] == [True, True, False]
    stubborn = Scripted(*[{"tool_calls": [call("1")]}] * 2)
    with pytest.raises(ApiError) as stopped:
        await agent.run(stubborn, request(), steps=2)
    assert stopped.value.status == 502


async def test_a_streamed_step_about_the_tool_is_kept_from_the_client() -> None:
    arguments = ('{"expre', 'ssion":"6*7"}')
    parts = [{"index": 0, "id": "c1", "function": {"name": "calculate", "arguments": ""}}]
    first = [
        delta(role="assistant", content=""),
        delta(tool_calls=parts),
        *(delta(tool_calls=[{"index": 0, "function": {"arguments": part}}]) for part in arguments),
        delta("tool_calls") + sse.DONE,
    ]
    second = [delta(role="assistant", content=""), delta(content="42"), delta("stop") + sse.DONE]
    provider = Scripted(first, second)
    answer = await agent.run(provider, request(stream=True), steps=4)
    assert await text(answer) == b"".join(second)
    message, result = provider.requests[1]["messages"][1:]
    assert message["tool_calls"][0]["function"]["arguments"] == '{"expression":"6*7"}'
    assert result["content"] == "42"
    assert provider.closed == 2


async def test_what_follows_the_finish_is_passed_on_without_done() -> None:
    parts = [delta(content="42"), delta("stop"), sse.event({"choices": [], "usage": {"a": 1}})]
    answer = await agent.run(Scripted(parts), request(stream=True), steps=4)
    assert await text(answer) == b"".join(parts)


async def test_text_before_a_tool_call_is_passed_on_once() -> None:
    first = [delta(content="Wait. "), delta(tool_calls=[call("1", index=0)]), delta("tool_calls")]
    second = [delta(content="One."), delta("stop"), sse.DONE]
    provider = Scripted(first, second)
    answer = await agent.run(provider, request(stream=True), steps=4)
    assert await text(answer) == first[0] + b"".join(second)
    assert provider.requests[1]["messages"][1]["content"] == "Wait. "


@pytest.mark.parametrize(
    "cut",
    [
        [delta(role="assistant", content="")],
        [delta(content="a")],
        [delta(tool_calls=[call("1", index=0)])],
        [sse.event({"error": {"message": "m"}}), sse.DONE],
        [b"data: {broken\n\n"],
    ],
    ids=["role", "text", "call", "error", "nonsense"],
)
async def test_a_step_that_breaks_off_is_an_error_and_runs_no_tool(cut: list[bytes]) -> None:
    provider = Scripted(cut)
    with pytest.raises(ApiError) as broken:
        await text(await agent.run(provider, request(stream=True), steps=4))
    assert broken.value.status == 502
    assert len(provider.requests) == 1
    assert provider.closed == 1


async def test_an_error_before_the_first_piece_has_a_status() -> None:
    provider = Scripted(ApiError(429, "busy"))
    with pytest.raises(ApiError) as refused:
        await agent.run(provider, request(stream=True), steps=4)
    assert refused.value.status == 429


async def test_rag_puts_its_context_before_the_unchanged_question() -> None:
    question = {"role": "user", "content": "rs:a:1:: what is the cap?"}
    before = {"role": "user", "content": "earlier"}
    provider = Scripted({"content": "five"})
    library = rag.Library("e", ("the cap is five", "the list is cached", "neither"))
    body = {"model": "m", "messages": [before, question]}
    await rag.run(provider, body, library)
    assert provider.embedded[0] == [question["content"]]
    earlier, context, last = provider.requests[0]["messages"]
    assert (earlier, last) == (before, question)
    assert context["role"] == "system"
    assert context["content"].splitlines()[1] == "- the cap is five"


async def test_rag_embeds_its_library_once() -> None:
    provider = Scripted({"content": "a"}, {"content": "b"})
    library = rag.Library("e", ("cap", "list"))
    for _ in range(2):
        await rag.run(provider, request(), library)
    assert provider.embedded == [[QUESTION["content"]], ["cap", "list"], [QUESTION["content"]]]


async def test_rag_without_a_question_is_the_client_s_fault() -> None:
    body = {"model": "m", "messages": [{"role": "system", "content": "x"}]}
    with pytest.raises(ApiError) as refused:
        await rag.run(Scripted(), body, rag.Library("e"))
    assert refused.value.status == 400
