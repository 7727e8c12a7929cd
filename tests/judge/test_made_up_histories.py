"""Histories that nobody wrote by hand: the judge, tried on what a model router makes of a seed.

A few here; by the thousand with ``python -m tests.judge.model``.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routerspec.checks import REGISTRY, replicas
from routerspec.judge import judge
from routerspec.records.run import read_run
from routerspec.verdict import Outcome
from tests.corpus.make import HISTORIES
from tests.judge import second_judge
from tests.judge.model import records
from tests.judge.model.plays import PLAYS, play
from tests.judge.model.properties import differences, judged
from tests.judge.model.records import Cancel, Cap, ModelList, Promises, Retries
from tests.judge.model.rules import RULES
from tests.judge.model.story import Story, draw

CHANCE = st.randoms(use_true_random=False)
UNMODELLED = {
    "cap/count-tokens",
    *(id_ for id_ in REGISTRY if id_.startswith("breaker/")),
    *(check.id for check in replicas.CHECKS if check.id != "cap/replicas"),
}
"""The model has no Anthropic front, no breaker and no replicas: ``tests.checks.test_counts``,
``test_balance`` and ``test_replicas``, and the corpus, stand for them."""
REPORTS = Path(__file__).parents[2] / "reports"

few = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@few
@given(CHANCE, st.sampled_from(sorted(PLAYS)))
def test_a_sound_router_is_never_accused(chance: random.Random, name: str) -> None:
    its = judged(draw(chance, name))
    assert its.false == ()
    assert not differences(its.verdict, second_judge.of_run(its.played.run))


@few
@given(CHANCE, st.sampled_from(sorted(RULES)), st.integers(0, 3))
def test_a_router_that_breaks_a_rule_is_accused_of_that_only(
    chance: random.Random, rule: str, number: int
) -> None:
    plays = list(RULES[rule].trips)
    its = judged(draw(chance, plays[number % len(plays)], rule))
    assert its.false == ()
    assert not differences(its.verdict, second_judge.of_run(its.played.run))


def test_every_check_holds_on_what_is_made_for_it() -> None:
    """No check is inconclusive for good: all but one that are modelled hold, for plain routers."""
    held: set[str] = set()
    for cap in (Cap(limit=2), Cap(limit=2, overload="reject")):
        promises = Promises(
            cap=cap,
            model_list=ModelList(ttl_s=2.0, partial=True, partial_within_s=1.0, by_id=True),
            cancel=Cancel(within_s=0.5),
            retries=Retries(max=1, honours_retry_after=True),
        )
        for name in PLAYS:
            story = Story(
                play=name, routes=("openai", "ollama"), promises=promises, think_ms=0.2, lag_ms=0.1
            )
            its = judged(story)
            assert its.problems == ()
            held |= {c.id for c in its.verdict.checks if c.outcome is Outcome.HELD}
    assert set(records.CHECKS) - held == {"overhead/throughput", *UNMODELLED}


PHASES = ("queued", "before-head", "after-head", "after-piece-1", "after-piece-n")


@pytest.mark.parametrize("phase", PHASES)
def test_a_slot_that_comes_back_while_the_call_runs_on_is_found_in_its_phase(phase: str) -> None:
    story = Story(
        play="hang-ups",
        rule=f"freed-{phase}",
        routes=("openai",),
        promises=Promises(cap=Cap(limit=2)),
        lag_ms=0.1,
    )
    its = judged(story)
    found = next(check for check in its.verdict.checks if check.id == "cap/hang-ups")
    assert found.outcome is Outcome.VIOLATED
    assert found.witness is not None
    assert phase in f"{found.summary} {found.witness.facts}"
    assert its.false == ()


def test_every_check_that_can_be_violated_has_a_rule_that_does_it() -> None:
    tripped = {id_ for rule in RULES.values() for ids in rule.trips.values() for id_ in ids}
    observed = {id_ for id_ in records.CHECKS if id_.startswith("overhead/")}
    assert set(records.CHECKS) - tripped == {
        *observed,
        "slots/order",
        "isolation/hung-provider",
        *UNMODELLED,
    }


def test_the_same_story_makes_the_same_history_again() -> None:
    story = draw(random.Random(3), "load")
    assert play(story).run == play(story).run


def test_a_history_on_disk_is_judged_as_in_memory(tmp_path: Path) -> None:
    run = play(draw(random.Random(5), "lists")).run
    records.write(run, tmp_path / "run")
    assert records.verdict(records.read_run(tmp_path / "run")) == records.verdict(run)


@pytest.mark.parametrize(
    "folder",
    sorted(path.parent for path in HISTORIES.glob("*/*/run.json")),
    ids=lambda path: path.name,
)
def test_the_second_judge_agrees_on_the_corpus(folder: Path) -> None:
    found = judge.judge(read_run(folder))
    assert not differences(found, second_judge.of_folder(folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder",
    sorted(path.parent for path in REPORTS.glob("*/*/run.json")),
    ids=lambda path: path.parent.name,
)
def test_the_second_judge_agrees_on_what_is_published(folder: Path) -> None:
    found = judge.judge(read_run(folder))
    assert not differences(found, second_judge.of_folder(folder))


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_thousands_more(broken: bool) -> None:
    from tests.judge.model.__main__ import Tally, story_of

    tally = Tally()
    for number in range(5_000):
        tally.add(number, judged(story_of(2, number, broken=broken)))
    assert tally.false == []
    assert tally.disagreed == []
