"""The starts of the router that the selected checks require."""

from __future__ import annotations

import dataclasses
from typing import Literal

import msgspec
import pytest

from routerspec.checks import REGISTRY, Check
from routerspec.errors import UsageError
from routerspec.plan import estimate
from routerspec.plan.starts import (
    MOST_USERS,
    ONCE_RUNNING,
    SPECIAL,
    SUPPORT,
    WITH_REPLICAS,
    again,
    plan_starts,
    route_plans,
    scenarios_only_on,
    users_for,
)
from routerspec.promises import Cap, Limits, ModelList, Promises, Silence
from routerspec.records.load_plan import FAKE_MODEL, NONSENSE_MODEL
from routerspec.targets import load_target

REFERENCE = load_target("reference")
PROMISING = dataclasses.replace(
    REFERENCE,
    promises=dataclasses.replace(
        REFERENCE.promises,
        limits=Limits(requests_per_minute=6, tokens_per_minute=300, budget=300, window_s=2.0),
    ),
)
"""With everything that starts are planned for."""
EVERY = tuple(REGISTRY.values())


def for_scenarios(*names: str) -> list[Check]:
    """One ordinary check for each of these scenarios."""
    some = REGISTRY["cap/each-route"]
    return [dataclasses.replace(some, scenarios=(name,), plays=()) for name in names]


def test_every_scenario_of_every_check_is_played_somewhere() -> None:
    for check in EVERY:
        played = {name for start in plan_starts(PROMISING, [check]) for name in start.scenarios}
        assert set(check.played) <= played, check.id


def test_each_start_begins_with_its_opening_rounds() -> None:
    for start in plan_starts(REFERENCE, EVERY):
        if start.name == "cap-1":
            assert "smoke" not in start.scenarios  # a route that waits for itself fails it
            continue
        before = start.scenarios.index("smoke")
        assert start.scenarios[:before] in {(), ("list-cold",), ("list-left",)}


def test_the_mixed_load_has_the_machine_for_itself() -> None:
    wanted = for_scenarios("load", "hold-head", "list-expiry")
    starts = {start.name: start for start in plan_starts(REFERENCE, wanted)}
    assert starts["load"].alone
    assert not starts["routes-1"].alone


def test_held_rounds_are_shared_by_two_starts() -> None:
    starts = plan_starts(REFERENCE, for_scenarios("hold-head", "hold-first"))
    cells = [cell for start in starts for cell in start.cells]
    assert len(starts) == 2
    assert sorted(cells) == sorted(f"{r.name}:{m}" for r in REFERENCE.routes for m in r.modes)
    streams = [sum(cell.endswith(":stream") for cell in start.cells) for start in starts]
    assert sum(streams) == 4
    assert all(streams)


def test_only_requested_checks_are_played() -> None:
    (start,) = plan_starts(REFERENCE, for_scenarios("list-cold"))
    assert start.scenarios == ("list-cold", "smoke", "smoke-list")
    assert plan_starts(REFERENCE, ()) == []


def test_a_further_list_that_is_promised_is_played_on_starts_of_its_own() -> None:
    lists = dataclasses.replace(
        REFERENCE.promises.model_list or ModelList(ttl_s=1), path=("/v1/models", "/api/tags")
    )
    target = dataclasses.replace(
        REFERENCE, promises=dataclasses.replace(REFERENCE.promises, model_list=lists)
    )
    plain = {start.name: start for start in plan_starts(REFERENCE, EVERY)}
    starts = {start.name: start for start in plan_starts(target, EVERY)}
    further = {name: its for name, its in starts.items() if name not in plain}
    assert {name.removesuffix("-list-2") for name in further} == {
        name for name, its in plain.items() if any("list-" in each for each in its.scenarios)
    }
    assert {its.list_path for its in further.values()} == {"/api/tags"}
    assert not any("hold" in each for its in further.values() for each in its.scenarios)
    assert scenarios_only_on("lists-list-2-again") == scenarios_only_on("lists")


@pytest.mark.parametrize("name", SPECIAL)
def test_a_start_with_settings_of_its_own_is_played_for_the_checks_that_name_it(name: str) -> None:
    ordinary = [check for check in EVERY if check.start != name]
    assert name not in {start.name for start in plan_starts(REFERENCE, ordinary)}
    own = [check for check in EVERY if check.start == name]
    assert [start.name for start in plan_starts(REFERENCE, own)] == [name]


def test_limits_have_a_start_each_where_they_are_promised_and_can_be_tried() -> None:
    def limited(**promised: int) -> dict[str, str]:
        promises = Promises(limits=msgspec.convert(promised, Limits)) if promised else Promises()
        target = dataclasses.replace(REFERENCE, promises=promises)
        checks = [REGISTRY["limits/never-more"]]
        return {start.name: start.limits for start in plan_starts(target, checks)}

    assert limited() == {}
    assert limited(requests_per_minute=6) == {"limits": "requests_per_minute"}
    assert limited(requests_per_minute=1000, budget=300) == {"limits-budget": "budget"}
    assert set(limited(tokens_per_minute=300, requests_per_minute=6)) == {"limits", "limits-tokens"}


def test_a_router_drains_as_often_as_a_deadline_must_be_missed() -> None:
    starts = plan_starts(REFERENCE, [REGISTRY["drain/exit"]])
    assert {start.name for start in starts} == {"drain", "drain-2", "drain-3"}
    assert {start.scenarios for start in starts} == {("smoke", "drain")}


