"""The output of a response: every type of item, whole and as events that say the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fake_providers.content.extras import REFUSAL
from fake_providers.content.thoughts import THOUGHTS
from tests.fakes.in_process import InProcess, Received, is_the_row, text_in

PATH = "/v1/responses"
SCHEMA = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
LOOK_UP: Any = {"type": "function", "name": "look_up", "parameters": SCHEMA}
PATCH: Any = {"type": "custom", "name": "patch"}
REASONING: Any = {"reasoning": {"effort": "low", "summary": "auto"}}
ENCRYPTED: Any = {"include": ["reasoning.encrypted_content"]}
LOGPROBS: Any = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def ask(
    fakes: InProcess, body: dict[str, Any], *, stream: bool = False, **directives: Any
) -> Received:
    fakes.forget()
    return fakes.ask("openai", PATH, body={"stream": stream, **body}, **directives)


def response_in(received: Received) -> dict[str, Any]:
    """The response as it is in the end."""
    if "content-length" in received.headers:
        return received.json
    response: dict[str, Any] = received.chunks[-1]["response"]
    return response


class Joined:
    """The output put together from its events, each checked on the way."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.kinds = [event["type"].removeprefix("response.") for event in events]
        self.items: list[dict[str, Any]] = []
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert self.kinds[:2] == ["created", "in_progress"]
        for event, kind in zip(events[2:-1], self.kinds[2:-1], strict=True):
            self._take(kind, event)
        assert all(item.pop("_over") for item in self.items)

    def _take(self, kind: str, event: dict[str, Any]) -> None:
        index = event["output_index"]
        if kind == "output_item.added":
            assert index == len(self.items)
            return self.items.append({**event["item"], "_over": False})
        item = self.items[index]
        assert not item["_over"], kind
        assert item["id"] == event.get("item_id", item["id"])
        if kind == "output_item.done":
            done = dict(event["item"])
            item |= {name: done[name] for name in ("status", "encrypted_content") if name in done}
            assert item == {**done, "_over": False}
            item["_over"] = True
            return None
        return self._change(item, kind, event)

    def _change(self, item: dict[str, Any], kind: str, event: dict[str, Any]) -> None:
        what, _, how = kind.rpartition(".")
        match what:
            case "content_part" | "reasoning_summary_part":
                parts = item["summary" if "summary" in what else "content"]
                index = event.get("content_index", event.get("summary_index"))
                if how == "added":
                    assert index == len(parts)
                    parts.append(event["part"])
                else:
                    assert _told(parts[index]) == _told(event["part"])
                    parts[index] = event["part"]
            case "output_text.annotation":
                part = item["content"][event["content_index"]]
                assert event["annotation_index"] == len(part["annotations"])
                part["annotations"].append(event["annotation"])
            case "function_call_arguments" | "custom_tool_call_input":
                _join(item, "arguments" if "function" in what else "input", how, event)
            case "reasoning_summary_text":
                _join(item["summary"][event["summary_index"]], "text", how, event)
            case "output_text" | "refusal":
                name = "text" if what == "output_text" else "refusal"
                part = item["content"][event["content_index"]]
                _join(part, name, how, event)
                if name == "text" and how == "delta":
                    part["logprobs"] = part["logprobs"] + event["logprobs"]
            case _:
                raise AssertionError(kind)


def _join(part: dict[str, Any], name: str, how: str, event: dict[str, Any]) -> None:
    if how == "delta":
        part[name] += event["delta"]
    else:
        assert part[name] == event[name]


def _told(part: dict[str, Any]) -> Any:
    """A part, with its log probabilities as its events have them."""
    logprobs = [(one["token"], one["logprob"]) for one in part.get("logprobs", ())]
    return {**part, "logprobs": logprobs}


def without_ids(response: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in item.items() if name not in {"id", "call_id"}}
        for item in response["output"]
    ]


def output_usage(response: dict[str, Any]) -> Any:
    """Without the input, which is a byte longer in a request that is not for a stream."""
    usage = response["usage"]
    return usage and (usage["output_tokens"], usage["output_tokens_details"])


directives = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["utf8", "escapes"]),
        "tokens": st.integers(0, 3),
        "calls": st.integers(1, 4),
        "cuts": st.integers(1, 30),
        "args": st.sampled_from(["escapes", "none", "long", "bigint", "row"]),
        "order": st.just("interleaved"),
        "before": st.just("text"),
        "ids": st.just("foreign"),
        "finish": st.sampled_from(["stop", "length", "content_filter", "steered", "failed"]),
        "refusal": st.just(1),
        "annotations": st.just(1),
        "usage": st.sampled_from(["digits", "zero", "none"]),
        "join": st.integers(1, 4),
    },
)
fields = st.fixed_dictionaries(
    {"tools": st.sampled_from([[LOOK_UP], [PATCH, LOOK_UP], []])},
    optional={
        "max_output_tokens": st.integers(1, 9),
        "reasoning": st.fixed_dictionaries(
            {}, optional={"summary": st.sampled_from(["auto", "concise", "detailed"])}
        ),
        "include": st.lists(st.sampled_from([*ENCRYPTED["include"], *LOGPROBS["include"]])),
        "top_logprobs": st.integers(0, 2),
        "text": st.just({"format": {"type": "json_object"}}),
    },
)


