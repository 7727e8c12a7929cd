"""Any directives of the content together: a stream says what the whole answer says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fake_providers.prompt.directives import answer
from tests.fakes.content.test_extras import usage
from tests.fakes.content.test_tool_calls import FUNCTIONS, ROUTES, calls_in
from tests.fakes.in_process import RUN, InProcess, Received, text_in

contents = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["utf8", "escapes"]),
        "tokens": st.integers(0, 3),
        "tools": st.integers(0, 1),
        "calls": st.integers(1, 4),
        "cuts": st.integers(1, 30),
        "args": st.sampled_from(["escapes", "none", "long", "bigint"]),
        "order": st.just("interleaved"),
        "before": st.just("text"),
        "ids": st.just("foreign"),
        "finish": st.sampled_from(["stop", "length", "content_filter", "tool_calls"]),
        "refusal": st.just(1),
        "annotations": st.just(1),
        "usage": st.sampled_from(["digits", "zero", "none", "empty-delta"]),
        "fingerprint": st.just(1),
        "pad": st.integers(1, 9),
        "fields": st.just(1),
        "join": st.integers(1, 4),
        "eol": st.sampled_from(["crlf", "cr"]),
    },
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(1, 5),
        "n": st.integers(1, 3),
        "logprobs": st.just(True),
        "response_format": st.just({"type": "json_object"}),
        "tool_choice": st.sampled_from(["none", "required"]),
        "parallel_tool_calls": st.booleans(),
    },
)


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def beside(received: Received) -> dict[str, Any]:
    """What a chat of OpenAI's form has beside text, calls and usage, by choice."""
    whole = "content-length" in received.headers
    found: dict[str, Any] = {"names": set()}
    for chunk in [received.json] if whole else received.chunks:
        found["names"].add((chunk.get("id"), chunk.get("system_fingerprint")))
        for choice in chunk.get("choices", ()):
            said = choice.get("delta", choice.get("message"))
            mine = found.setdefault(choice["index"], {"refusal": "", "cited": [], "ends": []})
            mine["refusal"] += said.get("refusal") or ""
            mine["cited"] += said.get("annotations") or []
            mine["ends"] += [choice["finish_reason"]] if choice["finish_reason"] else []
    return found


@settings(max_examples=120, deadline=None, derandomize=True, phases=[Phase.generate])
@given(content=contents, request=requests, route=st.sampled_from(ROUTES))
def test_a_stream_says_what_the_whole_answer_says(
    fakes: InProcess, content: dict[str, Any], request: dict[str, Any], route: tuple[str, str]
) -> None:
    responses, native = route[1].endswith("responses"), route[1].startswith("/api/")
    flat = [{"type": "function", **one} for one in FUNCTIONS]
    nested = [{"type": "function", "function": one} for one in FUNCTIONS]
    body = {"tools": flat if responses else nested, **request}
    body["stream_options"] = {"include_usage": True}
    received = []
    for stream in (False, True):
        fakes.forget()
        received.append(fakes.ask(*route, body={**body, "stream": stream}, **content))
    whole, streamed = received
    assert whole.status == streamed.status == 200
    assert [one[1:] for one in calls_in(streamed)] == [one[1:] for one in calls_in(whole)]
    assert len({its_id for its_id, _, _ in calls_in(streamed)}) == len(calls_in(whole))
    assert text_in(streamed) == text_in(whole)
    if content.get("usage", "") != "":
        assert usage(streamed) == usage(whole)
    if not (responses or native):
        assert beside(streamed) == beside(whole)
        assert all(len(one["ends"]) == 1 for key, one in beside(whole).items() if key != "names")
    row = answer(RUN, 7, route[0], 1, content.get("tokens", 4))
    says_all = text_in(whole) and not (request.keys() & {"max_tokens"})
    assert not says_all or text_in(whole).count(row) == 1
