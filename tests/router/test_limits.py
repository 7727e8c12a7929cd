"""What a key may use, what a refusal says, and how many tokens an answer took."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from reference_router import sse
from reference_router.limits import LimitError, Limits
from reference_router.metering import Meter
from reference_router.settings import Settings


class Tried:
    """Limits at a time that only the test changes."""

    def __init__(self, **settings: Any) -> None:
        self.now = 100.0
        self.limits = Limits(Settings(window_s=10.0, **settings), lambda: self.now)

    def refused(self, key: str = "a") -> LimitError | None:
        try:
            self.limits.admit(key)
        except LimitError as error:
            return error
        return None


def test_so_many_requests_of_each_key_are_admitted_in_a_window() -> None:
    tried = Tried(requests_per_minute=2)
    assert not tried.refused()
    tried.now += 4.5
    assert not tried.refused()
    refused = tried.refused()
    assert refused is not None
    assert refused.status == 429
    assert dict(refused.headers) == {"retry-after": "6"}
    assert not tried.refused("b")
    tried.now += 6
    assert [bool(tried.refused()) for _ in range(3)] == [False, False, True]


def test_what_is_refused_costs_nothing_and_moves_no_window() -> None:
    tried = Tried(requests_per_minute=1)
    assert not tried.refused()
    for _ in range(9):
        tried.now += 1
        assert tried.refused()
    tried.now += 1
    assert not tried.refused()


def test_tokens_are_reserved_before_they_are_known() -> None:
    tried = Tried(tokens_per_minute=100)
    unknown = tried.limits.admit("a")
    assert tried.refused()
    unknown.settle(60)
    known = tried.limits.admit("a", 30)
    assert not tried.refused("b")
    known.settle(20)
    last = tried.limits.admit("a", 500)
    assert tried.refused()
    last.settle(500)
    assert tried.refused()
    tried.now += 10
    assert not tried.refused()


def test_a_budget_is_given_back_by_no_window() -> None:
    tried = Tried(budget=100)
    tried.limits.admit("a").settle(100)
    tried.now += 1000
    refused = tried.refused()
    assert refused is not None
    assert refused.headers == ()


def test_a_request_is_charged_in_the_window_in_which_it_was_admitted() -> None:
    tried = Tried(tokens_per_minute=100)
    early = tried.limits.admit("a", 90)
    tried.now += 10
    assert not tried.refused()
    early.settle(1000)
    assert tried.refused()  # for what the second one has reserved
    tried.now += 10
    assert not tried.refused()


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b'{"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}', 7),
        (b'{"usage": {"input_tokens": 3, "output_tokens": 4}}', 7),
        (b'{"response": {"usage": {"total_tokens": 5}}}', 5),
        (b'{"usage": null}', 0),
        (b'["usage"]', 0),
        (b'"usage', 0),
        (b'{"text": "usage"}', 0),
    ],
)
def test_what_an_answer_took_is_what_its_provider_told(body: bytes, tokens: int) -> None:
    meter = Meter()
    meter.read(body)
    assert meter.tokens == tokens


@pytest.mark.parametrize(("usage", "tokens"), [(None, 4), ({"total_tokens": 9}, 9)])
async def test_a_stream_took_as_many_as_it_has_events_unless_it_tells(
    usage: dict[str, int] | None, tokens: int
) -> None:
    rows = b"".join(sse.event({"choices": [n]}) for n in range(2))
    rows += b": a comment\n\n" + sse.event({"usage": usage}) + sse.DONE
    meter = Meter()

    async def body() -> AsyncGenerator[bytes, None]:
        for begin in range(0, len(rows), 7):
            yield rows[begin : begin + 7]

    assert b"".join([piece async for piece in meter.pieces(body())]) == rows
    assert meter.tokens == tokens