@settings(max_examples=200, deadline=None, derandomize=True, phases=[Phase.generate])
@given(content=directives, request=fields)
def test_events_and_the_response_say_the_same(
    fakes: InProcess, content: dict[str, Any], request: dict[str, Any]
) -> None:
    whole = response_in(ask(fakes, request, **content))
    events = ask(fakes, request, stream=True, **content).chunks
    last = events[-1]
    joined = Joined(events)
    assert last["type"] == f"response.{last['response']['status']}"
    assert joined.items == last["response"]["output"]
    assert without_ids(last["response"]) == without_ids(whole)
    for name in ("status", "incomplete_details", "error", "reasoning"):
        assert last["response"][name] == whole[name]
    assert output_usage(last["response"]) == output_usage(whole)
    assert len({event["response"]["id"] for event in (*events[:2], last)}) == 1
    ids = [(item["id"], item.get("call_id", number)) for number, item in enumerate(joined.items)]
    assert len({one for pair in ids for one in pair}) == 2 * len(ids)


@both
def test_reasoning_comes_first_and_only_its_summary_is_shown(
    fakes: InProcess, stream: bool
) -> None:
    for asked, parts in (
        ({}, []),
        ({"summary": "auto"}, ["".join(THOUGHTS)]),
        ({"summary": "detailed"}, list(THOUGHTS)),
    ):
        received = ask(fakes, {"reasoning": {"effort": "low", **asked}}, stream=stream)
        response = response_in(received)
        thought, message = response["output"]
        assert [part["text"] for part in thought["summary"]] == parts
        assert thought["type"] == "reasoning"
        assert message["type"] == "message"
        assert "encrypted_content" not in thought
        assert is_the_row(text_in(received))
        assert response["usage"]["output_tokens"] == 8
        assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}


@both
@pytest.mark.parametrize("asked", [None, {"effort": "none"}, 7])
def test_without_reasoning_there_is_none(fakes: InProcess, stream: bool, asked: Any) -> None:
    body = {"reasoning": asked, **ENCRYPTED}
    response = response_in(ask(fakes, body, stream=stream))
    assert [item["type"] for item in response["output"]] == ["message"]


def test_encrypted_reasoning_comes_when_its_item_is_done(fakes: InProcess) -> None:
    events = ask(fakes, REASONING | ENCRYPTED, stream=True).chunks
    sealed = [event["item"].get("encrypted_content") for event in events
              if event["type"].startswith("response.output_item")]  # fmt: skip
    assert sealed[0] is None
    assert sealed[1].startswith("gAAAA")


@both
def test_reasoning_that_uses_up_the_limit_leaves_no_answer(fakes: InProcess, stream: bool) -> None:
    bodies: list[dict[str, Any]] = [{"reasoning": {}}, REASONING]
    for body in bodies:
        received = ask(fakes, {**body, "max_output_tokens": 3}, stream=stream)
        response = response_in(received)
        assert [item["type"] for item in response["output"]] == ["reasoning"]
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert response["usage"]["output_tokens"] == 3
        assert b"output_text" not in received.body


@both
def test_thoughts_are_pieces(fakes: InProcess, stream: bool) -> None:
    received = ask(fakes, {**REASONING, "max_output_tokens": 5}, stream=stream, refusal=1)
    assert text_in(received) == "7@openai-1#0 7@openai-1#1 "
    if stream:
        cut = ask(fakes, REASONING, stream=True, clean=4)
        deltas = [one["delta"] for one in cut.chunks if one["type"].endswith(".delta")]
        assert deltas == [*THOUGHTS, "7@openai-1#0 "]


