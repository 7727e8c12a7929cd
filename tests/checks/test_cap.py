"""cap/* and slots/reached: which calls are counted, and what excludes a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fake_providers.records.evidence import Call
from routerspec.judge import judge
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Observation, Snapshot
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import LIMIT, Start, ns, route, run_of
from tests.corpus.stories.cap import load


def judged(start: Start, check: str = "cap/each-route", **info: Any) -> CheckResult:
    return judge.judge(run_of(start, selected=(check,), **info)).checks[0]


def three_held() -> tuple[Start, list[Call], list[int]]:
    """One more than the cap, provably: the smallest violation."""
    start = Start()
    _, calls, nonces = start.held_round("hold-head", 0, held=LIMIT + 1, settled=False)
    return start, calls, nonces


def change(start: Start, which: Callable[[Any], bool], **fields: Any) -> None:
    start.evidence = [
        msgspec.structs.replace(r, **fields) if which(r) else r for r in start.evidence
    ]
    start.observations = [
        msgspec.structs.replace(r, **fields) if which(r) else r for r in start.observations
    ]


def test_one_more_than_the_cap_held_in_two_snapshots_is_proof() -> None:
    start, calls, nonces = three_held()
    result = judged(start)
    assert result.outcome is Outcome.VIOLATED
    assert result.summary == "3 at once, cap 2: openai:chat"
    assert result.numbers == {"openai:chat": 3}
    assert result.witness is not None
    text = "\n".join(result.witness.facts)
    for call, nonce in zip(calls, nonces, strict=False):
        assert f"fake openai call {call.call} " in text
        assert f"nonce {nonce}:" in text
    assert "snapshot +0.800 s" in text
    assert "snapshot +1.100 s" in text
    assert "sent its request +0.100 s" in text


def _call(number: int) -> Callable[[Any], bool]:
    return lambda r: isinstance(r, Call) and r.call == number


def _client(nonce: int) -> Callable[[Any], bool]:
    return lambda r: isinstance(r, Observation) and r.nonce == nonce


@pytest.mark.parametrize(
    ("which", "fields"),
    [
        (_call(1), {"peer_closed_ns": ns(0.9), "ended_by": "peer"}),
        (_call(1), {"outer_end_ns": ns(1.05)}),
        (_call(1), {"read_ns": ns(0.81)}),
        (_call(1), {"run": "other"}),
        (_call(1), {"run": "", "nonces": ()}),
        (_client(1), {"end_ns": ns(1.1)}),
        (_client(1), {"hang_up_ns": ns(0.9), "outcome": "hung_up"}),
        (lambda r: isinstance(r, Snapshot) and r.at_ns == ns(1.1), {"waiting": (2, 3, 4, 5)}),
        (lambda r: isinstance(r, Snapshot) and r.at_ns == ns(1.1), {"held": ()}),
        (lambda r: isinstance(r, Snapshot) and r.at_ns == ns(1.1), {"asked_ns": ns(1.0)}),
    ],
    ids=[
        "closed-by-the-router",
        "ended-between-the-snapshots",
        "read-after-the-first-snapshot",
        "of-another-run",
        "without-a-nonce",
        "its-client-was-done",
        "its-client-hung-up",
        "its-client-did-not-wait",
        "held-in-one-snapshot-only",
        "snapshots-too-close",
    ],
)
def test_an_unproven_overlap_does_not_accuse(
    which: Callable[[Any], bool], fields: dict[str, Any]
) -> None:
    start, _, _ = three_held()
    change(start, which, **fields)
    assert judged(start).outcome is Outcome.INCONCLUSIVE


def test_a_client_without_a_record_does_not_accuse() -> None:
    start, _, _ = three_held()
    start.observations = [
        r for r in start.observations if not (isinstance(r, Observation) and r.nonce == 1)
    ]
    assert judged(start).outcome is Outcome.INCONCLUSIVE


def test_a_single_snapshot_keeps_the_cell_from_being_held() -> None:
    start, _, _ = three_held()
    start.observations = [
        r for r in start.observations if not (isinstance(r, Snapshot) and r.at_ns == ns(1.1))
    ]
    start.held_round("hold-head", 10)
    result = judged(start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "one snapshot showed 3 calls" in result.reason


def test_a_batch_is_one_call_and_several_requests() -> None:
    start = Start()
    number = start.round("hold-head", 0, 3, route="openai", mode="chat")
    nonces = [start.nonce() for _ in range(5)]
    batches = [nonces[:2], nonces[2:3]]
    calls = [start.call(*batch, read=0.2, end=1.6, held=True) for batch in batches]
    for nonce in nonces:
        start.client(nonce, number, sent=0.1, end=2)
    for at in (0.8, 1.1):
        start.snapshot(number, at, calls, nonces)
    start.release(number, 1.5, "gate", 2)
    assert judged(start).outcome is Outcome.HELD
    requests = Promises(cap=Cap(limit=LIMIT, counts="requests"))
    assert judged(start, promises=requests).outcome is Outcome.VIOLATED


def test_retries_of_one_request_are_calls_but_one_request() -> None:
    start = Start()
    number = start.round("hold-head", 0, 3, route="openai", mode="chat")
    nonces = [start.nonce() for _ in range(3)]
    calls = [start.call(n, read=0.2, end=1.6, held=True) for n in (nonces[0], *nonces[:2])]
    for nonce in nonces:
        start.client(nonce, number, sent=0.1, end=2)
    for at in (0.8, 1.1):
        start.snapshot(number, at, calls, nonces)
    start.release(number, 1.5, "gate", 3)
    assert judged(start).outcome is Outcome.VIOLATED
    requests = Promises(cap=Cap(limit=LIMIT, counts="requests"))
    assert judged(start, promises=requests).outcome is Outcome.HELD


def test_the_scope_decides_which_calls_are_added_up() -> None:
    start = Start()
    names = ("openai", "openai", "ollama", "ollama", "openai", "ollama")
    start.held_round("hold-across", 0, held=4, offered=6, routes=names)
    start.held_round("hold-across", 10, held=4, offered=6, routes=names, route="ollama")
    routes = (route("openai"), route("ollama"))

    def with_scope(scope: Any) -> Outcome:
        promises = Promises(cap=Cap(limit=LIMIT, scope=scope))
        return judged(start, "cap/across-routes", promises=promises, routes=routes).outcome

    assert with_scope("global") is Outcome.VIOLATED
    assert with_scope("key") is Outcome.VIOLATED
    assert with_scope("provider") is Outcome.NOT_APPLICABLE
    assert with_scope("process") is Outcome.NOT_APPLICABLE


def test_across_one_route_there_is_nothing() -> None:
    start = Start()
    start.held_round("hold-head", 0)
    start.round("hold-across", 10, 11, route="openai")
    assert judged(start, "cap/across-routes").outcome is Outcome.NOT_APPLICABLE


def test_every_expected_cell_must_have_been_full() -> None:
    start = Start()
    start.held_round("hold-head", 0)
    both = (route("openai", "chat", "stream"),)
    result = judged(start, routes=both)
    assert (result.outcome, result.reason) == (
        Outcome.INCONCLUSIVE,
        "never tried (openai:stream)",
    )
    start.held_round("hold-head", 10, mode="stream", held=1)
    result = judged(start, routes=both)
    assert "at most 1 of 2 slots were occupied at once" in result.reason


def test_all_slots_occupied_and_no_client_waiting_is_no_exercise() -> None:
    start = Start()
    start.held_round("hold-head", 0, offered=LIMIT)
    assert judged(start).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("status", "end", "outcome"),
    [
        (429, 0.6, Outcome.HELD),
        (503, 0.6, Outcome.HELD),
        (500, 0.6, Outcome.INCONCLUSIVE),
        (429, 2.0, Outcome.INCONCLUSIVE),
    ],
)
def test_a_refusal_with_a_promised_status_shows_saturation(
    status: int, end: float, outcome: Outcome
) -> None:
    start = Start()
    number, _, _ = start.held_round("hold-head", 0, offered=LIMIT)
    start.client(start.nonce(), number, sent=0.5, end=end, outcome="refused", status=status)
    promises = Promises(cap=Cap(limit=LIMIT, overload="reject"))
    assert judged(start, promises=promises).outcome is outcome


def test_a_start_without_a_cap_is_not_held_to_one() -> None:
    start = Start(cap=None)
    start.held_round("hold-head", 0, held=4, settled=False)
    assert judged(start).outcome is Outcome.INCONCLUSIVE


def test_streams_that_are_no_streams_upstream_are_left_out() -> None:
    start = Start()
    start.held_round("hold-first", 0, mode="stream", held=0)
    change(start, lambda r: isinstance(r, Call), stream=False)
    result = judged(start, "cap/streams", routes=(route("openai", "stream"),))
    assert result.outcome is Outcome.NOT_APPLICABLE


def test_a_stream_is_only_tried_after_its_first_piece() -> None:
    start = Start()
    start.held_round("hold-first", 0, mode="stream")
    streaming = (route("openai", "stream"),)
    assert judged(start, "cap/streams", routes=streaming).outcome is Outcome.HELD
    change(start, lambda r: isinstance(r, Call), first_ns=None)
    assert judged(start, "cap/streams", routes=streaming).outcome is Outcome.INCONCLUSIVE


def test_four_full_bursts_are_too_few() -> None:
    start = Start()
    for number in range(4):
        start.held_round("burst", 10 * number)
    result = judged(start, "cap/burst")
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "4 of 4 rounds" in result.reason


# slots/reached


def short(start: Start, begin: float, **fields: Any) -> None:
    start.held_round("hold-head", begin, held=1, **fields)


def test_one_round_with_free_slots_proves_nothing() -> None:
    start = Start()
    short(start, 0)
    assert judged(start, "slots/reached").outcome is Outcome.INCONCLUSIVE
    short(start, 10, part="again")
    result = judged(start, "slots/reached")
    assert result.outcome is Outcome.VIOLATED
    assert result.summary == "1 of 2 used: openai:chat"


def test_a_cell_that_reached_its_cap_once_is_not_accused() -> None:
    start = Start()
    short(start, 0)
    short(start, 10)
    start.held_round("hold-head", 20)
    assert judged(start, "slots/reached").outcome is Outcome.HELD


def test_other_calls_open_at_the_fakes_use_slots_too() -> None:
    start = Start()
    short(start, 0)
    short(start, 10)
    change(start, lambda r: isinstance(r, Snapshot), open={"openai": 1, "ollama": 1})
    assert judged(start, "slots/reached").outcome is Outcome.INCONCLUSIVE


def test_unsettled_snapshots_do_not_show_free_slots() -> None:
    start = Start()
    short(start, 0, settled=False)
    short(start, 10, settled=False)
    assert judged(start, "slots/reached").outcome is Outcome.INCONCLUSIVE


def test_clients_that_do_not_wait_are_not_kept_out() -> None:
    start = Start()
    short(start, 0, offered=1)
    short(start, 10, offered=1)
    assert judged(start, "slots/reached").outcome is Outcome.INCONCLUSIVE


def test_a_rejecting_router_that_keeps_refusing_beside_a_free_slot() -> None:
    start = Start()
    for begin in (0, 10):
        number, _, _ = start.held_round("hold-head", begin, held=1, offered=1)
        for at in (0.3, 0.5):
            start.client(
                start.nonce(), number, sent=begin + at, end=begin + at + 0.01,
                outcome="refused", status=429,
            )  # fmt: skip
    promises = Promises(cap=Cap(limit=LIMIT, overload="reject"))
    assert judged(start, "slots/reached", promises=promises).outcome is Outcome.VIOLATED
    assert judged(start, "slots/reached").outcome is Outcome.INCONCLUSIVE


def test_more_than_the_cap_has_reached_it() -> None:
    start, _, _ = three_held()
    assert judged(start, "slots/reached").outcome is Outcome.HELD


# cap/under-load


def loaded(**fields: Any) -> Start:
    start = Start()
    load(start, **fields)
    return start


def test_load_is_counted_from_inside() -> None:
    result = judged(loaded(early=0.03), "cap/under-load")
    assert result.outcome is Outcome.VIOLATED
    assert result.numbers["peak"] == LIMIT + 1
    assert result.witness is not None
    assert "3 calls were in flight at once for " in result.witness.sentence


@pytest.mark.parametrize("early", [0.0, 0.0005])
def test_an_answer_under_way_is_no_longer_in_flight(early: float) -> None:
    """The router may reuse a permit from the first byte that announces the end."""
    result = judged(loaded(early=early + 0.004, rounds=60), "cap/under-load")
    assert result.outcome is Outcome.HELD
    assert result.numbers["peak"] == LIMIT
    assert result.numbers["outer_peak"] == LIMIT + (early > 0)


def crowded(start: Start, outcome: Any, **fields: Any) -> None:
    """One call too many, for a client of this kind, while two others are in flight."""
    number = 1
    nonce = start.nonce()
    start.call(nonce, read=4.2, end=4.3, **fields.pop("call", {}))
    start.client(nonce, number, sent=4.1, end=4.31, outcome=outcome, **fields)


@pytest.mark.parametrize(
    ("outcome", "fields", "accused"),
    [
        ("answered", {}, True),
        ("refused", {"status": 500}, True),
        ("failed", {}, True),
        ("failed", {"call": {"inner_end": 4.32}}, False),
        ("timed_out", {}, False),
        ("hung_up", {"hang_up": 4.25}, True),
        ("hung_up", {"hang_up": 4.15}, False),
        ("hung_up", {"hang_up": 4.25, "call": {"ended_by": "peer", "peer_closed": 4.3}}, True),
        ("failed", {"call": {"ended_by": "peer", "peer_closed": 4.3}}, False),
        ("answered", {"call": {"ended_by": "peer", "peer_closed": 4.3}}, False),
        ("answered", {"call": {"peer_closed": 4.3}}, False),
        ("answered", {"call": {"run": "zz"}}, False),
    ],
)
def test_which_calls_accuse_under_load(outcome: str, fields: dict[str, Any], accused: bool) -> None:
    start = loaded()
    crowded(start, outcome, **fields)
    assert (judged(start, "cap/under-load").outcome is Outcome.VIOLATED) is accused


def test_the_call_of_a_request_that_was_lost_with_its_kept_connection_is_nobody_s() -> None:
    """The router may have released its slot when it closed the connection, unseen by anybody."""
    start = loaded(rounds=60)
    start.call(start.nonce(), read=4.2, end=4.3)
    result = judged(start, "cap/under-load")
    assert result.outcome is Outcome.HELD
    assert (result.numbers["peak"], result.numbers["outer_peak"]) == (LIMIT, LIMIT)


def test_a_long_outer_excess_is_inconclusive_and_a_stall_excuses_it() -> None:
    start = loaded(rounds=60)
    number = 1
    nonce = start.nonce()
    start.call(nonce, read=4.2, end=4.3, inner_end=4.2)
    start.client(nonce, number, sent=4.1, end=4.31)
    result = judged(start, "cap/under-load")
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "outer" in result.reason
    start.stall(4.3, 0.08)
    assert judged(start, "cap/under-load").outcome is Outcome.HELD


def test_a_router_that_is_never_full_was_not_exercised() -> None:
    start = Start()
    number = start.round("load", 0, 60)
    for index in range(40):
        start.exchange(number, sent=index, end=index + 0.9)
    result = judged(start, "cap/under-load")
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "never exercised" in result.reason
    assert result.numbers["peak"] == 1


def test_requests_are_counted_once_however_many_calls_they_make() -> None:
    start = loaded(rounds=60)
    first = next(r for r in start.evidence if isinstance(r, Call) and r.ended_by == "fake")
    start.call(*first.nonces, read=0.7, end=0.9)
    assert judged(start, "cap/under-load").outcome is Outcome.VIOLATED
    requests = Promises(cap=Cap(limit=LIMIT, counts="requests"))
    assert judged(start, "cap/under-load", promises=requests).outcome is Outcome.HELD
