"""answers/*: whose text an answer has, and whether it is complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fake_providers.prompt import directives
from routerspec.judge import judge
from routerspec.promises import Cap, Promises
from routerspec.records.run import Incident
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import Start, run_of
from tests.corpus.stories.answers import answers

REJECTING = Promises(cap=Cap(limit=2, overload="reject"))


def judged(check: str, start: Start, **info: Any) -> CheckResult:
    return judge.judge(run_of(start, selected=(check,), **info)).checks[0]


def answered(
    change: Callable[[str, int], str] = lambda text, nonce: text,
    call: dict[str, Any] | None = None,
    **client: Any,
) -> Start:
    """Twenty good answers, and one that is changed."""
    start = Start()
    number = answers(start)
    nonce = start.nonce()
    made = start.call(nonce, **{"read": 30, "end": 30.1} | (call or {}))
    text = change(start.whole(nonce, made), nonce)
    fields: dict[str, Any] = {"sent": 30, "end": 30.2, "text": text} | client
    start.client(nonce, number, **fields)
    return start


def gap(text: str, nonce: int) -> str:
    return text.replace(f"{nonce}@openai-{nonce}#1 ", "")


def test_the_example_is_what_it_says() -> None:
    start = answered()
    assert start.observations[-1].text.startswith("21@openai-21#0 21@openai-21#1 ")
    result = judged("answers/whole", start)
    assert (result.outcome, result.numbers["compared"]) == (Outcome.HELD, 21)


@pytest.mark.parametrize(
    "change",
    [
        gap,
        lambda text, _: text[: text.rindex(" ")],
        lambda text, n: text.replace("#1 ", f"#1 {n}@openai-{n}#1 "),
        lambda text, n: text.replace(
            f"{n}@openai-{n}#1 {n}@openai-{n}#2", f"{n}@openai-{n}#2 {n}@openai-{n}#1"
        ),
        lambda text, _: text + " " + text,
        lambda text, n: f"{n}@openai-{n}#0 " + text,
        lambda text, _: text.replace(" ", ""),
        lambda text, _: text.replace("#end4-", "#end3-"),
        lambda _, __: "",
        lambda _, __: "Hello.",
    ],
    ids=[
        "gap",
        "no-end",
        "doubled",
        "swapped",
        "twice",
        "replayed",
        "glued",
        "wrong-count",
        "empty",
        "other",
    ],
)
def test_an_answer_other_than_its_provider_sent(change: Callable[[str, int], str]) -> None:
    result = judged("answers/whole", answered(change))
    assert result.outcome is Outcome.VIOLATED
    assert result.witness is not None
    assert any("fake openai call 21" in fact for fact in result.witness.facts)


@pytest.mark.parametrize(
    "change",
    [
        lambda text, _: text,
        lambda text, _: f"  {text}\n",
        lambda text, _: f"Sources: [1] rules\n\n{text}",
    ],
)
def test_text_around_a_whole_answer_is_the_routers_own(
    change: Callable[[str, int], str],
) -> None:
    assert judged("answers/whole", answered(change)).outcome is Outcome.HELD


@pytest.mark.parametrize(
    ("call", "client"),
    [
        ({"ended_by": "cut"}, {}),
        ({"status": 500}, {}),
        ({"ended_by": "shutdown"}, {}),
        ({}, {"outcome": "hung_up", "hang_up": 30.15}),
    ],
)
def test_unfinished_and_abandoned_answers_are_left_out(
    call: dict[str, Any], client: dict[str, Any]
) -> None:
    assert judged("answers/whole", answered(gap, call, **client)).outcome is Outcome.HELD


@pytest.mark.parametrize(
    "client",
    [{"outcome": "timed_out", "status": None}, {"text": "embedding:?", "mode": "embeddings"}],
)
def test_an_undecidable_answer_is_inconclusive(client: dict[str, Any]) -> None:
    result = judged("answers/whole", answered(gap, **client))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "nonce 21" in result.reason


def test_a_stream_without_a_finish_marker_claims_nothing() -> None:
    start = answered(gap, finish=None)
    start.observations[-1] = msgspec.structs.replace(start.observations[-1], done=False)
    assert judged("answers/whole", start).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("call", "client", "outcome"),
    [
        ({}, {"outcome": "refused", "status": 502}, Outcome.VIOLATED),
        ({}, {"outcome": "failed"}, Outcome.VIOLATED),
        ({}, {"outcome": "failed", "end": 30.05}, Outcome.HELD),
        ({"family": "embeddings"}, {"outcome": "refused", "status": 502}, Outcome.HELD),
        ({"pieces": 0}, {"outcome": "refused", "status": 502}, Outcome.HELD),
        ({"status": 500}, {"outcome": "refused", "status": 502}, Outcome.HELD),
        ({"ended_by": "cut"}, {"outcome": "failed"}, Outcome.HELD),
    ],
    ids=["refused", "failed", "failed-before", "embedding", "tool-call", "error", "cut"],
)
def test_a_client_whose_answer_was_there(
    call: dict[str, Any], client: dict[str, Any], outcome: Outcome
) -> None:
    assert judged("answers/whole", answered(call=call, **client)).outcome is outcome


def test_a_router_that_died_took_its_answers_with_it() -> None:
    start = answered(outcome="failed")
    start.incidents = (Incident(whose="router", text="it ended", at_ns=1),)
    start.finished, start.router_exit = False, 1
    assert judged("answers/whole", start).outcome is Outcome.INCONCLUSIVE


def test_an_agent_may_be_refused_its_second_call() -> None:
    start = answered(route="agent", outcome="refused", status=429)
    assert judged("answers/whole", start, promises=REJECTING).outcome is Outcome.VIOLATED
    nonce = start.nonce()
    for body in ("01", "02"):
        call = start.call(nonce, read=40, end=40.1, body=body)
    start.client(nonce, 1, sent=40, end=41, text=start.whole(nonce, call), route="agent")
    assert judged("answers/whole", start, promises=REJECTING).outcome is Outcome.HELD


@pytest.mark.parametrize("outcome", ["answered", "failed", "hung_up", "timed_out"])
def test_another_clients_text_is_never_ones_own(outcome: Any) -> None:
    start = answered(lambda _, __: "3@openai-3#0 ", outcome=outcome)
    result = judged("answers/own", start)
    assert result.outcome is Outcome.VIOLATED
    assert result.witness is not None
    assert result.witness.sentence == "The client of nonce 21 received text made for nonce 3."


@pytest.mark.parametrize(
    "text",
    [
        "21@openai-21#021@openai-21#1",
        "3@openai-4#0 ",
        "99@openai-99#0 ",
        "3@ollama-3#0 ",
        "@openai-3#0",
        "embedding:99",
        "I was told of nonce 3.",
    ],
)
def test_digits_that_no_call_matches_do_not_accuse(text: str) -> None:
    assert judged("answers/own", answered(lambda _, __: text)).outcome is Outcome.HELD


def test_a_batch_belongs_to_all_of_its_clients() -> None:
    start = Start()
    number = answers(start)
    nonces = [start.nonce(), start.nonce()]
    call = start.call(*nonces, read=30, end=30.1)
    for nonce in nonces:
        start.client(nonce, number, sent=30, end=30.2, text=start.whole(nonces[0], call))
    assert judged("answers/own", start).outcome is Outcome.HELD


def test_an_embedding_of_another() -> None:
    start = answered(lambda _, __: "embedding:3", {"family": "embeddings"}, mode="embeddings")
    assert judged("answers/own", start).outcome is Outcome.VIOLATED


def forged(text: str, **client: Any) -> CheckResult:
    """Twenty good answers, and one to a client for whom no provider was called."""
    start = Start()
    number = answers(start)
    nonce = start.nonce()
    start.client(nonce, number, sent=30, end=30.2, text=text, **client)
    return judged("answers/own", start)


@pytest.mark.parametrize(("provider", "call"), [("openai", 99), ("openai", 3), ("cloud", 1)])
def test_a_whole_answer_that_no_provider_gave_is_nobodys_own(provider: str, call: int) -> None:
    result = forged(directives.answer(Start().token, 21, provider, call, 4))
    assert (result.outcome, result.summary) == (
        Outcome.VIOLATED,
        "an answer that no provider gave",
    )
    assert result.witness is not None
    assert "calls of nonce 21 at any provider: 0" in result.witness.facts


def test_an_embedding_that_no_provider_gave() -> None:
    assert forged("embedding:21", mode="embeddings").outcome is Outcome.VIOLATED


@pytest.mark.parametrize(
    "text",
    [
        "Hello!",
        "21@openai-99#0 21@openai-99#1 ",
        "21@openai-99#0 21@openai-99#end1-00000000",
        "embedding:?",
    ],
)
def test_text_of_no_provider_neither_accuses_nor_holds(text: str) -> None:
    result = forged(text)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "no provider was called for it (nonce 21" in result.reason


@pytest.mark.parametrize(
    "client", [{"text": ""}, {"text": "x", "error": "overloaded"}, {"text": "", "status": 429}]
)
def test_a_client_that_got_no_text_has_no_answer(client: dict[str, Any]) -> None:
    if client.get("status") == 429:
        client["outcome"] = "refused"
    assert forged(**client).outcome is Outcome.HELD


def test_answers_of_no_call_are_not_compared() -> None:
    start = Start()
    number = answers(start, 19)
    nonce = start.nonce()
    start.call(nonce, read=30, end=30.1)
    start.client(nonce, number, sent=30, end=30.2, text=f"{nonce}@openai-99#0 ")
    assert "19 answers were compared" in judged("answers/own", start).reason


@pytest.mark.parametrize("check", ["answers/own", "answers/whole"])
def test_few_answers_are_no_exercise(check: str) -> None:
    start = Start()
    answers(start, 19)
    result = judged(check, start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "19" in result.reason
