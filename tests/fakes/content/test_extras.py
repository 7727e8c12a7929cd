"""What an answer has beside text and tool calls: usage, finish reasons, refusals and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fake_providers.content.extras import REFUSAL
from tests.fakes.in_process import OPENAI, InProcess, Received, is_the_row, text_in

RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/completions"
CHATS = [("openai", OPENAI), ("ollama", OPENAI), ("ollama", "/api/chat")]
ROUTES = [
    *CHATS,
    ("openai", COMPLETIONS),
    ("ollama", COMPLETIONS),
    ("ollama", "/api/generate"),
    ("openai", RESPONSES),
]
COUNTED = {"stream_options": {"include_usage": True}}

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
everywhere = pytest.mark.parametrize("route", ROUTES, ids="".join)


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def ask(
    fakes: InProcess, route: tuple[str, str], *, stream: bool, more: Any = None, **directives: Any
) -> Received:
    fakes.forget()
    body = {"stream": stream, **(COUNTED if stream else {}), **(more or {})}
    return fakes.ask(*route, body=body, **directives)


def last(received: Received) -> dict[str, Any]:
    """The whole answer, or the chunk that ends the stream."""
    chunk = received.json if "content-length" in received.headers else received.chunks[-1]
    response: dict[str, Any] = chunk.get("response") or {}
    return response if isinstance(response, dict) and response else chunk


def usage(received: Received) -> tuple[Any, ...]:
    """(input, output, cached, reasoning) of any dialect; None: not reported."""
    found = last(received)
    if "done" in found:
        return found.get("prompt_eval_count"), found.get("eval_count"), None, None
    told = found.get("usage") or {}
    old = "prompt_tokens" in told
    details = [told.get(f"{name}_tokens_details", {}) for name in
               (("prompt", "completion") if old else ("input", "output"))]  # fmt: skip
    return (
        told.get("prompt_tokens" if old else "input_tokens"),
        told.get("completion_tokens" if old else "output_tokens"),
        details[0].get("cached_tokens"),
        details[1].get("reasoning_tokens"),
    )


@both
@everywhere
def test_numbers_that_cannot_be_confused(
    fakes: InProcess, route: tuple[str, str], stream: bool
) -> None:
    detailed = route[0] == "openai"
    for number in (1, 2):
        fakes.forget()
        fakes.recorder.arrived[route[0]] = number - 1
        body = {"stream": stream, **(COUNTED if stream else {})}
        received = fakes.ask(*route, body=body, usage="digits")
        expected = (1000 + number, 7 + number, 200 + number, 3 + number)
        assert usage(received) == (expected if detailed else (*expected[:2], None, None))
        if route[1] != RESPONSES and "usage" in last(received):
            assert last(received)["usage"]["total_tokens"] == 1007 + 2 * number


@both
@everywhere
def test_nothing_used_and_nothing_told(
    fakes: InProcess, route: tuple[str, str], stream: bool
) -> None:
    zero = usage(ask(fakes, route, stream=stream, usage="zero"))
    native = route[1].startswith("/api/")
    assert zero[:2] == ((None, None) if native else (0, 0)), "Go omits zeros"
    received = ask(fakes, route, stream=stream, usage="none")
    assert usage(received) == (None,) * 4
    if route[1] in {OPENAI, COMPLETIONS}:
        assert b"usage" not in received.body
    assert is_the_row(text_in(received), route[0])


@pytest.mark.parametrize("route", [route for route in ROUTES if route[1] != RESPONSES], ids="".join)
def test_usage_in_an_event_with_an_empty_delta(fakes: InProcess, route: tuple[str, str]) -> None:
    received = ask(fakes, route, stream=True, usage="empty-delta")
    assert usage(received)[:2] == (1001, 8)
    if route[1].startswith("/v1/"):
        *_, finish, counted = received.chunks
        [choice] = counted["choices"]
        assert choice.get("delta", choice.get("text")) in ({}, "")
        assert (finish["choices"][0]["finish_reason"], choice["finish_reason"]) == ("stop", None)
        not_asked = ask(fakes, route, stream=True, more={"stream_options": None}, usage="digits")
        assert b"usage" not in not_asked.body


@both
@everywhere
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls", "eos"])
def test_every_finish_reason(
    fakes: InProcess, route: tuple[str, str], stream: bool, reason: str
) -> None:
    received = ask(fakes, route, stream=stream, more={"stream_options": None}, finish=reason)
    found = last(received)
    if route[1] == RESPONSES:
        why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)
        assert found["status"] == ("completed" if why is None else "incomplete")
        assert found["incomplete_details"] == (why and {"reason": why})
    elif "done" in found:
        assert found["done_reason"] == reason
    else:
        assert found["choices"][0]["finish_reason"] == reason
    assert is_the_row(text_in(received), route[0])


@both
@pytest.mark.parametrize("route", CHATS, ids="".join)
def test_a_refusal_and_annotations_follow_the_row(
    fakes: InProcess, route: tuple[str, str], stream: bool
) -> None:
    received = ask(fakes, route, stream=stream, refusal=1, annotations=1)
    assert is_the_row(text_in(received), route[0])
    if route[0] == "ollama":
        assert b"citation" not in received.body
        assert REFUSAL[0].encode() not in received.body
        return
    choices = [choice for chunk in (received.chunks if stream else [received.json])
               for choice in chunk["choices"]]  # fmt: skip
    said = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    assert "".join(one.get("refusal") or "" for one in said) == "".join(REFUSAL)
    [citation] = [one for each in said for one in each.get("annotations", ())]
    place = citation["url_citation"]
    assert text_in(received)[place["start_index"] : place["end_index"]] == text_in(received)
    assert choices[-1]["finish_reason"] == "stop" if not stream else True


@both
@pytest.mark.parametrize("route", [ROUTES[0], ROUTES[3]], ids="".join)
def test_a_fingerprint_and_an_identifier_are_constant(
    fakes: InProcess, route: tuple[str, str], stream: bool
) -> None:
    seen = set()
    for _ in range(2):
        body = {"stream": stream, **(COUNTED if stream else {}), "n": 2}
        received = fakes.ask(*route, body=body, fingerprint=1)
        chunks = received.chunks if stream else [received.json]
        [same] = {(chunk["id"], chunk["system_fingerprint"], chunk["model"]) for chunk in chunks}
        seen.add(same)
    assert len({one for one, _, _ in seen}) == len({one for _, one, _ in seen}) == 2


def test_choices_come_by_turns_and_finish_once_each(fakes: InProcess) -> None:
    directives = {"refusal": 1, "annotations": 1, "text": "utf8", "usage": "digits"}
    received = ask(fakes, ROUTES[0], stream=True, more={"n": 3}, **directives)
    *chunks, _ = received.chunks
    indices = [choice["index"] for chunk in chunks for choice in chunk["choices"]]
    assert indices == [0, 1, 2] * (len(indices) // 3)
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 3) + ["stop"] * 3
    assert usage(received)[:2] == (1001, 8)


def test_a_retry_has_the_same_content(fakes: InProcess) -> None:
    directives: dict[str, Any] = {"status": 503, "attempts": 1, "usage": "zero", "text": "utf8"}
    first, second = (fakes.ask(nonce=900, **directives) for _ in range(2))
    assert (first.status, second.status) == (503, 200)
    assert usage(second) == (0, 0, 0, 0)
    assert "\U0001f600" in text_in(second)