@both
def test_a_refusal_is_a_part_of_its_own_and_a_citation_is_of_the_text(
    fakes: InProcess, stream: bool
) -> None:
    received = ask(fakes, {}, stream=stream, refusal=1, annotations=1)
    assert is_the_row(text_in(received))
    [message] = response_in(received)["output"]
    text, refusal = message["content"]
    assert refusal == {"type": "refusal", "refusal": "".join(REFUSAL)}
    [citation] = text["annotations"]
    assert set(citation) == {"type", "start_index", "end_index", "url", "title"}
    assert citation["end_index"] == len(text["text"])
    if stream:
        kinds = Joined(received.chunks).kinds
        assert [kind for kind, _ in groupby(kinds)][3:] == [
            "content_part.added",
            "output_text.delta",
            "output_text.annotation.added",
            "output_text.done",
            "content_part.done",
            "content_part.added",
            "refusal.delta",
            "refusal.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]


@both
def test_log_probabilities_only_on_request(fakes: InProcess, stream: bool) -> None:
    received = ask(fakes, LOGPROBS, stream=stream)
    [part] = response_in(received)["output"][0]["content"]
    assert "".join(one["token"] for one in part["logprobs"]) == part["text"]
    assert all(len(one["top_logprobs"]) == 2 and one["bytes"] for one in part["logprobs"])
    if stream:
        deltas = [one for one in received.chunks if one["type"] == "response.output_text.delta"]
        assert {frozenset(one["logprobs"][0]) for one in deltas} == {
            frozenset({"token", "logprob", "top_logprobs"})
        }
    plain = response_in(ask(fakes, {"top_logprobs": 2}, stream=stream))
    assert plain["output"][0]["content"][0]["logprobs"] == []


@both
def test_reasoning_text_and_calls_in_one_answer(fakes: InProcess, stream: bool) -> None:
    body = {**REASONING, "tools": [LOOK_UP, PATCH, {"type": "web_search"}]}
    response = response_in(ask(fakes, body, stream=stream, calls=3, before="text"))
    kinds = ["reasoning", "message", "function_call", "custom_tool_call", "function_call"]
    assert [item["type"] for item in response["output"]] == kinds
    *_, patch, last = response["output"]
    assert (patch["name"], patch["input"]) == ("patch", "7-1")
    assert last["arguments"] == '{"what":"7-2"}'
    assert all(len(item.get("call_id", "")) <= 40 for item in response["output"])


@both
@pytest.mark.parametrize("tool", [LOOK_UP, PATCH], ids=["function", "custom"])
def test_a_call_carries_the_row_in_a_fragment_for_each_piece(
    fakes: InProcess, stream: bool, tool: Any
) -> None:
    for limit, end in ((None, "#end4-"), (2, "#1 ")):
        body = {"tools": [tool], "max_output_tokens": limit}
        received = ask(fakes, body, stream=stream, args="row")
        response = response_in(received)
        [call] = response["output"]
        given = call.get("arguments", call.get("input"))
        assert given.startswith("7@openai-1#0" if tool is PATCH else '{"what":"7@openai-1#0 ')
        assert end in given
        assert call["status"] == response["status"] == ("incomplete" if limit else "completed")
        if stream:
            deltas = [one for one in received.chunks if one["type"].endswith(".delta")]
            assert len(deltas) == (limit or 5)


def test_calls_by_turns(fakes: InProcess) -> None:
    events = ask(fakes, {"tools": [LOOK_UP]}, stream=True, calls=2, cuts=3, order="interleaved")
    joined = Joined(events.chunks)
    deltas = [one["output_index"] for one in events.chunks if one["type"].endswith(".delta")]
    assert deltas == [0, 1] * 3
    added = [kind for kind in joined.kinds if kind.startswith("output_item")]
    assert added == ["output_item.added"] * 2 + ["output_item.done"] * 2


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "function", "name": "look_up"}, ["look_up"]),
        ({"type": "custom", "name": "patch"}, ["patch"]),
        ("required", ["look_up"]),
        ("none", []),
        ({"type": "web_search"}, []),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"name": "patch"}]},
            ["patch"],
        ),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"name": "patch"}]}, []),
    ],
)
def test_the_choice_of_a_tool(fakes: InProcess, choice: Any, names: list[str]) -> None:
    body = {"tools": [LOOK_UP, PATCH], "tool_choice": choice}
    output = response_in(ask(fakes, body))["output"]
    assert [item["name"] for item in output if "name" in item] == names


@both
@pytest.mark.parametrize("finish", ["failed", "error"])
def test_a_response_that_fails(fakes: InProcess, stream: bool, finish: str) -> None:
    received = ask(fakes, {}, stream=stream, finish=finish)
    assert is_the_row(text_in(received))
    if not stream:
        failed = received.json
    elif finish == "failed":
        failed = response_in(received)
        assert received.chunks[-1]["type"] == "response.failed"
    else:
        last = received.chunks[-1]
        assert set(last) == {"type", "sequence_number", "code", "message", "param"}
        assert last["type"] == "error"
        return
    assert (failed["status"], failed["usage"]) == ("failed", None)
    assert set(failed["error"]) == {"code", "message"}


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("after", [0, 2])
def test_an_error_in_mid_stream_is_one_event(fakes: InProcess, flat: bool, after: int) -> None:
    more = {"finish": "error"} if flat else {}
    events = ask(fakes, {}, stream=True, error=after, **more).chunks
    kinds = [event["type"] for event in events]
    assert kinds[-1] == ("error" if flat else "response.failed")
    assert kinds.count("response.output_text.delta") == after
    assert sum(kind in {"error", "response.failed"} for kind in kinds) == 1
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_what_the_response_repeats_of_its_request(fakes: InProcess) -> None:
    body = {"instructions": "Be brief.", "metadata": {"a": "b"}, "truncation": "auto", **REASONING}
    events = ask(fakes, body, stream=True).chunks
    for event in (events[0], events[-1]):
        response = event["response"]
        assert body.items() <= response.items()
    assert events[0]["response"]["usage"] is None
    assert events[0]["response"]["completed_at"] is None
    assert events[-1]["response"]["completed_at"]
