"""What a start owes is played once more, with what it needs, and no two that may lose slots."""

from __future__ import annotations

from routerspec.checks import REGISTRY
from routerspec.plan.fresh import fresh_starts
from routerspec.plan.starts import SUPPORT, StartPlan, plan_starts
from routerspec.targets import load_target

STARTS = {start.name: start for start in plan_starts(load_target("reference"), REGISTRY.values())}


def scenarios(start: StartPlan, *owed: str) -> list[tuple[str, ...]]:
    return [fresh.scenarios for fresh in fresh_starts(start, owed)]


def test_each_ending_has_a_start_for_itself() -> None:
    owed = ("after-reset", "after-cut")
    assert scenarios(STARTS["endings"], *owed) == [("smoke", "after-reset"), ("smoke", "after-cut")]


def test_the_others_share_one_with_what_they_need() -> None:
    assert scenarios(STARTS["saturated"], "overload", "attempts", "handover") == [
        ("smoke", "overload", "handover"),
        ("smoke", "attempts"),
    ]
    lists = scenarios(STARTS["routes-1"], "hold-first", "list-expiry")
    assert lists == [("smoke", "smoke-list", "hold-first", "idle", "list-expiry")]
    assert scenarios(STARTS["routes-1"], "list-cold")[0][0] == "list-cold"


def test_everything_owed_is_played_once_with_the_settings_of_its_start() -> None:
    for start in STARTS.values():
        owed = set(start.scenarios) - SUPPORT
        fresh = fresh_starts(start, owed)
        played = [name for each in fresh for name in each.scenarios if name not in SUPPORT]
        assert sorted(played) == sorted(owed)
        assert len({each.name for each in fresh}) == len(fresh)
        for each in fresh:
            assert each.name.startswith(f"{start.name}-fresh")
            assert each.fresh_of == start.name
            assert (each.cap, each.sets, each.cells, each.alone, each.attempt) == (
                start.cap, start.sets, start.cells, start.alone, start.attempt
            )  # fmt: skip


def test_where_no_slot_was_lost_all_share_one() -> None:
    (fresh,) = fresh_starts(STARTS["endings"], ("after-reset", "after-cut"), together=True)
    assert fresh.scenarios == ("smoke", "after-reset", "after-cut")


def test_nothing_owed_is_nothing_played() -> None:
    assert fresh_starts(STARTS["load"], ("smoke",)) == []
