"""The normal form of answers, in both dialects, and how two of them compare."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routerspec.wire.answer import Answer, Choice, ToolCall, Usage
from routerspec.wire.compare import same_finish, same_json, unmatched, usage_faults
from routerspec.wire.dialects import dialect_of, read
from tests.wire.test_official_clients import CHUNK, DONE_LINE, call, chunk, event, line

DONE = b"data: [DONE]\n\n"


def whole(message: dict[str, Any], finish: str = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json.dumps({"id": "c-1", "choices": [choice], **more}).encode()


@pytest.mark.parametrize(
    ("target", "dialect"),
    [
        ("/v1/chat/completions", "chat"),
        ("/openai/v1/chat/completions?beta=1", "chat"),
        ("/api/chat", "ollama"),
        ("/api/generate", "ollama"),
        ("/v1/responses", "responses"),
        ("/v1/messages?beta=true", "anthropic"),
        ("/anthropic/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", None),
        ("/v1/responses/resp_1", None),
        ("*", None),
    ],
)
def test_the_path_says_the_dialect(target: str, dialect: str | None) -> None:
    assert dialect_of(target) == dialect


def test_a_stream_and_a_whole_answer_have_one_normal_form() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    entry = {"token": "a", "logprob": -0.1}
    streamed = (
        chunk({"role": "assistant", "content": ""})
        + chunk({"content": "a\ud83d"}, logprobs={"content": [entry]})
        + chunk({"content": "\ude00"}, logprobs=None)
        + chunk({"refusal": "no"})
        + chunk({"annotations": [{"type": "url_citation"}]})
        + call(0, "call_1", "f")
        + call(0, arguments='{"x":')
        + call(0, arguments="1}")
        + call(1, "call_2", "g")
        + chunk({}, "tool_calls")
        + event({**CHUNK, "choices": [], "usage": usage})
        + DONE
    )
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    message = {
        "role": "assistant", "content": "a\U0001f600", "refusal": "no", "tool_calls": calls,
        "annotations": [{"type": "url_citation"}],
    }  # fmt: skip
    body = json.loads(whole(message, "tool_calls", usage=usage))
    body["choices"][0]["logprobs"] = {"content": [entry], "refusal": None}
    one, other = read("chat", True, streamed), read("chat", False, json.dumps(body).encode())
    assert one.choices == other.choices
    assert one.usage == other.usage == Usage(input=3, output=2, total=5)
    assert (one.faults, one.ends, one.finished, one.ended) == ((), 1, True, True)
    (choice,) = one.choices
    assert choice.text == "a\U0001f600"
    assert choice.after_finish == ()


def test_both_dialects_have_one_normal_form() -> None:
    calls = [{"function": {"name": "f", "arguments": {"x": 9007199254740993}}}]
    lines = (
        line({"content": "a"})
        + line({"content": "b", "tool_calls": calls})
        + line(done=True, done_reason="stop", prompt_eval_count=3, eval_count=2)
    )
    theirs = read("ollama", True, lines)
    ours = read(
        "chat",
        True,
        chunk({"content": "ab"})
        + call(0, "call_1", "f", '{"x": 9007199254740993}')
        + chunk({}, "tool_calls")
        + DONE,
    )
    assert theirs.choices[0].text == ours.choices[0].text
    assert unmatched(theirs.calls, ours.calls) == ([], [])
    assert same_finish(theirs, ours, 0)
    assert theirs.usage == Usage(input=3, output=2)


def test_choices_are_told_apart_by_index() -> None:
    two = [{"index": n, "delta": {"content": f"c{n} "}, "finish_reason": None} for n in (1, 0)]
    body = event({**CHUNK, "choices": two}) * 2
    ends: Any = [{"index": n, "delta": {}, "finish_reason": "stop"} for n in (0, 1)]
    answer = read("chat", True, body + event({**CHUNK, "choices": ends}) + DONE)
    assert [(c.index, c.text, c.finish) for c in answer.choices] == [
        (0, "c0 c0 ", "stop"), (1, "c1 c1 ", "stop"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "after"),
    [
        (chunk({}, "stop") + chunk({"content": "late"}), ("'late'",)),
        (chunk({}, "stop") + call(0, "a", "f"), ("'tool call 0'",)),
        (chunk({"content": "a"}, "stop"), ()),
        (chunk({}, "stop") + chunk({"content": ""}), ()),
        (chunk({}, "stop") + event({**CHUNK, "choices": [], "usage": {}}), ()),
    ],
)
def test_content_after_the_finish_is_kept_apart(body: bytes, after: tuple[str, ...]) -> None:
    assert read("chat", True, body + DONE).choices[0].after_finish == after


def test_ends_and_what_comes_after_them_are_counted() -> None:
    answer = read("chat", True, chunk({}, "stop") + DONE + chunk({"content": "x"}) + DONE)
    assert (answer.ends, answer.after_end) == (2, 1)
    answer = read("ollama", True, DONE_LINE + DONE_LINE)
    assert (answer.ends, answer.after_end, answer.choices[0].finishes) == (2, 1, ("stop", "stop"))


def test_a_restated_id_is_marked() -> None:
    body = call(0, "a", "f") + call(0, "a", "f", "{}")
    (one,) = read("chat", True, body).choices[0].calls
    assert (one.id, one.name, one.restated) == ("aa", "ff", True)
    empty = event({**CHUNK, "choices": [{"index": 0, "delta": {"tool_calls": [
        {"index": 0, "id": "", "function": {"name": None, "arguments": "{}"}}]}}]})  # fmt: skip
    (one,) = read("chat", True, call(0, "a", "f") + empty).choices[0].calls
    assert (one.id, one.name, one.restated) == ("a", "f", False)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (9007199254740993, 9007199254740992, False),
        (9007199254740993, 9007199254740992.0, False),
        (True, 1, False),
        (0, False, False),
        (None, None, True),
        (None, {}, False),
        ({"a": [1, "x"]}, {"a": [1.0, "x"]}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1, 2], [2, 1], False),
        ("1", 1, False),
    ],
)
def test_json_values_are_compared_exactly(one: Any, other: Any, same: bool) -> None:
    assert same_json(one, other) is same
    assert same_json(other, one) is same


def made(*pairs: tuple[str, str]) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(index=index, id=f"c{index}", name=name, arguments=arguments)
        for index, (name, arguments) in enumerate(pairs)
    )


@pytest.mark.parametrize(
    ("sent", "read_", "lost", "made_up"),
    [
        ((("f", "{}"),), (("f", ""),), 0, 0),
        ((("f", '{"a": 1}'), ("g", "{}")), (("g", "{ }"), ("f", '{"a":1.0}')), 0, 0),
        ((("f", "{}"), ("f", "{}")), (("f", "{}"),), 1, 0),
        ((("f", "{}"),), (("f", "{}"), ("f", "{}")), 0, 1),
        ((("f", '{"a":1}'), ("g", '{"b":2}')), (("f", '{"b":2}'), ("g", '{"a":1}')), 2, 2),
        ((("f", '{"a":"\\u00e9"}'),), (("f", '{"a":"\u00e9"}'),), 0, 0),
        ((("f", '{"a":1'),), (("f", '{"a":1'),), 0, 0),
        ((("f", '{"a":1}'),), (("f", '{"a":1}{}'),), 1, 1),
    ],
)
def test_tool_calls_are_a_multiset(sent: Any, read_: Any, lost: int, made_up: int) -> None:
    missing, more = unmatched(made(*sent), made(*read_))
    assert (len(missing), len(more)) == (lost, made_up)


def ended(dialect: Any, finish: str, *, called: bool = False) -> Answer:
    calls = made(("f", "{}")) if called else ()
    finishes = (finish,) if finish else ()
    choice = Choice(index=0, finishes=finishes, calls=calls)
    return Answer(dialect=dialect, stream=True, choices=(choice,))


@pytest.mark.parametrize(
    ("sent", "read_", "same"),
    [
        (ended("chat", "stop"), ended("chat", "stop"), True),
        (ended("chat", "length"), ended("chat", "stop"), False),
        (ended("chat", "tool_calls", called=True), ended("chat", "stop", called=True), False),
        (ended("chat", "stop", called=True), ended("chat", "tool_calls", called=True), True),
        (ended("chat", "content_filter"), ended("chat", "stop"), False),
        (ended("ollama", "stop", called=True), ended("chat", "tool_calls", called=True), True),
        (ended("ollama", "stop"), ended("chat", "tool_calls"), False),
        (ended("ollama", "length"), ended("chat", "length"), True),
        (ended("ollama", "length"), ended("chat", "stop"), False),
        (ended("ollama", "unload"), ended("chat", "stop"), True),
        (ended("chat", "tool_calls", called=True), ended("ollama", "stop", called=True), True),
        (ended("chat", "length"), ended("ollama", "stop"), False),
        (ended("chat", "content_filter"), ended("ollama", "stop"), True),
        (ended("chat", "stop"), ended("chat", ""), False),
    ],
)
def test_finish_reasons_survive_a_sound_translation(
    sent: Answer, read_: Answer, same: bool
) -> None:
    assert same_finish(sent, read_, 0) is same


FULL = Usage(input=1000, output=7, total=1007, cached=200, reasoning=3)


@pytest.mark.parametrize(
    ("sent", "read_", "relay", "faults"),
    [
        (FULL, FULL, True, []),
        (FULL, Usage(input=1000, output=7, total=1007), False, []),
        (FULL, Usage(input=1000, output=7, total=1007), True,
         ["cached none for 200", "reasoning none for 3"]),
        (FULL, Usage(input=1200, output=7, total=1207, cached=200, reasoning=3), True,
         ["input 1200 for 1000", "total 1207 for 1007"]),
        (Usage(input=0, output=0, total=0), Usage(input=0, output=0, total=0), True, []),
        (Usage(input=0, output=0), Usage(), False, []),
        (Usage(input=0, output=0), Usage(), True, ["input none for 0", "output none for 0"]),
        (Usage(input=3, output=2), Usage(input=3, output=2, total=5, cached=0), False, []),
        (Usage(input=3, output=2), Usage(input=3, output=2, total=5, cached=9), False,
         ["cached 9 for none"]),
        (Usage(input=3, output=2), Usage(input=3, output=2, total=6), False, ["total 6 for 5"]),
        (Usage(output=2), Usage(input=8, output=2, total=10), False, []),
    ],
)  # fmt: skip
def test_usage_is_the_providers(sent: Usage, read_: Usage, relay: bool, faults: list[str]) -> None:
    assert usage_faults(sent, read_, provider="chat" if relay else "ollama") == faults


CACHED = Usage(input=1230, output=7, cached=200, written=30)
"""As Anthropic tells it: 1000 beside 200 that were read and 30 that were written."""
OF_CHAT = Usage(input=1000, output=7, total=1007, cached=200)


@pytest.mark.parametrize(
    ("read_", "fault"),
    [
        (Usage(input=1000, output=7, total=1007), ""),
        (Usage(input=1200, output=7, total=1207, cached=200), ""),
        (Usage(input=1230, output=7, total=1237, cached=0), ""),
        (Usage(input=1230, output=7, total=1007), ""),
        (Usage(input=1030, output=7), "input 1030 for 1000 or 1200 or 1230"),
        (Usage(input=1460, output=7, total=1467), "input 1460 for 1000 or 1200 or 1230"),
        (Usage(input=2000, output=7), "input 2000 for 1000 or 1200 or 1230"),
        (Usage(input=2460, output=14), "input 2460 for 1000 or 1200 or 1230"),
        (Usage(input=1000, output=7, cached=400), "cached 400 for 200"),
        (Usage(input=1000, output=8), "output 8 for 7"),
    ],
)
def test_anthropic_usage_is_told_with_or_without_the_cache(read_: Usage, fault: str) -> None:
    for client in ("chat", "responses", "ollama"):
        faults = usage_faults(CACHED, read_, provider="anthropic", client=client)
        assert faults[:1] == ([fault] if fault else [])


@pytest.mark.parametrize(
    ("read_", "fault"),
    [
        (Usage(input=1000, output=7, cached=200), ""),  # 800 and 200
        (Usage(input=1200, output=7, cached=200), ""),  # 1000 and 200
        (Usage(input=1000, output=7, cached=0, written=0), ""),
        (Usage(input=1400, output=7, cached=200), "input 1200 for 800 or 1000"),
        (Usage(input=2000, output=7), "input 2000 for 800 or 1000"),
        (Usage(input=0, output=7), "input 0 for 800 or 1000"),
    ],
)
def test_usage_of_chats_is_told_to_anthropic_clients(read_: Usage, fault: str) -> None:
    faults = usage_faults(OF_CHAT, read_, provider="chat", client="anthropic")
    assert faults[:1] == ([fault] if fault else [])


def test_a_relay_of_anthropic_keeps_each_count() -> None:
    def faults(read_: Usage) -> list[str]:
        return usage_faults(CACHED, read_, provider="anthropic", client="anthropic")

    assert faults(CACHED) == []
    assert faults(Usage(input=1200, output=7, cached=200))[0] == "input 1200 for 1230"
    assert "written none for 30" in faults(Usage(input=1230, output=7, cached=230))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "tool_calls",
                    "function",
                    "arguments",
                    "index",
                    "usage",
                    "error",
                    "content",
                    "finish_reason",
                    "id",
                    "name",
                    "logprobs",
                    "done",
                    "done_reason",
                    "prompt_eval_count",
                    "completion_tokens",
                    "annotations",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(values=st.lists(JSON | st.binary(max_size=8), max_size=5), stream=st.booleans())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_whatever_comes_is_read(values: list[Any], stream: bool) -> None:
    raw = [v if isinstance(v, bytes) else json.dumps(v).encode() for v in values]
    for body in (b"\n".join(raw), b"".join(b"data: " + v + b"\n\n" for v in raw)):
        for dialect in ("chat", "ollama"):
            answer = read(dialect, stream, body)
            assert all(fault.client and fault.text for fault in answer.faults)


def test_deep_and_huge_json_is_read() -> None:
    deep = b"[" * 100_000
    for body in (deep, b"data: " + deep + b"\n\n", b"9" * 10_000):
        for dialect in ("chat", "ollama"):
            for stream in (True, False):
                assert read(dialect, stream, body).choices == ()
