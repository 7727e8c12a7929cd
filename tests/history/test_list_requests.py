"""The list requests of a start: what is found quickly is what looking at all of them finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from routerspec.history.list_requests import ListRequests
from routerspec.records.observations import ListObservation

times = st.integers(0, 12)


@st.composite
def requests(draw: st.DrawFn) -> list[ListObservation]:
    spans = draw(st.lists(st.tuples(times, times), max_size=12))
    return [
        ListObservation(
            request=number,
            round=1,
            started_ns=started,
            sent_ns=started,
            end_ns=end,
            outcome="answered",
            status=200,
            epochs={"openai": 1} if number % 2 else {},
            models=1,
            error="",
        )
        for number, (started, end) in enumerate(spans)
    ]


@given(requests(), times, st.one_of(st.none(), times))
def test_the_requests_found_are_those_of_all(
    some: list[ListObservation], after: int, before: int | None
) -> None:
    lists = ListRequests(some)
    assert list(lists) == some
    expected = [r for r in some if r.end_ns > after and (before is None or r.started_ns < before)]
    assert list(lists.by_end(after, before)) == sorted(expected, key=lambda r: r.end_ns)
    if before is not None:
        assert lists.open_in(after, before) == expected
    assert lists.shown == ({"openai"} if len(some) > 1 else set())
