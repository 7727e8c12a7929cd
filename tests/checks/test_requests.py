"""request/*, cache/answers and errors/*: what accuses, and what is legal."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routerspec.checks.request import defaults
from routerspec.checks.request.bodies import changed, dialect_of, lost, meaning
from routerspec.checks.request.json_values import MISSING, difference, read
from routerspec.judge import judge
from routerspec.limits import CACHE_REPEAT, CLIENT_ERRORS, LARGE_BODIES
from routerspec.promises import Promises, Retries
from routerspec.verdict import CheckResult, Kind, Outcome, Standing
from tests.corpus.builder import CAP, LISTS, Start, run_of
from tests.corpus.stories.requests import (
    ARRIVED,
    ASKED,
    BIG,
    CACHING,
    CLIENTS,
    KNOWN,
    OWN,
    PLAIN,
    ROUTES,
    TRACED,
    TRANSLATED,
    bad_clients,
    bodies,
    busy,
    sent_on,
    twice,
)

HELD, VIOLATED = Outcome.HELD, Outcome.VIOLATED
UNCLEAR, NOT_APPLICABLE = Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE
NONE: frozenset[str] = frozenset()
CHAT = ROUTES[:1]


def judged(check: str, start: Start, **info: Any) -> CheckResult:
    return judge.judge(run_of(start, selected=(check,), **info)).checks[0]


def promising(**promises: Any) -> Promises:
    return Promises(cap=CAP, model_list=LISTS, **promises)


# -- JSON ---------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@settings(max_examples=150, derandomize=True, database=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_a_value_equals_itself_however_it_is_written(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only, indent=indent, sort_keys=bool(indent))
    assert difference(value, read(written.encode("utf-8", "surrogatepass"))) is None


@settings(max_examples=150, derandomize=True, database=None)
@given(VALUES, VALUES)
def test_values_are_equal_both_ways_or_neither(one: Any, other: Any) -> None:
    assert (difference(one, other) is None) == (difference(other, one) is None)


def sent_on_soundly(body: dict[str, Any], chance: random.Random) -> bytes:
    """The body as a sound router may send it on: other spelling, other order, fields of its own."""
    own = {"model": "x", "stream_options": {**(body.get("stream_options") or {}), "mine": 1}}
    names = [*body]
    chance.shuffle(names)
    arrived = {**{name: body[name] for name in names}, **own, "x_router": 1}
    text = json.dumps(
        arrived,
        ensure_ascii=chance.random() < 0.5,
        indent=chance.choice([None, 2]),
        sort_keys=chance.random() < 0.5,
    )
    return text.replace("/", chance.choice(["/", "\\/"])).encode()


def never_accused(body: dict[str, Any], chance: random.Random) -> None:
    body.pop("stream_options", None)
    arrived = read(sent_on_soundly(body, chance))
    assert changed(body, arrived, NONE) is None
    meaning(arrived)


BODIES = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), VALUES)
CHANCE = st.randoms(use_true_random=False)


@settings(max_examples=150, derandomize=True, database=None, deadline=None)
@given(BODIES, CHANCE)
def test_a_body_that_is_sent_on_soundly_is_never_accused(
    body: dict[str, Any], chance: random.Random
) -> None:
    never_accused(body, chance)


@pytest.mark.slow
@settings(max_examples=10_000, derandomize=True, database=None, deadline=None)
@given(BODIES, CHANCE)
def test_ten_thousand_bodies_more(body: dict[str, Any], chance: random.Random) -> None:
    never_accused(body, chance)


@pytest.mark.parametrize(
    ("asked", "found", "sentence"),
    [
        ({"a": BIG}, {"a": BIG - 1}, "/a was 9007199254740993 and became 9007199254740992"),
        ({"a": BIG}, {"a": float(BIG)}, "/a was 9007199254740993 and became 9007199254740992.0"),
        ({"a": "caf\u00e9"}, {"a": "cafe\u0301"}, '/a was "caf\u00e9" and became "cafe\u0301"'),
        ({"a": [1, 2]}, {"a": [2, 1]}, "/a/0 was 1 and became 2"),
        ({"a": [1, 2]}, {"a": [1]}, "/a/1 (2) is missing"),
        ({"a": [1]}, {"a": [1, 2]}, "/a/1 (2) was added"),
        ({"a": {}}, {"a": {"b": 1}}, "/a/b (1) was added"),
        ({"a": 0}, {}, "/a (0) is missing"),
        ({"a": 0.25}, {"a": 0.2501}, "/a was 0.25 and became 0.2501"),
        ({"a": 0.5}, {"a": 0}, "/a was 0.5 and became 0"),
        ({"a": 1}, {"a": True}, "/a was 1 and became true"),
        ({"a": False}, {"a": None}, "/a was false and became null"),
        ({"a/~": 1}, {"a/~": 2}, "/a~1~0 was 1 and became 2"),
        (
            {"a": "x" * 99 + "\u00e9"},
            {"a": "x" * 99},
            f'/a was "{"x" * 10}\u00e9" from character 89 and became "{"x" * 10}"',
        ),
        ({"a": "x" * 99}, {}, f'/a ("{"x" * 79}... (101 characters)) is missing'),
    ],
)
def test_the_first_difference_is_named(asked: Any, found: Any, sentence: str) -> None:
    differs = changed(asked, found, NONE)
    assert differs is not None
    assert differs.sentence == sentence


@pytest.mark.parametrize(
    ("asked", "found", "rewrites"),
    [
        ({"a": 1}, {"a": 1.0}, ()),
        ({"a": 1e2}, {"a": 100}, ()),
        ({"a": 0.30000000000000004}, {"a": 0.3}, ()),
        ({"a": 0.1}, {"a": 0.10000000149011612}, ()),
        ({"model": "a/b"}, {"model": "b"}, ()),
        ({"stream": False}, {}, ()),
        ({"a": None}, {}, ()),
        ({}, {"stream_options": {"include_usage": True}, "user": "x", "temperature": 1}, ()),
        ({"stream_options": {"a": 1}}, {"stream_options": {"a": 1, "b": 2}}, ()),
        ({"metadata": {}}, {"metadata": {"b": 2}}, ()),
        ({"user": "x"}, {"user": "y"}, ("user",)),
        ({"user": "x"}, {}, ("user",)),
        ({"max_tokens": 8}, {"max_completion_tokens": 8}, ()),
    ],
)
def test_what_a_router_may_change(asked: Any, found: Any, rewrites: tuple[str, ...]) -> None:
    assert changed(asked, found, frozenset(rewrites)) is None


CHATS, MESSAGES, RESPONSES = defaults.CHAT, defaults.MESSAGES, defaults.RESPONSES
TEXT_PART = {"type": "text", "text": "a"}
EXTRA = {**TEXT_PART, "cache_control": {"type": "ephemeral"}}
SAID = {"role": "user", "content": "a", "x_note": 1}
ITEM = {**SAID, "type": "message", "content": [{"type": "input_text", "text": "a"}]}
CUSTOM = {"name": "f", "input_schema": {}}
BLOCK_RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "a"}


@pytest.mark.parametrize(
    ("kind", "asked", "found"),
    [
        (CHATS, {"messages": [SAID]}, {"messages": [{**SAID, "content": [TEXT_PART]}]}),
        (CHATS, {"messages": [SAID]}, {"messages": [{**SAID, "name": None}]}),
        (CHATS, {"n": 1, "tool_choice": "auto", "stop": "a"}, {"stop": ["a"]}),
        (RESPONSES, {"input": [SAID]}, {"input": [ITEM]}),
        (RESPONSES, {"input": [SAID]}, {"input": [{**SAID, "type": "message"}]}),
        (RESPONSES, {"input": "a"}, {"input": [{"role": "user", "content": "a"}]}),
        (RESPONSES, {"store": True, "truncation": "disabled"}, {}),
        (MESSAGES, {"messages": [SAID]}, {"messages": [{**SAID, "content": [TEXT_PART]}]}),
        (MESSAGES, {"system": "a"}, {"system": [{**TEXT_PART, "citations": None}]}),
        (MESSAGES, {"tools": [CUSTOM]}, {"tools": [{**CUSTOM, "type": "custom"}]}),
        (
            MESSAGES,
            {"messages": [{"role": "user", "content": [BLOCK_RESULT]}]},
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{**BLOCK_RESULT, "content": [TEXT_PART], "is_error": False}],
                    }
                ]
            },
        ),
    ],
)
def test_a_default_is_the_same_spelled_out(kind: defaults.Kind, asked: Any, found: Any) -> None:
    assert changed(asked, found, NONE, kind) is None
    assert changed(found, asked, NONE, kind) is None


@pytest.mark.parametrize(
    ("kind", "asked", "found", "pointer"),
    [
        (RESPONSES, {"input": [SAID]}, {"input": [{**ITEM, "x_note": None}]}, "/input/0/x_note"),
        (RESPONSES, {"input": [SAID]}, {"input": [{**ITEM, "content": "b"}]}, "/input/0/content"),
        (RESPONSES, {"store": False}, {}, "/store"),
        (RESPONSES, {"x_type": {"type": "message"}}, {"x_type": {}}, "/x_type/type"),
        (CHATS, {"n": 1}, {"n": 2}, "/n"),
        (CHATS, {"presence_penalty": 0.5}, {}, "/presence_penalty"),
        (CHATS, {"temperature": 0}, {}, "/temperature"),
        (CHATS, {"x_unknown": [None, {"a": None}]}, {"x_unknown": [None, {}]}, "/x_unknown/1/a"),
        (MESSAGES, {"system": [EXTRA]}, {"system": "a"}, "/system"),
        (MESSAGES, {"system": [EXTRA]}, {"system": [TEXT_PART]}, "/system"),
        (MESSAGES, {"system": [TEXT_PART, TEXT_PART]}, {"system": "aa"}, "/system"),
        (
            MESSAGES,
            {"messages": [{"role": "user", "content": [{**BLOCK_RESULT, "is_error": True}]}]},
            {"messages": [{"role": "user", "content": [BLOCK_RESULT]}]},
            "/messages/0/content/0/is_error",
        ),
    ],
)
def test_what_is_no_default_is_not_lost(
    kind: defaults.Kind, asked: Any, found: Any, pointer: str
) -> None:
    differs = changed(asked, found, NONE, kind)
    assert differs is not None
    assert differs.pointer == pointer


def test_a_body_that_is_no_json_has_no_value() -> None:
    assert read(b"") is MISSING
    assert read(None) is MISSING
    assert read(b'{"a":') is MISSING
    assert read(b"[" * 100_000) is MISSING


@pytest.mark.parametrize(
    ("path", "its"),
    [
        ("/v1/chat/completions", ("openai", "chat")),
        ("/agents/v1/completions?a=b", ("openai", "completions")),
        ("/api/chat/", ("ollama", "chat")),
        ("/v1/models", ("", "")),
    ],
)
def test_a_path_tells_the_dialect(path: str, its: tuple[str, str]) -> None:
    assert dialect_of(path) == its


OPENAI = {
    "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}],
    "max_tokens": 64,
    "temperature": 0.5,
    "stop": "x",
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
}
OLLAMA: dict[str, Any] = {
    "messages": [{"role": "user", "content": "a\n\nb"}],
    "options": {"num_predict": 64, "temperature": 0.5, "stop": ["x"]},
    "tools": OPENAI["tools"],
}


def options(**change: Any) -> dict[str, Any]:
    return {**OLLAMA, "options": {**OLLAMA["options"], **change}}


@pytest.mark.parametrize(
    ("arrived", "pointer"),
    [
        (OLLAMA, None),
        (options(temperature=None), None),
        (options(temperature=0.1), "/temperature"),
        (options(num_predict=None), "/max_tokens"),
        (options(num_predict=32), "/max_tokens"),
        ({**OLLAMA, "tools": []}, "/tools/0"),
        ({**OLLAMA, "messages": [{"role": "user", "content": "b\n\na"}]}, "/messages"),
        ({**OLLAMA, "messages": OLLAMA["messages"] * 2}, None),
        ({**OLLAMA, "system": "a", "messages": [{"role": "user", "content": "b"}]}, None),
        ({**OLLAMA, "messages": [{"content": [{"text": "a"}, {"text": "b"}]}]}, None),
        ({}, "/messages"),
    ],
)
def test_what_survives_a_translation(arrived: dict[str, Any], pointer: str | None) -> None:
    differs = lost(OPENAI, arrived, NONE)
    assert (differs.pointer if differs else None) == pointer


def test_a_dialect_without_a_choice_of_none_is_sent_no_tools() -> None:
    assert lost({**OPENAI, "tool_choice": "none"}, {**OLLAMA, "tools": []}, NONE) is None
    assert lost({**OPENAI, "tool_choice": "none"}, OLLAMA, NONE) is None


@settings(max_examples=100, derandomize=True, database=None)
@given(st.dictionaries(st.sampled_from(["messages", "tools", "options", "prompt", "stop"]), VALUES))
def test_any_body_has_a_meaning(body: dict[str, Any]) -> None:
    meaning(body)


# -- request/body -------------------------------------------------------------------------------


def bodied(change: Callable[[dict[str, Any]], dict[str, Any]], **more: Any) -> Start:
    start = Start()
    sent_on(start, bodies(start, 0), 1, change(dict(ARRIVED)), **more)
    return start


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda body: {key: value for key, value in body.items() if key != name}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (dict, HELD),
        (lambda body: {**body, "seed": BIG - 1}, VIOLATED),
        (lambda body: {**body, "messages": body["messages"][::-1]}, VIOLATED),
        (without("temperature"), VIOLATED),
        (without("x_unknown"), VIOLATED),
        (without("stream_options"), VIOLATED),
        (lambda body: {**body, "x_unknown": {"deep": [1, {}]}}, VIOLATED),
        (lambda body: {**body, "temperature": 0.0}, HELD),
    ],
)
def test_every_field_arrives_as_it_was_sent(
    change: Callable[[dict[str, Any]], dict[str, Any]], expected: Outcome
) -> None:
    assert judged("request/body", bodied(change)).outcome is expected


def test_a_declared_rewrite_is_none() -> None:
    start = bodied(lambda body: {**body, "seed": BIG - 1})
    assert judged("request/body", start, promises=promising(rewrites=("seed",))).outcome is HELD


def test_a_body_that_is_no_json_at_its_provider_is_another() -> None:
    start = Start()
    sent_on(start, bodies(start, 0), 1, json.dumps(ARRIVED).encode()[:-9])
    assert judged("request/body", start).outcome is VIOLATED


def test_an_agent_writes_its_own_prompts() -> None:
    start = Start()
    asked = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    own = {"model": "m", "messages": [{"role": "user", "content": "Say hello, kindly."}]}
    sent_on(start, bodies(start, 0, PLAIN), 1, own, asked=asked)
    sent_on(start, bodies(start, 5), 6, own)
    assert judged("request/body", start).outcome is NOT_APPLICABLE
    start = Start()
    sent_on(start, bodies(start, 0, PLAIN), 1, {**asked, "messages": []}, asked=asked)
    assert judged("request/body", start).outcome is VIOLATED


def test_a_route_that_was_not_asked_is_not_held() -> None:
    start = bodied(dict)
    result = judged("request/body", start, routes=ROUTES)
    assert (result.outcome, "openai:stream, ollama:chat" in result.reason) == (UNCLEAR, True)


def test_a_refused_body_is_said_and_no_violation() -> None:
    start = bodied(dict)
    sent_on(start, bodies(start, 9), 10, client={"status": 422})
    result = judged("request/body", start)
    assert (result.outcome, f"{KNOWN} 422 refused" in result.summary) == (HELD, True)


REFUSED = {"outcome": "refused", "status": 413}
CUT = {"outcome": "failed", "status": None}


@pytest.mark.parametrize(
    ("clients", "most", "expected"),
    [
        ([{}], None, HELD),
        ([REFUSED], None, UNCLEAR),
        ([REFUSED, REFUSED], None, VIOLATED),
        ([CUT, CUT], None, VIOLATED),
        ([{"outcome": "refused", "status": 429}] * 2, None, UNCLEAR),
        ([{"outcome": "refused", "status": 503}] * 2, None, UNCLEAR),
        ([CUT, {}], None, HELD),
        ([{"outcome": "timed_out", "status": None}] * 2, None, UNCLEAR),
        ([REFUSED, REFUSED], 100, HELD),
        ([REFUSED, REFUSED], 1_000_000, VIOLATED),
    ],
)
def test_a_large_body_reaches_its_provider_or_is_beyond_what_is_declared(
    clients: list[dict[str, Any]], most: int | None, expected: Outcome
) -> None:
    start = bodied(dict)
    part = next(iter(LARGE_BODIES))
    for at, client in enumerate(clients):
        arrived = [] if client else [ARRIVED]
        sent_on(start, bodies(start, 10.0 * at, part), 10.0 * at + 1, *arrived, client=client)
    promises = promising(max_body_bytes=most)
    assert judged("request/body", start, promises=promises).outcome is expected


@pytest.mark.parametrize(
    ("mode", "stream", "expected"),
    [("chat", False, HELD), ("stream", True, HELD), ("chat", True, VIOLATED),
     ("stream", False, VIOLATED)],
)  # fmt: skip
def test_the_stream_flag_should_be_the_clients(mode: Any, stream: bool, expected: Outcome) -> None:
    start = Start()
    sent_on(start, bodies(start, 0), 1, ARRIVED, mode=mode, stream=stream)
    routes = (ROUTES[0].__class__(name="openai", front="openai", modes=(mode,), implied=False),)
    result = judged("request/stream-flag", start, routes=routes)
    assert (result.outcome, result.kind) == (expected, Kind.SHOULD)


# -- request/headers ----------------------------------------------------------------------------


def headed(*arrived: tuple[str, str], answer: Any = ((), ()), part: str = "headers") -> Start:
    start = Start()
    fields = (CLIENTS, (("host", "elsewhere"), *arrived))
    sent_on(start, bodies(start, 0, part), 1, ARRIVED, fields=fields, answer=answer)
    # Their requests share the Host of the stories: the provider has its own here.
    (call,) = (line for line in start.evidence if hasattr(line, "request"))
    kept = tuple(field for field in call.request.fields if field != ("Host", "127.0.0.1"))
    request = call.request.__class__(
        method=call.request.method,
        target=call.request.target,
        version="1.1",
        fields=kept,
        body=call.request.body,
    )
    start.evidence[start.evidence.index(call)] = call.__class__(
        provider=call.provider, call=call.call, request=request, response=call.response
    )
    return start


CODED = (("content-encoding", "gzip"),)


@pytest.mark.parametrize(
    ("arrived", "promises", "fault"),
    [
        (OWN, {}, ""),
        ((), {}, ""),
        ((), {"trace": True}, "traceparent"),
        (OWN, {"trace": True}, ""),
        ((CLIENTS[0],), {}, "the client's cookie was forwarded in cookie"),
        ((CLIENTS[0],), {"keys": "passthrough"}, ""),
        ((("x-forwarded-for", "203.0.113.77, 10.0.0.1"),), {}, "x-forwarded-for"),
        ((("x-original", "203.0.113.77"),), {}, "forwarded in x-original"),
        ((CLIENTS[3],), {}, "x-routerspec-hop is for one connection only"),
        ((CLIENTS[3],), {"keys": "passthrough"}, ""),
        ((("host", "127.0.0.1"),), {}, ""),
        ((("Host", " 127.0.0.1"),), {}, ""),
    ],
)
def test_headers_of_the_client_stay_with_the_router(
    arrived: tuple[tuple[str, str], ...], promises: dict[str, Any], fault: str
) -> None:
    result = judged("request/headers", headed(*arrived), promises=promising(**promises))
    if arrived and arrived[0][0] == "host":
        fault = "Host is the router's own address"
    assert result.outcome is (VIOLATED if fault else HELD)
    assert fault in result.summary


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((CODED, ()), VIOLATED),
        ((CODED, CODED), VIOLATED),
        (((), ()), HELD),
        (((("content-encoding", "identity"),), ()), HELD),
    ],
)
def test_a_coded_answer_keeps_its_coding_or_loses_it(answer: Any, expected: Outcome) -> None:
    assert judged("request/headers", headed(answer=answer)).outcome is expected


def test_headers_that_were_not_sent_are_not_held() -> None:
    assert judged("request/headers", headed(part=KNOWN), promises=TRACED).outcome is UNCLEAR


# -- request/retry ------------------------------------------------------------------------------


def retried(*arrived: Any, statuses: tuple[int, ...] = (503, 200), **more: Any) -> Start:
    start = Start()
    number = start.round("request-retries", 0, 20, part="a refusal")
    sent_on(start, number, 1, *arrived, statuses=statuses, **more)
    return start


@pytest.mark.parametrize(
    ("again", "promises", "expected"),
    [
        (ARRIVED, {}, HELD),
        ({**ARRIVED, "metadata": {"attempt": 2}, "user": "x"}, {}, HELD),
        ({**ARRIVED, "seed": 1}, {}, VIOLATED),
        ({**ARRIVED, "seed": 1}, {"rewrites": ("seed",)}, HELD),
        ({**ARRIVED, "model": "other"}, {}, VIOLATED),
        ({**ARRIVED, "model": "other"}, {"rewrites": ("model",)}, HELD),
        (json.dumps(ARRIVED).encode()[:100], {}, VIOLATED),
    ],
)
def test_a_retry_is_the_same_request(
    again: Any, promises: dict[str, Any], expected: Outcome
) -> None:
    start = retried(ARRIVED, again)
    for line in start.evidence:
        if hasattr(line, "model") and isinstance(again, bytes):
            start.changed(line, model="fake-chat")
    assert judged("request/retry", start, promises=promising(**promises)).outcome is expected


@pytest.mark.parametrize(
    ("again", "status", "expected"),
    [
        (TRANSLATED, 200, HELD),
        ({**TRANSLATED, "options": {"temperature": 0.1}}, 200, VIOLATED),
        ({**TRANSLATED, "options": {}}, 200, HELD),
        ({**TRANSLATED, "messages": []}, 200, VIOLATED),
        ({**TRANSLATED, "model": "llama"}, 200, HELD),
        ({**TRANSLATED, "model": "openai/gpt"}, 404, VIOLATED),
    ],
)
def test_a_fallback_has_what_was_asked_and_a_model_of_its_provider(
    again: Any, status: int, expected: Outcome
) -> None:
    start = retried(ARRIVED, again, providers=("openai", "ollama"), statuses=(503, status))
    assert judged("request/retry", start).outcome is expected


def test_one_empty_call_proves_nothing_and_two_do() -> None:
    start = retried(ARRIVED, None, statuses=(503, 400))
    assert judged("request/retry", start).outcome is HELD
    sent_on(start, 1, 5, ARRIVED, None, statuses=(503, 400))
    assert judged("request/retry", start).outcome is VIOLATED


@pytest.mark.parametrize(
    ("promises", "expected"),
    [({}, NOT_APPLICABLE), ({"retries": Retries(max=0)}, NOT_APPLICABLE),
     ({"retries": Retries(max=1)}, UNCLEAR)],
)  # fmt: skip
def test_without_a_retry_there_is_nothing_to_compare(
    promises: dict[str, Any], expected: Outcome
) -> None:
    start = retried(ARRIVED, statuses=(503,))
    assert judged("request/retry", start, promises=promising(**promises)).outcome is expected


# -- cache/answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "pair", "expected"),
    [
        ("max_tokens", {"calls": 1}, VIOLATED),
        ("key", {"calls": 1}, VIOLATED),
        ("key", {"calls": 1, "outcome": "refused", "status": 401}, HELD),
        ("an error", {"calls": 1, "status": 500}, VIOLATED),
        ("an error", {"calls": 2, "status": 500}, HELD),
        ("a cut stream", {"calls": 1, "mode": "stream", "cut": True}, VIOLATED),
        ("a cut stream", {"calls": 1, "mode": "stream", "cut": True, "error": "x"}, HELD),
        ("then a stream", {"calls": 1, "then": "stream"}, VIOLATED),
        ("then a stream", {"calls": 1, "then": "stream", "events": True}, HELD),
        ("then a whole answer", {"calls": 1, "mode": "stream", "then": "chat"}, HELD),
    ],
)
def test_a_cached_answer_is_for_the_same_request_alone(
    part: str, pair: dict[str, Any], expected: Outcome
) -> None:
    start = Start()
    twice(start, 0, CACHE_REPEAT, calls=1)
    twice(start, 5, part, **pair)
    assert judged("cache/answers", start, promises=CACHING).outcome is expected
    assert judged("cache/answers", start).outcome is expected


@pytest.mark.parametrize(
    ("calls", "promised", "expected"),
    [(2, False, NOT_APPLICABLE), (2, True, UNCLEAR), (1, False, HELD), (1, True, HELD)],
)
def test_a_cache_is_judged_where_it_is_promised_or_seen(
    calls: int, promised: bool, expected: Outcome
) -> None:
    start = Start()
    twice(start, 0, CACHE_REPEAT, calls=calls)
    promises = promising(response_cache=promised)
    assert judged("cache/answers", start, promises=promises).outcome is expected


# -- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "errors", "expected"),
    [
        ((200, 200, 200), CLIENT_ERRORS, HELD),
        ((503, 503, 503), CLIENT_ERRORS, VIOLATED),
        ((503, 503, 503), 5, VIOLATED),
        ((429, 429, 429), CLIENT_ERRORS, UNCLEAR),
        ((503, 503, 200), CLIENT_ERRORS, HELD),
        ((503, 503), CLIENT_ERRORS, UNCLEAR),
        ((200, 200, 200), 5, UNCLEAR),
        ((503, 503, 503), 0, UNCLEAR),
    ],
)
def test_a_clients_error_refuses_no_good_request(
    after: tuple[int, ...], errors: int, expected: Outcome
) -> None:
    start = Start()
    bad_clients(start, 0, after=after, errors=errors)
    assert judged("errors/client-errors", start).outcome is expected


@pytest.mark.parametrize("part", ["before", "control"])
def test_a_router_that_refuses_without_any_error_has_another_limit(part: str) -> None:
    start = Start()
    bad_clients(start, 0, after=(503, 503, 503))
    number = start.round("client-errors", 20, 30, part=part, route="openai", mode="chat")
    start.exchange(number, sent=21, end=22)
    assert judged("errors/client-errors", start).outcome is VIOLATED
    start.client(start.nonce(), number, sent=23, end=24, outcome="refused", status=503, error="{}")
    result = judged("errors/client-errors", start)
    assert (result.outcome, "another limit" in result.reason) == (UNCLEAR, True)


def test_a_translated_retry_says_all_of_it_again() -> None:
    asked = {**ASKED, "max_tokens": 64}
    both = {**TRANSLATED, "format": "json"}
    for again, expected in ((both, HELD), (TRANSLATED, VIOLATED)):
        start = retried(both, again, asked=asked, name="ollama")
        assert judged("request/retry", start).outcome is expected


@pytest.mark.parametrize(
    ("failed_at", "recovery_s", "expected"),
    [(9.5, 0.0, UNCLEAR), (-70.0, 0.0, VIOLATED), (9.5, 5.0, UNCLEAR), (-3.0, 5.0, VIOLATED)],
)
def test_a_breaker_may_be_open_after_a_failure_of_the_provider(
    failed_at: float, recovery_s: float, expected: Outcome
) -> None:
    start = Start()
    bad_clients(start, 0, after=(503, 503, 503))
    start.call(start.nonce(), read=failed_at, end=failed_at + 0.1, status=502)
    promises = promising(recovery_s=recovery_s)
    result = judged("errors/client-errors", start, promises=promises)
    assert result.outcome is expected
    assert ("circuit breaker" in result.reason) == (expected is UNCLEAR)


@pytest.mark.parametrize(
    ("told", "client", "expected"),
    [
        ("2", {}, HELD),
        ("60", {"status": 503}, HELD),
        ("1", {}, HELD),
        ("0", {}, VIOLATED),
        ("", {}, VIOLATED),
        ("soon", {}, VIOLATED),
        ("Wed, 21 Oct 2026 07:28:00 GMT", {}, HELD),
        ("", {"status": 400}, NOT_APPLICABLE),
        ("", {"outcome": "failed", "status": None}, UNCLEAR),
    ],
)
def test_a_busy_providers_retry_after_should_be_told(
    told: str, client: dict[str, Any], expected: Outcome
) -> None:
    start = Start()
    busy(start, start.round("provider-busy", 0, 9), 1, told, **client)
    result = judged("errors/retry-after", start)
    assert (result.outcome, result.kind) == (expected, Kind.SHOULD)
    if expected is VIOLATED:
        verdict = judge.judge(run_of(start, selected=("errors/retry-after",)))
        assert verdict.outcome is Standing.DISCOURAGED
