"""Evidence of several instances of a provider: joined, each by its own clock."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from fake_providers.records.evidence import Call
from fake_providers.records.ledger import Records
from routerspec.checks import REGISTRY, held_calls
from routerspec.history import history
from routerspec.judge import judge
from routerspec.promises import Balance, Cap, Promises
from routerspec.records.observations import Snapshot
from routerspec.records.run import RecordedRun, RecordedStart
from routerspec.verdict import OWN_CLOCK, CheckResult, Outcome
from tests.corpus import builder
from tests.corpus.builder import LIMIT, Start, run_of

SECOND = "openai-2"
DAY_NS = 86_400_000_000_000
TIMES = (
    *("accepted_ns", "read_ns", "held_ns", "let_go_ns", "head_ns", "first_ns"),
    *("inner_end_ns", "outer_end_ns", "peer_closed_ns"),
)


def start(at_second: int, *, at_first: int = LIMIT - 1, rounds: int = 1) -> Start:
    """Rounds in which calls are held at both instances, and as many clients wait as are not."""
    made = Start(further=(SECOND,))
    for index in range(rounds):
        begin = 10.0 * index
        number = made.round("hold-head", begin, begin + 3, route="openai", mode="chat")
        places = ["openai"] * at_first + [SECOND] * at_second + ["late"] * 2
        calls = []
        nonces = [made.nonce() for _ in places]
        for nonce, place in zip(nonces, places, strict=True):
            late = place == "late"
            call = made.call(
                nonce,
                provider="openai" if late else place,
                read=begin + (1.6 if late else 0.11) + 0.001 * nonce,
                end=begin + (1.7 if late else 1.52) + 0.001 * nonce,
                held=not late,
            )
            calls += [] if late else [call]
            text = made.whole(nonce, call)
            made.client(nonce, number, sent=begin + 0.1, end=begin + 2 + 0.01 * nonce, text=text)
        for at in (0.8, 1.1):
            made.snapshot(
                number, begin + at, calls, nonces, settled=len(calls) <= LIMIT + (at_first == LIMIT)
            )
        made.release(number, begin + 1.5, "gate", len(calls))
    return made


def run(*starts: Start, check: str = "cap/each-route", **info: Any) -> RecordedRun:
    return run_of(*starts, selected=(check,), instances={"openai": 2}, **info)


def of_start(recorded: RecordedRun, **changed: Any) -> RecordedRun:
    (its,) = recorded.starts
    return msgspec.structs.replace(recorded, starts=(msgspec.structs.replace(its, **changed),))


def a_day_ahead(recorded: RecordedRun) -> RecordedRun:
    """The same, where the second instance has a clock of its own."""
    (its,) = recorded.starts

    def moved(record: Any) -> Any:
        names = [name for name in TIMES if getattr(record, name, None) is not None]
        later = {name: getattr(record, name) + DAY_NS for name in names}
        return msgspec.structs.replace(record, **later)

    second = its.further[SECOND]
    assert second.header is not None
    second = msgspec.structs.replace(
        second,
        header=msgspec.structs.replace(second.header, boot="another clock"),
        records=tuple(map(moved, second.records)),
    )
    return of_start(
        recorded,
        further={SECOND: second},
        observations=_seen(its, lambda at: {name: ns + DAY_NS for name, ns in at.items()}),
    )


def _seen(its: RecordedStart, at: Any) -> Records[Any]:
    """The observations with the moments of snapshots changed."""
    records = tuple(
        msgspec.structs.replace(r, at=at(r.at)) if isinstance(r, Snapshot) else r
        for r in its.observations.records
    )
    return msgspec.structs.replace(its.observations, records=records)


def judged(recorded: RecordedRun) -> CheckResult:
    (result,) = judge.judge(recorded).checks
    return result


@pytest.mark.parametrize("clocks", [lambda run: run, a_day_ahead], ids=["one", "two"])
def test_the_union_is_proved_whatever_the_clocks_say(clocks: Any) -> None:
    result = judged(clocks(run(start(2))))
    assert result.outcome is Outcome.VIOLATED, result.reason
    assert result.witness is not None
    assert any(fact.startswith(f"fake {SECOND} call") for fact in result.witness.facts)


@pytest.mark.parametrize("check", ["cap/each-route", "slots/reached"])
@pytest.mark.parametrize("clocks", [lambda run: run, a_day_ahead], ids=["one", "two"])
def test_a_kept_cap_is_held(clocks: Any, check: str) -> None:
    result = judged(clocks(run(start(1, rounds=2), check=check)))
    assert result.outcome is Outcome.HELD, result.reason


def test_slots_that_are_free_at_every_instance_are_shown() -> None:
    result = judged(a_day_ahead(run(start(1, at_first=0, rounds=2), check="slots/reached")))
    assert result.outcome is Outcome.VIOLATED


@pytest.mark.parametrize("held", [1, 3])
def test_what_compares_clocks_says_nothing(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """answers/whole reads the same rounds; as if it compared times without a bound."""
    compares = dataclasses.replace(REGISTRY["answers/whole"], compares_clocks=True)
    monkeypatch.setitem(REGISTRY, compares.id, compares)
    recorded = run(start(held, rounds=10), check="answers/whole")
    assert judged(recorded).outcome is Outcome.HELD
    result = judged(a_day_ahead(recorded))
    assert (result.outcome, result.summary) == (Outcome.INCONCLUSIVE, OWN_CLOCK)
    assert SECOND in result.reason


@pytest.mark.parametrize("field", ["peer_closed_ns", "outer_end_ns"])
def test_a_call_that_was_over_by_its_own_clock_is_not_counted(field: str) -> None:
    recorded = a_day_ahead(run(start(2)))
    (its,) = recorded.starts
    second = its.further[SECOND]
    over_ns = next(r for r in its.observations.records if isinstance(r, Snapshot)).at[SECOND] + 1
    calls = [record for record in second.records if isinstance(record, Call)]
    records = tuple(msgspec.structs.replace(call, **{field: over_ns}) for call in calls)
    account = {"open_ns": sum(call.outer_end_ns - call.read_ns for call in records)}
    assert second.footer is not None
    footer = msgspec.structs.replace(second.footer, account=second.footer.account | account)
    changed = msgspec.structs.replace(second, records=records, footer=footer)
    assert judged(of_start(recorded, further={SECOND: changed})).outcome is Outcome.INCONCLUSIVE


def test_a_snapshot_without_its_moment_proves_nothing_there() -> None:
    recorded = a_day_ahead(run(start(2)))
    seen = _seen(recorded.starts[0], lambda _: {})
    assert judged(of_start(recorded, observations=seen)).outcome is Outcome.INCONCLUSIVE


def test_a_cap_of_each_provider_is_over_its_instances() -> None:
    promises = Promises(cap=Cap(limit=LIMIT, scope="provider"))
    assert judged(run(start(2), promises=promises)).outcome is Outcome.VIOLATED


def test_records_of_another_instance_are_not_believed() -> None:
    recorded = run(start(2))
    (its,) = recorded.starts
    (first, *others) = its.evidence.records
    moved = msgspec.structs.replace(its.evidence, records=(*others, first))
    second = its.further[SECOND]
    stray = msgspec.structs.replace(second, records=(first, *second.records[1:]))
    for changed in ({"further": {SECOND: stray}}, {"evidence": second}):
        result = judged(of_start(recorded, **changed))
        assert result.outcome is Outcome.HARNESS_ERROR
        assert "has records of" in result.reason
    assert judged(of_start(recorded, evidence=moved)).outcome is Outcome.VIOLATED


@pytest.mark.parametrize("missing", [{"footer": None}, {"fault": "it is truncated"}])
def test_a_file_of_one_instance_that_is_not_whole_accuses_nobody(missing: Any) -> None:
    recorded = run(start(2))
    second = msgspec.structs.replace(recorded.starts[0].further[SECOND], **missing)
    assert judged(of_start(recorded, further={SECOND: second})).outcome is Outcome.HARNESS_ERROR


@pytest.mark.parametrize(
    ("route", "instance_cap", "expected"),
    [("openai", None, 5), ("openai", 2, 4), ("openai", 9, 5), ("ollama", 2, 2), ("other", 1, 3)],
)
def test_a_route_has_no_more_slots_than_its_instances(
    route: str, instance_cap: int | None, expected: int
) -> None:
    promises = Promises(balance=Balance(instance_cap=instance_cap))
    routes = tuple(builder.route(name, provider=name) for name in ("openai", "ollama"))
    recorded = run(Start(), promises=promises, routes=(*routes, builder.route("other")))
    assert held_calls.slots_of(history.build(recorded), route, 5) == expected


@pytest.mark.parametrize("check", ["cap/each-route", "slots/reached"])
@pytest.mark.parametrize("at_first", [LIMIT - 1, LIMIT])
def test_slots_that_the_instances_do_not_take_are_not_missed(check: str, at_first: int) -> None:
    balance = Balance(instance_cap=1)
    promises = Promises(cap=Cap(limit=LIMIT + 1), balance=balance)
    made = start(1, at_first=at_first, rounds=2)
    made.settings = msgspec.structs.replace(made.settings, cap=LIMIT + 1)
    routes = (builder.route("openai", provider="openai"),)
    result = judged(run(made, check=check, promises=promises, routes=routes))
    assert result.outcome is Outcome.HELD, result.reason
    bare = judged(run(made, check=check, promises=Promises(cap=promises.cap), routes=routes))
    assert (bare.outcome is Outcome.HELD) is (at_first == LIMIT)
