"""The judge: promises, selection, smoke results, and known violations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from routerspec import checks
from routerspec.checks import REGISTRY, cap
from routerspec.judge import judge
from routerspec.promises import Cap, ModelList, Promises
from routerspec.records.run import RouteInfo
from routerspec.verdict import CheckResult, Kind, Outcome, Standing, Verdict, exit_code
from tests.corpus.builder import LIMIT, Start, route, run_of

CHECK = "cap/each-route"
REPORTS = Path(__file__).parents[2] / "reports"


def judged(*starts: Start, selected: tuple[str, ...] = (CHECK,), **info: Any) -> Verdict:
    return judge.judge(run_of(*starts, selected=selected, **info))


def smoked(
    start: Start | None = None,
    *,
    status: int | None = 200,
    mode: Any = "chat",
    text: str | None = None,
    outcome: Any = None,
    part: str = "route",
) -> Start:
    """A start in which one route was tried once; its text is whole unless given."""
    start = start or Start()
    number = start.round("smoke", 50, 51, route="openai", mode=mode, part=part)
    nonce = start.nonce()
    call = start.call(nonce, read=50.1, end=50.2)
    observed: Any = outcome or ("answered" if status == 200 else "refused")
    start.client(nonce, number, sent=50.1, end=50.3, mode=mode, status=status, outcome=observed,
                 text=start.whole(nonce, call) if text is None else text,
                 error="" if status == 200 else "model not found")  # fmt: skip
    return start


def kept() -> Start:
    start = Start()
    start.held_round("hold-head", 0)
    return start


def one(verdict: Verdict) -> CheckResult:
    assert len(verdict.checks) == 1
    return verdict.checks[0]


def test_only_selected_checks_are_judged_in_the_order_of_the_spec() -> None:
    verdict = judged(kept(), selected=("slots/reached", CHECK, "slots/reached"))
    assert [c.id for c in verdict.checks] == [CHECK, "slots/reached"]
    assert (verdict.target, verdict.version, verdict.seed) == ("made-up", "1.0", 7)
    assert exit_code(verdict) == 0


def test_nothing_selected_is_not_held() -> None:
    assert judged(kept(), selected=()).outcome is Standing.NOT_APPLICABLE
    assert exit_code(judged(kept(), selected=())) == 3


def test_a_check_that_was_never_played_is_inconclusive() -> None:
    result = one(judged(kept(), selected=("cap/burst",)))
    assert (result.outcome, result.reason) == (Outcome.INCONCLUSIVE, "never played: burst")


def test_a_check_of_another_version_is_inconclusive() -> None:
    assert one(judged(kept(), selected=("cap/unheard-of",))).outcome is Outcome.INCONCLUSIVE


def test_without_any_promise_only_the_answers_are_judged() -> None:
    verdict = judged(Start(), selected=tuple(REGISTRY), promises=Promises())
    applicable = [c.id for c in verdict.checks if c.outcome is not Outcome.NOT_APPLICABLE]
    groups = {id_.partition("/")[0] for id_ in applicable}
    assert groups == {
        "answers", "wire", "tools", "usage", "cancel", "keys", "overhead", "request", "cache",
        "errors",
    }  # fmt: skip
    assert "answers/attempts" not in applicable
    assert "cancel/reaches-provider" not in applicable
    assert all(c.reason for c in verdict.checks if c.outcome is not Outcome.HELD)


def test_a_cap_per_process_is_only_observed() -> None:
    start = Start()
    start.held_round("hold-head", 0, held=4, settled=False)
    promises = Promises(cap=Cap(limit=LIMIT, scope="process"))
    result = one(judged(start, promises=promises))
    assert result.outcome is Outcome.NOT_APPLICABLE
    assert "per process" in result.reason


def test_checks_that_do_not_apply_to_the_target_state_the_reason() -> None:
    result = one(judged(kept(), not_applicable={CHECK: "its cap cannot be set"}))
    assert (result.outcome, result.reason) == (Outcome.NOT_APPLICABLE, "its cap cannot be set")


def test_known_violations_are_shown_and_do_not_count() -> None:
    start = Start()
    start.held_round("hold-head", 0, held=4, settled=False)
    both = ("slots/reached", CHECK)
    verdict = judged(start, selected=both, known={CHECK: "https://issue/1"})
    result = verdict.checks[0]
    assert (result.outcome, result.known) == (Outcome.VIOLATED, "https://issue/1")
    assert result.witness is not None
    assert (verdict.outcome, exit_code(verdict)) == (Standing.HELD, 0)


def test_a_known_violation_that_is_gone_says_so() -> None:
    result = one(judged(kept(), known={CHECK: "https://issue/1"}))
    assert result.outcome is Outcome.HELD
    assert result.reason == "its known violation is gone: it holds now (https://issue/1)"


def smoke_fails(start: Start, *expected: str, routes: tuple[RouteInfo, ...] | None = None) -> None:
    start.held_round("hold-head", 0, held=4, settled=False)
    info: dict[str, Any] = {"routes": routes} if routes else {}
    verdict = judged(start, selected=(CHECK, "answers/own"), **info)
    assert {c.outcome for c in verdict.checks} == {Outcome.NOT_JUDGED}
    assert exit_code(verdict) == 4
    for word in expected:
        assert word in verdict.checks[0].reason


def test_a_stated_route_that_fails_leaves_the_rest_unjudged() -> None:
    smoke_fails(
        smoked(status=404, text=""),
        "route openai, mode chat was refused with status 404 (model not found)",
        "correct the target file of made-up",
    )


@pytest.mark.parametrize("text", ["", "Hello.", "7@openai-1#0 "])
def test_an_answer_without_its_own_nonce_fails_smoke(text: str) -> None:
    smoke_fails(smoked(text=text), "without the text that the provider sent")


def test_no_answer_fails_smoke() -> None:
    smoke_fails(smoked(status=None, outcome="timed_out", text=""), "timed out without a status")


def test_an_implied_mode_that_fails_otherwise_fails_smoke() -> None:
    smoke_fails(smoked(status=500, text=""), "500", routes=(route("openai", implied=True),))


def test_a_route_with_no_mode_left_fails_smoke() -> None:
    routes = (route("openai", implied=True),)
    result = one(judged(smoked(status=404, text=""), routes=routes))
    assert result.outcome is Outcome.NOT_JUDGED
    assert "none of the modes" in result.reason


def test_a_router_that_answers_anything_is_not_believed() -> None:
    smoke_fails(smoked(part="nonsense"), "a model that does not exist")


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_implied_mode_that_is_not_there_is_not_expected(status: int) -> None:
    start = smoked(smoked(kept()), status=status, mode="embeddings", text="")
    routes = (route("openai", "chat", "embeddings", implied=True),)
    assert one(judged(start, routes=routes)).outcome is Outcome.HELD
    stated = (route("openai", "chat", "embeddings"),)
    assert one(judged(start, routes=stated)).outcome is Outcome.NOT_JUDGED


def streamed(start: Start, status: int) -> Start:
    """Smoke asked for a stream, which was there or was not."""
    text = None if status == 200 else ""
    return smoked(start, status=status, mode="stream", text=text)


IMPLIED = (route("openai", "chat", "stream", implied=True),)


def test_a_mode_that_is_there_when_it_is_asked_for_again_is_expected() -> None:
    start = streamed(streamed(smoked(kept()), 404), 200)
    verdict = judged(start, routes=IMPLIED)
    assert verdict.absent == ()
    assert one(verdict).reason == "never tried (openai:stream)"


def test_a_mode_that_stays_absent_is_named() -> None:
    start = smoked(kept())
    for _ in range(3):
        streamed(start, 404)
    verdict = judged(start, routes=IMPLIED)
    assert one(verdict).outcome is Outcome.HELD
    assert verdict.absent == ("openai:stream",)


@pytest.mark.parametrize("held", [LIMIT, LIMIT + 1])
def test_a_mode_that_is_absent_in_one_start_of_two_leaves_violations_alone(held: int) -> None:
    start = smoked(Start())
    start.held_round("hold-head", 0, held=held)
    other = streamed(smoked(Start("other", token="k4")), 404)
    start.held_round("hold-first", 10, mode="stream")
    verdict = judged(start, streamed(other, 404), routes=IMPLIED)
    expected = Outcome.NOT_JUDGED if held == LIMIT else Outcome.VIOLATED
    assert one(verdict).outcome is expected
    assert verdict.absent == ()
    if held == LIMIT:
        assert "404 or 405 or 501 now and then" in one(verdict).reason
        assert "openai:stream" in one(verdict).reason


def test_a_stream_that_was_answered_later_in_the_start_was_not_absent() -> None:
    start = streamed(smoked(kept()), 404)
    start.held_round("hold-first", 10, mode="stream")
    assert one(judged(start, routes=IMPLIED)).outcome is Outcome.NOT_JUDGED


@pytest.mark.parametrize(("sees", "outcome"), [(404, Outcome.VIOLATED), (200, Outcome.NOT_JUDGED)])
def test_an_unknown_model_that_the_provider_refused_and_the_router_answered(
    sees: int, outcome: Outcome
) -> None:
    start = kept()
    number = start.round("smoke", 50, 51, route="openai", mode="chat", part="nonsense")
    nonce = start.nonce()
    start.call(nonce, read=50.1, end=50.2, status=sees)
    start.client(nonce, number, sent=50.1, end=50.3, text="Sorry.")
    start.round("upstream-error", 60, 61, route="openai", mode="chat")
    verdict = judged(start, selected=(CHECK, "answers/error-is-error"))
    of_cap, of_errors = verdict.checks
    assert of_errors.outcome is outcome
    assert of_cap.outcome is (Outcome.HELD if sees == 404 else Outcome.NOT_JUDGED)
    if of_errors.witness:
        assert "status 404; the client received status 200" in of_errors.witness.sentence


@pytest.mark.parametrize(("stated", "fails"), [("openai", True), ("ollama", False), ("", False)])
def test_a_route_that_leads_to_another_provider_than_stated_fails_smoke(
    stated: Any, fails: bool
) -> None:
    start = kept()
    number = start.round("smoke", 50, 51, route="openai", mode="chat", part="route")
    start.exchange(number, sent=50.1, end=50.3, provider="ollama", route="openai")
    its = msgspec.structs.replace(route("openai"), provider=stated)
    result = one(judged(start, routes=(its,)))
    assert result.outcome is (Outcome.NOT_JUDGED if fails else Outcome.HELD)
    assert not fails or "leads to ollama, not to openai" in result.reason
    assert not fails or 'provider = "ollama"' in result.reason


def test_a_nonsense_model_that_is_refused_is_well() -> None:
    start = smoked(kept(), status=404, text="", part="nonsense")
    assert one(judged(start)).outcome is Outcome.HELD


def test_a_list_that_fails_leaves_only_the_lists_unjudged() -> None:
    start = kept()
    number = start.round("smoke", 60, 61, part="list")
    start.ask_list(number, 60.1, 60.2, outcome="refused", status=401, epochs={})
    verdict = judged(start, selected=(CHECK, "models/cached"))
    assert [c.outcome for c in verdict.checks] == [Outcome.HELD, Outcome.NOT_JUDGED]
    assert "401" in verdict.checks[1].reason


def test_a_router_that_died_in_smoke_is_judged_as_one_that_died() -> None:
    start = smoked(kept(), status=None, outcome="failed", text="")
    start.router_exit, start.finished = 9, False
    result = one(judged(start))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "the router ended with status 9" in result.reason


def test_a_slot_that_is_free_when_smoke_asks_again_is_no_fault() -> None:
    start = smoked(smoked(kept(), status=429, text=""))
    assert one(judged(start)).outcome is Outcome.HELD
    never = smoked(smoked(kept(), status=429, text=""), status=429, text="")
    assert one(judged(never)).outcome is Outcome.NOT_JUDGED


def test_smoke_of_an_unreliable_start_does_not_accuse() -> None:
    start = smoked(kept(), status=404, text="")
    start.faults = ("it is truncated", "")
    assert one(judged(start)).outcome is Outcome.HARNESS_ERROR


# owner/repo #n, owner/repo PR #n, and more of the same repository: "#n and #m", "#n and PR #m".
REFERENCE = re.compile(r"[\w.-]+/[\w.-]+ (?:PR )?#\d+(?:(?:,| and) (?:PR )?#\d+)*")


@pytest.mark.parametrize("id_", REGISTRY)
def test_a_check_explains_itself(id_: str) -> None:
    check = REGISTRY[id_]
    assert check.id == id_
    assert check.scenarios
    for text in (check.promised, check.proved, check.doubt, check.bug, check.fix):
        assert text.endswith(".")
        assert not re.search(r"  |[,;:.] ?[,;:.]|\( | \)", text.replace("...", "x")), text
    if check.kind is not Kind.OBSERVE:  # what only observes never accuses
        assert check.doubt.startswith("In the router's favour")


@pytest.mark.parametrize("id_", REGISTRY)
def test_every_public_report_names_its_repository(id_: str) -> None:
    check = REGISTRY[id_]
    assert "#" not in REFERENCE.sub("", check.bug), check.bug
    named = "#" in check.bug or "No public report" in check.bug or check.kind is Kind.OBSERVE
    assert named, "names no public report"


@pytest.mark.parametrize("verdict", sorted(REPORTS.glob("*/*/verdict.json")), ids=str)
def test_the_checks_stand_in_the_order_of_what_is_published(verdict: Path) -> None:
    published = [check["id"] for check in json.loads(verdict.read_text())["checks"]]
    assert [id_ for id_ in REGISTRY if id_ in published] == published


def test_a_check_that_its_family_does_not_list_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cap, "CHECKS", cap.CHECKS[1:])
    assert "cap/each-route" in {check.id for check in checks._of(cap)}


def test_quick_are_five() -> None:
    assert [check.id for check in REGISTRY.values() if check.quick] == [
        "cap/each-route",
        "cap/streams",
        "models/one-fetch-cold",
        "models/one-fetch-on-expiry",
        "models/one-fetch-uncapped",
    ]


def listed(name: str, fetches: int, token: str) -> Start:
    """All clients at once on a cold cache; ``fetches`` at once for them, or none at all."""
    start = Start(name, token=token, cap=None)
    number = start.round("list-cold", 0, 1)
    for index in range(fetches):
        start.fetch(0.12 + index / 1000, 0.6, held=index == 0)
    start.release(number, 0.55, "lists", 1)
    start.crowd(number, 0.1, 0.65)
    return start


@pytest.mark.parametrize(
    ("fetches", "outcome"),
    [((1, 1), Outcome.HELD), ((1, 0), Outcome.INCONCLUSIVE), ((1, 2), Outcome.VIOLATED),
     ((0, 1), Outcome.INCONCLUSIVE), ((2, 0), Outcome.VIOLATED)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["routes-1-list-2", "routes-1-list-2-fresh"])
def test_of_several_promised_lists_each_is_judged(
    name: str, fetches: tuple[int, int], outcome: Outcome
) -> None:
    """What was not seen of one list is not held because of another."""
    paths = ("/v1/models", "/api/tags")
    promises = Promises(model_list=ModelList(ttl_s=2.0, path=paths))
    first = listed("routes-1", fetches[0], "k3")
    second = listed(name, fetches[1], "k4")
    selected = ("models/one-fetch-cold",)
    result = one(judged(first, second, selected=selected, promises=promises))
    assert result.outcome is outcome, result
    other = [path for path, count in zip(paths, fetches, strict=True) if count != 1]
    if other:
        assert (result.reason or result.summary).startswith(f"{other[0]}: ")
    else:
        assert result.summary.endswith("each of /v1/models, /api/tags")
