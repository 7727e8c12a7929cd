"""Checks on routes of the fronts that agents speak, and on tool calls."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from routerspec.judge.judge import judge
from routerspec.limits import LEFT_ONE_PIECE, LEFT_STREAM
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Snapshot
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import LIMIT, Start, route, run_of
from tests.corpus.stories.agents import ROUTES
from tests.corpus.stories.answers import answers
from tests.corpus.stories.faulty_providers import at_rest, begun, cut_short, ended, failed
from tests.corpus.stories.limits import left_in


def judged(check: str, start: Start, **info: Any) -> CheckResult:
    (result,) = judge(run_of(start, selected=(check,), **{"routes": ROUTES} | info)).checks
    return result


@pytest.mark.parametrize(
    ("finish", "done"),
    [("end_turn", True), ("tool_use", False), ("completed", True), (None, True)],
)
@pytest.mark.parametrize("mode", ["stream", "tools"])
def test_the_good_ends_of_every_dialect_claim_success(
    finish: str | None, done: bool, mode: Any
) -> None:
    start = Start()
    number = start.round("cut-stream", 0, 60)
    nonce = start.nonce()
    call = cut_short(start, nonce, 1.1, ended_by="cut", provider="anthropic")
    client = start.client(
        nonce, number, sent=1, end=2, text=begun(nonce, call), route="claude", mode=mode
    )
    ended(start, client, finish=finish, done=done)
    result = judged("answers/cut-is-no-success", start)
    assert result.outcome is Outcome.VIOLATED
    assert f"claude:{mode}" in result.summary


def test_two_attempts_in_the_arguments_of_one_call_are_mixed() -> None:
    start = Start()
    number = start.round("cut-stream", 0, 60)
    nonce = start.nonce()
    first = cut_short(start, nonce, 1.1, ended_by="cut")
    call = start.call(nonce, read=1.3, end=1.4, stream=True)
    text = begun(nonce, first) + '{"text":"' + start.whole(nonce, call)
    start.client(nonce, number, sent=1, end=2, text=text, route="responses", mode="tools")
    assert judged("answers/no-replay", start).outcome is Outcome.VIOLATED


@pytest.mark.parametrize(("unframed", "expected"), [(True, Outcome.VIOLATED), (False, None)])
@pytest.mark.parametrize("mode", ["stream", "tools"])
def test_an_error_in_a_stream_counts_where_its_clients_see_it(
    unframed: bool, expected: Outcome | None, mode: str
) -> None:
    start = Start()
    number = start.round("upstream-error", 0, 60)
    failed(
        start, number, 1, route="claude", mode=mode, outcome="answered", status=200,
        error="overloaded", unframed_error=unframed,
    )  # fmt: skip
    result = judged("answers/error-is-error", start)
    assert (result.outcome is Outcome.VIOLATED) is bool(expected)


@pytest.mark.parametrize("check", ["answers/own", "answers/whole"])
def test_a_tool_call_with_anothers_text_or_without_its_own_is_a_violation(check: str) -> None:
    start = Start()
    number = answers(start)
    nonce = start.nonce()
    call = start.call(nonce, read=30, end=30.1, provider="anthropic", stream=True)
    text = start.whole(nonce, call).replace(f"{nonce}@anthropic-1#2 ", "")
    text = "3@openai-3#0 " if check == "answers/own" else text
    start.client(
        nonce, number, sent=30, end=30.2, text=text, route="claude", mode="tools", finish="tool_use"
    )
    assert judged(check, start).outcome is Outcome.VIOLATED


def test_a_tool_call_that_comes_with_its_last_fragment_accuses_nobody() -> None:
    start = Start()
    for begin in (0, 5, 10):
        at_rest(start, begin, first=2.15, name="claude")
    for index, record in enumerate(start.observations):
        if hasattr(record, "mode"):
            start.observations[index] = msgspec.structs.replace(record, mode="tools")
    for begin, name in ((20, "claude"), (25, "responses")):
        at_rest(start, begin, first=0.2, rest=0.3, name=name)
    result = judged("answers/incremental", start)
    assert result.outcome is Outcome.HELD
    assert "arguments of tool calls do not: claude:tools" in result.summary


@pytest.mark.parametrize(
    ("provider", "phases", "expected"),
    [
        ("openai", LEFT_STREAM, Outcome.HELD),
        ("openai", LEFT_ONE_PIECE, Outcome.INCONCLUSIVE),
        ("ollama", LEFT_ONE_PIECE, Outcome.HELD),
        ("ollama", LEFT_ONE_PIECE[:-1], Outcome.INCONCLUSIVE),
    ],
)
def test_a_tool_call_of_ollama_has_no_phases_between_pieces(
    provider: str, phases: tuple[str, ...], expected: Outcome
) -> None:
    start = Start()
    for number, phase in enumerate(phases):
        left_in(start, 10 * number, phase, mode="tools")
    _of(provider, start)
    promises, routes = Promises(cap=Cap(limit=LIMIT)), (route("openai", "tools"),)
    assert judged("cap/hang-ups", start, promises=promises, routes=routes).outcome is expected


def _of(provider: str, start: Start) -> None:
    """All calls of the start are this provider's."""
    for records in (start.evidence, start.observations):
        for index, record in enumerate(records):
            if hasattr(record, "provider"):
                records[index] = msgspec.structs.replace(record, provider=provider)
            if isinstance(record, Snapshot):
                held = tuple(msgspec.structs.replace(h, provider=provider) for h in record.held)
                opened = {provider: sum(record.open.values())}
                records[index] = msgspec.structs.replace(record, held=held, open=opened)


def test_where_no_call_was_made_the_target_says_whose_pieces_come_whole() -> None:
    result = judged("cap/hang-ups", Start(), routes=(route("o", "tools", provider="ollama"),))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "after-piece-n" not in result.reason


def test_529_counts_where_503_is_promised() -> None:
    assert Cap(limit=2).rejections == (429, 503, 529)
    assert Cap(limit=2, reject_status=(429,)).rejections == (429,)
    assert Cap(limit=2, reject_status=(529, 503)).rejections == (529, 503)
