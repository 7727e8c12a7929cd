"""How often a history came to each state that its checks need."""

from __future__ import annotations

import pytest

from routerspec.judge import judge, verdict_json
from routerspec.promises import Cap, ModelList, Promises
from routerspec.verdict import Outcome
from tests.corpus.builder import LIMIT, Start, run_of
from tests.corpus.judged import verdict
from tests.corpus.stories.model_list_faults import left
from tests.corpus.stories.models import cold
from tests.corpus.stories.overload import saturated

LEFT_AT_HANDOVER = "clients disconnected within 1 ms of the hand-over of a slot"


def counts(start: Start, *selected: str, promises: Promises | None = None) -> dict[str, int]:
    run = run_of(
        start,
        selected=selected,
        promises=promises or Promises(cap=Cap(limit=LIMIT), model_list=ModelList(ttl_s=2.0)),
    )
    return {row.state: row.count for row in judge.judge(run).exercised}


def test_slots_are_seen_occupied_with_a_client_waiting_and_refused() -> None:
    start = Start()
    saturated(start, refused=(0.01,) * 3)
    saturated(start, 10, waiting=2)
    found = counts(start, "overload/queued")
    assert found == {
        "snapshots with all slots occupied and another client waiting": 2,
        "clients refused while all slots were occupied": 3,
    }


def test_disconnects_are_told_apart_by_how_far_their_answer_had_come() -> None:
    start = Start()
    number = start.round("load", 0, 40)
    queued, called, streamed = (start.nonce() for _ in range(3))
    for nonce, end, status, text in (
        (queued, 1.0, None, ""),
        (called, 2.0, None, ""),
        (streamed, 3.0, 200, f"{streamed}@openai-2#0 "),
    ):
        if nonce != queued:
            start.call(nonce, read=end - 0.9, end=end + 0.01, ended_by="peer", stream=True)
        start.client(
            nonce,
            number,
            sent=end - 1,
            end=end,
            text=text,
            mode="stream",
            outcome="hung_up",
            status=status,
            hang_up=end - 0.0005,
        )
    found = counts(start, "cancel/spares-others")
    assert [found[f"clients disconnected {when}"] for when in (
        "before a provider had their request", "after that, before their head", "between pieces",
    )] == [1, 1, 1]  # fmt: skip


@pytest.mark.parametrize(("apart", "waits", "seen"), [(0.0005, True, 1), (0.002, True, 0),
                                                      (0.0005, False, 0)])  # fmt: skip
def test_a_disconnect_in_a_hand_over_is_within_a_millisecond_of_an_end(
    apart: float, waits: bool, seen: int
) -> None:
    start = Start()
    number = start.round("load", 0, 40)
    one, other, third = (start.nonce() for _ in range(3))
    start.call(one, read=0.1, end=1.0)
    start.client(one, number, sent=0.05, end=1.01)
    start.client(other, number, sent=0.2, end=1.02, outcome="hung_up", hang_up=1.0 + apart)
    if waits:
        start.call(third, read=1.1, end=1.2)
        start.client(third, number, sent=0.3, end=1.3)
    else:
        start.call(other, read=0.3, end=1.02, ended_by="peer")
    assert counts(start, "cap/under-load")[LEFT_AT_HANDOVER] == seen


def test_lists_are_seen_expired_with_a_crowd_and_left_by_their_leader() -> None:
    start = Start()
    cold(start)
    cold(start, 3, scenario="list-expiry")
    left(start, 10)
    found = counts(start, "models/one-fetch-cold", "models/one-fetch-on-expiry",
                   "models/leader-hang-up", "models/dead-provider")  # fmt: skip
    assert list(found.values()) == [2, 2, 1]  # models/dead-provider is not promised


def test_what_was_never_seen_is_in_the_table_and_what_nobody_needs_is_not() -> None:
    found = verdict("bad/models--cached")
    unseen = {row.state for row in found.exercised if not row.count}
    assert "fetches whose client disconnected with others waiting" in unseen
    applied = {c.id for c in found.checks if c.outcome is not Outcome.NOT_APPLICABLE}
    assert all(applied.issuperset(row.checks) for row in found.exercised)


def test_the_table_is_in_the_json() -> None:
    rows = verdict_json.as_object(verdict("good/cap-held-on-every-route"))["exercised"]
    assert [row["count"] for row in rows] == [22]
    assert "cap/streams" in rows[0]["checks"]


def test_failures_of_an_instance_and_its_return_are_counted() -> None:
    rows = {row.state: row.count for row in verdict("good/failover-as-promised").exercised}
    assert rows["calls that failed at an instance while others were well"] == 3
    assert rows["instances asked again after they had failed for a while"] == 2
