"""keys/stay-home: which key was received by which provider."""

from __future__ import annotations

import dataclasses

import pytest

from routerspec.checks import REGISTRY
from routerspec.judge import judge
from routerspec.promises import Cap, Promises
from routerspec.targets import Target, load_target
from routerspec.verdict import CheckResult, Outcome
from routerspec.verify.verify import facts_of
from tests.corpus.builder import Start, run_of
from tests.corpus.stories.keys import ROUTES, change, keys

ID = "keys/stay-home"


def judged(start: Start, promises: Promises = Promises()) -> CheckResult:  # noqa: B008 - frozen
    return judge.judge(run_of(start, selected=(ID,), routes=ROUTES, promises=promises)).checks[0]


@pytest.mark.parametrize(
    ("canaries", "summary"),
    [
        ({"ollama": ("ollama_key", "openai_key")}, "openai_key was sent to ollama"),
        ({"openai": ("client_key",)}, "client_key was sent to openai"),
        ({"openai": ("client_key", "openai_key")}, "client_key was sent to openai"),
    ],
)
def test_a_key_at_the_wrong_provider(canaries: dict[str, tuple[str, ...]], summary: str) -> None:
    start = Start()
    keys(start, **canaries)
    result = judged(start)
    assert (result.outcome, result.summary) == (Outcome.VIOLATED, summary)


def test_a_key_in_a_fetch_of_the_list_and_one_shown_in_a_list() -> None:
    fetched, shown = Start(), Start()
    for start in (fetched, shown):
        number = keys(start)
        start.fetch(5, 5.1, provider="ollama")
        start.ask_list(number, 4.9, 5.2)
    change(fetched.evidence, -1, canaries=("openai_key",))
    change(shown.observations, -1, secrets=("ollama_key",))
    assert judged(fetched).outcome is Outcome.VIOLATED
    assert judged(shown).summary == "ollama_key was shown to a client"


def test_a_key_that_was_never_seen_was_not_tried() -> None:
    start = Start()
    keys(start, ollama=())
    result = judged(start)
    assert result.outcome is Outcome.HELD
    assert "not tried, as it was never sent: ollama_key" in result.summary


def test_where_no_provider_saw_its_own_key_nothing_is_known() -> None:
    start = Start()
    keys(start, openai=(), ollama=())
    assert judged(start).outcome is Outcome.INCONCLUSIVE


def test_a_leak_in_any_scenario_counts() -> None:
    start = Start()
    keys(start)
    number = start.round("load", 20, 30)
    start.exchange(number, sent=20, end=20.5)
    change(start.evidence, -1, canaries=("ollama_key",))
    assert judged(start).outcome is Outcome.VIOLATED


def test_a_transparent_proxy_is_not_judged() -> None:
    start = Start()
    keys(start, openai=("client_key",))
    passing = Promises(cap=Cap(limit=2), keys="passthrough")
    assert judged(start, passing).outcome is Outcome.NOT_APPLICABLE


def test_a_router_whose_keys_are_not_ours_is_not_judged() -> None:
    def reason(target: Target) -> str:
        return REGISTRY[ID].needs_target(facts_of(target))

    reference = load_target("reference")
    assert reference.start is not None
    assert reason(reference) == ""
    assert "running already" in reason(dataclasses.replace(reference, start=None))
    bare = dataclasses.replace(reference.start, env={})
    assert "{openai_key}" in reason(dataclasses.replace(reference, start=bare))