@pytest.mark.parametrize(("timeout", "expected"), [("idle", 2.0), ("total", 9.0)])
def test_silence_is_tried_with_the_timeout_that_is_promised(
    timeout: Literal["idle", "total"], expected: float
) -> None:
    silence = Silence(idle_timeout_s=2.0, stream_max_s=9.0)
    target = dataclasses.replace(REFERENCE, promises=Promises(silence=silence, timeout=timeout))
    (start,) = plan_starts(target, [REGISTRY["silence/gives-up"]])
    assert (start.name, start.timeout_s) == ("silence", expected)


def test_every_start_that_a_check_names_is_there() -> None:
    assert {check.start for check in EVERY} - {""} == set(SPECIAL)


def test_a_router_that_runs_already_gets_one_start_and_nothing_cold() -> None:
    running = dataclasses.replace(REFERENCE, start=None)
    wanted = for_scenarios("list-cold", "list-expiry", "load", "hold-head")
    (start,) = plan_starts(running, wanted)
    assert start.scenarios == ("smoke", "smoke-list", "hold-head", "idle", "list-expiry", "load")
    assert set(start.scenarios) <= set(ONCE_RUNNING)


def test_running_replicas_are_played_with_what_is_about_them_alone() -> None:
    running = dataclasses.replace(REFERENCE, start=None, attached=2)
    (start,) = plan_starts(running, EVERY)
    assert start.replicas
    assert set(start.scenarios) <= {*SUPPORT, *WITH_REPLICAS}


def test_a_running_router_gets_every_scenario_that_needs_no_start_of_its_own() -> None:
    elsewhere = {name for start in SPECIAL.values() for name in start.scenarios}
    played = {name for check in EVERY for name in check.played}
    wanted = played - elsewhere | {"smoke", "smoke-list", "idle"}
    assert sorted(ONCE_RUNNING) == sorted(wanted - {"list-cold"})


def test_disruptive_scenarios_come_last() -> None:
    assert ONCE_RUNNING[:2] == ("smoke", "smoke-list")
    # A router may leave a provider alone for long after its list failed; loads leave it warm.
    disturbing = ("list-dead", "list-failing", "overhead", "hidden-cap", "load")
    assert ONCE_RUNNING[-len(disturbing) :] == disturbing
    # Its fetches without a client's request are counted before the first expiry is provoked.
    assert ONCE_RUNNING.index("idle") + 1 == ONCE_RUNNING.index("list-expiry")


def test_the_second_attempt_says_so_and_is_alone_where_it_is_judged_by_time() -> None:
    checks = [*for_scenarios("hold-head", "load", "list-slow"), REGISTRY["cancel/reaches-provider"]]
    starts = again(REFERENCE, checks)
    assert {start.name: start.alone for start in starts} == {
        "routes-1-again": False,
        "routes-2-again": False,
        "hang-ups-again": True,
        "saturated-again": True,
        "load-again": True,
    }
    assert [start.alone for start in starts] == sorted(start.alone for start in starts)
    assert {start.attempt for start in starts} == {2}


def test_the_longest_start_begins_first_and_those_that_play_alone_last() -> None:
    applied = [check for check in EVERY if not check.needs(REFERENCE.promises)]
    starts = plan_starts(REFERENCE, applied)
    together = [start for start in starts if not start.alone]
    assert starts[: len(together)] == together
    names = [start.name for start in together]
    assert set(names[:2]) == {"disconnects", "waves"}
    assert set(names[-2:]) == {"cap-1", "uncapped"}


def test_what_is_estimated_is_played() -> None:
    played = {name for start in plan_starts(PROMISING, EVERY) for name in start.scenarios}
    assert set(estimate._SECONDS) <= played


def test_a_longer_ttl_makes_the_lists_the_longest() -> None:
    lists = dataclasses.replace(REFERENCE.promises.model_list or ModelList(ttl_s=1), ttl_s=30)
    promises = dataclasses.replace(REFERENCE.promises, model_list=lists)
    starts = plan_starts(dataclasses.replace(REFERENCE, promises=promises), EVERY)
    assert {start.name for start in starts[:3]} == {"routes-1", "lists", "saturated"}


@pytest.mark.parametrize(("limit", "users"), [(1, 64), (4, 64), (16, 160)])
def test_there_are_users_for_the_largest_round(limit: int, users: int) -> None:
    target = dataclasses.replace(REFERENCE, promises=Promises(cap=Cap(limit=limit)))
    assert users_for(target) == users


def test_a_cap_that_one_machine_cannot_try_is_refused() -> None:
    for limit in (501, 1_000_000, 10**20):
        target = dataclasses.replace(REFERENCE, promises=Promises(cap=Cap(limit=limit)))
        with pytest.raises(UsageError, match=f"promises a cap of {limit}.*up to 500: state a"):
            users_for(target)
    target = dataclasses.replace(REFERENCE, promises=Promises(cap=Cap(limit=500)))
    assert users_for(target) == MOST_USERS


@pytest.mark.parametrize(("queue", "users"), [(8, 64), (100, 107), (10_000, 64)])
def test_there_are_users_to_fill_a_queue(queue: int, users: int) -> None:
    promises = Promises(cap=Cap(limit=4, queue_limit=queue))
    assert users_for(dataclasses.replace(REFERENCE, promises=promises)) == users


def test_routes_name_the_fakes_model_and_an_unknown_one() -> None:
    plans = {plan.name: plan for plan in route_plans(REFERENCE, {})}
    assert plans["agent"].model == f"agent/{FAKE_MODEL}"
    assert plans["agent"].nonsense_model == f"agent/{NONSENSE_MODEL}"


def test_scenarios_measured_without_a_cap_are_played_only_there() -> None:
    assert (
        scenarios_only_on("overhead")
        == scenarios_only_on("overhead-again")
        == {"overhead", "hidden-cap"}
    )
    assert "smoke" not in scenarios_only_on("uncapped")
